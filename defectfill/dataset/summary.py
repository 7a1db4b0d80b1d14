"""What became of the planned samples of each defect."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from defectfill.dataset.probe import probe_vae
from defectfill.painting.gates import REASONS
from defectfill.runs.plan import plan_table
from defectfill.runs.run import Run


def summary(dataset: Path) -> list[str]:
    """What became of the planned samples of each defect, as a table, and why there are fewer than wanted."""
    run = Run.at(dataset.parent)
    wanted = run.config.generate.count
    funnels = {defect: _funnel(run, dataset, defect) for defect in run.config.data.defects}
    given = [reason for reason in REASONS if any(funnel[reason] for funnel in funnels.values())]
    stages = ["planned", "no place", *given, "kept"]
    lines = [f"{'':16}" + "".join(f"{stage:>{max(len(stage), 7) + 2}}" for stage in stages)]
    for defect, funnel in funnels.items():
        numbers = "".join(f"{funnel[stage]:>{max(len(stage), 7) + 2}}" for stage in stages)
        lines.append(f"{defect:16}{numbers} of {wanted}")
    for defect, funnel in funnels.items():
        if funnel["kept"] < wanted:
            worst = max(stages[1:-1], key=lambda stage: funnel[stage])
            lines.append(
                f"{defect}: {wanted - funnel['kept']} fewer than wanted, since the plan ends at "
                f"generate.max_attempts {run.config.generate.max_attempts:g} times the count; most common: {worst}"
            )
        if funnel["no place"]:
            reasons = plan_table(run, defect, columns=["reason"])["reason"]
            first = reasons.filter(pc.not_equal(reasons, ""))[0]
            lines.append(f"{defect}: {funnel['no place']} found no place, the first because: {first}")
    told = probe_vae(dataset)
    if told is not None:
        lines.append(f"a linear probe tells VAE normals from their untouched sources in {told:.0%} (50% is chance)")
    return lines


def _funnel(run: Run, dataset: Path, defect: str) -> Counter[str]:
    """How many samples of a defect are planned, and how many went which way; kept are those in the dataset."""
    of_defect = (pc.field("defect") == defect) & (pc.field("origin") == "synthetic")
    funnel: Counter[str] = Counter()
    funnel["kept"] = pq.read_table(dataset / "manifest.parquet", columns=["defect"], filters=of_defect).num_rows
    rejected = pq.read_table(dataset / "rejected.parquet", columns=["reason"], filters=of_defect)["reason"]
    funnel.update(rejected.to_pylist())
    last = funnel.total()
    plan = plan_table(run, defect, columns=["reason"])["reason"].to_pylist()
    funnel["no place"] = sum(map(bool, plan[: _end(plan, last)]))
    funnel["planned"] = last + funnel["no place"]
    return funnel


def _end(reasons: Sequence[str], placed: int) -> int:
    """Where the plan ends of which so many samples were placed: behind the last of them, or behind all."""
    positions = [position for position, reason in enumerate(reasons) if not reason]
    return positions[placed - 1] + 1 if 0 < placed < len(positions) else len(reasons)


def format_summary(lines: list[str]) -> list[str]:
    return lines
