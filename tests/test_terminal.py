"""Progress is drawn live on a terminal, as plain lines elsewhere and under CI."""

import os
import pty
import re
import subprocess
import sys

import pytest

from defectfill.io import terminal
from defectfill.io.progress import ProgressBar, progress
from defectfill.io.terminal import is_live

WORK = """
import sys
from defectfill.io.progress import ProgressBar, progress
from defectfill.io.terminal import is_live, show_memory
if is_live():
    from flows.terminal import log_above_bars
    log_above_bars()
show_memory(lambda: "GPU 3.1 of 80 GiB")
bar = ProgressBar("inpaint hole [a]", done=2, total=8, unit="samples")
bar.set(5, "4 kept, 1 rejected of 6 wanted")
print("a result")
print("a message", file=sys.stderr)
if is_live():
    import logging
    logging.getLogger("prefect.flow_runs").error("a line of Prefect's log")
assert list(progress("ab", "copy real images")) == ["a", "b"]
bar.set(8, "6 kept, 2 rejected of 6 wanted")
bar.close()
bar.close()
"""


def on_terminal(**environment: str) -> tuple[str, str]:
    """Run WORK with standard error on a terminal; return what it prints there and on standard output."""
    ours, its = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "150", "PREFECT_LOGGING_LEVEL": "INFO", **environment}
    process = subprocess.Popen([sys.executable, "-c", WORK], env=env, stdout=subprocess.PIPE, stderr=its, text=True)
    os.close(its)
    drawn = b""
    try:
        while some := os.read(ours, 65536):
            drawn += some
    except OSError:  # as the end of a terminal is told
        pass
    os.close(ours)
    printed = process.communicate()[0]
    assert process.returncode == 0, drawn.decode()
    return drawn.decode(), printed


def test_a_terminal_shows_all_open_bars_and_leaves_messages_and_log_lines_above_them() -> None:
    drawn, printed = on_terminal(CI="")
    assert printed == "a result\n"
    plain = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", drawn)
    lines = [line.strip() for line in re.split("[\r\n]+", plain) if line.strip()]
    assert "a message" in lines
    assert any(line.endswith("a line of Prefect's log") for line in lines)
    assert re.search(r"inpaint hole \[a\] .*5/8 .*4 kept, 1 rejected of 6 wanted .*GPU 3.1 of 80 GiB", plain)
    assert lines[-1].startswith("inpaint hole [a]")
    assert re.search(r"8/8 .*samples/s, 0:0\d +6 kept, 2 rejected of 6 wanted", lines[-1])
    assert any(re.search(r"copy real images .*2/2", line) for line in lines)
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_a_narrow_terminal_shows_each_bar_on_one_line() -> None:
    drawn, _ = on_terminal(CI="", COLUMNS="80")
    plain = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", drawn)
    lines = {line.strip() for line in re.split("[\r\n]+", plain) if re.search("kept|wan|left", line)}
    assert lines
    for line in lines:
        assert re.fullmatch(r"inpaint hole \[a\] .*/8 .*\d:\d\d( left)? +\d kept, .*(wanted|…)", line), line
    assert max(map(len, lines)) <= 80


def test_under_ci_a_terminal_gets_plain_lines() -> None:
    drawn, printed = on_terminal(CI="true")
    assert printed == "a result\n"
    assert "\x1b[?25l" not in drawn
    assert re.search(r"\ncopy real images: 100% 2/2, .*in 0:00", drawn)
    assert re.search(r"\ninpaint hole \[a\]: 100% 8/8, .*in 0:00; 6 kept, 2 rejected of 6 wanted\s*$", drawn)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds that plain bars go by, which stands still."""
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    return clock


def test_a_log_file_gets_a_line_every_now_and_then_and_one_in_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_live()
    bar = ProgressBar("train hole", done=10, total=20)
    for clock[0], done in ((4.0, 12), (10.0, 15), (12.0, 16), (20.0, 20)):
        bar.set(done, "loss 0.2")
    bar.close()
    interrupted = ProgressBar("stain", total=4, unit="samples")
    clock[0] = 25.0
    interrupted.set(1)
    interrupted.close()
    assert capsys.readouterr().err.splitlines() == [
        "train hole: 75% 15/20, 0.5 it/s, 0:10 left; loss 0.2",
        "train hole: 100% 20/20, 0.5 it/s, in 0:20; loss 0.2",
        "stain: 25% 1/4, 0.2 samples/s, 0:15 left",
    ]


@pytest.mark.usefixtures("clock")
def test_what_took_no_time_has_no_pace_and_what_was_not_begun_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert [*progress(iter("abc"), "of unknown length")] == ["a", "b", "c"]
    ProgressBar("nothing done", total=5).close()
    ProgressBar("hidden", total=5, shown=False).close()
    assert capsys.readouterr().err == "of unknown length: 3, in 0:00\n"
