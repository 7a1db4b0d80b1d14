"""The snapshot of a category, written and read back, and the digest of its files."""

from pathlib import Path

import numpy as np
import pytest
from conftest import config_for
from nut_category import HEIGHT, WIDTH, save_image, save_mask, write_groups

from defectfill.ingest.ingest import data_digest, ingest
from defectfill.io.errors import DataError
from defectfill.records.snapshot import read_snapshot, write_snapshot


def test_the_snapshot_round_trips_in_the_same_bytes(nut: Path) -> None:
    records = ingest(config_for(nut.parent))
    write_snapshot(records, nut / "a.parquet")
    write_snapshot(ingest(config_for(nut.parent)), nut / "b.parquet")
    assert read_snapshot(nut / "a.parquet") == records
    assert (nut / "a.parquet").read_bytes() == (nut / "b.parquet").read_bytes()


def test_another_file_than_a_snapshot_is_told(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    for name in ("missing.parquet", "text.parquet", "other.parquet"):
        with pytest.raises(DataError, match=name) as caught:
            read_snapshot(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_digest_changes_with_every_file_that_is_read_and_no_other(nut: Path) -> None:
    config = config_for(nut.parent)
    digests = [data_digest(config)]
    save_image(nut / "test/crack/000.png", 98)
    (nut / "readme.txt").touch()
    assert data_digest(config) == digests[0]
    save_image(nut / "train/good/000.png", 99)
    digests.append(data_digest(config))
    save_mask(nut / "ground_truth/hole/000_mask.png", np.eye(HEIGHT, WIDTH, dtype=np.bool_))
    digests.append(data_digest(config))
    (nut / "test/good/000.png").rename(nut / "test/good/100.png")
    digests.append(data_digest(config))
    write_groups(nut)
    digests.append(data_digest(config))
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_hang_on_the_order_of_defects(nut: Path) -> None:
    one, other = ["hole", "crack"], ["crack", "hole"]
    assert data_digest(config_for(nut.parent, one)) == data_digest(config_for(nut.parent, other))


@pytest.mark.parametrize(
    "values",
    [
        {"path": "../../secret.png"},
        {"path": "/etc/hostname"},
        {"mask_path": "a/../../b"},
        {"defect": "../../elsewhere"},
        {"sha256": "../../elsewhere"},
    ],
)
def test_a_snapshot_that_leads_out_of_its_folders_is_refused(nut: Path, values: dict[str, str]) -> None:
    first, *others = ingest(config_for(nut.parent))
    write_snapshot([first.model_copy(update=values), *others], nut / "snapshot.parquet")
    with pytest.raises(DataError, match=r"snapshot\.parquet: .*; remove it and run again"):
        read_snapshot(nut / "snapshot.parquet")


@pytest.mark.parametrize("times", [0, 2])
def test_a_snapshot_without_images_or_with_one_twice_is_refused(nut: Path, times: int) -> None:
    write_snapshot(list(ingest(config_for(nut.parent))) * times, nut / "snapshot.parquet")
    with pytest.raises(DataError, match="an image twice, or none at all"):
        read_snapshot(nut / "snapshot.parquet")
