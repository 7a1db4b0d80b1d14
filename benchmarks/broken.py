"""Is every broken input refused by name? python -m benchmarks.broken [--trials 300] [--seed 0] [--only KIND ...]

Makes a tiny toy category and a finished run of it with the bundled base. Each trial starts from a copy, breaks exactly
one thing of it (`benchmarks.mutations`), and does what reads it: `defectfill check`, `masks` or `verify`, or the steps
of a run, within the command line's handling of errors. Right is exit code 2 with a message that names the culprit or,
where the input may be taken, 0 and a dataset that passes `verify`. Wrong are a traceback, another exit code, a message
that names something else, a trial that takes too long, a half-written file, anything written outside, and a pickle that
was opened. Prints a table per kind, the wrong ones in detail, then one JSON line; the exit status is 1 if any is wrong.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mutations import ELSEWHERE, Sandbox, Trial, trials
from benchmarks.mutations.judge import Outcome, do_steps, outcome_of
from defectfill.operations.environment import set_environment

WIDTH = 240
"""Letters of a line of what was said that are shown."""
ROOM_BYTES = 4 * 2**30
"""Memory that a trial may take beyond what the process has."""
CONFIG = """
category: washer
object_name: washer
seed: 3
data: {root: data, defects: [hole], references: {count: 2}}
base: {model: mini, resolution: 64, precision: fp32, device: cpu}
train: {steps: 1, batch_size: 1, rank: 2, alpha: 2, warmup_steps: 1}
generate: {count: 1, max_attempts: 20, candidates: 1, steps: 2, solver: dpm, guidance_scale: 1, min_change: 0.002}
gates: {tolerance: 20, min_drawn_fraction: 0, max_off_mask_fraction: 1, max_reference_correlation: 1}
output: {root: out}
report: false
"""


def command_line() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="at least so many; all that are listed come anyway")
    parser.add_argument("--seed", type=int, default=0, help="of what is broken at random")
    parser.add_argument("--only", nargs="*", default=[], help="trials of these kinds, or with this in their name")
    parser.add_argument("--all", action="store_true", help="print what became of every trial, not only of wrong ones")
    arguments = parser.parse_args()
    set_environment()
    with tempfile.TemporaryDirectory() as folder:
        work, begun = Path(folder).resolve(), time.monotonic()
        sandbox = make_sandbox(work)
        limit_memory()
        os.chdir(work)  # where what a tag of YAML makes would show
        wanted = list(chosen(arguments.seed, arguments.trials, arguments.only))
        outcomes = [outcome_of(trial, sandbox, work / "pristine") for trial in shown(wanted)]
    return report(outcomes, time.monotonic() - begun, everything=arguments.all)


def make_sandbox(work: Path) -> Sandbox:
    """Write the toy category with a finished run, and a copy beside it that stays as it is."""
    from defectfill.toy import write_category

    sandbox = Sandbox(work / "trial")
    sandbox.root.mkdir()
    write_category(
        sandbox.root / "data", "washer", seed=1, normals=3, test_normals=1, defective=3, size_px=96, defects=("hole",)
    )
    sandbox.config.write_text(CONFIG, encoding="utf-8")
    (work / ELSEWHERE).mkdir()
    shutil.copy(sandbox.category / "train/good/000.png", work / ELSEWHERE)
    with contextlib.redirect_stderr(io.StringIO()):
        do_steps(sandbox.config)
    assert list(sandbox.dataset.glob("images/hole/hole-*")), "the run of the trials keeps its sample"
    shutil.copytree(sandbox.root, work / "pristine")
    return sandbox


def limit_memory() -> None:
    """Limit the memory, so that what takes too much fails instead of taking the machine's."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))


def chosen(seed: int, count: int, only: list[str]) -> Iterator[Trial]:
    """Yield every trial that is listed, and random ones until there are `count`; no two of a name."""
    names: set[str] = set()
    for trial in trials(seed):
        if trial.listed or len(names) < count:
            if trial.name in names:
                continue
            names.add(trial.name)
            if not only or any(word == trial.kind or word in trial.name for word in only):
                yield trial
        else:
            return


def shown(wanted: list[Trial]) -> Iterator[Trial]:
    for number, trial in enumerate(wanted):
        if number % 25 == 0:
            print(f"{number} of {len(wanted)}", file=sys.stderr, flush=True)
        yield trial


def report(outcomes: list[Outcome], seconds: float, *, everything: bool = False) -> int:
    """Print the table, the wrong ones and the JSON line; return the exit status."""
    for each in outcomes if everything else ():
        print(f"{'accepted' if each.code == 0 else 'refused':10}{each.trial.kind:10}{each.trial.name}")
    counts: dict[str, Counter[str]] = {}
    for each in outcomes:
        count = counts.setdefault(each.trial.kind, Counter())
        count["trials"] += 1
        count["wrong" if each.wrong else "accepted" if each.code == 0 else "refused"] += 1
    columns = ("trials", "refused", "accepted", "wrong")
    print(f"{'':12}" + "".join(f"{column:>10}" for column in columns))
    for kind, count in counts.items():
        print(f"{kind:12}" + "".join(f"{count[column]:>10}" for column in columns))
    for each in outcomes:
        if each.wrong:
            last = "\n    ".join(line[:WIDTH] for line in each.said.strip().splitlines()[-12:])
            print(f"\n{each.trial.kind}: {each.trial.name} ({each.trial.command})\n  {each.wrong}\n    {last}")
    totals: Counter[str] = sum(counts.values(), Counter())
    print(json.dumps({**{column: totals[column] for column in columns}, "seconds": round(seconds)}))
    return 1 if totals["wrong"] else 0


if __name__ == "__main__":
    sys.exit(command_line())
