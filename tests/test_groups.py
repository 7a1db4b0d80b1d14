"""groups.csv: images of one part are never divided, and a table that cannot be used is told."""

from pathlib import Path

import pytest
from conftest import config_for, references
from nut_category import write_groups
from test_ingest import only_problem, problems_of

from defectfill.ingest.ingest import ingest


def test_groups_are_read_and_kept_together(nut: Path) -> None:
    write_groups(nut, test_hole_000="p", test_hole_001="p", train_good_000="q", test_good_000="q")
    records = {record.path: record for record in ingest(config_for(nut.parent))}
    first, second = records["test/hole/000.png"], records["test/hole/001.png"]
    assert first.group == second.group == "p"
    assert first.role == second.role
    assert records["train/good/000.png"].role == "test_normal"
    assert records["train/good/001.png"].role == "normal"


@pytest.mark.parametrize(("header", "asked"), [("file,group", None), ("file,tile_group", None), ("file,part", "part")])
def test_the_group_column_is_found(nut: Path, header: str, asked: str | None) -> None:
    write_groups(nut, header, test_hole_000="p")
    records = {record.path: record for record in ingest(config_for(nut.parent, group_column=asked))}
    assert records["test/hole/000.png"].group == "p"


def test_groups_as_excel_writes_them_are_read(nut: Path) -> None:
    path = write_groups(nut, test_hole_000="p")
    text = path.read_text().replace("test/hole/000", ".\\test\\hole\\000").replace(",group", ", group ")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    records = {record.path: record for record in ingest(config_for(nut.parent))}
    assert records["test/hole/000.png"].group == "p"


@pytest.mark.parametrize(
    ("header", "asked", "words"),
    [
        ("name,group", None, "'file'"),
        ("file,part", None, "file, part"),
        ("file,group", "part", "'part'"),
        ("", None, "'file'"),
    ],
)
def test_unusable_columns_are_told(nut: Path, header: str, asked: str | None, words: str) -> None:
    path = write_groups(nut, header)
    assert words in only_problem(config_for(nut.parent, group_column=asked), path)


def test_two_columns_that_could_be_the_group_are_told(nut: Path) -> None:
    path = write_groups(nut)
    lines = path.read_text().splitlines()[1:]
    path.write_text("\n".join(["file,a_group,b_group", *(f"{line},x" for line in lines)]))
    assert "a_group, b_group" in only_problem(config_for(nut.parent), path)


def test_a_file_listed_twice_is_told(nut: Path) -> None:
    path = write_groups(nut)
    path.write_text(path.read_text() + "test/hole/000.png,other\n")
    assert "test/hole/000.png" in only_problem(config_for(nut.parent), path)


def test_an_image_without_a_group_is_told(nut: Path) -> None:
    write_groups(nut, drop="test/good/000.png", test_hole_000="")
    problems = problems_of(config_for(nut.parent))
    assert [problem.split(": ")[0] for problem in problems] == [
        str(nut / "test/good/000.png"),
        str(nut / "test/hole/000.png"),
    ]


def test_a_group_column_without_the_file_is_told(nut: Path) -> None:
    only_problem(config_for(nut.parent, group_column="part"), nut / "groups.csv")


@pytest.mark.parametrize("name", ["Groups.csv", "groups.xlsx", "groups.csv"])
def test_groups_that_would_be_passed_over_are_told(nut: Path, name: str) -> None:
    (nut / name).symlink_to("/nowhere/groups.csv")
    only_problem(config_for(nut.parent), nut / name)


def test_groups_that_are_no_text_are_told(nut: Path) -> None:
    (nut / "groups.csv").write_bytes(b"\xff\xfe\x00")
    only_problem(config_for(nut.parent), nut / "groups.csv")


@pytest.mark.real_data
@pytest.mark.parametrize("seed", range(5))
def test_real_tiles_are_divided_by_group(real_data: Path, seed: int) -> None:
    records = ingest(config_for(real_data, ["blowhole"], seed, category="magnetic_tile"))
    train = {record.group for record in records if record.split == "train"}
    assert "" not in train
    assert train.isdisjoint(record.group for record in records if record.split == "test")
    assert 1 <= len(references(records, "blowhole")) <= 4
