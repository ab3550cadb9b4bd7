"""`debye learn --follow`: a law from frames that are still being written, a stretch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli.console import tell, warn
from debye.cli.stopping import TWICE, graceful_stop
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.data.frames import Frames
    from debye.speckle.fitting.stream import Stream, Stretch
    from debye.speckle.studies.study import Case

POLL = 0.2
"""Seconds between two looks at what is written."""


def fit_stream(
    frames: Path,
    output: Path,
    begin: Callable[[Frames], Stream],
    *,
    size: int,
    timeout: float,
    facts: dict[str, Any],
) -> Stream:
    """Fit a system to a file that grows, and write it after every stretch.

    Args:
        frames: The file.
        output: What to write.
        begin: Makes a stream of the first stretch.
        size: Frames in a stretch.
        timeout: Seconds without a new frame after which to end.
        facts: What to say in the file.

    Raises:
        InputError: Too few frames came, they cannot be read, jump back in time, or do not fit.
        ComputationError: The system does not last through a stretch.
    """
    from debye.speckle.data.nexus import load_frames
    from debye.speckle.fitting.fitted import save

    stream: Stream | None = None
    with graceful_stop("stopping with the frames there are", apart=TWICE) as stopping:
        for part in stretches(frames, size, timeout, stopping):
            data = load_frames(frames, part=part, growing=True)
            for line in data.quality.lines():
                warn(line)
            if stream is None:
                stream = begin(data)
            else:
                stream.take(data)
            _tell_stretch(stream.stretches[-1])
            save(output, stream.result(), **facts)
    if stream is None:
        raise InputError(
            f"cannot follow {frames}",
            why=f"fewer than {size} frames came",
            fix="raise --timeout, or lower --stretch",
        )
    return stream


def stream_of_study(
    study: Callable[[Frames], Case], changes: Mapping[str, Any], instrument: bool | None
) -> Callable[[Frames], Stream]:
    """What begins a stream with a study's model.

    Args:
        study: Of the first frames.
        changes: Of the plan.
        instrument: Whether that is fitted too.
    """

    def begin(data: Frames) -> Stream:
        from debye.speckle.fitting.stream import Stream, stretch_plan
        from debye.speckle.studies.study import as_study

        case = as_study(study(data))
        made = case.model()
        plan = replace(case.plan, stages=stretch_plan(data, made).stages).changed(changes)
        seen = case.geometry(data)
        return Stream(made, data, plan, solver=case.solver, scattering=seen, instrument=instrument)

    return begin


def stream_of_config(
    tables: Mapping[str, Any], instrument: bool | None, *, imports: bool = False
) -> Callable[[Frames], Stream]:
    """What begins a stream with the equation of a config.

    Args:
        tables: Of the config, with the plan.
        instrument: Whether that is fitted too.
        imports: Whether classes of the user's own may be imported.
    """

    def begin(data: Frames) -> Stream:
        from debye.speckle.fitting.described import begun
        from debye.speckle.fitting.stream import Stream, stretch_plan

        return begun(tables, data, Stream, stretch_plan, instrument=instrument, imports=imports)

    return begin


def _tell_stretch(stretch: Stretch) -> None:
    """Say what a stretch came to, and what is odd about it."""
    if stretch.note:
        warn(stretch.note)
    tell(f"t = {stretch.first:g} to {stretch.last:g}: p = {stretch.p:.2g}")


def stretches(
    frames: Path, size: int, timeout: float, stopping: Callable[[], bool]
) -> Iterator[slice]:
    """Stretches of a file's frames as they are there, and at the end what is left.

    Args:
        frames: The file.
        size: Frames in each; one that is left alone joins none.
        timeout: Seconds without a new frame after which to end.
        stopping: Asked now and then whether to end.

    Raises:
        InputError: The file cannot be read when no more comes.
    """
    from debye.speckle.data.nexus import count_frames

    taken = there = 0
    last, problem = time.monotonic(), None
    while not stopping() and time.monotonic() - last <= timeout:
        try:
            now, problem = count_frames(frames), None
        except InputError as error:  # it may be half written
            now, problem = there, error
        if now > there:
            there, last = now, time.monotonic()
        elif now < size + taken:
            time.sleep(POLL)
        while there - taken >= size and not stopping():
            yield slice(taken, taken + size)
            taken, last = taken + size, time.monotonic()
    if problem is not None:
        raise problem
    if taken and there - taken > 1:
        yield slice(taken, there)
