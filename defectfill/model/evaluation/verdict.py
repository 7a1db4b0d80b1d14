"""From trials to figures and a verdict per defect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectfill.config.evaluate import REFERENCE_ARM, ArmName, DetectorName
from defectfill.model.evaluation.arms import ARMS
from defectfill.model.evaluation.bootstrap import paired_difference
from defectfill.model.evaluation.metrics import as_scores, average_precision
from defectfill.model.evaluation.predictions import Predictions, mean_scores, scores_of
from defectfill.records.evaluation import ArmFigures, Scores, Subset, Training, Trial, Verdict, VerdictWord

LEAST_IN_PART = 3
"""Images in a part of a subset table; with fewer there is none."""
ALONE: ArmName = "synthetic"
LEAST_ALONE = 0.5
"""Of the pixel AP that the references reach, what synthetic images alone should not certainly fall short of. References
in the mix mend much of what wrong labels teach."""


@dataclass(frozen=True)
class Outcome:
    """What a trial found."""

    trainings: tuple[Training, ...]
    """One, or one per fold or defect left out."""
    found: Predictions

    @property
    def learnt(self) -> bool:
        """Whether every training learnt anything."""
        return all(each.learnt for each in self.trainings)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """[N], the image score at which the validation's F1 was largest, of the network that saw the image."""
        return np.array([each.threshold for each in self.trainings])[self.found.parts]


Outcomes = Mapping[Trial, Outcome]


def by_seed(outcomes: Outcomes, arm: ArmName, detector: DetectorName) -> list[Outcome]:
    """Return the outcomes of an arm in the order of the seeds."""
    chosen = [trial for trial in outcomes if (trial.arm, trial.detector) == (arm, detector)]
    return [outcomes[trial] for trial in sorted(chosen, key=lambda trial: trial.seed)]


def figures_of(
    outcomes: Outcomes, arm: ArmName, detector: DetectorName, defect: str, groups: Mapping[str, str]
) -> ArmFigures | None:
    """Return what an arm reaches on a defect over all seeds; None where it was not tried on it."""
    ours = [each for each in by_seed(outcomes, arm, detector) if defect in each.found.defects]
    if not ours:
        return None
    scores = [scores_of(each.found, defect, each.thresholds) for each in ours]
    reached = [each.pixel_ap or 0.0 for each in scores]
    theirs = by_seed(outcomes, REFERENCE_ARM, detector)
    difference = None
    if arm != REFERENCE_ARM:
        difference = paired_difference([each.found for each in ours], [each.found for each in theirs], defect, groups)
    return ArmFigures(
        arm=arm,
        detector=detector,
        defect=defect,
        scores=mean_scores(scores),
        spread=max(reached) - min(reached),
        learnt=sum(each.learnt for each in ours),
        difference=difference,
    )


def verdict_of(defect: str, figures: Sequence[ArmFigures], arm: ArmName, seeds: int, painted: int) -> Verdict:
    """Return whether the dataset helps to find a defect, by the figures of the first detector.

    arm: the one that the verdict is about. painted: synthetic images of the defect in the dataset. Where that arm makes
    no difference, the dataset misleads if what learns from synthetic images alone, where it was tried, certainly finds
    less than LEAST_ALONE of what the references teach to find.
    """
    known = {each.arm: each for each in figures}
    reached = {name: each.scores.pixel_ap or 0.0 for name, each in known.items() if name not in ("ceiling", "unseen")}
    mixed = [name for name in reached if name.startswith("mixed_")]
    share = ARMS[max(mixed, key=lambda name: reached[name])].real_shares[0] if mixed else None
    best = max(reached, key=lambda name: reached[name])
    ours, reference = known.get(arm), known[REFERENCE_ARM]
    word, why = _word(ours, reference, seeds, painted)
    text = why if ours is None or ours.difference is None or not painted else _compared(reference.scores, ours)
    alone = known.get(ALONE)
    if word == "no difference found" and alone and _misleads(reference, alone):
        word, text = "misleads", f"{_compared(reference.scores, alone)}; {arm}: {ours.difference if ours else None}"
    if not why and ours and (failed := 2 * seeds - ours.learnt - reference.learnt):
        why = f"{failed} of the {2 * seeds} trainings learnt nothing"
    advice = "" if share is None or not painted else f"; best of the mixed arms: {share:.0%} real draws"
    sentence = f"{defect}: {word}: {text}{f' ({why})' if why and text != why else ''}{advice}; best arm: {best}"
    return Verdict(
        verdict=word,
        sentence=sentence,
        arm=arm,
        best_arm=best,
        real_share=share,
        difference=ours.difference if ours else None,
    )


def _word(ours: ArmFigures | None, reference: ArmFigures, seeds: int, painted: int) -> tuple[VerdictWord, str]:
    """Return the verdict, and why where nothing was learnt."""
    if not painted:
        return "not trained", "the dataset has no synthetic image of it"
    if ours is None or ours.difference is None:
        return "not trained", "no held-out image to test on"
    for arm in (ours, reference):
        if 2 * arm.learnt <= seeds:
            failed = f"{seeds - arm.learnt} of {seeds} trainings of {arm.arm} learnt nothing"
            return "not trained", f"{failed}: more steps, or a higher rate"
    if ours.difference.low > 0:
        return "helps", ""
    return ("harms" if ours.difference.high < 0 else "no difference found"), ""


def _misleads(reference: ArmFigures, alone: ArmFigures) -> bool:
    """Return whether synthetic images alone certainly teach less than LEAST_ALONE of what the references do."""
    least = (LEAST_ALONE - 1) * (reference.scores.pixel_ap or 0)
    return alone.difference is not None and alone.difference.high < least


def _compared(reference: Scores, ours: ArmFigures) -> str:
    assert ours.difference is not None
    return (
        f"pixel AP {reference.pixel_ap or 0:.3f} -> {ours.scores.pixel_ap or 0:.3f} ({ours.difference}; "
        f"{ours.scores.images} held-out images, real references and augmentation against {ours.arm})"
    )


def subsets_of(
    outcomes: Outcomes,
    arm: ArmName,
    detector: DetectorName,
    defect: str,
    sizes: Mapping[str, float],
    borders: Mapping[str, float],
) -> list[Subset]:
    """Return the pixel AP of small, middling and large defects, and of those nearer and farther from the border.

    sizes: share of the image that is anomalous, by sample id. borders: distance of its nearest pixel from the
    image's border, over the shorter side.
    """
    rows = []
    for by, values, names in (
        ("size", sizes, ("smallest third", "middle third", "largest third")),
        ("border distance", borders, ("nearer half", "farther half")),
    ):
        theirs, ours = by_seed(outcomes, REFERENCE_ARM, detector), by_seed(outcomes, arm, detector)
        ids = sorted((each for each, of in _defects(theirs) if of == defect), key=lambda each: (values[each], each))
        if len(ids) < LEAST_IN_PART * len(names):
            continue
        for name, chosen in zip(names, np.array_split(np.array(ids), len(names)), strict=True):
            reference, mixed = (_mean_ap(each, defect, set(chosen.tolist())) for each in (theirs, ours))
            row = {"defect": defect, "by": by, "part": name, "images": len(chosen)}
            rows.append(Subset.model_validate({**row, "reference": reference, "mixed": mixed}))
    return rows


def _defects(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return list(zip(outcomes[0].found.ids, outcomes[0].found.defects, strict=True)) if outcomes else []


def _mean_ap(outcomes: Sequence[Outcome], defect: str, ids: set[str]) -> float | None:
    """Return the mean over the seeds of the pixel AP over some images of a defect and its normals."""
    reached = []
    for each in outcomes:
        found = each.found
        chosen = [n for n in found.of_defect(defect).tolist() if found.defects[n] == "good" or found.ids[n] in ids]
        positives, negatives = (counts[chosen].sum(axis=0) for counts in (found.positives, found.negatives))
        reached.append(average_precision(*as_scores(positives, negatives)) or 0.0)
    return float(np.mean(reached)) if reached else None
