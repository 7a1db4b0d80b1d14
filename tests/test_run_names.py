"""What runs are called on Prefect's pages."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import names
from flows.evaluate import evaluate_dataset
from flows.fleet import synthesize_fleet


def named(flow: Any, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name that a flow gives a run with these parameters."""
    monkeypatch.setattr(names, "flow_run", SimpleNamespace(parameters=parameters))
    return str(flow.flow_run_name())


def test_runs_are_called_after_what_they_do(toy_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = {"config_path": toy_config, "gpu_limit": None}
    assert named(evaluate_dataset, evaluation, monkeypatch) == "washer: evaluation"
    toy_config.write_text("not: a config")
    assert named(evaluate_dataset, evaluation, monkeypatch) == "toy: evaluation"
    assert named(synthesize_fleet, {"changed_only": True, "at_once": 4}, monkeypatch) == "fleet: what has changed"
    assert named(synthesize_fleet, {"changed_only": False, "at_once": 4}, monkeypatch) == "fleet: all"
