"""The names of runs on Prefect's pages."""

from pathlib import Path

from prefect.runtime import flow_run

from defectfill.config.run import load_config
from defectfill.io.errors import DefectFillError
from defectfill.runs.keys import RunRecord


def category_run_name() -> str:
    """Return the name of a run of synthesize_category: its category, and what is made.

    A config that cannot be read has the name of its file; what is wrong with it the run itself tells.
    """
    given = flow_run.parameters
    asked: Path | RunRecord = given["config_path"]
    try:
        config = asked.config if isinstance(asked, RunRecord) else load_config(asked, given["count"])
    except DefectFillError:
        return Path(str(asked)).stem
    return f"{config.category}: {config.generate.count} of {', '.join(config.data.defects)}"
