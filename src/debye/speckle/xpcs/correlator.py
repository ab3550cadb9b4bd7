"""Correlate frames as they come, in bounded memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.errors import InputError
from debye.speckle.xpcs.correlation import Correlation, Sums, estimate
from debye.speckle.xpcs.events import Events, nonzero
from debye.speckle.xpcs.incoming import (
    Block,
    check_events,
    checked_frames,
    checked_numbers,
    checked_time,
)
from debye.speckle.xpcs.ladder import MULTI_TAU, Ladder, Scheme
from debye.speckle.xpcs.qmap import QMap
from debye.speckle.xpcs.slots import Slots, weights

LOOK = 64
"""Frames that are looked at before the first is correlated, to weigh pixels and count photons."""
FARTHEST = 1000
"""How many frames may be missing for each that is there."""
AT_ONCE = 16
"""Frames that are brought into order at once, so that they stay in the cache."""


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
        >>> from debye.speckle.xpcs.qmap import make_qmap
        >>> qmap = make_qmap(Geometry(x=16, y=16), torch.ones(33, 33) > 0, q=2)
        >>> correlator = Correlator(qmap, frame_time=0.01)
        >>> random = np.random.default_rng(0)
        >>> for _ in range(4):
        ...     correlator.update(random.poisson(1.0, (25, 33, 33)))
        >>> correlator.finish()
        Correlation(2 bins at 35 delays, 0.01 … 0.88 s, of 100 frames)
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
        self.frame_time = checked_time(frame_time)
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
        self._slices = (
            None
            if slice_frames is None
            else Slices(
                _checked_slice(slice_frames),
                partial(Correlator, qmap, frame_time, delays=delays, counts=counts),
            )
        )

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
        if self._slices is not None:
            self._slices.take(block.frames.reshape(-1, *self.qmap.shape), block.numbers)
        if self._ladder is None:
            self._waiting.append(block)
            if sum(len(b.numbers) for b in self._waiting) < LOOK:
                return
            self._ladder = self._begin()
        else:
            self._take(block, self._ladder)

    def update_events(
        self, row: np.ndarray, pixel: np.ndarray, count: np.ndarray, frames: int
    ) -> None:
        """Take the photons of the next frames, as detectors that count them one by one give them.

        Args:
            row: (event,) frame, not falling, 0 for the next one.
            pixel: (event,) flat number in a frame; each at most once a frame.
            count: (event,) photons.
            frames: How many frames the events are of, dark ones too.

        Raises:
            InputError: A frame or pixel is beyond, or frames fall.

        Example:
            >>> from debye.speckle.xpcs.events import nonzero
            >>> from debye.speckle.xpcs.simulate import brownian
            >>> seen = brownian(frames=64, photons=0.01)
            >>> frames = next(seen.blocks())
            >>> correlator = Correlator(seen.qmap, seen.frame_time)
            >>> correlator.update_events(*nonzero(frames.reshape(64, -1)), 64)
            >>> correlator.finish() == seen.correlate()
            True
        """
        check_events(row, pixel, frames, self._pixels)
        for start in range(0, frames, LOOK):
            end = min(start + LOOK, frames)
            part = slice(*np.searchsorted(row, [start, end]))
            self._update_part(row[part] - start, pixel[part], count[part], end - start)

    def _update_part(
        self, row: np.ndarray, pixel: np.ndarray, count: np.ndarray, frames: int
    ) -> None:
        """Take photons as they are where all else works on events, else as frames."""
        ladder, begun = self._ladder, self._numbers
        numbers = np.arange(self._next, self._next + frames)
        good = ~np.isin(numbers, self.bad)
        if ladder is None or not ladder.sparse or self._slices is not None or not begun:
            dense = np.zeros((frames, self._pixels), dtype=np.asarray(count).dtype)
            dense[row, pixel] = count
            self.update(dense.reshape(frames, *self.qmap.shape))
            return
        self._next += frames
        kept = good[row]
        row, pixel, count = row[kept], pixel[kept], count[kept]
        self._sum += np.bincount(pixel, weights=count, minlength=self._pixels)
        if good.any():
            self._numbers.append(numbers[good])
            places = numbers - begun[0][0]
            self._add_events(places[row], pixel, count, int(places[good][-1]) + 1, ladder)

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
            self._ladder = self._begin()
        if self._ladder is None or sum(map(len, self._numbers)) < 2:
            raise InputError(
                "cannot correlate these frames",
                why=f"there are {sum(map(len, self._numbers))} that count",
                fix="give at least two",
            )
        self._ladder.finish()
        if self._slices is not None:
            self._slices.close()
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
        return found if self._slices is None else replace(found, slices=tuple(self._slices.done))

    @property
    def frames(self) -> int:
        """How many were taken."""
        return sum(map(len, self._numbers)) + sum(len(b.numbers) for b in self._waiting)

    def _block(self, frames: ArrayLike | Tensor, numbers: ArrayLike | None) -> Block:
        """Frames as (time, pixel) and their numbers, checked."""
        flat = checked_frames(frames, self.qmap.shape)
        given = checked_numbers(numbers, len(flat), self._next)
        if self.counts is None:
            seen = flat[:, self.slots.pixel] if flat.dtype.kind == "f" else np.zeros(0)
            self.counts = bool((seen == np.rint(seen)).all())
        self._next = int(given[-1]) + 1 if len(given) else self._next
        return Block(flat, given)

    def _begin(self) -> Ladder:
        """Weigh the pixels by the first frames, and choose between events and whole frames."""
        looked = np.concatenate([b.frames[:LOOK] for b in self._waiting])[:LOOK]
        some = looked[:: max(len(looked) // 8, 1), self.slots.pixel]
        lit = np.count_nonzero(some) / some.size
        self._weight = (
            weights(looked.mean(0, dtype=float), self.qmap, bool(self.counts))[
                self.slots.pixel
            ].astype(np.float32)
            * self.slots.is_pixel
        )
        ladder = Ladder(self.slots, self.scheme, lit)
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self._take(block, ladder)
        return ladder

    def _take(self, block: Block, ladder: Ladder) -> None:
        """Add frames to all sums."""
        origin = int(self._numbers[0][0]) if self._numbers else int(block.numbers[0])
        self._numbers.append(block.numbers)
        if block.frames.dtype.kind == "f":
            self._sum += block.frames.sum(0, dtype=np.float64)
        places = block.numbers - origin
        if places[-1] > FARTHEST * (self.frames + LOOK):
            raise InputError(
                "cannot place these frames",
                why=f"number {block.numbers[-1]} is far beyond the {self.frames} frames there are",
                fix="give numbers of frames, not times",
            )
        done = 0
        while done < len(places):
            if ladder.sparse:
                done += self._take_events(block.frames[done:], places[done:], ladder)
            else:
                done += self._take_rows(block.frames[done:], places[done:], ladder)

    def _take_events(self, frames: np.ndarray, places: np.ndarray, ladder: Ladder) -> int:
        """Add some frames as events; how many."""
        count = min(len(frames), 4 * LOOK)
        row, pixel, value = nonzero(frames[:count])
        if frames.dtype.kind != "f":
            self._sum += np.bincount(pixel, weights=value, minlength=self._pixels)
        self._add_events(places[row], pixel, value, int(places[count - 1]) + 1, ladder)
        return count

    def _add_events(
        self, place: np.ndarray, pixel: np.ndarray, value: np.ndarray, end: int, ladder: Ladder
    ) -> None:
        """Add the events of frames up to ``end`` to flux and levels."""
        slot, before, cells = self._slot_of[pixel], ladder.end, self.slots.cells
        inside = slot >= 0
        slot, place = slot[inside], place[inside]
        events = Events(place, slot, value[inside].astype(np.float32) * self._weight[slot])
        where = (place - before) * cells + self.slots.cell[slot]
        flux = np.bincount(where, weights=events.value, minlength=(end - before) * cells)
        self._add_flux(flux.reshape(-1, cells).astype(np.float32))
        ladder.add_events(events, end)

    def _take_rows(self, frames: np.ndarray, places: np.ndarray, ladder: Ladder) -> int:
        """Add some frames that follow one another as they are, after those missing; how many."""
        missing = int(places[0]) - ladder.end
        if missing:
            self._flux.append(np.zeros((missing, self.slots.cells), dtype=np.float32))
            ladder.add_rows(missing, lambda out, row: out.fill(0))
        gaps = np.flatnonzero(np.diff(places) > 1)
        count = int(gaps[0]) + 1 if len(gaps) else len(places)
        if frames.dtype.kind != "f":
            self._sum += frames[:count].sum(0, dtype=np.uint64)
        ladder.add_rows(count, lambda out, row: self._order(frames[row : row + len(out)], out))
        return count

    def _order(self, frames: np.ndarray, out: np.ndarray) -> None:
        """Write frames in the order of the slots, weighted, and sum their flux."""
        for start in range(0, len(out), AT_ONCE):
            some = out[start : start + AT_ONCE]
            some[:] = np.take(frames[start : start + AT_ONCE], self.slots.pixel, axis=1)
            some *= self._weight
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


class Slices:
    """Correlate slices of time each by itself.

    Args:
        frames: Numbers of a slice.
        begin: Makes a correlator.

    Attributes:
        done: What the slices gave that are over.
    """

    def __init__(self, frames: int, begin: Callable[[], Correlator]) -> None:
        self.frames, self.begin = frames, begin
        self.done: list[Correlation] = []
        self.now: Correlator | None = None
        self.number = 0

    def take(self, frames: np.ndarray, numbers: np.ndarray) -> None:
        """Add frames to the slices that their numbers name."""
        belongs = numbers // self.frames
        for number in np.unique(belongs):
            if self.now is None or number != self.number:
                self.close()
                self.now, self.number = self.begin(), int(number)
            self.now.update(frames[belongs == number], numbers[belongs == number])

    def close(self) -> None:
        """End the slice that has begun; one of a single frame is left out."""
        if self.now is not None and self.now.frames > 1:
            self.done.append(self.now.finish())
        self.now = None


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


def _checked_slice(frames: int) -> int:
    """A length of slices that can be one."""
    if frames < 2:
        raise InputError(
            f"cannot make slices of {frames} frames", why="two make a pair", fix="make them longer"
        )
    return frames
