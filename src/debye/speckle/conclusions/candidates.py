"""Measurements that could be made, as a config names them or as frames show them.

[long]                  # a name
start = [0.2, 0.1]      # the state, nested as the system has it
times = [0.0, 0.5, 1.0]

[bright]
from = "frames.h5"      # state, what does not move, and times of a run of another file
run = 1                 # the second; 0 if not given
until = 2.0             # last time, at as many frames
frames = 9
exposure = 4.0          # in exposures of the frames that the system was fitted to
q = [5.0, 20.0]         # the ring that is seen, in the detector's wave numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from debye.core.files import read_toml
from debye.errors import InputError
from debye.speckle.conclusions.next_measurement import Candidate
from debye.speckle.data.nexus import load_frames
from debye.speckle.values import positive

FIELDS = ("start", "specimen", "times", "from", "run", "until", "frames", "exposure", "q")
"""What a table may hold."""

MOST = 100_000
"""Frames of a measurement."""


def read_candidates(path: Path) -> dict[str, Candidate]:
    """Candidates by name, of a config, or of a file of frames, whose runs they are.

    Raises:
        InputError: It cannot be read, or a table does not describe a measurement.
    """
    if path.suffix != ".toml":
        data = load_frames(path)
        return {f"run {k}": from_frames(path, k) for k in range(len(data.data))}
    tables, found = read_toml(path), {}
    for name, given in tables.items():
        try:
            found[name] = described(given, path.parent)
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise wrong(path, name, str(error)) from error
        except KeyError as error:
            raise wrong(path, name, f"it has no {error.args[0]}") from error
    if not found:
        raise InputError(f"cannot use {path}", why="it names no candidate", fix="add a table")
    return found


def wrong(path: Path, name: str, why: str) -> InputError:
    """What to say of a table that is no candidate."""
    return InputError(
        f"cannot use [{name}] of {path}",
        why=why,
        fix="give start and times, or from, and any of " + ", ".join(FIELDS[4:]),
    )


def described(given: Mapping[str, Any], folder: Path) -> Candidate:
    """The candidate of one table.

    Args:
        given: Its `FIELDS`.
        folder: Where files that it names lie.

    Raises:
        InputError: A file cannot be read, or a number is out of range.
        KeyError: Start or times are missing.
        ValueError: A field is unknown, or no number.
    """
    if not isinstance(given, Mapping) or (unknown := sorted(set(given) - set(FIELDS))):
        raise ValueError(
            f"it has {unknown[0]!r}" if isinstance(given, Mapping) else "it is no table"
        )
    kept = {k: given[k] for k in ("start", "specimen", "times", "exposure", "q") if k in given}
    if "from" in given:
        shown = from_frames(folder / str(given["from"]), int(given.get("run", 0)))
        kept = {"start": shown.start, "specimen": shown.specimen, "times": shown.times} | kept
    if "until" in given:
        count = int(given.get("frames", len(kept.get("times", (0, 0)))))
        until = positive(given["until"], "until")
        if not 2 <= count <= MOST:
            raise ValueError(f"it has {count} frames, not 2 to {MOST}")
        kept["times"] = until * torch.arange(count).double() / (count - 1)
    kept["exposure"] = positive(kept.get("exposure", 1.0), "exposure")
    if "q" in kept:
        low, high = (positive(q, "q") for q in kept["q"])
        kept["q"] = low, high
    return Candidate(kept.pop("start"), kept.pop("times"), **kept)


def from_frames(path: Path, run: int) -> Candidate:
    """A run of frames, as if it were made once more.

    Raises:
        InputError: The file cannot be read, holds no states, or no such run.
    """
    data = load_frames(path)
    states = data.known_states()
    if not 0 <= run < len(states):
        raise InputError(
            f"there is no run {run} in {path}", why=f"it has {len(states)}", fix="count from 0"
        )
    specimen = None if data.specimen is None else data.specimen[run]
    return Candidate(states[run, 0], data.times, specimen)
