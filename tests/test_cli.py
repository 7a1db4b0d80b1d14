"""The command line: what its commands print, as text and as JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CommandLine, contents

import defectfill
from defectfill.runs.run import Run


def test_check_says_what_would_be_done_and_writes_nothing(toy_config: Path, command_line: CommandLine) -> None:
    before = contents(toy_config.parent)
    ended = command_line("check", toy_config)
    assert ended.code == 0
    assert "washer: 6 normals to paint on, 2 normals set aside for test" in ended.out
    assert "hole: adapter to be trained for 2 steps; 5 of 5 samples to paint, 40 UNet passes" in ended.out
    assert contents(toy_config.parent) == before


def test_running_a_finished_config_again_prints_its_dataset(finished: Run, command_line: CommandLine) -> None:
    config_path = Path(finished.config.output.root).parent / "toy.yaml"
    before = contents(finished.category_output)
    ended = command_line("run", config_path)
    assert ended.code == 0
    _, hole, scratch, *paths = ended.out.splitlines()
    assert [hole.split(), scratch.split()] == [[each, "5", "0", "5", "of", "5"] for each in ("hole", "scratch")]
    assert paths == [str(finished.folder / "contact_sheet.png"), str(finished.dataset)]
    assert contents(finished.category_output) == before


def test_a_closed_standard_error_is_no_obstacle(toy_config: Path) -> None:
    toy_config.write_text(toy_config.read_text().replace("generate: {", "generate: {painter: paste, "))
    command = "import sys; sys.stderr = None; sys.argv = ['defectfill', 'check', sys.argv[1]]; "
    command += "from defectfill.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", command, toy_config], stdout=subprocess.PIPE, text=True)
    assert (done.returncode, "6 normals to paint on" in done.stdout) == (0, True)


def as_json(command_line: CommandLine, *arguments: object) -> dict[str, Any]:
    """Return the object that a command prints with --json, and nothing else."""
    ended = command_line(*arguments, "--json")
    assert ended.code == 0
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_check_status_masks_and_gc_print_one_json_object(toy_config: Path, command_line: CommandLine) -> None:
    check = as_json(command_line, "check", toy_config)
    assert [check[key] for key in ("category", "normals", "test_normals", "forecast")] == ["washer", 6, 2, None]
    assert check["defects"][0].keys() == {"defect", "references", "held_out"}
    assert check["work"]["defects"][1] == {"defect": "scratch", "is_trained": False, "samples": 5, "unet_passes": 40}
    status = as_json(command_line, "status", toy_config)
    assert (status["state"], status["dataset"], status["work"]) == ("never finished", None, check["work"])
    sheet = toy_config.with_name("masks.png")
    masks = as_json(command_line, "masks", toy_config, "--out", sheet, "--count", 4)
    assert masks.keys() == {"sheet", "masks"}
    assert masks["sheet"] == str(sheet)
    assert [each["count"] for each in masks["masks"].values()] == [4, 4]
    assert as_json(command_line, "gc", toy_config) == {"category": "washer", "removed": []}


def test_run_and_verify_of_a_finished_dataset_print_one_json_object(finished: Run, command_line: CommandLine) -> None:
    config_path = Path(finished.config.output.root).parent / "toy.yaml"
    run = as_json(command_line, "run", config_path, "--count", finished.config.generate.count)
    assert run.keys() == {"dataset", "contact_sheet", "summary"}
    assert run["dataset"] == str(finished.dataset)
    assert Path(run["contact_sheet"]).is_file()
    assert run["summary"]["defects"]["hole"]["kept"] == 5
    assert as_json(command_line, "verify", finished.dataset) == {
        "dataset": run["dataset"],
        "rows": 26,
        "rejected": 0,
        "is_leaky": False,
        "leakage": "no leak: nothing of the test split was found in what the synthetic images were made from",
    }
    status = as_json(command_line, "status", config_path)
    assert (status["state"], status["dataset"]) == ("up to date", run["dataset"])


def test_the_version_is_printed(command_line: CommandLine) -> None:
    ended = command_line("--version")
    assert ended.code == 0
    assert ended.out == f"defectfill {defectfill.__version__}\n"


@pytest.mark.parametrize("command", ["run", "check", "masks", "status", "gc", "demo", "pretrain", "deploy"])
def test_usage_and_help_both_say_config(command_line: CommandLine, command: str) -> None:
    said = command_line(command, "--help").out
    usage, *text = (line for line in said.split("Arguments")[0].splitlines() if line.strip())
    assert "CONFIG" in usage
    assert "CONFIG" in " ".join(text)
