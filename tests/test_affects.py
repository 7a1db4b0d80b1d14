"""What a config key affects is said at its field, and every key and digest follows from it."""

from pathlib import Path
from typing import Any

import pytest
from conftest import config_for

from defectfill.config.affects import Affects, keys_of, settings_that_affect
from defectfill.config.run import RunConfig
from defectfill.model.base.identity import BaseIdentity
from defectfill.records.plan import Shard
from defectfill.records.snapshot import ImageRecord, write_snapshot
from defectfill.runs.keys import METHOD_VERSION, RunRecord
from defectfill.runs.run import Run
from defectfill.synthesis.reuse import shard_digest

REFERENCE = ImageRecord(
    path="test/hole/0.png", role="reference", defect="hole", split="train", width=64, height=64, channels=3,
    bit_depth=8, sha256="1" * 64, content_sha256="2" * 64,
)  # fmt: skip


def digests(config: RunConfig) -> dict[str, str]:
    """Return the name of the run, what its finished.json says, the name of its adapter and the digest of a shard."""
    identity = BaseIdentity(model="base", revision="3" * 40)
    record = RunRecord(
        method_version=METHOD_VERSION, config=config, base=identity, distance="vae", device="cpu fp32", data_digest="4"
    )
    run = Run.from_record(record)
    write_snapshot([REFERENCE], run.folder / "snapshot.parquet")
    return {
        "run": record.key,
        "finished": record.settings_digest(),
        "adapter": run.adapter_folder("hole").name,
        "shard": shard_digest(run, Shard("hole", 0, 1), [], "5" * 64),
    }


def changed(config: RunConfig, path: str, value: Any) -> RunConfig:
    """Return the config with another value for one key."""
    name, _, rest = path.partition(".")
    part = getattr(config, name)
    return config.model_copy(update={name: changed(part, rest, value) if rest else value})


RUN = {"run", "finished"}
CONSEQUENCES: list[tuple[str, Any, set[str]]] = [
    ("category", "bolt", RUN | {"adapter"}),
    ("object_name", "bolt", RUN | {"adapter"}),
    ("seed", 1, RUN | {"adapter"}),
    ("data.root", "/elsewhere", set()),
    ("data.defects", ("hole", "cut"), RUN),
    ("data.references.fraction", 0.5, RUN),
    ("data.group_column", "part", RUN),
    ("data.white_level", 4095, set()),
    ("base.model", "other", set()),
    ("base.revision", "6" * 40, set()),
    ("base.resolution", 256, RUN | {"adapter", "shard"}),
    ("base.precision", "fp32", set()),
    ("base.device", "cpu", set()),
    ("window.context", 3.0, RUN | {"adapter", "shard"}),
    ("train.steps", 5, RUN | {"adapter"}),
    ("train.boxes.count", 5, RUN | {"adapter"}),
    ("train.weights.defect", 1.0, RUN | {"adapter"}),
    ("train.gradient_checkpointing", True, RUN | {"adapter"}),
    ("train.processes", 2, RUN | {"adapter"}),
    ("train.tokens", {"hole": "q"}, RUN | {"adapter"}),
    ("train.checkpoint_every", 5, set()),
    ("train.tensorboard", True, set()),
    ("masks.samplers", {"reference": 1.0}, RUN),
    ("masks.folder", Path("/masks"), set()),
    ("masks.novelty", 0.5, RUN),
    ("generate.count", 7, {"finished"}),
    ("generate.max_attempts", 3.0, {"finished"}),
    ("generate.shard_size", 7, set()),
    ("generate.distance", "lpips", set()),
    ("generate.candidates", 2, RUN | {"shard"}),
    ("generate.samples_per_batch", 4, RUN | {"shard"}),
    ("generate.vae_normals", 0.5, RUN | {"shard"}),
    ("gates.tolerance", 2.0, RUN | {"shard"}),
    ("dataset.real_share", 0.4, {"finished"}),
    ("dataset.label", "planned", {"finished"}),
    ("dataset.rejected_images", True, {"finished"}),
    ("output.root", "{tmp_path}/elsewhere", set()),
    ("report", False, set()),
    ("runner.processes", 4, set()),
]


@pytest.mark.parametrize(("path", "value", "expected"), CONSEQUENCES, ids=[path for path, *_ in CONSEQUENCES])
def test_another_value_changes_exactly_what_the_key_affects(
    tmp_path: Path, path: str, value: Any, expected: set[str]
) -> None:
    config = config_for(tmp_path)
    value = value.format(tmp_path=tmp_path) if isinstance(value, str) else value
    before, after = digests(config), digests(changed(config, path, value))
    assert {name for name in before if before[name] != after[name]} == expected


def test_a_schedule_changes_nothing_that_is_made(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    values = {**config.model_dump(), "schedule": {"cron": "0 2 * * 1"}}
    assert digests(RunConfig.model_validate(values)) == digests(config)


def test_every_key_says_what_it_affects() -> None:
    assert [key.path for key in keys_of(RunConfig) if key.affects is None] == []


def test_settings_are_the_values_by_their_path_and_hold_no_section_that_is_not_there(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    values = settings_that_affect(config, Affects.DATASET)
    assert values == {
        "generate.count": 200,
        "generate.max_attempts": 2.0,
        "dataset.real_share": 0.5,
        "dataset.label": "drawn",
        "dataset.rejected_images": False,
    }
    assert settings_that_affect(config, Affects.RESOLVED)["masks.folder"] is None
    assert "masks.zones.allowed" not in settings_that_affect(config, Affects.RESOLVED)
