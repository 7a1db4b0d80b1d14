"""References and held-out images: chosen by seed alone, and never a group on both sides."""

from pathlib import Path

import pytest
from conftest import config_for, references
from hypothesis import given
from hypothesis import strategies as st

from defectfill.ingest.split import assign_roles
from defectfill.io.errors import DataError
from defectfill.io.hashing import digest
from defectfill.records.snapshot import ImageRecord


def plain_records(holes: int, dents: int = 0) -> list[ImageRecord]:
    """Records as ingest makes them before roles are assigned: a normal, holes and dents, without groups."""
    names = ["train/good/0.png"]
    names += [f"test/hole/{index:02d}.png" for index in range(holes)]
    names += [f"test/dent/{index:02d}.png" for index in range(dents)]
    return [record_at(name) for name in names]


def record_at(path: str, group: str = "") -> ImageRecord:
    side, defect, _ = path.split("/")
    role = "normal" if side == "train" else "test_normal" if defect == "good" else "held_out"
    return ImageRecord.model_validate(
        {
            "path": path,
            "role": role,
            "defect": defect,
            "split": side,
            "width": 1,
            "height": 1,
            "channels": 1,
            "bit_depth": 8,
            "sha256": digest(path),
            "content_sha256": digest(path),
            "group": group,
        }
    )


@pytest.mark.parametrize(
    ("fraction", "images", "expected"),
    [
        (0.07, 100, 7),
        (1 / 3, 12, 4),
        (1 / 3, 6, 2),
        (0.334, 6, 3),
        (1 / 3, 1, 1),
        (0.1, 10, 1),
        (0.7, 10, 7),
        (1.0, 5, 5),
    ],
)
def test_the_fraction_is_rounded_up_without_float_error(fraction: float, images: int, expected: int) -> None:
    config = config_for(Path("/data"), references={"fraction": fraction})
    assert len(references(assign_roles(config, plain_records(images)))) == expected


def test_the_count_is_met_and_must_be_there() -> None:
    config = config_for(Path("/data"), references={"count": 5})
    assert len(references(assign_roles(config, plain_records(9)))) == 5
    assert len(references(assign_roles(config, plain_records(5)))) == 5
    with pytest.raises(DataError, match=r"^/data/nut/test/hole: expected at least the 5 images .* found 4$"):
        assign_roles(config, plain_records(4))


def test_references_depend_on_the_seed_and_on_nothing_else() -> None:
    config = config_for(Path("/data"), ["hole"], references={"count": 4})
    with_dents = config_for(Path("/data"), ["dent", "hole"], references={"count": 4})
    chosen = references(assign_roles(config, plain_records(20)))
    assert chosen == sorted(chosen)
    assert references(assign_roles(config, plain_records(20))) == chosen
    assert sorted(references(assign_roles(config, plain_records(20)[::-1]))) == chosen
    assert references(assign_roles(with_dents, plain_records(20, 8))) == chosen
    other = config_for(Path("/data"), ["hole"], seed=1, references={"count": 4})
    assert references(assign_roles(other, plain_records(20))) != chosen


def test_defects_of_equal_names_are_chosen_independently() -> None:
    config = config_for(Path("/data"), ["hole", "dent"], references={"count": 8})
    records = assign_roles(config, plain_records(20, 20))
    holes = [path.removeprefix("test/hole/") for path in references(records, "hole")]
    dents = [path.removeprefix("test/dent/") for path in references(records, "dent")]
    assert holes != dents


def test_more_references_keep_those_there_are() -> None:
    fewer = config_for(Path("/data"), references={"count": 3})
    more = config_for(Path("/data"), references={"count": 6})
    records = plain_records(12)
    assert set(references(assign_roles(fewer, records))) < set(references(assign_roles(more, records)))


@given(
    groups=st.lists(st.integers(0, 7), min_size=6, max_size=40),
    kinds=st.lists(st.sampled_from(["train/good", "test/good", "test/hole", "test/dent"]), min_size=6, max_size=40),
    share=st.floats(0.05, 1),
    seed=st.integers(0, 50),
)
def test_no_group_is_on_both_sides(groups: list[int], kinds: list[str], share: float, seed: int) -> None:
    files = [("train/good", 8), ("test/hole", 9), ("test/dent", 10), *zip(kinds, groups, strict=False)]
    records = [record_at(f"{kind}/{index:03d}.png", f"part{group}") for index, (kind, group) in enumerate(files)]
    config = config_for(Path("/data"), ["hole", "dent"], seed, references={"fraction": share})
    assigned = assign_roles(config, records)
    train = {record.group for record in assigned if record.split == "train"}
    test = {record.group for record in assigned if record.split == "test"}
    assert not train & test
    assert references(assigned, "hole")
    assert references(assigned, "dent")
    for before, after in zip(records, assigned, strict=True):
        assert before.path == after.path
        assert (after.split == "train") == (after.role in ("normal", "reference"))
        assert (after.defect == "good") == (after.role in ("normal", "test_normal"))
        assert before.role != "test_normal" or after.role == "test_normal"


def test_groups_are_taken_while_they_do_not_overshoot() -> None:
    config = config_for(Path("/data"), references={"count": 4})
    sizes = {"a": 5, "b": 3, "c": 2, "d": 1}
    paths = [f"test/hole/{group}{index}.png" for group, size in sizes.items() for index in range(size)]
    records = [record_at("train/good/0.png", "z")] + [record_at(path, path[10]) for path in paths]
    chosen = {path[10] for path in references(assign_roles(config, records))}
    assert chosen in ({"b", "d"}, {"c", "d"})


def test_the_smallest_group_is_taken_where_none_fits() -> None:
    config = config_for(Path("/data"), references={"count": 1})
    sizes = {"a": 5, "b": 3, "c": 2}
    paths = [f"test/hole/{group}{index}.png" for group, size in sizes.items() for index in range(size)]
    records = [record_at("train/good/0.png", "z")] + [record_at(path, path[10]) for path in paths]
    assert references(assign_roles(config, records)) == ["test/hole/c0.png", "test/hole/c1.png"]


def test_a_later_defect_follows_the_sides_of_the_earlier_one() -> None:
    config = config_for(Path("/data"), ["hole", "dent"], references={"count": 1})
    holes = [record_at("test/hole/0.png", "a"), record_at("test/hole/1.png", "b")]
    dents = [record_at(f"test/dent/{group}{index}.png", group) for group in "ab" for index in range(3)]
    assigned = assign_roles(config, [record_at("train/good/0.png", "z"), *holes, *dents])
    (taken,) = [record.group for record in assigned if record.role == "reference" and record.defect == "hole"]
    assert references(assigned, "dent") == [f"test/dent/{taken}{index}.png" for index in range(3)]


def test_it_is_said_when_no_reference_or_no_normal_is_left() -> None:
    config = config_for(Path("/data"))
    records = [record_at("train/good/0.png", "a"), record_at("test/good/0.png", "a")]
    with pytest.raises(DataError) as caught:
        assign_roles(config, [*records, record_at("test/hole/0.png", "a")])
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "/data/nut/test/hole",
        "/data/nut/train/good",
    ]
    assert all("test side" in problem for problem in caught.value.problems)
