"""What an evaluation concludes from predictions: intervals, thresholds, verdicts."""

from pathlib import Path

import numpy as np
import pytest

from defectfill.model.evaluation.bootstrap import paired_difference
from defectfill.model.evaluation.predictions import Predictions, count_predictions, joined, scores_of
from defectfill.model.evaluation.verdict import Outcome, verdict_of
from defectfill.records.evaluation import ArmFigures, Difference, Training


def predictions(seed: int, strength: float) -> Predictions:
    """Return those of a network that finds defects by so many standard deviations."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros((24, 24), bool) for _ in range(30)]
    for mask in masks[:15]:
        mask[8:14, 8:14] = True
    logits = [rng.normal(size=mask.shape) + strength * mask for mask in masks]
    ids = [f"image-{number}" for number in range(30)]
    return count_predictions(logits, masks, ids, ["hole"] * 15 + ["good"] * 15)


def test_the_interval_of_a_difference_covers_it_and_excludes_zero_where_it_is_large() -> None:
    weak, strong = ([predictions(seed + shift, each) for seed in range(3)] for each, shift in ((1.0, 0), (2.5, 9)))
    better = paired_difference(strong, weak, "hole", {})
    assert better is not None
    assert better.low > 0
    assert better.low < better.mean < better.high
    point = np.mean(
        [
            scores_of(s, "hole", 0.5).pixel_ap - scores_of(w, "hole", 0.5).pixel_ap
            for s, w in zip(strong, weak, strict=True)
        ]
    )
    assert better.mean == pytest.approx(point, abs=1e-6)
    worse = paired_difference(weak, strong, "hole", {})
    assert worse is not None
    assert worse.high < 0
    same = paired_difference(weak, [predictions(seed + 50, 1.0) for seed in range(3)], "hole", {})
    assert same is not None
    assert same.low < 0 < same.high
    assert paired_difference(weak, weak, "hole", {}) == Difference(mean=0, low=0, high=0)


def test_images_of_a_group_are_drawn_together() -> None:
    weak, strong = ([predictions(seed + shift, each) for seed in range(3)] for each, shift in ((1.0, 0), (1.3, 9)))
    alone = paired_difference(strong, weak, "hole", {})
    grouped = paired_difference(strong, weak, "hole", {f"image-{n}": f"part-{n // 5}" for n in range(30)})
    assert alone is not None
    assert grouped is not None
    assert grouped.mean == alone.mean
    assert grouped != alone


def test_an_interval_is_no_narrower_than_what_so_few_seeds_or_images_tell() -> None:
    weak = [predictions(seed, 1.0) for seed in range(3)]
    spread = [predictions(seed + 9, strength) for seed, strength in enumerate((1.5, 2.0, 3.0))]
    found = paired_difference(spread, weak, "hole", {})
    assert found is not None
    pairs = zip(spread, weak, strict=True)
    each = [scores_of(s, "hole", 0.5).pixel_ap - scores_of(w, "hole", 0.5).pixel_ap for s, w in pairs]
    student = 4.303 * np.std(each, ddof=1) / np.sqrt(3)
    assert student < found.mean - found.low < 1.2 * student
    assert found.low < min(each)
    everything = Difference(mean=found.mean, low=-1, high=1)
    assert paired_difference(spread, weak, "hole", {f"image-{n}": "one part" for n in range(15)}) == everything
    single = paired_difference(spread[:1], weak[:1], "hole", {})
    assert single is not None
    assert (single.low, single.high) == (-1, 1)


def test_each_network_of_a_trial_is_judged_by_its_own_threshold() -> None:
    found = joined([predictions(0, 3.0), predictions(1, 3.0)])
    found.parts[30:] = 1
    values = {"images": {}, "validation_pixel_ap": (0.1,), "best_step": 1, "seconds": 1.0, "constant": False}
    never, always = (Training(**values, first_loss=1, last_loss=0.5, threshold=threshold) for threshold in (1.1, 0.0))
    thresholds = Outcome((never, always), found).thresholds
    assert thresholds.tolist() == [1.1] * 30 + [0.0] * 30
    assert scores_of(found, "hole", thresholds).recall == 0.5


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = joined([predictions(0, 1.0), predictions(1, 2.0)])
    found.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    assert again.ids == found.ids
    assert all(np.array_equal(getattr(again, name), getattr(found, name)) for name in ("regions", "negatives", "parts"))
    assert found.positives.sum(axis=1).tolist() == [36] * 15 + [0] * 15 + [36] * 15 + [0] * 15


def figures(arm: str, ap: float, low: float | None, learnt: int = 3) -> ArmFigures:
    scores = scores_of(predictions(0, 2.0), "hole", 0.5).model_copy(update={"pixel_ap": ap})
    difference = None if low is None else Difference(mean=low + 0.05, low=low, high=low + 0.1)
    return ArmFigures.model_validate(
        {
            "arm": arm,
            "detector": "unet",
            "defect": "hole",
            "scores": scores,
            "spread": 0,
            "learnt": learnt,
            "difference": difference,
        }
    )


def test_without_a_reference_that_learnt_nothing_is_said_to_help() -> None:
    arms = [figures("real_augmented", 0.1, None, learnt=1), figures("mixed_50", 0.5, 0.3)]
    verdict = verdict_of("hole", arms, "mixed_50", 3, painted=20)
    assert verdict.verdict == "not trained"
    assert "2 of 3 trainings of real_augmented learnt nothing" in verdict.sentence
    arms = [figures("real_augmented", 0.1, None, learnt=2), figures("mixed_50", 0.5, 0.3)]
    verdict = verdict_of("hole", arms, "mixed_50", 3, painted=20)
    assert verdict.verdict == "helps"
    assert "(1 of the 6 trainings learnt nothing)" in verdict.sentence


@pytest.mark.parametrize(
    ("low", "learnt", "painted", "word"),
    [
        (0.01, 3, 20, "helps"),
        (-0.05, 3, 20, "no difference found"),
        (-0.2, 3, 20, "harms"),
        (-0.2, 1, 20, "not trained"),
        (0.01, 3, 0, "not trained"),
    ],
)
def test_the_verdict_is_what_the_interval_says_of_what_was_trained(
    low: float, learnt: int, painted: int, word: str
) -> None:
    arms = [figures("real_augmented", 0.4, None), figures("mixed_50", 0.5, low, learnt), figures("mixed_25", 0.6, low)]
    verdict = verdict_of("hole", arms, "mixed_50", 3, painted)
    assert verdict.verdict == word
    assert verdict.sentence.startswith(f"hole: {word}: ")
    assert verdict.real_share == 0.25
    assert ("0.400 -> 0.500" in verdict.sentence) == bool(painted)


@pytest.mark.parametrize(
    ("mixed", "alone", "word"),
    [(-0.05, -0.35, "misleads"), (-0.05, -0.29, "no difference found"), (0.01, -0.35, "helps"), (-0.2, 0.1, "harms")],
)
def test_images_that_teach_next_to_nothing_alone_mislead_where_references_mend_it(
    mixed: float, alone: float, word: str
) -> None:
    arms = [figures("real_augmented", 0.4, None), figures("mixed_50", 0.4, mixed), figures("synthetic", 0.1, alone)]
    verdict = verdict_of("hole", arms, "mixed_50", 3, 20)
    assert verdict.verdict == word
    assert ("against synthetic" in verdict.sentence) == (word == "misleads")
    never = [*arms[:2], figures("synthetic", 0.1, alone, learnt=0)]
    assert verdict_of("hole", never, "mixed_50", 3, 20).verdict == word


def test_a_network_that_says_the_same_of_everything_has_not_learnt() -> None:
    values = {"images": {}, "validation_pixel_ap": (0.1,), "best_step": 1, "threshold": 0.5, "seconds": 1.0}
    assert Training(**values, first_loss=1, last_loss=0.5, constant=False).learnt
    assert not Training(**values, first_loss=1, last_loss=0.95, constant=False).learnt
    assert not Training(**values, first_loss=1, last_loss=0.5, constant=True).learnt
