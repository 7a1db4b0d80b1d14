"""What the commands of the command line have in common."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from defectfill.io.names import printable

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The category's YAML file.", show_default=False)]
DatasetUri = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's folder or URL.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]


def print_report(report: object, lines: Iterable[str], json: bool) -> None:
    """Print a report as one JSON object, or else its lines."""
    if json:
        from pydantic_core import to_json

        print(to_json(report, indent=2, inf_nan_mode="null").decode())
        return
    for line in lines:
        print(printable(line))
