"""The functions of `import defectfill`, for notebooks and scripts; the command line uses them too.

Here alone something below starts the flows, inside functions, so that the library itself needs no Prefect.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from defectfill.config.run import RunConfig
from defectfill.io.errors import ConfigError
from defectfill.io.names import printable
from defectfill.operations.environment import check_connections, set_environment

if TYPE_CHECKING:
    from defectfill.dataset.export import Format
    from defectfill.dataset.export.export import ExportReport
    from defectfill.dataset.opened import Dataset
    from defectfill.dataset.verify import VerifiedDataset
    from defectfill.operations.reports import DeployReport
    from defectfill.records.evaluation import Evaluation, Scores
    from defectfill.records.manifest import Split
    from defectfill.runs.run import Run


def run_category(config: RunConfig) -> str:
    """Make the dataset of a config through the Prefect flow, and return its folder or URL.

    Everything is checked first: mistakes are told, and a finished run that others know of is found, before Prefect's
    server starts. The config and the images are read once: what is edited while the run is under way changes nothing
    in it.
    """
    from defectfill.operations.announced import is_announced
    from defectfill.operations.check import check_run
    from defectfill.operations.findings import notes, warnings
    from defectfill.operations.finished import is_settled, settle
    from defectfill.operations.lock import locked
    from defectfill.operations.prepare import prepare_run, start_run
    from defectfill.operations.promotion import is_done

    set_environment()
    check_connections()
    run = prepare_run(config)
    if is_done(run):
        with nullcontext() if is_settled(run) else locked(config):
            settle(run)
        if is_announced(run):
            return run.dataset_uri
    else:
        records, decided = check_run(config, run)
        for line in (*notes(config, records), *decided, *(f"warning: {each}" for each in warnings(config, records))):
            print(printable(line), file=sys.stderr)
        with locked(config):
            run = start_run(config, run, records)
    with _settings_of_prefect():
        from flows.server import prefect_server
    with prefect_server():
        from flows.category import synthesize_category
        from flows.terminal import log_above_bars

        log_above_bars()
        return synthesize_category(run.record)


def evaluate_category(config: RunConfig) -> "Evaluation":
    """Say whether the finished dataset of a config makes a detector better, and return all figures.

    What was tried out before is found again. Raises DataError where there is no such dataset, ConfigError where it
    cannot be evaluated, DefectFillError where it harms and dataset.promote is `unless_harmful`.
    """
    from defectfill.runs.verdict import read_verdict

    set_environment()
    check_connections()
    run = _finished_run(config)
    with _settings_of_prefect():
        from flows.server import prefect_server
    with prefect_server():
        from flows.evaluate import evaluate_dataset

        evaluate_dataset(run.record)
    evaluation = read_verdict(run)
    assert evaluation is not None
    return evaluation


def papers_scores(config: RunConfig) -> "dict[str, Scores]":
    """Return what AnomalyDiffusion's protocol, which selects on test, says of the finished dataset of a config."""
    from defectfill.operations.evaluation import Evaluator
    from defectfill.operations.protocols import anomalydiffusion

    return anomalydiffusion(Evaluator(_finished_run(config)))


def _finished_run(config: RunConfig) -> "Run":
    """Return the finished run of a config; raises where there is none that can be evaluated."""
    from defectfill.operations.prepare import prepare_run
    from defectfill.operations.requirements import check_evaluation

    run = prepare_run(config)
    check_evaluation(run)
    return run


def open_dataset(uri: str | Path) -> "Dataset":
    """Open the finished dataset in a folder or at a URL, of which what is not on this machine is fetched.

    Raises DataError where none is.
    """
    from defectfill.dataset.opened import Dataset
    from defectfill.operations.storage.fetch import fetch_dataset

    return Dataset(fetch_dataset(str(uri)))


def verify_dataset(uri: str | Path) -> "VerifiedDataset":
    """Check every hash, size, mask value and count of the finished dataset in a folder or at a URL.

    Raises DataError with one message per failure, or where there is no dataset.
    """
    from defectfill.dataset.verify import verify_dataset as verify
    from defectfill.operations.storage.fetch import fetch_dataset

    return verify(fetch_dataset(str(uri)))


def export_dataset(
    uri: str | Path,
    out: str | Path,
    format: "Format",
    *,
    split: "Split | None" = None,
    real_share: float | None = None,
    link: bool = True,
) -> "ExportReport":
    """Write the finished dataset in a folder or at a URL to the folder `out`, in the format of those who train on it.

    The arguments are those of defectfill.dataset.export.export.export_dataset, which this calls; it raises the same.
    """
    from defectfill.dataset.export.export import export_dataset as export
    from defectfill.io.s3 import is_remote
    from defectfill.operations.storage.fetch import fetch_dataset

    if is_remote(str(out)):
        raise ConfigError(f"--out: expected a folder of this machine, found {out}")
    return export(fetch_dataset(str(uri)), Path(out), format, split=split, real_share=real_share, link=link)


def deploy_categories(
    config_paths: Sequence[Path], work_pool: str, *, gpus: int, prune: bool, then: str | None
) -> "DeployReport":
    """Give each config its deployment on the Prefect server, as flows.deploy.deploy does."""
    set_environment()
    check_connections()
    with _settings_of_prefect():
        from flows.deploy import deploy
    return deploy(config_paths, work_pool, gpus=gpus, prune=prune, then=then)


@contextmanager
def _settings_of_prefect() -> Iterator[None]:
    """Turn what Prefect raises while it is imported, over settings that it cannot use, into a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(
            "Prefect's settings (PREFECT_... in the environment, profiles.toml, .env or prefect.toml) cannot be used: "
            + " ".join(str(error).split())[:500]
        ) from error
