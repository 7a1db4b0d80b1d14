"""What each arm of an evaluation learns from, validates on and is tested on; crops of examples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from defectfill.config.evaluate import EvaluateConfig
from defectfill.model.evaluation.arms import ARMS, Material, draw, mixed_arm, parts_of
from defectfill.model.evaluation.examples import Example, augmented, draw_crop, scaled


def example(name: str, defect: str = "hole", origin: str = "") -> Example:
    return Example(name, Path(name), None if defect == "good" else Path(name), defect, 255, name, origin or name)


@pytest.fixture
def material() -> Material:
    return Material(
        references={each: [example(f"{each}-{n}", each) for n in range(6)] for each in ("hole", "stain")},
        normals=[example(f"normal-{n}", "good") for n in range(10)],
        test=[*(example(f"test-{n}", "hole") for n in range(6)), example("stained", "stain"), example("fine", "good")],
        pools={
            "dataset": {
                each: [example(f"s-{each}-{n}", each, f"normal-{n}") for n in range(10)] for each in ("hole", "stain")
            }
        },
    )


def test_arms_differ_in_what_is_drawn_of_defects_alone(material: Material) -> None:
    drawn = {}
    for name in ("real_augmented", "synthetic", "mixed_75", "two_stage"):
        (part,) = parts_of(name, material, 0.2)
        drawn[name] = [draw(part, ARMS[name], step, 100, 8, seed=1) for step in range(100)]
    normals = {
        name: [each for step in steps for each, _ in step if each.defect == "good"] for name, steps in drawn.items()
    }
    assert all(each == normals["synthetic"] for each in normals.values())
    assert len(normals["synthetic"]) == 400

    def real_share(steps: list[list[tuple[Example, int]]]) -> float:
        names = [each.sample_id for step in steps for each, _ in step if each.defect != "good"]
        return float(np.mean([not name.startswith("s-") for name in names]))

    assert real_share(drawn["real_augmented"]) == 1
    assert real_share(drawn["synthetic"]) == 0
    assert real_share(drawn["mixed_75"]) == pytest.approx(0.75, abs=0.06)
    assert real_share(drawn["two_stage"][:50]) == 0
    assert real_share(drawn["two_stage"][50:]) == 1


def test_what_validates_and_what_is_painted_on_it_is_learnt_from_in_no_arm(material: Material) -> None:
    validations = set()
    for name in ("real", "synthetic", "mixed_25"):
        (part,) = parts_of(name, material, 0.2)
        origins = {each.origin for each in part.validation}
        validations.add(tuple(sorted(origins)))
        learnt = [
            *part.normals,
            *(each for pool in (part.references, part.synthetic) for e in pool.values() for each in e),
        ]
        assert not {each.origin for each in learnt} & origins
    assert len(validations) == 1
    assert len(validations.pop()) == 2 + 2


def test_of_groups_the_smallest_validates(material: Material) -> None:
    grouped = [replace(each, group="large" if n else "small") for n, each in enumerate(material.references["hole"])]
    (part,) = parts_of("real", replace(material, references={"hole": grouped}), 0.2)
    assert [each.group for each in part.validation if each.defect == "hole"] == ["small"]
    assert len(part.references["hole"]) == 5


def test_a_part_that_validates_one_defect_is_learnt_from_in_no_other(material: Material) -> None:
    lots = {"hole": ("P1", "P2", "P2", "P3", "P3", "P3"), "stain": ("P1", "P1", "P1", "P2", "P3", "P3")}
    grouped = {
        defect: [replace(each, group=lot) for each, lot in zip(material.references[defect], lots[defect], strict=True)]
        for defect in lots
    }
    (part,) = parts_of("real", replace(material, references=grouped), 0.2)
    assert {each.group for each in part.validation if each.defect != "good"} == {"P1", "P2"}
    assert {each.group for pool in part.references.values() for each in pool} == {"P3"}


def test_where_all_is_one_group_it_is_learnt_from_and_nothing_validates(material: Material) -> None:
    one = {defect: [replace(each, group="lot") for each in pool] for defect, pool in material.references.items()}
    normals = [replace(each, group="lot") for each in material.normals]
    (part,) = parts_of("real", replace(material, references=one, normals=normals), 0.2)
    assert part.validation == []
    assert part.references == one


def test_an_unseen_defect_is_not_learnt_and_a_ceiling_tests_every_image_once(material: Material) -> None:
    for part, defect in zip(parts_of("unseen", material, 0.2), ("hole", "stain"), strict=True):
        assert defect not in part.defects
        assert {each.defect for each in part.test} == {defect, "good"}
    folds = parts_of("ceiling", material, 0.2)
    tested = [each.sample_id for part in folds for each in part.test]
    assert sorted(tested) == sorted(each.sample_id for each in material.test)
    for part in folds:
        learnt = {each.sample_id for pool in part.references.values() for each in pool}
        assert not learnt & {each.sample_id for each in part.test}
        assert learnt & set(tested)


def test_the_arm_of_the_verdict_is_the_one_nearest_to_the_datasets_own_share() -> None:
    assert [mixed_arm(share) for share in (0.1, 0.5, 0.7)] == ["mixed_25", "mixed_50", "mixed_75"]
    assert mixed_arm(0.5, ("real_augmented", "mixed_25", "unseen")) == "mixed_25"


def test_crops_show_the_defect_and_turn_with_their_labels() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((90, 130), bool)
    mask[80:86, 3:9] = True
    image = np.repeat(mask[..., None] * np.uint8(200), 3, axis=-1) + np.uint8(20)
    for _ in range(20):
        crop, label = draw_crop(image, mask, 64, rng)
        assert crop.shape == (64, 64, 3)
        assert label.any()
        turned, turned_label = augmented(crop, label, rng)
        agree = (turned[..., 0] > turned[..., 0].mean() + 20) == turned_label
        assert agree.mean() > 0.98
    wide, _ = draw_crop(image, mask, 160, rng)
    assert wide.shape == (160, 160, 3)


def test_a_defect_survives_its_image_being_scaled() -> None:
    mask = np.zeros((400, 300), bool)
    mask[200, 150] = True
    image, small = scaled(np.zeros((400, 300, 3), np.uint8), mask, 100)
    assert image.shape == (100, 75, 3)
    assert small.sum() == 1
    mask[10:13, 20:200] = True  # a scratch beside a blob
    mask[300:340, 100:140] = True
    _, small = scaled(np.zeros((400, 300, 3), np.uint8), mask, 100)
    assert small[75:85, 25:35].all()
    assert small[2:4, 5:50].any(axis=0).all()


def test_the_arm_that_all_are_compared_with_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="real_augmented"):
        EvaluateConfig(arms=("mixed_50",))
    with pytest.raises(ValueError, match="expected a mixed one"):
        EvaluateConfig(arms=("real_augmented", "synthetic"))
