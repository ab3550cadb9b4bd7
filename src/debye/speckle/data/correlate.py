"""The front door of XPCS: whatever holds frames → g2 with its errors, by q."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.analysis import (
    Analysis,
    Notify,
    Progress,
    centred,
    correlated,
    notes_on,
    unheard,
)
from debye.speckle.data.frames import Frames
from debye.speckle.data.hdf5 import open_hdf5, text
from debye.speckle.data.held import HeldStack, is_own
from debye.speckle.data.images import is_image
from debye.speckle.data.nexus import load_frames
from debye.speckle.data.quality import Examined
from debye.speckle.data.sources import runs_of as runs_in
from debye.speckle.data.stack import Stack
from debye.speckle.values import Numbers
from debye.speckle.xpcs.average import average
from debye.speckle.xpcs.correlation import Correlation

Given: TypeAlias = "Stack | Frames | Numbers | str | os.PathLike[str]"
"""What holds the frames of one run."""


def correlate(
    frames_of: Given | Sequence[Given],
    rings: int | str | Numbers | None = None,
    *,
    phi: int | Numbers = 1,
    mask: Tensor | None = None,
    centre: tuple[float, float] | None = None,
    energy: float | None = None,
    distance: float | None = None,
    pixel: float | tuple[float, float] | None = None,
    poni: str | os.PathLike[str] | None = None,
    frame_time: float | None = None,
    frames: slice | None = None,
    bad_frames: Sequence[int] = (),
    bins: int = 1,
    run: int | None = None,
    delays: str | int = "multi-tau",
    slices: int = 1,
    two_time: bool | Sequence[int] = False,
    find_centre: bool = False,
    notify: Notify = unheard,
    progress: Progress = unheard,
) -> Correlation:
    """Correlate frames: g2 with its errors, by q.

    Pixels and frames that do not count are left out; ``about`` and ``notes`` of the result say
    which, and what was assumed.

    Args:
        frames_of: What a beamline wrote (an EIGER master, another HDF5 file, ``file.h5::/path``,
            ``.npy``, a folder of images), an array (time, qy, qx), `Frames` or a `Stack`. Images in
            a list are frames of one run; of other things in a list each is a run, and their mean is
            taken, if they agree.
        rings: How many rings in q, or their borders; 8, or fewer on a small detector, if None.
        phi: Azimuthal parts of a ring, or their borders in degrees.
        mask: (qy, qx) True where a pixel may count; the file's own mask holds as well.
        centre: Of the beam, x and y in pixels; as the file says if None, like the next three.
        energy: Of the photons, keV.
        distance: From sample to detector, m.
        pixel: Its size, m: one number, or (y, x).
        poni: A file of pyFAI, whose geometry goes before that of the frames' file.
        frame_time: Between frames as recorded, s.
        frames: Which of the frames.
        bad_frames: Numbers of frames to leave out, from 0, as recorded.
        bins: How many successive frames are summed to one.
        run: Which run of a file or array of several.
        delays: ``multi-tau``, or the number n of delays 1 … n, in frames.
        slices: Stretches of time that are also correlated by themselves, in ``slices``.
        two_time: Whether to make two-time maps too, of all bins or of those numbered.
        find_centre: Whether to take the centre about which the mean frame is most nearly round.
        notify: Told what one should know, as it comes.
        progress: Told how many frames are done, and of how many.

    Raises:
        InputError: They cannot be read, too much of them is bad, something asked for cannot be,
            or runs do not agree.

    Example:
        >>> import numpy as np
        >>> counts = np.random.default_rng(0).poisson(2.0, (100, 48, 48))
        >>> found = correlate(counts, rings=3, frame_time=0.01)
        >>> found
        Correlation(3 bins at 35 delays, 0.01 … 0.88 s, of 100 frames, 2 notes)
        >>> found.notes[0]
        'no beam centre is known: taken at the middle of the frame, 23.5,23.5; --centre'
    """
    how = Analysis(
        rings,
        phi,
        mask,
        centre,
        energy,
        distance,
        pixel,
        poni,
        frame_time,
        frames,
        tuple(bad_frames),
        bins,
        delays,
        slices,
        two_time,
        find_centre,
    )
    return analysed(runs_of(frames_of, run), how, run, notify, progress)


def analysed(
    given: Sequence[Any],
    how: Analysis,
    run: int | None = None,
    notify: Notify = unheard,
    progress: Progress = unheard,
) -> Correlation:
    """Correlate each run, and take their mean if they are several.

    Args:
        given: What holds each.
        how: What is asked for.
        run: Which run of a file or array of several.
        notify: Told what one should know, as it comes.
        progress: Told how many frames are done, and of how many.

    Raises:
        InputError: As `correlate`.
    """
    several = len(given) > 1
    if how.two_time is not False and several:
        raise InputError(
            "cannot make two-time maps of several runs",
            why=f"there are {len(given)}, each with a time of its own",
            fix="correlate each into a file of its own",
        )
    heard = [_Heard(notify) for _ in given]
    stacks = [opened(one, how, run, h) for one, h in zip(given, heard, strict=True)]
    for stack, h in zip(stacks, heard, strict=True):
        h.name = stack.source.name if several else ""
    counting = examined(stacks, heard)
    geometries = [how.geometry(stack, h) for stack, h in zip(stacks, heard, strict=True)]
    if how.find_centre:
        blocks = stacks[0].blocks(counting=counting[0])
        geometries[0] = centred(geometries[0], blocks, counting[0].mask)
        heard[0](f"the beam's centre was found at {geometries[0].x:.2f},{geometries[0].y:.2f}")
        geometries = [replace(g, x=geometries[0].x, y=geometries[0].y) for g in geometries]
    qmap = how.qmap(geometries[0], counting[0].mask, heard[0])
    found = []
    for stack, counted, geometry, h in zip(stacks, counting, geometries, heard, strict=True):
        own = qmap if geometry == qmap.geometry else how.qmap(geometry, counted.mask, h)
        one = correlated(stack, counted, own, how, progress)
        for note in notes_on(one):
            h(note)
        found.append(replace(one, about=_about(stack, counted, h)))
    return _mean(found) if several else found[0]


class _Heard:
    """What was said of a run."""

    def __init__(self, notify: Notify) -> None:
        self.notify, self.name, self.notes = notify, "", list[str]()

    def __call__(self, note: str) -> None:
        self.notes.append(note)
        self.notify(f"{self.name}: {note}" if self.name else note)


def runs_of(given: Any, run: int | None = None) -> list[Any]:  # noqa: ANN401 - whatever holds frames
    """What holds each run, of all that is given.

    Args:
        given: As `correlate` takes it.
        run: Which run of each file or array of several; all by default.

    Raises:
        InputError: Nothing is given, a file cannot be read, or there is no such run.

    Example:
        >>> runs_of("a.h5"), runs_of(["a.h5", "b.h5"]), runs_of(["1.tif", "2.tif"])
        (['a.h5'], ['a.h5', 'b.h5'], [['1.tif', '2.tif']])
    """
    if not isinstance(given, list | tuple):
        return _chosen(given, run)
    if not given:
        raise InputError("cannot correlate", why="no frames are given", fix="give a file of them")
    if all(isinstance(one, str | os.PathLike) for one in given):
        images = len(given) > 1 and all(map(is_image, given))
        return [list(given)] if images else [r for one in given for r in _chosen(one, run)]
    if isinstance(given[0], str | os.PathLike | Stack | Frames | np.ndarray | Tensor):
        return list(given)
    return _chosen(np.asarray(given), run)


def _chosen(given: Any, run: int | None) -> list[Any]:  # noqa: ANN401 - as above
    """The runs of one file or array, or one of them."""
    if isinstance(given, Stack | Frames):
        return [given]
    if isinstance(given, str | os.PathLike):
        name = os.fspath(given)
        if is_own(name):
            return [given]
        found: Sequence[Any] = runs_in(name)
    else:
        name = "the array"
        values = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        found = list(values) if values.ndim == 4 else [values]
    if run is None:
        return list(found)
    _check_run(run, len(found), name)
    return [found[run]]


def opened(
    given: Any,  # noqa: ANN401 - whatever holds frames
    how: Analysis,
    run: int | None = None,
    notify: Notify = unheard,
) -> Stack:
    """The stack of one run.

    Args:
        given: What holds it.
        how: Which of its frames are wanted.
        run: Which run of several.
        notify: Told which run is taken of several.

    Raises:
        InputError: It cannot be read, or there is no such run.
    """
    options = how.stack_options()
    if isinstance(given, Stack):
        if how.chooses_frames:
            raise InputError(
                "cannot choose frames of a stack twice",
                why="a mask, frames, bad frames or a frame time are given beside it",
                fix="give them to Stack.open",
            )
        return given
    frames, name = given, "the frames"
    if isinstance(given, str | os.PathLike) and is_own(os.fspath(given)):
        frames, name = load_frames(given), os.fspath(given)
    if isinstance(frames, Frames):
        count = len(frames.data)
        if run is None and count > 1:
            notify(f"{name} hold{'s' * (name != 'the frames')} {count} runs: the first is taken")
        _check_run(run or 0, count, name)
        return HeldStack.of(frames, run or 0, name, **options)
    return Stack.open(given, **options)


def _check_run(run: int, count: int, name: str) -> None:
    if not 0 <= run < count:
        raise InputError(
            f"there is no run {run} in {name}", why=f"the file holds {count}", fix="count from 0"
        )


def examined(stacks: Sequence[Stack], heard: Sequence[Notify]) -> list[Examined]:
    """Which frames of each run count, and which pixels in all of them.

    Args:
        stacks: The runs.
        heard: Told of each what was left out.

    Raises:
        InputError: Too much is bad, or frames are of different shapes.
    """
    found = []
    for stack, notify in zip(stacks, heard, strict=True):
        found.append(stack.examined())
        for line in found[-1].quality.lines():
            notify(line)
        if stack.time_unit == "frames":
            notify("no frame time is known, and delays are in frames: give --frame-time in s")
        elif stack.time_unit != "s":
            notify("the times have no unit, and delays have theirs: give --frame-time in s")
    shapes = {stack.shape for stack in stacks}
    if len(shapes) > 1:
        raise InputError(
            "cannot average these runs",
            why=f"their frames are {' and '.join(map(str, sorted(shapes)))}",
            fix="give runs of one detector",
        )
    everywhere = found[0].mask
    for each in found[1:]:
        everywhere = everywhere & each.mask
    return [each._replace(mask=everywhere) for each in found]


def _about(stack: Stack, counting: Examined, heard: _Heard) -> dict[str, Any]:
    """Where a correlation comes from."""
    quality = counting.quality.as_json()
    lines = set(counting.quality.lines()) - set(counting.quality.notes)
    notes = [note for note in heard.notes if note not in lines]
    count_time = stack.stated.count_time
    known = {"start_time": start_time(stack), "count_time": count_time}
    return {
        **{name: value for name, value in known.items() if value},
        "source": stack.source.name,
        "time_unit": stack.time_unit,
        "left_out": {**quality, "notes": notes},
    }


STARTS = (
    "/entry/start_time",
    "/entry/instrument/detector/detectorSpecific/data_collection_date",
    "/entry_1/start_time",
    "/measurement/instrument/acquisition/start_time",
)
"""Where HDF5 files say when they were begun: NeXus, EIGER, CXI, Data Exchange."""


def start_time(stack: Stack) -> str:
    """When the first frame was taken, as its file says; empty where it does not.

    Args:
        stack: Of the frames.
    """
    path = getattr(stack.source, "path", None)
    if path is None:
        return ""
    try:
        with open_hdf5(path) as file:
            said = [text(file, name, 100) for name in STARTS if name in file]
    except InputError:  # it is no text
        return ""
    return said[0] if said else ""


def _mean(runs: list[Correlation]) -> Correlation:
    """The mean of runs, and what is to be said of them."""
    names = [str(run.about["source"]) for run in runs]
    notes = [f"{name}: {n}" for name, run in zip(names, runs, strict=True) for n in run.notes]
    about = {"source": names, "time_unit": runs[0].time_unit, "left_out": {"notes": notes}}
    return replace(average(runs, names=names), about=about)
