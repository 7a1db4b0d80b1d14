"""The names of runs on Prefect's pages."""

from pathlib import Path

from prefect.runtime import flow_run

from defectfill.config.run import RunConfig, load_config
from defectfill.io.errors import DefectFillError
from defectfill.runs.keys import RunRecord


def category_run_name() -> str:
    """Return the name of a run of synthesize_category: its category, and what is made.

    A config that cannot be read has the name of its file; what is wrong with it the run itself tells.
    """
    given = flow_run.parameters
    config = _config_of(given["config_path"], given["count"])
    if isinstance(config, str):
        return config
    return f"{config.category}: {config.generate.count} of {', '.join(config.data.defects)}"


def evaluation_run_name() -> str:
    """Return the name of a run of evaluate_dataset, by its category."""
    config = _config_of(flow_run.parameters["config_path"])
    return f"{config if isinstance(config, str) else config.category}: evaluation"


def fleet_run_name() -> str:
    """Return the name of a run of synthesize_fleet: which categories it runs."""
    return "fleet: what has changed" if flow_run.parameters["changed_only"] else "fleet: all"


def _config_of(asked: Path | RunRecord, count: int | None = None) -> RunConfig | str:
    """Return the config that a run was asked for, or the name of a file that cannot be read."""
    try:
        return asked.config if isinstance(asked, RunRecord) else load_config(asked, count)
    except DefectFillError:
        return Path(str(asked)).stem
