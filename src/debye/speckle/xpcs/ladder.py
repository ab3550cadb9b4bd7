"""Multi-tau: frames are correlated at short lags, summed two by two, correlated again, and so on.

The first levels work on photon events where frames hold few of them, the others on whole frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from debye.speckle.xpcs.dense import ROWS, DenseBand, Lags
from debye.speckle.xpcs.events import Events, SparseBand, correlate, joined, scattered
from debye.speckle.xpcs.slots import Slots

OCCUPANCY = 0.06
"""Lit part of the pixels of a row below which pairs of events are faster than matrix products."""
EVENTS = 60_000
"""Events that are correlated at once."""


class Scheme(NamedTuple):
    """Which lags are correlated at which level, where a row sums 2ˡᵉᵛᵉˡ frames.

    Example:
        >>> [tuple(MULTI_TAU.lags(level)) for level in range(3)], Scheme(100, None).lags(1)
        ([(0, 16), (9, 16), (9, 16)], None)
    """

    first: int
    """Largest lag of the first level."""
    step: int | None
    """The largest lag of the others, down to above its half; None where there are no others."""

    def lags(self, level: int) -> Lags | None:
        """Lags in rows of a level; the first has 0, for the contrast."""
        if level == 0:
            return Lags(0, self.first)
        return None if self.step is None else Lags(self.step // 2 + 1, self.step)


MULTI_TAU = Scheme(16, 16)


class Ladder:
    """The levels of a correlation, fed frame by frame.

    Args:
        slots: Order of the pixels.
        scheme: Which lags.
        occupancy: Lit part of the pixels of the first frames.

    Attributes:
        on_events: The first levels.
        on_rows: Those after them.
        end: Frames taken.
    """

    def __init__(self, slots: Slots, scheme: Scheme, occupancy: float) -> None:
        self.slots, self.scheme = slots, scheme
        self.on_events: list[SparseBand] = []
        self.on_rows: list[DenseBand] = []
        self.pending: list[Events] = []
        self.carried = Events.none()
        self.begun = self.end = 0
        for level in range(self._sparse_levels(occupancy)):
            self.on_events.append(SparseBand(slots.cells, self._lags(level), level))

    @property
    def sparse(self) -> int:
        """How many levels work on events."""
        return len(self.on_events)

    @property
    def bands(self) -> list[SparseBand | DenseBand]:
        """What each level has summed."""
        return [*self.on_events, *self.on_rows]

    def add_rows(self, rows: int, fill: Callable[[np.ndarray, int], None]) -> None:
        """Take frames as they are, where no level works on events.

        Args:
            rows: How many.
            fill: Writes rows into the array it is given, from the row of that number on.
        """
        self.end += rows
        self._feed(0, rows, fill)

    def add_events(self, events: Events, end: int) -> None:
        """Take the events of frames up to ``end``, counted from the first frame of all."""
        self.pending.append(events)
        self.end = end
        waiting = sum(len(part.frame) for part in self.pending)
        aligned = end >> self.sparse << self.sparse
        if waiting >= EVENTS or aligned - self.begun >= (ROWS << self.sparse):
            self._spend(aligned)

    def finish(self) -> None:
        """Correlate what waits; rows that are not whole are left out."""
        if self.sparse or self.pending:
            self._spend(self.end)
        for level in itertools.count(self.sparse):
            if level >= len(self.bands):
                return
            self._advance(level)

    def _spend(self, end: int) -> None:
        """Correlate the events that wait, up to a frame."""
        if end <= self.begun:
            return
        waiting = joined([Events.none(), *self.pending])
        now, later = waiting.before(end), waiting.since(end)
        lit = len(now.frame) / ((end - self.begun) * len(self.slots))
        if lit > 3 * OCCUPANCY / 2 ** (self.sparse - 1):
            self._thin(self._sparse_levels(lit))
        if self.sparse:
            self.carried = correlate(self.on_events, self.slots, self.carried, now, end)
        if self.scheme.lags(self.sparse) is not None:
            first = self.begun >> self.sparse
            rows = (end >> self.sparse) - first

            def fill(out: np.ndarray, row: int) -> None:
                start, level = (first + row) << self.sparse, self.sparse
                out[:] = 0
                some = now.since(start).before(start + (len(out) << level))
                scattered(some, start, level, out)

            self._feed(self.sparse, rows, fill)
        self.pending, self.begun = [later], end
        if not self.sparse:  # from here on frames are taken as they are
            self._spend(self.end)
            self.pending = []

    def _thin(self, sparse: int) -> None:
        """Turn the levels from ``sparse`` on, which worked on events, to whole rows."""
        turned = []
        for level, old in enumerate(self.on_events[sparse:], sparse):
            new = DenseBand(self.slots, self._lags(level))
            new.sums, new.rows = old.sums, old.rows
            first = (old.rows - new.lags.high) << level
            tail = new.buffer[: new.lags.high]
            scattered(self.carried.since(first), first, level, tail)
            turned.append(new)
        self.on_events, self.on_rows = self.on_events[:sparse], turned + self.on_rows

    def _feed(self, level: int, rows: int, fill: Callable[[np.ndarray, int], None]) -> None:
        """Give rows to a level of whole rows."""
        if level == len(self.bands):
            self.on_rows.append(DenseBand(self.slots, self._lags(level)))
        band, done = self.on_rows[level - self.sparse], 0
        while done < rows:
            room = band.room(rows - done)
            fill(room, done)
            done += len(room)
            if not band.take(len(room)):
                self._advance(level)

    def _advance(self, level: int) -> None:
        """Correlate the rows of a level, and give their sums to the next."""
        band = self.on_rows[level - self.sparse]
        if self.scheme.lags(level + 1) is not None:
            one, two = band.couples()

            def fill(out: np.ndarray, row: int) -> None:
                np.add(one[row : row + len(out)], two[row : row + len(out)], out=out)

            if len(one):
                self._feed(level + 1, len(one), fill)
        band.correlate()

    def _sparse_levels(self, occupancy: float) -> int:
        """How many levels are faster on events, at least 1 if the first is."""
        if occupancy > OCCUPANCY:
            return 0
        if self.scheme.step is None:
            return 1
        return 1 + min(int(np.log2(OCCUPANCY / max(occupancy, 1e-9))), 5)

    def _lags(self, level: int) -> Lags:
        return self.scheme.lags(level) or Lags(0, 0)
