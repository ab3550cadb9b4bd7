"""Verbs over many structures outlive what kills the process that reads or predicts them."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from debye.crystals.structure.crystal import Crystal

KILLER = """
import os, signal, sys
from debye.cli import main
from debye.core import neighbors

def die():
    os.kill(os.getpid(), signal.{number})

def opened(event, given):
    if event == "open" and isinstance(given[0], (str, os.PathLike)):
        if any(name in os.path.basename(given[0]) for name in {names!r}):
            die()

def search(positions, cell, cutoff, find=neighbors.pairs_within):
    if abs(cell[0, 1] - {side}) < 1e-6:
        die()
    return find(positions, cell, cutoff)

neighbors.pairs_within = search
sys.addaudithook(opened)
main()
"""
"""The command, which dies when it opens files of some names, or predicts a cell of some side."""


def code(*names, number="SIGSEGV", side=-1.0):
    return KILLER.format(names=names, number=number, side=side)


@pytest.fixture
def folder(tmp_path):
    """Eight salts."""
    made = tmp_path / "salts"
    made.mkdir()
    for i in range(8):
        a = 5.0 + i / 10
        cell = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
        Crystal(["Na", "Cl"], [[0, 0, 0], [a / 2] * 3], cell).write(made / f"salt-{i}.vasp")
    return made


def sources(printed):
    return [os.path.basename(json.loads(line)["source"]) for line in printed.splitlines()]


@pytest.mark.parametrize("number", ["SIGSEGV", "SIGFPE", "SIGKILL", "SIGABRT"])
def test_what_is_read_when_the_process_dies_is_a_failed_input(child, folder, model_file, number):
    script, words = code("salt-2", "salt-7", number=number), ["--model", model_file, "--json"]
    status, printed, told = child("-c", script, "dos", folder, *words).end()
    assert sources(printed) == [f"salt-{i}.vasp" for i in (0, 1, 3, 4, 5, 6)]
    assert status == 3
    for i in (2, 7):
        assert f"error: cannot use {folder}/salt-{i}.vasp\n" in told
    assert told.count(f"the process that read it died: {number}") == 2
    assert "2 of 8 structures failed" in told


def test_what_is_predicted_when_the_process_dies_is_found_too(child, folder, model_file, tmp_path):
    """In a batch nobody knows at which; the next process predicts one by one."""
    output, script = tmp_path / "all.jsonl", code(side=5.4 / 2)
    words = ["thermo", folder, "--model", model_file, "--output", output]
    status, _, told = child("-c", script, *words).end()
    assert sources(output.read_text()) == [f"salt-{i}.vasp" for i in (0, 1, 2, 3, 5, 6, 7)]
    assert status == 3
    assert f"cannot use {folder}/salt-4.vasp\n  why: the process that read it died" in told


def test_nothing_is_said_twice(child, folder, model_file):
    """Neither what was printed before a death, nor which files had failed."""
    (folder / "salt-1.vasp").write_text("bad")
    words = ["dos", folder, folder, "--model", model_file, "--json"]
    status, printed, told = child("-c", code("salt-6"), *words).end()
    assert sources(printed) == 2 * [f"salt-{i}.vasp" for i in (0, 2, 3, 4, 5, 7)]
    assert status == 3
    assert told.count("salt-1.vasp\n") == 2
    assert told.count("cannot use") + told.count("cannot read") == 4


def test_stdin_is_there_for_each_process(child, folder, model_file):
    text = (folder / "salt-4.vasp").read_text()
    script = [sys.executable, "-c", code(side=5.4 / 2), "dos", "-", "--model", str(model_file)]
    done = subprocess.run(script, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot use <stdin>\n  why: the process that read it died: SIGSEGV" in done.stderr


def test_a_process_that_dies_of_anything_is_given_up(child, folder, model_file):
    script = "from debye.cli import watched\nwatched.MOST_DEATHS = 2\n" + code("salt")
    status, printed, told = child("-c", script, "dos", folder, "--model", model_file).end()
    assert (status, printed) == (1, "")
    assert "too many structures kill the process" in told
    assert "Traceback" not in told


def test_a_death_that_is_nobodys_fault_is_told(child, folder):
    script = (
        "import os, signal, sys\nfrom debye.cli import main\nfrom debye.core import checkpoint\n"
    )
    script += "checkpoint._read = lambda path: os.kill(os.getpid(), signal.SIGBUS)\nmain()"
    status, _, told = child("-c", script, "dos", folder, "--model", "fast").end()
    assert status == 1
    assert "why: the process that did the work died: SIGBUS" in told


HOLDS = """
import sys, threading
from debye.cli import main
from debye.crystals.predict.predictor import Predictor

call = Predictor.__call__

def held(self, structures):
    for i, item in enumerate(call(self, structures)):
        if i == 3:
            sys.stderr.write("at work\\n")
            sys.stderr.flush()
            threading.Event().wait()
        yield item

Predictor.__call__ = held
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["one", "all"])
def test_a_signal_to_the_parent_ends_the_work_and_keeps_the_results(
    child, folder, model_file, tmp_path, number, kill
):
    words = ["dos", folder, "--model", model_file, "--output", tmp_path / "all.jsonl"]
    process = child("-c", HOLDS, *words, start_new_session=True)
    process.says("at work")
    kill(process.pid, number)
    status, _, told = process.end()
    assert status == 130
    assert "Traceback" not in told
    assert sources((tmp_path / "all.jsonl").read_text()) == [f"salt-{i}.vasp" for i in range(3)]


def test_a_parent_that_is_killed_leaves_no_child(child, folder, model_file):
    process = child("-c", HOLDS, "dos", folder, "--model", model_file)
    process.says("at work")
    process.kill()
    process.end()  # once nobody holds its pipes any more
