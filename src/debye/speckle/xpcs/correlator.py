"""Correlate frames as they come, in bounded memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.errors import InputError
from debye.speckle.xpcs.correlation import Correlation, Sums, estimate
from debye.speckle.xpcs.events import Events, nonzero
from debye.speckle.xpcs.ladder import MULTI_TAU, OCCUPANCY, Ladder, Scheme
from debye.speckle.xpcs.qmap import QMap
from debye.speckle.xpcs.slots import Slots

LOOK = 64
"""Frames that are looked at before the first is correlated, to weigh pixels and count photons."""
AT_ONCE = 16
"""Frames that are brought into order at once, so that they stay in the cache."""


class Block(NamedTuple):
    """Frames and the numbers they bear."""

    frames: np.ndarray
    """(time, pixel)."""
    numbers: np.ndarray
    """(time,) int64, rising."""


class Correlator:
    """g2 by streaming, dense or sparse, with what its errors need.

    g2(τ) = Σ_t Σ_p w² I_p(t) I_p(t + τ) / (Σ_t a(t) a(t + τ) · Σ_p w² μ_p²)

    over the pixels p of a bin, with μ the mean intensity of a pixel's static shell, a(t) the flux
    of the bin in a frame over its mean, and w a weight. Frames that are missing add nothing to
    either sum. Sums are kept by azimuthal sector, and errors are a jackknife over sectors.

    Args:
        qmap: Which pixels are correlated together.
        frame_time: Between the beginnings of two frames, s.
        delays: ``multi-tau``, or the number n of delays 1 … n, in frames.
        counts: Whether the frames count photons; whether their numbers are whole by default.
        bad_frames: Numbers of frames to leave out.
        slice_frames: Frames of each slice of time that is also correlated by itself.

    Raises:
        InputError: An argument is of no use.

    Example:
        >>> from debye.speckle.xpcs.geometry import Geometry
        >>> from debye.speckle.xpcs.qmap import rings_of
        >>> qmap = rings_of(Geometry(x=16, y=16), torch.ones(33, 33) > 0, rings=2)
        >>> correlator = Correlator(qmap, frame_time=0.01)
        >>> random = np.random.default_rng(0)
        >>> for _ in range(4):
        ...     correlator.update(random.poisson(1.0, (25, 33, 33)))
        >>> correlator.finish()
        Correlation(2 bins at 34 delays, 0.01 … 0.88 s, of 100 frames)
    """

    def __init__(
        self,
        qmap: QMap,
        frame_time: float = 1.0,
        *,
        delays: str | int = "multi-tau",
        counts: bool | None = None,
        bad_frames: Iterable[int] = (),
        slice_frames: int | None = None,
    ) -> None:
        self.qmap, self.counts = qmap, counts
        self.frame_time = _checked_time(frame_time)
        self.bad = np.unique(np.fromiter(bad_frames, dtype=np.int64))
        self.scheme = _scheme(delays)
        self.slots = Slots.of(qmap)
        self._pixels = int(qmap.mask.numel())
        self._slot_of = self.slots.of_pixel(self._pixels)
        self._waiting: list[Block] = []
        self._ladder: Ladder | None = None
        self._weight = np.zeros(0, dtype=np.float32)
        self._flux: list[np.ndarray] = []
        self._sum = np.zeros(self._pixels)
        self._numbers: list[np.ndarray] = []
        self._next = 0
        self._slice = _checked_slice(slice_frames)
        self._parts: list[Correlation] = []
        self._part: Correlator | None = None

    def update(self, frames: ArrayLike | Tensor, numbers: ArrayLike | None = None) -> None:
        """Take the next frames.

        Args:
            frames: (time, qy, qx) counts or intensities.
            numbers: (time,) rising whole numbers of the frames; they follow one another by default.

        Raises:
            InputError: The frames are not of the map's shape, are no real numbers, or not finite
                at a pixel that counts; or numbers do not rise.
        """
        block = self._block(frames, numbers)
        keep = ~np.isin(block.numbers, self.bad)
        if not keep.all():
            block = Block(block.frames[keep], block.numbers[keep])
        if not len(block.numbers):
            return
        self._take_slice(block)
        if self._ladder is None:
            self._waiting.append(block)
            if sum(len(b.numbers) for b in self._waiting) < LOOK:
                return
            self._begin()
        else:
            self._take(block)

    def so_far(self) -> Correlation:
        """The correlation of the frames taken until now; more can follow.

        Raises:
            InputError: They are fewer than two, or a bin is dark.
        """
        return copy.deepcopy(self).finish()

    def finish(self) -> Correlation:
        """The correlation of all frames.

        Raises:
            InputError: They are fewer than two, or a bin is dark.
        """
        if self._ladder is None and self._waiting:
            self._begin()
        if self._ladder is None or sum(map(len, self._numbers)) < 2:
            raise InputError(
                "cannot correlate these frames",
                why=f"there are {sum(map(len, self._numbers))} that count",
                fix="give at least two",
            )
        self._ladder.finish()
        if self._part is not None and self._part.frames > 1:
            self._parts.append(self._part.finish())
            self._part = None
        found = estimate(
            Sums(
                self.qmap,
                self.slots,
                self._ladder.bands,
                np.concatenate(self._flux),
                self._sum.reshape(self.qmap.shape),
                np.concatenate(self._numbers),
                self._weight.astype(float),
                bool(self.counts),
            ),
            self.frame_time,
        )
        return replace(found, slices=tuple(self._parts)) if self._parts else found

    @property
    def frames(self) -> int:
        """How many were taken."""
        return sum(map(len, self._numbers)) + sum(len(b.numbers) for b in self._waiting)

    def _block(self, frames: ArrayLike | Tensor, numbers: ArrayLike | None) -> Block:
        """Frames as (time, pixel) and their numbers, checked."""
        values = frames.numpy() if isinstance(frames, Tensor) else np.asarray(frames)
        if isinstance(frames, np.ma.MaskedArray) or values.dtype.kind not in "uifb":
            raise InputError(
                "cannot correlate these frames",
                why=f"they are {type(frames).__name__} of {values.dtype}, not of real numbers",
                fix="give an array of counts, and a mask to the q-map",
            )
        if values.ndim != 3 or values.shape[1:] != self.qmap.shape:
            raise InputError(
                "cannot correlate these frames",
                why=f"their shape is {values.shape}, and a frame of the q-map {self.qmap.shape}",
                fix="give (time, qy, qx), and make the q-map for such frames",
            )
        if self.counts is None:
            self.counts = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        flat = values.view(np.uint8) if values.dtype.kind == "b" else values
        start = self._next
        given = np.arange(start, start + len(values)) if numbers is None else np.asarray(numbers)
        if len(given) != len(values) or (np.diff(given, prepend=start - 1) < 1).any():
            raise InputError(
                "cannot place these frames",
                why=f"the numbers of {len(values)} frames do not rise from {start} on",
                fix="give the frames in the order of their numbers, each once",
            )
        self._next = int(given[-1]) + 1 if len(given) else start
        return Block(flat.reshape(len(values), -1), given.astype(np.int64))

    def _begin(self) -> None:
        """Weigh the pixels by the first frames, and choose between events and whole frames."""
        looked = np.concatenate([b.frames[:LOOK] for b in self._waiting])[:LOOK]
        lit = np.count_nonzero(looked[:, self.slots.pixel]) / (len(looked) * len(self.slots))
        self._weight = weights(looked.mean(0, dtype=float), self.qmap, bool(self.counts))[
            self.slots.pixel
        ].astype(np.float32) * self.slots.is_pixel
        self._ladder = Ladder(self.slots, self.scheme, lit)
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self._take(block)

    def _take(self, block: Block) -> None:
        """Add frames to all sums."""
        assert self._ladder is not None  # noqa: S101 - for mypy
        origin = int(self._numbers[0][0]) if self._numbers else int(block.numbers[0])
        self._numbers.append(block.numbers)
        if block.frames.dtype.kind == "f":
            self._sum += block.frames.sum(0, dtype=np.float64)
        places = block.numbers - origin
        done = 0
        while done < len(places):
            if self._ladder.sparse:
                done += self._take_events(block.frames[done:], places[done:])
            else:
                done += self._take_rows(block.frames[done:], places[done:])

    def _take_events(self, frames: np.ndarray, places: np.ndarray) -> int:
        """Add some frames as events; how many."""
        assert self._ladder is not None  # noqa: S101 - for mypy
        count = min(len(frames), 4 * LOOK)
        before, end = self._ladder.end, int(places[count - 1]) + 1
        row, pixel, value = nonzero(frames[:count])
        if frames.dtype.kind != "f":
            self._sum += np.bincount(pixel, weights=value, minlength=self._pixels)
        slot = self._slot_of[pixel]
        inside = slot >= 0
        slot, place = slot[inside], places[row[inside]]
        events = Events(place, slot, value[inside].astype(np.float32) * self._weight[slot])
        cells = self.slots.cells
        where = (place - before) * cells + self.slots.cell[slot]
        flux = np.bincount(where, weights=events.value, minlength=(end - before) * cells)
        self._add_flux(flux.reshape(-1, cells).astype(np.float32))
        self._ladder.add_events(events, end)
        return count

    def _take_rows(self, frames: np.ndarray, places: np.ndarray) -> int:
        """Add some frames that follow one another as they are, after those missing; how many."""
        assert self._ladder is not None  # noqa: S101 - for mypy
        missing = int(places[0]) - self._ladder.end
        if missing:
            self._flux.append(np.zeros((missing, self.slots.cells), dtype=np.float32))
            self._ladder.add_rows(missing, lambda out, row: out.fill(0))
        gaps = np.flatnonzero(np.diff(places) > 1)
        count = int(gaps[0]) + 1 if len(gaps) else len(places)
        if frames.dtype.kind != "f":
            self._sum += frames[:count].sum(0, dtype=np.uint64)
        self._ladder.add_rows(count, lambda out, row: self._order(frames[row : row + len(out)], out))
        return count

    def _order(self, frames: np.ndarray, out: np.ndarray) -> None:
        """Write frames in the order of the slots, weighted, and sum their flux."""
        for start in range(0, len(out), AT_ONCE):
            some = out[start : start + AT_ONCE]
            taken = np.take(frames[start : start + AT_ONCE], self.slots.pixel, axis=1)
            np.multiply(taken, self._weight, out=some, casting="unsafe", dtype=np.float32)
        sums = [
            torch.from_numpy(out[:, first : first + n * (self.slots.cells // len(self.qmap))])
            .unflatten(1, (-1, n))
            .sum(2)
            for first, n in zip(self.slots.first, self.slots.size, strict=True)
        ]
        self._add_flux(torch.cat(sums, 1).numpy())

    def _add_flux(self, flux: np.ndarray) -> None:
        """Keep the flux of frames, (time, cell), once it is seen to be finite."""
        if not np.isfinite(flux).all():
            raise InputError(
                "cannot correlate these frames",
                why="pixels that count are not finite in some of them",
                fix="mask those pixels in the q-map",
            )
        self._flux.append(flux)

    def _take_slice(self, block: Block) -> None:
        """Correlate slices of time by themselves."""
        if self._slice is None:
            return
        number = block.numbers // self._slice
        for n in np.unique(number):
            some = Block(block.frames[number == n], block.numbers[number == n])
            if self._part is not None and self._part._next // self._slice != n and self._part._next % self._slice == 0:
                pass
            self._turn(int(n))
            assert self._part is not None  # noqa: S101 - for mypy
            self._part.update(some.frames.reshape(-1, *self.qmap.shape), some.numbers)

    def _turn(self, number: int) -> None:
        """Begin the slice of a number, unless it has begun."""
        if self._part is not None and self._slice_number == number:
            return
        if self._part is not None and self._part.frames > 1:
            self._parts.append(self._part.finish())
        delays = "multi-tau" if self.scheme.step else self.scheme.first
        self._part = Correlator(self.qmap, self.frame_time, delays=delays, counts=self.counts)
        self._slice_number = number


def weights(mean: np.ndarray, qmap: QMap, counts: bool) -> np.ndarray:
    """(pixel,) weight w of each pixel, from the mean intensity μ of its static shell.

    The product of two counts varies as (μ + μ²)², and its signal goes as μ²: w = 1/(1 + 2μ) weighs
    few photons by their number, and many so that all pixels count alike. Where there are no counts,
    w = 1/μ, but for shells darker than a twentieth of the brightest.

    Args:
        mean: (pixel,) of some frames.
        qmap: Whose static shells are taken.
        counts: Whether the frames count photons.
    """
    label = qmap.static.labels.flatten().numpy()
    size = np.bincount(label)
    shell = np.bincount(label, weights=np.where(label > 0, mean, 0)) / size.clip(1)
    if counts:
        return np.asarray((1 / (1 + 2 * shell.clip(0)))[label])
    brightest = float(shell[1:].max())
    floor = 0.05 * brightest if brightest > 0 else 1.0
    return np.asarray(brightest / np.maximum(shell, floor))[label] if brightest > 0 else np.ones(len(label))


def _scheme(delays: str | int) -> Scheme:
    """Which lags are wanted."""
    if delays == "multi-tau":
        return MULTI_TAU
    if isinstance(delays, int) and delays >= 1:
        return Scheme(delays, None)
    raise InputError(
        f"cannot correlate at delays {delays!r}",
        why="they are neither multi-tau nor a number of frames",
        fix="say multi-tau, or how many delays of whole frames are wanted",
    )


def _checked_time(value: float) -> float:
    """A frame time that can be one."""
    if not 0 < value < np.inf:
        raise InputError(
            f"cannot use a frame time of {value!r} s", why="it is not positive", fix="correct it"
        )
    return float(value)


def _checked_slice(frames: int | None) -> int | None:
    """A length of slices that can be one."""
    if frames is not None and frames < 2:
        raise InputError(
            f"cannot make slices of {frames} frames", why="two make a pair", fix="make them longer"
        )
    return frames
