"""Ctrl-C and SIGTERM: any verb ends soon, without a traceback, with what is done kept."""

import signal
import subprocess
import sys

import pytest

from debye.cli.console import GO_ON

SIGNALS = (signal.SIGINT, signal.SIGTERM)

WORK = """
import os, sys, threading
from pathlib import Path
from debye.cli import stopping

stopping.leave_at_once("left")

def work():
    sys.stderr.write("at work\\n")
    sys.stderr.flush()
    threading.Event().wait()

def work_unheeding():
    while True:
        try:
            work()
        except KeyboardInterrupt:
            pass
"""


def ended(child, code, *signals, says="at work"):
    """Exit code, stdout and stderr of a script that gets signals once it says that it works."""
    process = child("-c", WORK + code)
    for number in signals:
        process.says(says)
        process.send_signal(number)
        says = "stopping"
    return process.end()


@pytest.mark.parametrize("number", SIGNALS)
def test_what_holds_nothing_leaves_at_once(child, number):
    assert ended(child, "work_unheeding()", number) == (130, "", "at work\nleft\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_step_that_does_not_end_is_left(child, number):
    code = "with stopping.graceful_stop('stopping', grace=0): work_unheeding()"
    assert ended(child, code, number) == (130, "", f"at work\nstopping\n{GO_ON}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_leaves_at_once(child, number):
    code = "with stopping.graceful_stop('stopping', grace=1e6): work_unheeding()"
    assert ended(child, code, number, number) == (130, "", f"at work\nstopping\n{GO_ON}\n")


def test_a_step_that_ends_in_time_is_the_last(child):
    code = """
with stopping.graceful_stop("stopping", grace=1e6) as stopped:
    sys.stderr.write("at work\\n")
    while not stopped():
        pass
print("written")
"""
    assert ended(child, code, signal.SIGTERM) == (0, "written\n", "at work\nstopping\n")


def test_results_in_memory_are_written(child):
    code = """
try:
    with stopping.unwinding():
        work()
except KeyboardInterrupt:
    print("written")
"""
    assert ended(child, code, signal.SIGINT) == (0, "written\n", "at work\n")


def test_no_half_of_a_file_is_left(child, tmp_path):
    """Not even its temporary one, which would stay where nobody looks for it."""
    (tmp_path / "kept").write_text("as it was")
    code = f"""
from debye.core import files
files.os.fsync = lambda handle: work()
try:
    files.atomic_write({str(tmp_path / "kept")!r}, "new")
except KeyboardInterrupt:
    print("unwound")
"""
    assert ended(child, code, signal.SIGTERM) == (0, "unwound\n", "at work\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["as it was"]


def test_handlers_are_as_before_where_the_command_is_called_in_a_process(debye):
    before = [signal.getsignal(number) for number in SIGNALS]
    assert debye("dos", "nowhere.cif").exit_code == 2
    assert [signal.getsignal(number) for number in SIGNALS] == before


LOADING = """
import sys

class Told:
    def find_spec(self, name, path=None, target=None):
        if name == {last!r}:
            sys.stderr.write("at work\\n")
            sys.stderr.flush()
            import threading
            threading.Event().wait()

sys.meta_path.insert(0, Told())
from debye.cli import main
sys.argv = ["debye", *{words!r}]
main()
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("last", ["typer", "debye.cli.predict", "torch", "debye.crystals.graph"])
def test_nothing_is_said_of_what_was_being_loaded(child, last, number):
    code = LOADING.format(last=last, words=["dos", "nowhere.cif"])
    process = child("-c", code)
    process.says("at work")
    process.send_signal(number)
    assert process.end() == (130, "", "at work\ninterrupted\n")


HELD = """
import sys, threading
from debye.cli import main, stopping
from debye.speckle.fitting.gauss_newton import GaussNewton

stopping.GRACE = 0
linearised = GaussNewton.linearised

def held(self, vector, pieces):
    if self.steps == 1:
        sys.stderr.write("within a step\\n")
        sys.stderr.flush()
        threading.Event().wait()
    return linearised(self, vector, pieces)

GaussNewton.linearised = held
main()
"""


def test_learning_stops_within_a_step_and_goes_on(child, tmp_path):
    """What the steps before have found is there, and the same command takes it up."""
    frames, output, plan = (tmp_path / name for name in ("in.h5", "fit.safetensors", "plan.toml"))
    plan.write_text("[[stages]]\nframes = 2\nruns = 1\niterations = 3\nportion = 1\n")
    made = ["simulate", "kuramoto", "--runs", "1", "--until", "5.5", "--output", frames]
    subprocess.run([sys.executable, "-m", "debye", *made], check=True, capture_output=True)
    words = ["learn", frames, "--output", output, "--config", plan]
    process = child("-c", HELD, *words)
    process.says("within a step")
    kept = output.read_bytes()
    process.send_signal(signal.SIGTERM)
    code, _, told = process.end()
    assert (code, told.splitlines()[-1]) == (130, GO_ON)
    assert "Traceback" not in told
    assert output.read_bytes() == kept
    code, printed, told = child("-m", "debye", *words).end()
    assert (code, printed.splitlines()[-1]) == (0, str(output)), told
    assert "step 1 " not in told.splitlines()[0]
