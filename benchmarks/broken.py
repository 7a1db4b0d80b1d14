"""Is every broken input refused by name? python -m benchmarks.broken [--trials 300] [--seed 0] [--only KIND]

Makes a tiny toy category and a finished run of it with the bundled base. Each trial starts from a copy, breaks exactly
one thing of it (`benchmarks.mutations`), and does what reads it: `defectfill check`, `masks` or `verify`, or the steps
of a run, within the command line's handling of errors. Right is exit code 2 with a message that names the culprit or,
where the input may be taken, 0 and a dataset that passes `verify`. Wrong are a traceback, another exit code, a message
that names something else, a trial that takes too long, a half-written file, anything written outside, and a pickle that
was opened. Prints a table per kind, the wrong ones in detail, then one JSON line; the exit status is 1 if any is wrong.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutations import CANARY, ELSEWHERE, Place, Trial, trials
from defectfill.cli import exit_codes, main
from defectfill.config.run import load_config
from defectfill.io.files import PARTIAL
from defectfill.operations.check import read_checked
from defectfill.operations.environment import set_environment
from defectfill.operations.lock import locked
from defectfill.operations.prepare import prepare_run, start_run
from defectfill.runs.run import Run

LIMIT_S = 120
"""Of a trial."""
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
"""


class TooLong(BaseException):
    """A trial that does not end."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    trial: Trial
    code: int
    said: str
    """On stderr, and the traceback of what was not caught."""
    wrong: str
    """Empty if all is well."""


def command_line() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="at least so many; all that are listed come anyway")
    parser.add_argument("--seed", type=int, default=0, help="of what is broken at random")
    parser.add_argument("--only", default="", help="trials of this kind, or with this in their name")
    parser.add_argument("--all", action="store_true", help="print what became of every trial, not only of wrong ones")
    arguments = parser.parse_args()
    set_environment()
    with tempfile.TemporaryDirectory() as folder:
        work, begun = Path(folder).resolve(), time.monotonic()
        place = make_place(work)
        limit_memory()
        os.chdir(work)  # where what a tag of YAML makes would show
        wanted = list(chosen(arguments.seed, arguments.trials, arguments.only))
        outcomes = [outcome_of(trial, place, work / "pristine") for trial in shown(wanted)]
    return report(outcomes, time.monotonic() - begun, everything=arguments.all)


def make_place(work: Path) -> Place:
    """The toy category with a finished run, and a copy beside it that stays as it is."""
    from defectfill.toy import write_category

    place = Place(work / "trial")
    place.root.mkdir()
    write_category(
        place.root / "data", "washer", seed=1, normals=3, test_normals=1, defective=3, size_px=96, defects=("hole",)
    )
    place.config.write_text(CONFIG, encoding="utf-8")
    (work / ELSEWHERE).mkdir()
    shutil.copy(place.category / "train/good/000.png", work / ELSEWHERE)
    with contextlib.redirect_stderr(io.StringIO()):
        do_steps(place.config)
    assert list(place.dataset.glob("images/hole/hole-*")), "the run of the trials keeps its sample"
    shutil.copytree(place.root, work / "pristine")
    return place


def limit_memory() -> None:
    """So that what takes too much fails instead of taking the machine's."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))


def chosen(seed: int, count: int, only: str) -> Iterator[Trial]:
    """Every trial that is listed, and random ones until there are `count`; no two of a name."""
    names: set[str] = set()
    for trial in trials(seed):
        if trial.listed or len(names) < count:
            if trial.name in names:
                continue
            names.add(trial.name)
            if only in ("", trial.kind) or only in trial.name:
                yield trial
        else:
            return


def shown(wanted: list[Trial]) -> Iterator[Trial]:
    for number, trial in enumerate(wanted):
        if number % 25 == 0:
            print(f"{number} of {len(wanted)}", file=sys.stderr, flush=True)
        yield trial


def outcome_of(trial: Trial, place: Place, pristine: Path) -> Outcome:
    """A trial, from a fresh copy."""
    from defectfill.model.base.base import shared_base
    from defectfill.synthesis.gate import gate_of

    shutil.rmtree(place.root)
    shutil.copytree(pristine, place.root, symlinks=True)
    gate_of.cache_clear()
    trial.mutate(place)
    before = files_in(place.root)
    begun = time.monotonic()
    code, said = call(trial, place)
    seconds = time.monotonic() - begun
    if trial.kind in ("adapter", "base"):
        shared_base.cache_clear()
    wrong = "\n".join(problems(trial, place, pristine, before, code, said, seconds))
    return Outcome(trial, code, said, wrong)


def call(trial: Trial, place: Place) -> tuple[int, str]:
    """(exit code, what was said on stderr) of what reads the broken thing."""
    errors, before = io.StringIO(), sys.argv
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_S)
    faulthandler.dump_traceback_later(2 * LIMIT_S, exit=True, file=sys.__stderr__)
    code = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            if trial.command == "run":
                with exit_codes():
                    do_steps(place.config)
            else:
                sys.argv = ["defectfill", *arguments_of(trial, place)]
                main()
        except SystemExit as end:
            code = int(str(end.code or 0))
        except BaseException:  # whatever it is, it is what the user would see
            code = 1
            errors.write(traceback.format_exc())
        finally:
            sys.argv = before
            signal.alarm(0)
            faulthandler.cancel_dump_traceback_later()
    return code, errors.getvalue()


def _too_long(*_: Any) -> None:
    raise TooLong(f"more than {LIMIT_S} s")


def arguments_of(trial: Trial, place: Place) -> list[str]:
    if trial.command == "verify":
        return ["verify", str(place.dataset)]
    more = ["--out", str(place.root / "masks.png"), "--count", "4"] if trial.command == "masks" else []
    return [trial.command, str(place.config), *more]


def do_steps(config_path: Path) -> None:
    """What `defectfill run` does, without Prefect around it."""
    from defectfill.adapters.train import train_adapter
    from defectfill.dataset.summary import summary
    from defectfill.dataset.writer import write_dataset
    from defectfill.runs.planner import plan_samples
    from defectfill.synthesis.synthesize import inpaint_shard

    config = load_config(config_path)
    prepared = prepare_run(config)
    if prepared.is_finished():
        summary(prepared.dataset)
        return
    records = read_checked(config, prepared)
    with locked(config):
        run = Run.at(start_run(config, prepared, records).folder)
        if not run.is_finished():
            for defect in config.data.defects:
                train_adapter(run, defect)
            while shards := plan_samples(run):
                for shard in shards:
                    inpaint_shard(run, shard)
            write_dataset(run)
    summary(run.dataset)


def problems(
    trial: Trial, place: Place, pristine: Path, before: dict[str, bytes], code: int, said: str, seconds: float
) -> Iterator[str]:
    """What is wrong with how a trial ended."""
    after = files_in(place.root)
    new = {name for name in after if after[name] != before.get(name)}
    if seconds > LIMIT_S:
        yield f"it took {seconds:.0f} s"
    if (place.root.parent / CANARY).exists():
        (place.root.parent / CANARY).unlink()
        yield "a pickle was opened"
    outside = {*files_in(place.elsewhere)} - {"000.png"}
    for name in outside:
        (place.elsewhere / name).unlink()
    outside |= {name for name in new if not name.startswith("out/") and name != "masks.png"}
    if outside:
        yield f"written outside: {sorted(outside)}"
    if partial := [name for name in after if PARTIAL in name and name not in before]:
        yield f"half-written: {partial}"
    if code not in (0, 2):
        yield f"exit code {code}"
    elif code == 2 and trial.expected == "accepted":
        yield "refused, but it is to be accepted"
    elif code == 0 and trial.expected == "refused":
        yield "accepted, but it is to be refused"
    elif code == 2 and not any(culprit in said for culprit in trial.names(place)):
        yield f"nothing named of {trial.names(place)}"
    elif "Traceback" in said:
        yield "a traceback on the way"
    if code == 2 and trial.command != "run" and new:
        yield f"refused, but it wrote {sorted(new)}"
    if code == 2 and trial.heals and (wrong := remedy_problem(place, pristine, said)):
        yield wrong
    if code == 0 and trial.command == "run" and (wrong := dataset_problem(place, pristine, same=trial.heals)):
        yield wrong


def remedy_problem(place: Place, pristine: Path, said: str) -> str:
    """Whether the run ends with the dataset of the unbroken one after what the messages say is removed."""
    named = re.findall(r"^(.+?): .*; remove (it|\S+) and run again$", said, re.MULTILINE)
    for path in [Path(file if what == "it" else what) for file, what in named]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not named:
        return ""
    code, said = call(Trial("", "", "run", lambda _: None, "accepted"), place)
    return f"removed, exit code {code}: {said}" if code else dataset_problem(place, pristine, same=True)


def dataset_problem(place: Place, pristine: Path, *, same: bool) -> str:
    """Whether the dataset of an accepted input is whole and, where it should be, that of the unbroken one."""
    from defectfill.dataset.verify import verify_dataset
    from defectfill.io.errors import DefectFillError

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            verify_dataset(place.dataset)
    except DefectFillError as error:
        return f"accepted, but its dataset is bad: {error}"
    if same and files_in(place.dataset) != files_in(Place(pristine).dataset):
        return "accepted, but its dataset is another"
    return ""


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its relative path."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def report(outcomes: list[Outcome], seconds: float, *, everything: bool = False) -> int:
    """Prints the table, the wrong ones and the JSON line; gives the exit status."""
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
