"""Frames that are still being written: correlated as they come, with results that can be looked at.

An HDF5 file in SWMR mode, the files of an EIGER's series, or a folder of images grows; it is looked
at again and again, and what is new is judged, correlated, and forgotten.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from debye.errors import InputError
from debye.speckle.data.analysis import Analysis, Notify, notes_on, slice_length, unheard
from debye.speckle.data.correlate import opened
from debye.speckle.data.hdf5 import tensor
from debye.speckle.data.hdf5_frames import Hdf5Frames
from debye.speckle.data.images import is_image
from debye.speckle.data.locate import split_name
from debye.speckle.data.quality import Examined, Quality, examine
from debye.speckle.data.stack import BLOCK, Stack
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.correlator import LOOK, Correlator
from debye.speckle.xpcs.twotime import TwoTimer

POLL = 0.2
"""Seconds between two looks at what is written."""


def follow(
    frames_of: str | os.PathLike[str],
    how: Analysis,
    *,
    count: int | None = None,
    timeout: float = 30.0,
    every: float = 5.0,
    stopping: Callable[[], bool] = lambda: False,
    notify: Notify = unheard,
    seen: Callable[[Correlation], None] = unheard,
) -> Correlation:
    """Correlate frames while they are written, until they are enough or no more come.

    Which pixels count is decided by the first frames, of which there must be 64 or all; a frame
    that is dark, broken or full is left out when it comes.

    Args:
        frames_of: An HDF5 file in SWMR mode, an EIGER master, or a folder of images, which grows.
        how: What is asked for.
        count: Frames after which to end, bad ones too.
        timeout: Seconds without a new frame after which to end.
        every: Seconds between two results on the way.
        stopping: Asked now and then; once it says yes, what is there is the result.
        notify: Told what one should know, as it comes.
        seen: Given results on the way.

    Raises:
        InputError: What is written cannot be read when no more comes, or options do not fit.
    """
    follower = Follower(frames_of, how, count, notify)
    last = shown = time.monotonic()
    shown -= every
    while not (follower.is_complete or stopping() or time.monotonic() - last > timeout):
        new = follower.look()
        now = time.monotonic()
        last = now if new else last
        if follower.correlator is not None and new and now - shown >= every:
            seen(follower.so_far())
            shown = now
        if not new:
            time.sleep(POLL)
    return follower.finish()


class Follower:
    """What is known of frames that are being written.

    Args:
        frames_of: What grows.
        how: What is asked for.
        count: Frames after which nothing more is taken.
        notify: Told what one should know.

    Raises:
        InputError: Options do not fit.
    """

    def __init__(
        self,
        frames_of: str | os.PathLike[str],
        how: Analysis,
        count: int | None = None,
        notify: Notify = unheard,
    ) -> None:
        for name, used in (("bins", how.bins > 1), ("find_centre", how.find_centre)):
            if used:
                raise InputError(
                    f"cannot use {name} while frames are written",
                    why="it needs all of them",
                    fix="correlate them when they are there",
                )
        if how.slices != 1 and count is None:
            raise InputError(
                "cannot cut into slices of time what is still written",
                why="nobody knows how long it will be",
                fix="say how many frames come, with --count",
            )
        self.frames_of, self.how, self.count = frames_of, how, count
        self.notes: dict[str, None] = {}
        self.quality = Quality()
        self.taken = self.there = 0
        self.correlator: Correlator | None = None
        self.timer: TwoTimer | None = None
        self.stack: Stack | None = None
        self.problem: InputError | None = None
        self._notify = notify

    @property
    def is_complete(self) -> bool:
        """Whether as many frames as were wanted have been taken."""
        return self.count is not None and self.taken >= self.count

    def look(self, *, final: bool = False) -> int:
        """Take what is new; how many frames came, or were taken, since the last look.

        Args:
            final: Whether no more will come.
        """
        try:
            stack = self._opened()
        except InputError as error:  # it may be half written
            self.problem = error
            return 0
        self.stack, self.problem = stack, None
        numbers = stack.numbers[self.taken : self.count]
        new, before = len(stack.numbers) - self.there, self.taken
        self.there = len(stack.numbers)
        if self.correlator is None and len(numbers) < (2 if final or self._is_all(stack) else LOOK):
            return max(new, 0)
        size = max(LOOK, BLOCK // (stack.shape[0] * stack.shape[1]))
        try:
            with stack.source.open() as rows_of:
                for first in range(0, len(numbers), size):
                    rows = numbers[first : first + size]
                    self._take(stack, rows_of(rows), rows)
        except InputError as error:
            self.problem = error
        return max(new, self.taken - before)

    def _opened(self) -> Stack:
        """What is there of the frames."""
        how = replace(self.how, bad_frames=())  # which need not be there yet
        name = os.fspath(self.frames_of)
        path = split_name(name)[0]
        if os.path.isdir(path) or path.lower().endswith((".npy", ".npz")) or is_image(path):
            return opened(name, how)
        options = how.stack_options()
        source = Hdf5Frames(name, growing=True)
        numbers = range(*options.pop("frames").indices(source.shape[0]))
        return Stack(source, numbers, options.pop("bad_frames"), **options)

    def _is_all(self, stack: Stack) -> bool:
        """Whether all frames that are wanted are there."""
        return self.count is not None and len(stack.numbers) >= self.count

    def _take(self, stack: Stack, frames: np.ndarray, rows: range) -> None:
        """Judge and correlate some frames."""
        numbers = np.asarray(rows)
        mask = stack.mask if self.correlator is None else self.correlator.qmap.mask
        try:
            found = examine(tensor(frames)[None], mask, stack.stated.full)
        except InputError as error:
            if self.correlator is None:
                raise
            self._hear(f"frames {rows[0]} to {rows[-1]} were left out: {error.why}")
            self.taken += len(rows)
            return
        if self.correlator is not None and not found.mask.equal(mask):
            self._hear(
                f"pixels went bad in frames {rows[0]} to {rows[-1]}: correlate the frames again "
                "when all are there"
            )
        self._add(found.quality, numbers)
        kept = [k for k in found.kept if int(numbers[k]) not in self.how.bad_frames]
        if kept:
            places = stack.places(numbers[kept])
            block = frames[kept]
            correlator = self._begun(stack, found)
            block[:, ~correlator.qmap.mask.numpy()] = 0
            correlator.update(block, places)
            if self.timer is not None:
                self.timer.update(block, places)
        self.taken += len(rows)

    def _begun(self, stack: Stack, found: Examined) -> Correlator:
        """The correlator, whose q-map is made by the first frames."""
        if self.correlator is not None:
            return self.correlator
        qmap = self.how.qmap(self.how.geometry(stack, self._hear), found.mask, self._hear)
        last = (self.count or 1) - 1
        self.correlator = Correlator(
            qmap,
            stack.interval,
            delays=self.how.delays,
            slice_frames=slice_length(np.array([last]), self.how.slices),
        )
        if self.how.two_time is not False:
            bins = None if isinstance(self.how.two_time, bool) else self.how.two_time
            self.timer = TwoTimer(qmap, stack.interval, bins=bins)
        if stack.time_unit == "frames":
            self._hear("no frame time is known, and delays are in frames: give --frame-time in s")
        for note in stack.notes:
            self._hear(note)
        return self.correlator

    def _add(self, quality: Quality, numbers: np.ndarray) -> None:
        """Keep what was left out, by number."""
        frames = {k: [*v] for k, v in self.quality.frames.items()}
        for kind, which in quality.frames.items():
            frames.setdefault(kind, []).extend(int(numbers[k]) for k in which)
        pixels = self.quality.pixels or quality.pixels
        self.quality = Quality(pixels, frames)
        for line in replace(quality, notes=()).lines() if quality.frames else ():
            self._hear(line)

    def _hear(self, note: str) -> None:
        if note not in self.notes:
            self.notes[note] = None
            self._notify(note)

    def so_far(self) -> Correlation:
        """The correlation of what was taken until now.

        Raises:
            InputError: Fewer than two frames were, or a bin is dark.
        """
        if self.correlator is None or self.stack is None:
            raise self.problem or InputError(
                f"cannot correlate {self.frames_of}", why="no frames came", fix="raise --timeout"
            )
        return replace(self.correlator.so_far(), about=self._about(self.stack))

    def finish(self) -> Correlation:
        """Take what is left; the correlation of all.

        Raises:
            InputError: No frames came, or they cannot be read.
        """
        if not self.is_complete:
            self.look(final=True)
        if self.problem is not None:
            raise self.problem
        if self.count is not None and self.taken < self.count:
            self._hear(f"{self.count} frames were awaited, and {self.taken} came")
        found = self.so_far()
        maps = None if self.timer is None else self.timer.finish()
        for note in notes_on(found):
            self._hear(note)
        about = self._about(self.stack) if self.stack is not None else {}
        return replace(found, two_time=maps, about=about)

    def _about(self, stack: Stack) -> dict[str, Any]:
        left = {**self.quality.as_json(), "notes": list(self.notes)}
        return {"source": stack.source.name, "time_unit": stack.time_unit, "left_out": left}
