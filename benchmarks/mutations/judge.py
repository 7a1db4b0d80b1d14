"""A trial is done, and judged: what it broke is refused by name, or taken without harm."""

import contextlib
import faulthandler
import io
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutations.common import CANARY, Sandbox, Trial
from benchmarks.mutations.machine import reach
from defectfill.cli import exit_codes, main
from defectfill.config.run import load_config
from defectfill.io.files import PARTIAL
from defectfill.operations.check import check_run
from defectfill.operations.lock import locked
from defectfill.operations.prepare import prepare_run, start_run
from defectfill.runs.run import Run

LIMIT_S = 120
"""Of a trial."""


class TooLong(BaseException):
    """A trial that does not end."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    trial: Trial
    code: int
    said: str
    """With the traceback of what was not caught."""
    wrong: str
    """Empty if all is well."""


def outcome_of(trial: Trial, sandbox: Sandbox, pristine: Path) -> Outcome:
    """Do a trial, from a fresh copy."""
    from defectfill.synthesis.calibration import calibrated_gate

    shutil.rmtree(sandbox.root)
    shutil.copytree(pristine, sandbox.root, symlinks=True)
    calibrated_gate.cache_clear()
    trial.mutate(sandbox)
    before = files_in(sandbox.root)
    begun = time.monotonic()
    code, said = call(trial, sandbox)
    seconds = time.monotonic() - begun
    wrong = "\n".join(problems(trial, sandbox, pristine, before, code, said, seconds))
    return Outcome(trial, code, said, wrong)


def call(trial: Trial, sandbox: Sandbox) -> tuple[int, str]:
    """(exit code, what was said) of what reads the broken thing."""
    errors, before = io.StringIO(), sys.argv
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_S)
    faulthandler.dump_traceback_later(2 * LIMIT_S, exit=True, file=sys.__stderr__)
    code = 0
    with contextlib.redirect_stdout(errors), contextlib.redirect_stderr(errors), trial.within(sandbox):
        try:
            if trial.command == "run":
                with exit_codes():
                    do_steps(sandbox.config)
            elif trial.command == "server":
                with exit_codes():
                    reach()
            else:
                sys.argv = ["defectfill", *arguments_of(trial, sandbox)]
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


def arguments_of(trial: Trial, sandbox: Sandbox) -> list[str]:
    if trial.command == "verify":
        return ["verify", str(sandbox.dataset)]
    more = ["--out", str(sandbox.root / "masks.png"), "--count", "4"] if trial.command == "masks" else []
    return [trial.command, str(sandbox.config), *more]


def do_steps(config_path: Path) -> None:
    """Do what `defectfill run` does, without Prefect around it."""
    from defectfill.adapters.train import train_adapter
    from defectfill.dataset.summary import summary
    from defectfill.dataset.writer import write_dataset
    from defectfill.runs.planner import plan_samples
    from defectfill.synthesis.shards import inpaint_shard

    config = load_config(config_path)
    prepared = prepare_run(config)
    if prepared.is_finished():
        summary(prepared.dataset)
        return
    records = check_run(config, prepared).records
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
    trial: Trial, sandbox: Sandbox, pristine: Path, before: dict[str, bytes], code: int, said: str, seconds: float
) -> Iterator[str]:
    """Yield what is wrong with how a trial ended."""
    after = files_in(sandbox.root)
    new = {name for name in after if after[name] != before.get(name)}
    if seconds > LIMIT_S:
        yield f"it took {seconds:.0f} s"
    if (sandbox.root.parent / CANARY).exists():
        (sandbox.root.parent / CANARY).unlink()
        yield "a pickle was opened"
    outside = {*files_in(sandbox.elsewhere)} - {"000.png"}
    for name in outside:
        (sandbox.elsewhere / name).unlink()
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
    elif code == 2 and not any(culprit in said for culprit in trial.names(sandbox)):
        yield f"nothing named of {trial.names(sandbox)}"
    elif code == 0 and (unsaid := [each for each in trial.tells if each not in said]):
        yield f"accepted without a word of {unsaid}"
    elif "Traceback" in said:
        yield "a traceback on the way"
    if code == 2 and trial.command != "run" and new:
        yield f"refused, but it wrote {sorted(new)}"
    if code == 2 and trial.heals and (wrong := remedy_problem(sandbox, pristine, said)):
        yield wrong
    if code == 0 and trial.command == "run" and (wrong := dataset_problem(sandbox, pristine, same=trial.heals)):
        yield wrong


def remedy_problem(sandbox: Sandbox, pristine: Path, said: str) -> str:
    """Return what is wrong where a run, once what the messages say is removed, ends with another dataset."""
    named = re.findall(r"^(.+?): .*; remove (it|\S+) and run again$", said, re.MULTILINE)
    for path in [Path(file if what == "it" else what) for file, what in named]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not named:
        return ""
    code, said = call(Trial("", "", "run", lambda _: None, "accepted"), sandbox)
    return f"removed, exit code {code}: {said}" if code else dataset_problem(sandbox, pristine, same=True)


def dataset_problem(sandbox: Sandbox, pristine: Path, *, same: bool) -> str:
    """Return what is wrong where the dataset is not whole or, though it should be, not that of the unbroken input."""
    from defectfill.dataset.verify import verify_dataset
    from defectfill.io.errors import DefectFillError

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            verify_dataset(sandbox.dataset)
    except DefectFillError as error:
        return f"accepted, but its dataset is bad: {error}"
    if same and files_in(sandbox.dataset) != files_in(Sandbox(pristine).dataset):
        return "accepted, but its dataset is another"
    return ""


def files_in(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` by its relative path."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
