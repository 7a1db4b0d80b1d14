"""The command line. Exit codes: 0 done, 2 the user's mistakes, one message each, 130 interrupted, 1 anything else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from defectfill import __version__
from defectfill.cli_options import AsJson, ConfigPath, print_report
from defectfill.cli_results import results
from defectfill.exit_codes import exit_codes
from defectfill.io.errors import DataError
from defectfill.operations.environment import set_environment

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(results)


def main() -> None:
    """Run the command line."""
    set_environment()
    sys.stdout, sys.stderr = (stream or StringIO() for stream in (sys.stdout, sys.stderr))  # closed, as of daemons
    for stream in (sys.stdout, sys.stderr):  # names of any script also where the terminal knows ASCII only
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with exit_codes():
        app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"defectfill {__version__}")
        raise typer.Exit


@app.callback()
def defectfill(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a handful of defect photographs into a dataset that makes an inspection model better."""


@app.command()
def run(
    config: ConfigPath,
    count: Annotated[
        int | None, typer.Option(help="Kept images per defect, in place of generate.count.", show_default=False)
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where fewer images of a defect are kept than wanted.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make the dataset of CONFIG, or finish what an earlier run began."""
    from defectfill.api import run_category
    from defectfill.config.run import load_config
    from defectfill.dataset.summary import format_summary, summary
    from defectfill.io.s3 import local_folder

    settings = load_config(config, count)
    dataset = run_category(settings)
    made = summary(local_folder(dataset))
    beside = {"contact_sheet": _beside(dataset, "contact_sheet.png")}
    beside |= {"report": _beside(dataset, "report/index.html")} if settings.report else {}
    print_report(
        {"dataset": dataset, **beside, "summary": made}, (*format_summary(made), *beside.values(), dataset), json
    )
    if strict and any(each.kept < each.wanted for each in made.defects.values()):
        raise typer.Exit(1)


@app.command()
def check(
    config: ConfigPath,
    measure: Annotated[bool, typer.Option("--measure", help="Forecast time, memory and disk by a few steps.")] = False,
    json: AsJson = False,
) -> None:
    """Say what a run of CONFIG would do and everything that is wrong, in seconds and without a GPU."""
    from defectfill.cli_format import check_lines
    from defectfill.config.run import load_config
    from defectfill.operations.check import check_config

    found = check_config(load_config(config), measure=measure)
    print_report(found, check_lines(found), json)


@app.command()
def masks(
    config: ConfigPath,
    out: Annotated[Path, typer.Option(help="Where the contact sheet is written, as PNG.")] = Path("masks.png"),
    count: Annotated[int, typer.Option(min=1, help="Masks per defect that are compared with the references.")] = 64,
    json: AsJson = False,
) -> None:
    """Show masks as CONFIG would plan them, beside the references, and how alike they are; without a model."""
    from defectfill.config.run import load_config
    from defectfill.ingest.find import mask_files
    from defectfill.masks.sheet import format_mask_report, write_mask_sheet
    from defectfill.operations.storage.fetch import fetch_data

    settings = load_config(config)
    mask_files(settings.masks)  # raises for those that are not there
    fetch_data(settings)
    report = write_mask_sheet(settings, out, count)
    print_report({"sheet": out, "masks": report}, (*format_mask_report(report), str(out)), json)


@app.command()
def pretrain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The base's YAML file.", show_default=False)],
) -> None:
    """Train the small base of CONFIG from normal images and toys, or finish what an earlier call began."""
    from defectfill.model.pretraining.config import load_pretrain_config
    from defectfill.model.pretraining.pretrain import pretrain as train

    print(train(load_pretrain_config(config)))


@app.command()
def status(
    config: ConfigPath,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the dataset too: every hash, size, mask value and count.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Say whether the dataset of CONFIG is up to date; if not why, and what a run would make anew."""
    from defectfill.api import verify_dataset
    from defectfill.cli_format import status_lines
    from defectfill.config.run import load_config
    from defectfill.operations.status import status as status_of

    found = status_of(load_config(config))
    if verify and found.dataset and not found.damage:
        with _remedy(f"remove {found.dataset} and run again to have it written anew"):
            verify_dataset(found.dataset)
    print_report(found, status_lines(found), json)


@app.command()
def gc(
    config: ConfigPath,
    keep: Annotated[int, typer.Option(min=0, help="Newest runs that stay, beside the latest finished one.")] = 2,
    json: AsJson = False,
) -> None:
    """Remove old runs of the category of CONFIG, what none left was painted with or goes on with."""
    from defectfill.config.run import load_config
    from defectfill.io.s3 import is_remote
    from defectfill.operations.garbage import collect_garbage
    from defectfill.operations.lock import locked
    from defectfill.operations.reports import GarbageReport

    settings = load_config(config)
    if settings.category_output.exists() or is_remote(settings.output.root):
        with locked(settings):
            report = collect_garbage(settings, keep)
    else:
        report = GarbageReport(category=settings.category, removed=())
    print_report(report, [f"removed {uri}" for uri in report.removed], json)


@app.command()
def deploy(
    configs: Annotated[
        list[Path], typer.Argument(metavar="CONFIG", help="The YAML files of categories.", show_default=False)
    ],
    work_pool: Annotated[str, typer.Option(help="The pool whose worker runs them.")] = "gpu",
    gpus: Annotated[int, typer.Option(min=1, help="How many runs of the pool train or paint at a time.")] = 1,
    prune: Annotated[bool, typer.Option("--prune", help="Remove deployments whose config is gone.")] = False,
    then: Annotated[
        str | None, typer.Option(help="flow/deployment to start with every finished dataset, its parameter `dataset`.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Give each CONFIG its deployment on the Prefect server, with its schedule; again to update."""
    from defectfill.api import deploy_categories
    from defectfill.cli_format import deploy_lines

    report = deploy_categories(configs, work_pool, gpus=gpus, prune=prune, then=then)
    print_report(report, deploy_lines(report), json)


@app.command()
def demo(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG", help="The YAML file of a toy category.", show_default="the toy's own, into ./demo"
        ),
    ] = None,
) -> None:
    """Make a toy category where CONFIG expects one, run it, and say whether its defects are recognized."""
    from defectfill.api import run_category
    from defectfill.cli_format import recognition_lines
    from defectfill.config.run import load_config
    from defectfill.dataset.summary import format_summary, summary
    from defectfill.demo import make_toy_category, recognize, shipped_config
    from defectfill.io.s3 import local_folder

    settings = load_config(config) if config else shipped_config(Path.cwd() / "demo")
    make_toy_category(settings)
    dataset = run_category(settings)
    folder = local_folder(dataset)
    recognized = recognition_lines(recognize(settings, folder))
    looked_at = _beside(dataset, "report/index.html" if settings.report else "contact_sheet.png")
    for line in (*format_summary(summary(folder)), *recognized, looked_at, dataset):
        print(line)


@contextmanager
def _remedy(remedy: str) -> Iterator[None]:
    """Say what helps after what is wrong with a dataset."""
    try:
        yield
    except DataError as error:
        raise DataError([*error.problems, remedy]) from error


def _beside(dataset: str, name: str) -> str:
    return f"{dataset.rpartition('/')[0]}/{name}"


if __name__ == "__main__":
    main()
