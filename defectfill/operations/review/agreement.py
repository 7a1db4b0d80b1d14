"""Gates beside people: what each gate makes of the samples that a person decided on, and which settings agree best.

For every sample and gate there is a need: the value of the gate's setting from which on it lets the sample pass. A
sample is kept where no need exceeds its setting, so settings can be tried without anything being measured again.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from defectfill.config.gates import GatesConfig
from defectfill.operations.reports import Agreement, GateAgreement, Proposal
from defectfill.painting.gates import Gate, reasons_of
from defectfill.records.manifest import TAKEN_OUT, ManifestRow
from defectfill.runs.run import Run
from defectfill.synthesis.calibration import calibrated_gate

SETTINGS = {
    "mask_lost": "min_drawn_fraction",
    "off_mask": "max_off_mask_fraction",
    "near_copy": "max_reference_correlation",
}
"""The setting of a gate, in section gates; that of all others is `tolerance`."""
TOLERANCE = "tolerance"
SEEN = (TOLERANCE, "min_drawn_fraction", "max_off_mask_fraction")
"""Settings that are proposed: of what one sees of a sample. A copy of a reference looks as good as that."""
RANGES = {"min_drawn_fraction": (-1.0, 0.0), TOLERANCE: (0.0, 20.0)}
"""Of what a need is held against; of all other settings (0, 1)."""
FIGURES = (
    "contrast",
    "seam_gradient",
    "drawn_fraction",
    "off_mask_fraction",
    "reference_correlation",
    "appearance_distance",
)
"""The columns that gates judge by, beside texture and edge_sharpness."""
LEAST_DECISIONS = 10
"""So many samples must be decided on either way before settings are proposed."""
FOLDS = 5
ROUNDS = 3
"""In which one setting after the other is chosen, the others held."""


@dataclass(frozen=True)
class Decisions:
    """Samples that a person decided on, N of them."""

    needs: dict[str, NDArray[np.float64]]
    """[N] by gate that judges the run's painter. Of mask_lost, whose setting is a least value, the negative one."""
    refused: NDArray[np.bool_]
    """[N], by the person."""

    def need(self, setting: str) -> NDArray[np.float64]:
        """Return the largest need [N] of the gates that have a setting."""
        needs = [need for gate, need in self.needs.items() if SETTINGS.get(gate, TOLERANCE) == setting]
        return np.max(needs, axis=0)

    def kept_by(self, limits: "Limits") -> NDArray[np.bool_]:
        """Return which [N] the gates would keep with these limits."""
        return np.all([self.need(setting) <= limit for setting, limit in limits.items()], axis=0)

    def some(self, chosen: NDArray[np.bool_]) -> "Decisions":
        """Return those that are chosen [N]."""
        return Decisions({gate: need[chosen] for gate, need in self.needs.items()}, self.refused[chosen])


Limits = dict[str, float]
"""The values of settings, against which needs are held; that of min_drawn_fraction is negative."""


def agreement(run: Run) -> Agreement:
    """Return how far the gates of a run and the people who reviewed its dataset agree, and what would agree best."""
    decisions = read_decisions(run)
    present = _limits_of(run.config.gates, decisions.needs)
    gates = tuple(_gate_agreement(decisions, gate, present) for gate in decisions.needs)
    taken_out, kept = int(decisions.refused.sum()), int((~decisions.refused).sum())
    found = Agreement(kept=kept, taken_out=taken_out, agree=_agreeing(decisions, present), gates=gates)
    if min(kept, taken_out) < LEAST_DECISIONS:
        return found
    best, unseen = best_limits(decisions, present), agreeing_unseen(decisions, present)
    proposals = tuple(
        Proposal(setting=name, now=abs(present[name]), proposed=abs(best[name]))
        for name in present
        if best[name] != present[name] and unseen > found.agree
    )
    told = {"best": _agreeing(decisions, best), "best_unseen": unseen, "proposals": proposals}
    return found.model_copy(update=told)


def read_decisions(run: Run) -> Decisions:
    """Return the samples in a run's dataset, rejected ones among them, that a person was sure of."""
    rows: list[ManifestRow] = []
    for name in ("manifest.parquet", "rejected.parquet"):
        table = pq.read_table(run.dataset / name, filters=pc.field("review").isin(["keep", *TAKEN_OUT]))
        rows += [ManifestRow.model_validate({"reason": "", **row}) for row in table.to_pylist()]
    rows.sort(key=lambda row: row.sample_id)
    defects = {row.defect for row in rows}
    ends = {defect: ends_of(calibrated_gate(run.folder, defect)) for defect in defects}
    needs = [needs_of(row, *ends[row.defect]) for row in rows]
    return Decisions(
        {
            gate: np.array([each[gate] for each in needs], np.float64)
            for gate in reasons_of(run.config.generate.painter)
        },
        np.array([row.review in TAKEN_OUT for row in rows], bool),
    )


def ends_of(gate: Gate) -> tuple[Gate, Gate]:
    """Return the gate with its tolerance and its share of correlation at 0, and with both at 1."""
    strict, wide = (
        Gate.calibrated(
            gate.references,
            gate.settings.model_copy(update={TOLERANCE: end, "max_reference_correlation": end}),
            gate.painter,
            [gate.visible_fraction],
        )
        for end in (0.0, 1.0)
    )
    return strict, wide


def needs_of(row: ManifestRow, strict: Gate, wide: Gate) -> dict[str, float]:
    """Return the need of a sample at each gate, by the figures in its row.

    A limit is a power of the tolerance, so those of tolerance 0 and 1 say which one a figure needs.
    """
    figures = {name: getattr(row, name) or 0.0 for name in FIGURES}
    drawn = figures["drawn_fraction"]
    (faintest, strongest), (faint, strong) = strict.contrast_range, wide.contrast_range
    apart, contrast = figures["appearance_distance"], figures["contrast"]
    return {
        "mask_lost": -drawn / strict.visible_fraction if drawn else math.inf,
        "off_mask": figures["off_mask_fraction"],
        "seam_visible": _tolerance(figures["seam_gradient"], strict.max_seam_gradient, wide.max_seam_gradient),
        "near_copy": _share(figures["reference_correlation"], strict.max_reference_correlation),
        "too_faint": _tolerance(contrast, faintest, faint),
        "no_texture": max(map(_tolerance, row.texture, strict.min_texture, wide.min_texture)),
        "blurred_edge": max(map(_tolerance, row.edge_sharpness, strict.min_edge_sharpness, wide.min_edge_sharpness)),
        "out_of_range": max(
            _tolerance(contrast, strongest, strong),
            _tolerance(apart, strict.max_appearance_distance, wide.max_appearance_distance),
        ),
    }


def _tolerance(figure: float, at_0: float, at_1: float) -> float:
    """Return the tolerance from which on a figure is within a limit, given those of 0 and 1; -inf where both are 0."""
    return math.log(max(figure, 1e-9) / at_0) / math.log(at_1 / at_0) if at_0 > 0 else -math.inf


def _share(correlation: float, most_alike: float) -> float:
    """Return which share of the way from the most alike two references to equality a correlation goes."""
    if most_alike < 1:
        return (correlation - most_alike) / (1 - most_alike)
    return math.inf if correlation > most_alike else 0.0


def best_limits(decisions: Decisions, present: Limits) -> Limits:
    """Return the limits by which most decisions come out as the person's, near the present ones where several do.

    They are chosen one after the other while the others are held, until none changes.
    """
    best = present
    for _ in range(ROUNDS):
        before = best
        for name in (each for each in SEEN if each in present):
            best = {**best, name: _best_value(decisions, name, best, present[name])}
        if best == before:
            break
    return best


def _best_value(decisions: Decisions, name: str, limits: Limits, present: float) -> float:
    need, others = decisions.need(name), decisions.kept_by({**limits, name: math.inf})
    least, most = RANGES.get(name, (0.0, 1.0))
    known = np.unique(need[np.isfinite(need)])
    between = {float(f"{value:.3g}") for value in (known[1:] + known[:-1]) / 2}
    values = sorted({value for value in between if least <= value <= most} | {present, limits[name]})
    agreeing = [int((((need <= value) & others) != decisions.refused).sum()) for value in values]
    return max(zip(agreeing, values, strict=True), key=lambda found: (found[0], -abs(found[1] - present)))[1]


def agreeing_unseen(decisions: Decisions, present: Limits) -> int:
    """Return how many decisions come out as the person's by limits that were chosen by the others, fold by fold."""
    order = np.argsort(decisions.refused, kind="stable")
    agreeing = 0
    for fold in range(FOLDS):
        unseen = np.isin(np.arange(len(order)), order[fold::FOLDS])
        limits, tried = best_limits(decisions.some(~unseen), present), decisions.some(unseen)
        agreeing += _agreeing(tried, limits)
    return agreeing


def _agreeing(decisions: Decisions, limits: Limits) -> int:
    return int((decisions.kept_by(limits) != decisions.refused).sum())


def _gate_agreement(decisions: Decisions, gate: str, present: Limits) -> GateAgreement:
    from scipy.stats import rankdata

    setting, refused = SETTINGS.get(gate, TOLERANCE), decisions.refused
    against, ranks = decisions.needs[gate] > present[setting], rankdata(decisions.needs[gate])
    taken_out, kept = int(refused.sum()), int((~refused).sum())
    pairs = taken_out * kept
    above = float(ranks[refused].sum()) - taken_out * (taken_out + 1) / 2
    return GateAgreement(
        gate=gate,
        setting=setting,
        refused_of_taken_out=int((against & refused).sum()),
        refused_of_kept=int((against & ~refused).sum()),
        separation=above / pairs if pairs else None,
    )


def _limits_of(config: GatesConfig, gates: Collection[str]) -> Limits:
    """Return the values of the settings that some of these gates have."""
    limits = {
        TOLERANCE: config.tolerance,
        "min_drawn_fraction": -config.min_drawn_fraction,
        "max_off_mask_fraction": config.max_off_mask_fraction,
        "max_reference_correlation": config.max_reference_correlation,
    }
    used = {SETTINGS.get(gate, TOLERANCE) for gate in gates}
    return {name: limit for name, limit in limits.items() if name in used}
