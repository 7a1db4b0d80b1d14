"""The commands on what a run has left: is it whole, does it help, how do others read it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from defectfill.cli_options import AsJson, ConfigPath, DatasetUri, print_report
from defectfill.dataset.export import Format

results = typer.Typer()
review = typer.Typer(no_args_is_help=True, help="Decide on the samples of a run.")
results.add_typer(review, name="review")


class Protocol(StrEnum):
    """Protocols of papers."""

    ANOMALYDIFFUSION = "anomalydiffusion"


@results.command()
def verify(
    dataset: DatasetUri,
    json: AsJson = False,
) -> None:
    """Re-check every hash, size, mask value and count of a finished DATASET."""
    from defectfill.api import verify_dataset

    verified = verify_dataset(dataset)
    lines = [f"{dataset}: {verified.rows} rows, all good", f"{dataset}: {verified.leakage}"]
    print_report({"dataset": dataset, **verified.model_dump()}, lines, json)


@results.command()
def export(
    dataset: DatasetUri,
    format: Annotated[str, typer.Option(help=f"{', '.join(get_args(Format))}.", show_default=False)],
    out: Annotated[str, typer.Option(help="The folder to write; it may be there if it is empty.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Only train or only test.", show_default="both")] = None,
    real_share: Annotated[
        float | None,
        typer.Option(help="Repeat references until they are this share of a defect's images.", show_default=False),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images rather than hard-link them.")] = False,
    json: AsJson = False,
) -> None:
    """Write a finished DATASET in the format of those who train on it; rejected samples never."""
    from defectfill.api import export_dataset
    from defectfill.cli_format import export_lines

    report = export_dataset(
        dataset, out, cast(Format, format), split=cast(Any, split), real_share=real_share, link=not copy
    )
    print_report(report, export_lines(report), json)


@results.command()
def evaluate(
    config: ConfigPath,
    protocol: Annotated[
        Protocol | None, typer.Option(help="A paper's own protocol instead, which selects on test.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Say whether the finished dataset of CONFIG makes a detector better, by trials on the real images held out."""
    from defectfill.api import evaluate_category, papers_scores
    from defectfill.config.run import load_config
    from defectfill.dataset.evaluation_table import evaluation_table
    from defectfill.operations.protocols import STAMP, protocol_lines

    if protocol:
        scores = papers_scores(load_config(config))
        print_report({"protocol": protocol.value, "stamp": STAMP, "defects": scores}, protocol_lines(scores), json)
        return
    found = evaluate_category(load_config(config))
    print_report(found, evaluation_table(found).splitlines(), json)


@results.command()
def report(
    run: Annotated[str | None, typer.Argument(metavar="CONFIG|RUN", help="A run's folder, or its config.")] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(metavar="RUN_A RUN_B", help="What changed, instead.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write the report of a finished run, to look at and to review its samples in, and say where its page is."""
    from defectfill.operations.report import page_of

    page = page_of(run, compare)
    print_report({"report": page}, [page], json)


@review.command()
def apply(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's folder or URL, or the category's YAML file.", show_default=False),
    ],
    decisions: Annotated[
        Path, typer.Argument(metavar="CSV", help="The decisions: id,decision,note.", show_default=False)
    ],
    refill: Annotated[
        bool, typer.Option("--refill", help="Have the next run paint others for the samples that are taken out.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Take rejects and wrong labels out of the dataset of RUN, and say how far the gates agree with the decisions."""
    from defectfill.cli_format import review_lines
    from defectfill.operations.report import finished_run
    from defectfill.operations.review.apply import apply_review

    report = apply_review(finished_run(run), decisions, refill=refill)
    print_report(report, review_lines(report), json)
