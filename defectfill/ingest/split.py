"""The division of real images into those learnt from and those held out; no physical part is on both sides."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from defectfill.config.data import References
from defectfill.config.run import RunConfig
from defectfill.io.errors import DataError
from defectfill.io.hashing import digest
from defectfill.records.snapshot import ImageRecord, Role


def assign_roles(config: RunConfig, records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Return `records` in their order, with the references chosen and every group on one side, train or test.

    The groups of a defect (without groups, its files) are tried in an order that depends on seed, category,
    defect and their own names alone; one is taken while that does not make the references more than the
    config asks for, and the smallest if all would. What is not taken is held out. Groups with a test normal
    are on the test side from the start, groups taken for one defect on the train side for those after it,
    and normals of groups on the test side become test normals. Raises DataError where a defect has fewer
    images than `references.count` or is left without references, and where no normal is left.
    """
    sides = {_group(record): "test" for record in records if record.role == "test_normal"}
    problems = []
    for defect in config.data.defects:
        sizes = Counter(_group(record) for record in records if record.defect == defect)
        problem = _divide(config, defect, sizes, sides)
        problems += [f"{config.category_folder / 'test' / defect}: {problem}"] if problem else []
    assigned = tuple(_assign(record, sides) for record in records)
    if not any(record.role == "normal" for record in assigned):
        folder = config.category_folder / "train" / "good"
        problems.append(f"{folder}: expected a normal to learn from, found all their groups on the test side")
    if problems:
        raise DataError(problems)
    return assigned


def _divide(config: RunConfig, defect: str, sizes: Mapping[str, int], sides: dict[str, str]) -> str:
    """Put each group of `defect` (group -> images) that has no side yet on one; return a problem, or ''."""
    count = sum(sizes.values())
    wanted = _wanted(config.data.references, count)
    if wanted > count:
        return f"expected at least the {wanted} images of data.references.count, found {count}"

    def rank(group: str) -> str:
        return digest([config.seed, config.category, defect, group])

    free = sorted((group for group in sizes if group not in sides), key=rank)
    taken = sum(size for group, size in sizes.items() if sides.get(group) == "train")
    for group in free:
        if taken + sizes[group] <= wanted:
            sides[group] = "train"
            taken += sizes[group]
    if not taken and free:
        smallest = min(free, key=lambda group: (sizes[group], rank(group)))
        sides[smallest] = "train"
        taken = sizes[smallest]
    for group in free:
        sides.setdefault(group, "test")
    if taken:
        return ""
    held = "all groups on the test side, through test/good or images held out of an earlier defect"
    return f"expected a group that can be learnt from, found {held}"


def _wanted(references: References, count: int) -> int:
    """Return how many of `count` images are to be references; a share is rounded up, but not for 4.000000001."""
    if references.count is not None:
        return references.count
    assert references.fraction is not None
    return max(1, math.ceil(round(references.fraction * count, 6)))


def _group(record: ImageRecord) -> str:
    """Return what stays on one side: the record's group, or the file itself."""
    return record.group or record.path


def _assign(record: ImageRecord, sides: Mapping[str, str]) -> ImageRecord:
    """Return `record` with role and split by its group's side; groups of normals alone are on the train side."""
    split = sides.get(_group(record), "train")
    good: Role = "normal" if split == "train" else "test_normal"
    defective: Role = "reference" if split == "train" else "held_out"
    return record.model_copy(update={"role": good if record.defect == "good" else defective, "split": split})
