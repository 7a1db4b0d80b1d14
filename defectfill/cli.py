"""The command line. Exit codes: 0 done, 2 the user's mistakes, one message each, 1 anything else."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from defectfill.io.errors import ConfigError, DataError, DefectFillError, is_full_disk
from defectfill.operations.environment import ENVIRONMENT

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ConfigPath = Annotated[Path, typer.Argument(help="The category's YAML file.", show_default=False)]


def main() -> None:
    """Runs the command line."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with exit_codes():
        app()


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turns our errors into messages and exit codes."""
    try:
        yield
    except DefectFillError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError | DataError) else 1)
    except PermissionError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if not is_full_disk(error):
            raise
        print(f"{error.strerror}: make room and run again; what is finished is kept", file=sys.stderr)
        sys.exit(1)


@app.command()
def run(config: ConfigPath) -> None:
    """Make the dataset of CONFIG, or finish what an earlier run began."""
    _tell(run_category(config))


@app.command()
def check(
    config: ConfigPath,
    measure: Annotated[bool, typer.Option("--measure", help="Forecast time, memory and disk by a few steps.")] = False,
) -> None:
    """Say what a run of CONFIG would do and everything that is wrong, in seconds and without a GPU."""
    from defectfill.config.run import load_config
    from defectfill.operations.check import check_config

    for line in check_config(load_config(config), measure=measure):
        print(line)


@app.command()
def masks(
    config: ConfigPath,
    out: Annotated[Path, typer.Option(help="Where the contact sheet is written, as PNG.")] = Path("masks.png"),
    count: Annotated[int, typer.Option(min=1, help="Masks per defect that are compared with the references.")] = 64,
) -> None:
    """Show masks as CONFIG would plan them, beside the references, and how alike they are; without a model."""
    from defectfill.config.run import load_config
    from defectfill.masks.sheet import format_mask_report, write_mask_sheet
    from defectfill.operations.remote import fetch_data

    settings = load_config(config)
    fetch_data(settings)
    for line in format_mask_report(write_mask_sheet(settings, out, count)):
        print(line)
    print(out)


@app.command()
def verify(dataset: Annotated[str, typer.Argument(help="A dataset's folder or URL.", show_default=False)]) -> None:
    """Re-check every hash, size, mask value and count of a finished DATASET."""
    from defectfill.dataset.verify import verify_dataset
    from defectfill.operations.remote import fetch_dataset

    print(f"{dataset}: {verify_dataset(fetch_dataset(dataset)).rows} rows, all good")


@app.command()
def pretrain(config: Annotated[Path, typer.Argument(help="The base's YAML file.", show_default=False)]) -> None:
    """Train a small base of your own from normal images and toys, or finish what an earlier call began."""
    from defectfill.model.pretraining.config import load_pretrain_config
    from defectfill.model.pretraining.pretrain import pretrain as train

    print(train(load_pretrain_config(config)))


@app.command()
def status(config: ConfigPath) -> None:
    """Say whether the dataset of CONFIG is up to date; if not why, and what a run would make anew."""
    from defectfill.config.run import load_config
    from defectfill.operations.status import status as lines_of

    for line in lines_of(load_config(config)):
        print(line)


@app.command()
def gc(
    config: ConfigPath,
    keep: Annotated[int, typer.Option(min=0, help="Newest runs that stay, beside the latest finished one.")] = 2,
) -> None:
    """Remove old runs of the category of CONFIG, and adapters that none of those left was painted with."""
    from defectfill.config.run import load_config
    from defectfill.operations.garbage import collect_garbage
    from defectfill.operations.lock import locked

    settings = load_config(config)
    with locked(settings):
        for place in collect_garbage(settings, keep):
            print(f"removed {place}")


@app.command()
def deploy(
    configs: Annotated[list[Path], typer.Argument(help="The YAML files of categories.", show_default=False)],
    work_pool: Annotated[str, typer.Option(help="The pool whose worker runs them.")] = "gpu",
    gpus: Annotated[int, typer.Option(min=1, help="How many runs of the pool train or paint at a time.")] = 1,
    prune: Annotated[bool, typer.Option("--prune", help="Remove deployments whose config is gone.")] = False,
    then: Annotated[
        str | None, typer.Option(help="flow/deployment to start with every finished dataset, its parameter `dataset`.")
    ] = None,
) -> None:
    """Give each of CONFIGS its deployment on the Prefect server, with its schedule; again to update."""
    from flows.deploy import deploy as make_deployments

    for line in make_deployments(configs, work_pool, gpus=gpus, prune=prune, then=then):
        print(line)


@app.command()
def demo(config: ConfigPath = Path("configs/toy.yaml")) -> None:
    """Make a toy category where CONFIG expects one, run it, and say whether its defects are recognized."""
    from defectfill.config.run import load_config
    from defectfill.demo import make_toy_category, recognize
    from defectfill.io.s3 import local_folder

    settings = load_config(config)
    make_toy_category(settings)
    dataset = run_category(config)
    _tell(dataset, recognize(settings, local_folder(dataset)))


def _tell(dataset: str, remarks: Sequence[str] = ()) -> None:
    """Prints what became of each defect, then where the contact sheet and, last, the dataset are."""
    from defectfill.dataset.summary import format_summary, summary
    from defectfill.io.s3 import local_folder

    contact_sheet = f"{dataset.rpartition('/')[0]}/contact_sheet.png"
    for line in (*format_summary(summary(local_folder(dataset))), *remarks, contact_sheet, dataset):
        print(line)


def run_category(config_path: Path) -> str:
    """The place of a config's dataset, through the Prefect flow.

    Everything is checked first: mistakes are told, and a finished run is found, before Prefect's server starts.
    """
    from defectfill.config.run import load_config
    from defectfill.operations.check import check_config
    from defectfill.operations.prepare import prepare_run

    config = load_config(config_path)
    prepared = prepare_run(config)
    if prepared.is_finished():
        return prepared.dataset_uri
    check_config(config, prepared)
    server = os.environ.get("PREFECT_API_URL")
    if server is None:
        print("starting Prefect's temporary server ...", file=sys.stderr)
    from flows.category import synthesize_category  # the one arrow upwards: the command starts the flow

    try:
        return synthesize_category(config_path)
    except RuntimeError as error:
        if server and "Failed to reach API" in str(error):
            raise ConfigError(f"PREFECT_API_URL: no Prefect server answers at {server}") from error
        raise


if __name__ == "__main__":
    main()
