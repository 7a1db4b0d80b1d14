"""The beginning of a run: what was checked is taken as long as it is still so."""

from pathlib import Path

import pytest

from defectfill.config.run import load_config
from defectfill.ingest import inspect
from defectfill.io.images import ImageArray, read_image, write_png
from defectfill.operations.check import check_run
from defectfill.operations.lock import locked
from defectfill.operations.prepare import prepare_run, restart_run, start_run


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The image files that were decoded, in order."""
    found: list[Path] = []

    def counting(path: Path) -> ImageArray:
        found.append(path)
        return read_image(path)

    monkeypatch.setattr(inspect, "read_image", counting)
    return found


def test_what_was_checked_is_not_read_again(toy_config: Path, decoded: list[Path]) -> None:
    config = load_config(toy_config)
    prepared = prepare_run(config)
    records = check_run(config, prepared).records
    with locked(config):
        run = start_run(config, prepared, records)
    toy_config.unlink()
    with locked(config):
        assert restart_run(run.record) == run
    assert run == prepared
    assert run.snapshot() == tuple(records)
    assert len(decoded) == len(set(decoded)) == len(records)


def test_an_image_that_changes_after_the_check_is_read_again_for_another_run(
    toy_config: Path, decoded: list[Path]
) -> None:
    config = load_config(toy_config)
    prepared = prepare_run(config)
    records = check_run(config, prepared).records
    path = config.category_folder / records[0].path
    write_png(path, read_image(path)[::-1])
    run = start_run(config, prepared, records)
    assert run.folder != prepared.folder
    assert not prepared.folder.exists()
    assert run.snapshot()[0].sha256 != records[0].sha256
    assert len(decoded) == 2 * len(records)


def test_a_run_whose_folder_is_gone_is_started_anew(toy_config: Path) -> None:
    run = start_run(load_config(toy_config))
    before = (run.folder / "snapshot.parquet").read_bytes()
    (run.folder / "snapshot.parquet").unlink()
    (run.folder / "run.json").unlink()
    assert restart_run(run.record) == run
    assert (run.folder / "snapshot.parquet").read_bytes() == before
    assert (run.folder / "run.json").is_file()
