"""The plan's growth: how many more samples a run needs, by the rate at which painted ones are kept."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from defectfill.config.generate import GenerateConfig
from defectfill.io.files import in_blocks, new_table
from defectfill.records.plan import SCHEMA, SampleSpec, Shard
from defectfill.runs.defect_planner import DefectPlanner
from defectfill.runs.plan import plan_table
from defectfill.runs.run import Run
from defectfill.runs.shards import (
    HOPELESS_RATE,
    NOT_KEPT,
    TRIED,
    Outcome,
    are_hopeless,
    finished_shards,
    sample_outcomes,
)
from defectfill.runs.timings import timed

log = logging.getLogger(__name__)

BLOCK = 4096
"""Samples that are planned and written together; so many masks are held in memory, and the remembered ones."""

UNPROVEN = 2 * TRIED
"""So many samples of a defect are painted at most before it is known whether that is worth while."""

MARGIN = 2.0
"""Standard deviations of the number of kept samples by which more are painted than are expected to be needed."""


Outcomes = dict[str, NDArray[np.int8]]
"""The `Outcome` [N] of each planned sample, by defect."""


class Planner(Protocol):
    """Plans samples of one defect."""

    def plan(self, indices: range) -> list[SampleSpec]:
        """Return specs of the samples, in order."""
        ...


def plan_samples(run: Run, open_planner: Callable[[Run, str, int], Planner] | None = None) -> list[Shard]:
    """Extend the plan by what is still wanted and return the shards to paint; none where enough samples are kept.

    Of each defect generate.count samples are planned first. Those that are rejected are replaced, by as many as
    `paintings_needed` expects to be enough; those whose mask finds no room on any of several normals are kept in the
    plan with the reason and replaced at once. The plan ends at generate.max_attempts times the count, or where a defect
    is hopeless. What was planned before stays as it is. Raises DataError when no mask of a defect finds room.

    open_planner: takes the run, a defect and the first index that is not planned; DefectPlanner, if not given.
    """
    while True:
        outcomes = {defect: sample_outcomes(run, defect) for defect in run.config.data.defects}
        wanted = any(_missing(run.config.generate, each) for each in outcomes.values())
        if wanted:
            _extend(run, outcomes, open_planner or DefectPlanner)
        if (shards := shards_to_do(run, outcomes)) or not wanted:
            _tell_hopeless(run.config.generate, outcomes)
            return shards


def is_filled(run: Run, *, refill: bool = True) -> bool:
    """Return whether plan_samples would have nothing to plan and nothing to paint.

    Without `refill` what is to be painted for samples that a review took out does not count: that a run is not filled
    even so is not the review's doing.
    """
    outcomes = {defect: sample_outcomes(run, defect, refill=refill) for defect in run.config.data.defects}
    return not shards_to_do(run, outcomes) and not any(
        _missing(run.config.generate, each) for each in outcomes.values()
    )


def paintings_needed(kept: int, rejected: int, count: int) -> int:
    """Return how many samples to paint next so that, of all painted, `count` are kept: likely enough, and few more.

    Of those painted so far so many were kept and rejected. With `missing = count - kept` and the keep rate
    `(kept + 1) / (kept + rejected + 1)`, which is 1 before the first painting and never 0, it is
    `(missing + MARGIN * sqrt(missing * (1 - rate))) / rate`, rounded up.
    """
    missing, rate = max(count - kept, 0), (kept + 1) / (kept + rejected + 1)
    return math.ceil((missing + MARGIN * math.sqrt(missing * (1 - rate))) / rate)


def shards_to_do(run: Run, outcomes: Outcomes | None = None) -> list[Shard]:
    """Return the shards of planned samples to paint now, in order: runs of unpainted ones, shard_size at most.

    Samples that were planned when more were asked for, or that are not expected to be needed, are left out.
    outcomes: of the planned samples, where they are known.
    """
    missing, size = [], run.config.generate.shard_size
    for defect in run.config.data.defects:
        stops = _last_to_paint(run, sample_outcomes(run, defect) if outcomes is None else outcomes[defect]) + 1
        painted = {index for shard in finished_shards(run, defect) for index in range(shard.start, shard.stop)}
        start = 0
        while start < stops:
            stop = start
            while stop < stops and stop not in painted and stop - start < size:
                stop += 1
            if stop > start:
                missing.append(Shard(defect, start, stop))
            start = max(stop, start + 1)
    return missing


def _last_to_paint(run: Run, outcomes: NDArray[np.int8]) -> int:
    """Return the index of the last sample of a defect that is to be painted now, as are all before it; -1 for none.

    Where enough are kept, gaps before the last one needed are filled.
    """
    count = run.config.generate.count
    pending, kept = (np.flatnonzero(outcomes == outcome) for outcome in (Outcome.PENDING, Outcome.KEPT))
    if len(kept) >= count:
        pending = pending[pending < kept[count - 1]]
    elif are_hopeless(outcomes):
        pending = pending[:0]
    else:
        pending = pending[: _needed_now(len(kept), int(np.isin(outcomes, NOT_KEPT).sum()), count)]
    return int(pending[-1]) if len(pending) else -1


def _extend(run: Run, outcomes: Outcomes, open_planner: Callable[[Run, str, int], Planner]) -> None:
    """Write the plan anew: what was planned of each defect, then what is missing, which is added to `outcomes`."""
    with timed(run, "plan"), new_table(run.plan_path, SCHEMA) as writer:
        for defect in outcomes:
            for rows in in_blocks(_grow(run, defect, outcomes, open_planner), BLOCK):
                writer.write_table(rows)


def _grow(
    run: Run, defect: str, outcomes: Outcomes, open_planner: Callable[[Run, str, int], Planner]
) -> Iterator[pa.Table]:
    """Yield the rows of a defect that are planned, then those that are missing."""
    first = planned = len(outcomes[defect])
    for known in range(0, first, BLOCK):
        yield plan_table(run, defect, known, known + BLOCK)
    planner = None
    while missing := min(_missing(run.config.generate, outcomes[defect]), BLOCK):
        planner = planner or open_planner(run, defect, first)
        specs = planner.plan(range(planned, planned + missing))
        planned += missing
        added = [Outcome.UNPLACED if spec.reason else Outcome.PENDING for spec in specs]
        outcomes[defect] = np.append(outcomes[defect], np.array(added, np.int8))
        yield pa.Table.from_pylist([spec.model_dump() for spec in specs], schema=SCHEMA)


def _missing(generate: GenerateConfig, outcomes: NDArray[np.int8]) -> int:
    """Return how many more samples of a defect are to be planned than those whose outcomes are given."""
    if are_hopeless(outcomes):
        return 0
    counts = np.bincount(outcomes, minlength=len(Outcome)).tolist()
    needed = _needed_now(counts[Outcome.KEPT], sum(counts[each] for each in NOT_KEPT), generate.count)
    needed = max(needed, generate.count - counts[Outcome.KEPT])
    most = math.ceil(generate.count * generate.max_attempts)
    return max(min(needed - counts[Outcome.PENDING], most - len(outcomes)), 0)


def _needed_now(kept: int, rejected: int, count: int) -> int:
    """Return `paintings_needed`, but before TRIED samples are painted no more than make it UNPROVEN ones in all."""
    needed = paintings_needed(kept, rejected, count)
    return needed if kept + rejected >= TRIED else min(needed, UNPROVEN - kept - rejected)


def _tell_hopeless(generate: GenerateConfig, outcomes: Outcomes) -> None:
    for defect, each in outcomes.items():
        if are_hopeless(each) and np.count_nonzero(each == Outcome.KEPT) < generate.count:
            message = "%s: fewer than %.0f %% of the first %d samples passed the gates; no more are painted"
            log.warning(message, defect, 100 * HOPELESS_RATE, TRIED)
