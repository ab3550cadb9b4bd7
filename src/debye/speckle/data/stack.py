"""Frames as beamlines write them, read a block at a time, with what the file says of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.clock import JITTER, Grid, gap_notes, grid
from debye.speckle.data.in_blocks import examine_blocks
from debye.speckle.data.poni import read_poni
from debye.speckle.data.quality import Examined
from debye.speckle.data.sources import Source, Spec, source_of
from debye.speckle.dynamics.solver import check_times
from debye.speckle.values import OneLine
from debye.speckle.xpcs.geometry import Geometry
from debye.units import TIME_UNITS

BLOCK = 2**25
"""Pixels of a block: a float32 copy of one is 128 MB."""
FEWEST = 16
"""Frames of a block, if there are as many: fewer cannot be judged."""


class Stack(OneLine):
    """Frames of a file, a folder or an array, of which a block at a time is in memory.

    HDF5 (EIGER masters with the files they link to, NeXus, CXI, ``file.h5::/path``), numpy
    ``.npy``, and images that fabio reads: a folder of them, one of many pages, or a list.

    Args:
        source: What reads the frames.
        numbers: Of the frames wanted, from 0, as recorded.
        bad: Numbers of frames to leave out.
        mask: (qy, qx) True where a pixel may count; the file's own mask holds as well.
        frame_time: Between frames as recorded, s; as the file states it by default.
        bins: How many successive frames are summed to one.
        poni: A file of pyFAI, whose geometry goes before that of the frames' file.

    Raises:
        InputError: A number is of no frame, fewer than two are left, the times that the file holds
            are uneven, a mask is of another shape, or ``poni`` cannot be used.

    Example:
        >>> frames = np.random.default_rng(0).poisson(1.0, (100, 32, 32))
        >>> stack = Stack.open(frames, frames=slice(0, None, 2), bad_frames=[10])
        >>> stack, len(stack), [len(numbers) for _, numbers in stack.blocks(20)]
        (Stack(the frames: 49 frames of 32 × 32), 49, [15, 17, 17])
    """

    def __init__(
        self,
        source: Source,
        numbers: range,
        bad: Iterable[int] = (),
        mask: Tensor | None = None,
        frame_time: float | None = None,
        bins: int = 1,
        poni: str | os.PathLike[str] | None = None,
    ) -> None:
        self.source, self.numbers, self.stated = source, numbers, source.stated
        if poni is not None:
            self.stated = replace(self.stated, **{"tilt": None, **read_poni(os.fspath(poni))})
        self.bins = bins
        self.bad = tuple(sorted(set(bad)))
        self._check_numbers()
        self.mask = torch.ones(self.shape, dtype=torch.bool)
        for given, whose in ((self.stated.mask, "of the file"), (mask, "given")):
            if given is not None:
                self._check_mask(given, whose)
                self.mask = self.mask & given
        self.notes = list(self.stated.notes)
        self.clock = self._clock(frame_time)
        self.time_unit = self._time_unit(frame_time)
        self.frame_time = self.interval if self.time_unit == "s" else None
        self._check_exposure(frame_time)
        if len(self) < 2:
            raise InputError(
                f"cannot sum {bins} frames of {self.source.name} to one",
                why=f"{len(self)} sums of good frames would be left of {len(self.numbers)}",
                fix="sum fewer",
            )

    @classmethod
    def open(
        cls,
        spec: Spec,
        *,
        frames: slice = slice(None),
        bad_frames: Iterable[int] = (),
        mask: Tensor | None = None,
        frame_time: float | None = None,
        bins: int = 1,
        poni: str | os.PathLike[str] | None = None,
    ) -> Stack:
        """Look at a file, a folder, several images or an array, and read no frame yet.

        Args:
            spec: Which.
            frames: Which of the frames.
            bad_frames: Numbers of frames to leave out, from 0, as recorded.
            mask: (qy, qx) True where a pixel may count.
            frame_time: Between frames as recorded, s.
            bins: How many successive frames are summed to one.
            poni: A file of pyFAI, whose geometry goes before that of the frames' file.

        Raises:
            InputError: They cannot be read, or what `Stack` refuses.
        """
        source = source_of(spec)
        try:
            numbers = range(*frames.indices(source.shape[0]))
        except (TypeError, ValueError) as error:
            raise InputError(
                "cannot choose these frames", why=str(error), fix="give start:stop:step"
            ) from None
        return cls(source, numbers, bad_frames, mask, frame_time, bins, poni)

    def __repr__(self) -> str:
        tall, wide = self.shape
        return f"Stack({self.source.name}: {len(self)} frames of {wide} × {tall})"

    def __len__(self) -> int:
        """Frames that are wanted and not bad, or whole sums of such."""
        good = np.asarray(self.numbers)[~np.isin(self.numbers, self.bad)]
        return int((self._sizes(good) == self.bins).sum())

    def _sizes(self, numbers: np.ndarray) -> np.ndarray:
        """How many frames of some numbers each sum holds."""
        return np.bincount(self.places(numbers))

    @property
    def interval(self) -> float:
        """Between the frames wanted, or sums of them: s, or frames where no time is known."""
        return self.clock.interval * self.bins

    @property
    def shape(self) -> tuple[int, int]:
        """(qy, qx) of a frame."""
        return self.source.shape[1:]

    @property
    def geometry(self) -> Geometry | None:
        """As the file states it; None if it does not say where the beam is."""
        said = self.stated
        if said.centre is None:
            return None
        x, y = said.centre
        return Geometry(x, y, said.distance, said.pixel, said.wavelength, said.tilt)

    def holds(self, x: float, y: float) -> bool:
        """Whether a place is on a pixel of the frame.

        Args:
            x: Column, whole numbers being the middles of pixels.
            y: Row.
        """
        tall, wide = self.shape
        return -0.5 <= x < wide - 0.5 and -0.5 <= y < tall - 0.5

    def blocks(
        self, frames: int | None = None, *, counting: Examined | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frames (time, qy, qx), as they are stored, and their numbers as recorded.

        Of frames that are summed the number is that of the first. A sum of which a frame is left
        out, or missing in the times, is left out.

        Args:
            frames: Frames of a block at most; what 128 MB of float32 hold by default.
            counting: Which frames and pixels count: others are left out, and 0.
        """
        found = self._recorded(frames, counting)
        yield from found if self.bins == 1 else self._summed(found)

    def _summed(
        self, blocks: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Sums of frames that follow one another, each of as many as there should be."""
        open_: tuple[np.ndarray, np.ndarray] | None = None  # the sum that goes on, its numbers
        for frames, numbers in blocks:
            which = self.places(numbers)
            firsts = np.flatnonzero(np.diff(which, prepend=-1))
            sums = np.add.reduceat(frames, firsts, axis=0, dtype=_roomy(frames.dtype))
            parts = np.split(numbers, firsts[1:])
            if open_ is not None and self.places(open_[1][:1])[0] == which[0]:
                sums[0] += open_[0]
                parts[0] = np.concatenate([open_[1], parts[0]])
            open_ = sums[-1], parts[-1]
            whole = np.array([len(part) == self.bins for part in parts])
            if whole.any():
                yield sums[whole], np.array([p[0] for p, w in zip(parts, whole, strict=True) if w])

    def _recorded(
        self, frames: int | None, counting: Examined | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frames as they were recorded."""
        size = frames or max(FEWEST, BLOCK // (self.shape[0] * self.shape[1]))
        count = len(self.numbers)
        parts = -(-count // size)
        edges = [k * count // parts for k in range(parts + 1)]
        kept = None if counting is None else np.array(counting.kept)
        hidden = None if counting is None or counting.mask.all() else ~counting.mask.numpy()
        with self.source.open() as rows_of:
            for first, last in pairwise(edges):
                rows = self.numbers[first:last]
                numbers = np.asarray(rows)
                keep = ~np.isin(numbers, self.bad)
                if kept is not None:
                    keep &= np.isin(numbers, kept)
                if not keep.any():
                    continue
                found = rows_of(rows)
                found = found if keep.all() else found[keep]
                if hidden is not None:
                    found = found if found.flags.writeable else found.copy()
                    found[:, hidden] = 0
                yield found, numbers[keep]

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Which frame times after the first frame those of some numbers were taken.

        Args:
            numbers: As recorded.
        """
        order = (numbers - self.numbers.start) // self.numbers.step
        return self.clock.places.numpy()[order] // self.bins

    def examined(self, saturation: float | None = None) -> Examined:
        """Which pixels and frames count: reads all frames once.

        Args:
            saturation: Counts at which a pixel is full; as the file or its type says by default.

        Raises:
            InputError: What `debye.speckle.data.in_blocks.examine_blocks` refuses.
        """
        full = self.stated.full if saturation is None else saturation
        try:
            found = examine_blocks(self._recorded(None, None), self.mask, full)
        except InputError as error:
            what = f"{self.source.name}: {error.what}"
            raise InputError(what, why=error.why, fix=error.fix) from None
        quality = found.quality
        pixels = self.stated.masked | quality.pixels
        notes = (*self.notes, *quality.notes)
        sizes = self._sizes(np.array(found.kept))
        if lacking := int(((sizes > 0) & (sizes < self.bins)).sum()):
            notes = (*notes, f"{lacking} of {len(sizes)} sums lack a frame, and were left out")
        return found._replace(quality=replace(quality, pixels=pixels, notes=notes))

    def _check_numbers(self) -> None:
        """Refuse frames that are none."""
        total = self.source.shape[0]
        for number in self.bad:
            if not 0 <= number < total:
                raise InputError(
                    f"there is no frame {number} in {self.source.name}",
                    why=f"it holds {total}",
                    fix="count bad frames from 0, as recorded",
                )
        if self.bins < 1:
            raise InputError(
                f"cannot sum {self.bins} frames to one", why="there are none", fix="sum 2 or more"
            )
        left = len(self.numbers) - sum(n in self.numbers for n in self.bad)
        if self.numbers.step < 1 or left < 2:
            raise InputError(
                f"cannot choose these frames of {self.source.name}",
                why=f"it holds {total}, and {left} are left"
                if self.numbers.step > 0
                else "they run backwards",
                fix="choose at least two, forwards",
            )

    def _check_mask(self, mask: Tensor, whose: str) -> None:
        if mask.dtype != torch.bool or tuple(mask.shape) != tuple(self.shape):
            raise InputError(
                f"cannot use the mask {whose}",
                why=f"it is {tuple(mask.shape)} of {mask.dtype}, and a frame {tuple(self.shape)}",
                fix="give (qy, qx), True where a pixel counts",
            )

    def _time_unit(self, frame_time: float | None) -> str:
        """Of delays: s, that of the file's times, or frames where no frame time is known."""
        if frame_time is not None or self.stated.frame_time is not None:
            return "s"
        if self.stated.times is None or self._only_counts():
            return "frames"
        return "s" if self.stated.time_unit is None else self.stated.time_unit

    def _has_times(self, given: float | None) -> bool:
        """Whether each frame has a time; refused where some have none, and nothing is given."""
        total, times = self.source.shape[0], self.stated.times
        if times is None or len(times) == total:
            return times is not None
        if given is None:
            raise InputError(
                f"cannot use the times of {self.source.name}",
                why=f"there are {total} frames a run but {len(times)} times",
                fix="give the frame time yourself, or correct the file",
            )
        self.notes.append(f"there are {total} frames but {len(times)} times, which are not used")
        return False

    def _only_counts(self) -> bool:
        """Whether times without a unit are the numbers of frames."""
        times = self.stated.times
        if times is None or self.stated.time_unit is not None:
            return False
        return bool((times == times.round()).all() and times.diff().min() == 1)

    def _check_exposure(self, given: float | None) -> None:
        """Refuse frames that begin before the one before has ended, but where it is given so."""
        count_time, every = self.stated.count_time, self.clock.interval / self.numbers.step
        if count_time is None or self.frame_time is None or count_time <= every * (1 + JITTER):
            return
        why = f"each is said to be exposed for {count_time:g} s"
        if given is None:
            raise InputError(
                f"cannot take frames of {self.source.name} to be {every:g} s apart",
                why=why,
                fix="give the frame time yourself, or correct the file",
            )
        self.notes.append(f"frames are taken to be {every:g} s apart, as given, but {why}")

    def _clock(self, given: float | None) -> Grid:
        """The frame time between the frames wanted, and the place of each."""
        count, step = len(self.numbers), self.numbers.step
        every = torch.arange(count)  # places
        if given is not None and not 0 < given < float("inf"):
            raise InputError(
                f"cannot use a frame time of {given:g} s", why="it must be positive", fix="give it"
            )
        if not self._has_times(given):
            found = Grid(step * (given or self.stated.frame_time or 1.0), every)
        else:
            found = self._timed(given)
        stated = self.stated.frame_time
        if given is not None and stated is not None and abs(given / stated - 1) > JITTER:
            self.notes.append(
                f"the file says that frames are {stated:g} s apart; {given:g} s were given"
            )
        return found

    def _in_seconds(self, found: Grid, known: float | None, given: bool) -> Grid:
        """A grid without a unit in that in which the frame time fits, or in seconds; told."""
        wanted = found.interval if known is None else known * self.numbers.step
        for unit in ("s", "ms", "us", "ns"):
            interval = found.interval * TIME_UNITS[unit]
            if abs(wanted / interval - 1) <= JITTER:
                self.notes.append(f"the times have no unit, and were taken to be in {unit}")
                return found._replace(interval=interval)
        if not given:
            return found
        self.notes.append("the times have no unit: of them only the gaps are used")
        return found._replace(interval=wanted)

    def _timed(self, given: float | None) -> Grid:
        """The clock of a file that holds the time of each frame."""
        times = torch.as_tensor(self.stated.times)[self.numbers.start :: self.numbers.step]
        times = times[: len(self.numbers)]
        try:
            check_times(times)
        except InputError as error:
            what = f"{self.source.name}: {error.what}"
            raise InputError(what, why=error.why, fix=error.fix) from None
        self.notes += gap_notes(times)
        found, known = grid(times), given or self.stated.frame_time
        if self.stated.time_unit is None and not self._only_counts():
            found = self._in_seconds(found, known, given is not None)
        if known is None:
            return found
        step = known * self.numbers.step
        if self.stated.time_unit == "" or self._only_counts():  # how they are spaced is known
            return Grid(step, found.places)
        if abs(step / found.interval - 1) > JITTER:
            raise InputError(
                f"cannot take frames of {self.source.name} to be {known:g} s apart",
                why=f"its time axis says {found.interval / self.numbers.step:g} s",
                fix="give the frame time of the time axis, or correct the file",
            )
        return Grid(step, found.places)


def _roomy(kind: np.dtype) -> np.dtype:
    """The type in which frames of a type are summed."""
    if kind.kind == "f":
        return np.promote_types(kind, np.float32)
    small = kind.itemsize <= 2
    return np.dtype(f"{'i' if kind.kind == 'i' else 'u'}{4 if small else 8}")
