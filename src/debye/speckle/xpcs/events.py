"""Photon events, and sums of products of frames that hold few of them, pair by pair."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from debye.speckle.xpcs.dense import Lags
from debye.speckle.xpcs.slots import Slots

AT_ONCE = 16
"""Frames that are searched at once, so that they stay in the cache."""


class Events(NamedTuple):
    """Pixels that hold something, in the order of the frames, each once a frame."""

    frame: np.ndarray
    """(event,) int64, not falling."""
    slot: np.ndarray
    """(event,) int32."""
    value: np.ndarray
    """(event,) float32 weighted counts."""

    @classmethod
    def none(cls) -> Events:
        """No event."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    def where(self, chosen: np.ndarray | slice) -> Events:
        """Some of them."""
        return Events(*(part[chosen] for part in self))

    def before(self, frame: int) -> Events:
        """Those before a frame."""
        return self.where(slice(0, int(np.searchsorted(self.frame, frame))))

    def since(self, frame: int) -> Events:
        """Those from a frame on."""
        return self.where(slice(int(np.searchsorted(self.frame, frame)), None))


def joined(parts: list[Events]) -> Events:
    """Events one after another."""
    return Events(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def nonzero(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where frames are not zero: numbers of frame and pixel, and the values.

    Eight bytes are looked at together, for in sparse frames most are zero.

    Args:
        frames: (time, pixel) contiguous.

    Example:
        >>> nonzero(np.eye(2, 8, 5, dtype=np.uint8) * 3)
        (array([0, 1]), array([5, 6]), array([3, 3], dtype=uint8))
    """
    found = [_nonzero(frames[i : i + AT_ONCE]) for i in range(0, len(frames), AT_ONCE)]
    start = np.arange(0, len(frames), AT_ONCE) * frames.shape[1]
    where = np.concatenate([w + at for (w, _), at in zip(found, start, strict=True)])
    edges = np.searchsorted(where, np.arange(len(frames) + 1) * frames.shape[1])
    frame = np.repeat(np.arange(len(frames)), np.diff(edges))
    return frame, where - frame * frames.shape[1], np.concatenate([v for _, v in found])


def _nonzero(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat places and values of what is not zero."""
    flat = frames.reshape(-1)
    if flat.nbytes % 8:
        where = np.flatnonzero(flat)
        return where, flat[where]
    a_word = 8 // flat.itemsize
    whole = flat.view(np.uint64)
    words = np.flatnonzero(whole != 0)
    values = whole[words].view(flat.dtype)
    lit = np.flatnonzero(values)
    return words[lit // a_word] * a_word + lit % a_word, values[lit]


class SparseBand:
    """Σ over rows r of x(r) x(r − lag), cell by cell, from pairs of events.

    Args:
        cells: Their number.
        lags: Which are wanted, in rows.
        level: A row holds 2ˡᵉᵛᵉˡ frames.

    Attributes:
        sums: (cell, lag) float64.
        rows: How many have been correlated.
    """

    def __init__(self, cells: int, lags: Lags, level: int) -> None:
        self.lags, self.level = lags, level
        self.sums = np.zeros((cells, lags.size))
        self.rows = 0

    @property
    def span(self) -> int:
        """Largest distance in frames of two events that a lag joins."""
        return ((self.lags.high + 1) << self.level) - 1

    def add(
        self, cell: np.ndarray, early: np.ndarray, late: np.ndarray, product: np.ndarray
    ) -> None:
        """Add products of pairs of events, those whose rows are whole and a lag apart.

        Args:
            cell: (pair,) of the slot.
            early: (pair,) frame of the first event.
            late: (pair,) frame of the second.
            product: (pair,).
        """
        row = late >> self.level
        lag = row - (early >> self.level)
        wanted = np.flatnonzero(
            (lag >= self.lags.low) & (lag <= self.lags.high) & (row < self.rows)
        )
        where = cell[wanted] * self.lags.size + (lag[wanted] - self.lags.low)
        found = np.bincount(where, product[wanted], self.sums.size)
        self.sums += found.reshape(self.sums.shape)


def correlate(
    bands: Sequence[SparseBand], slots: Slots, carried: Events, events: Events, end: int
) -> Events:
    """Add all pairs of events whose later one is new, to all levels at once.

    Args:
        bands: The levels.
        slots: Which slots make a cell.
        carried: Events that new ones may meet.
        events: All new ones.
        end: The frame after them; rows that are not whole by then are left out.

    Returns:
        What to carry on.
    """
    old, both = len(carried.frame), joined([carried, events])
    reach = max(band.span for band in bands)
    for band in bands:
        band.rows = end >> band.level
    order = by_slot(both, len(slots))
    frame, value = both.frame.astype(np.int32)[order], both.value[order]
    slot = both.slot[order]
    # Slots lie so far apart that a small difference of places is a lag in one slot.
    first = int(both.frame[0]) if len(order) else 0
    apart = end - first + reach + 1
    kind = np.int32 if len(slots) * apart < 2**31 else np.int64
    place = slot.astype(kind) * kind(apart) + (frame - np.int32(first))
    new = order >= old
    if bands[0].lags.low == 0:
        square = np.where(new, value, 0) ** 2
        bands[0].sums[:, 0] += np.bincount(slots.cell[slot], square, slots.cells)
    for early, late, _ in pairs(place, reach):
        fresh = np.flatnonzero(new[late])
        one, two = early[fresh], late[fresh]
        product, cell = value[one] * value[two], slots.cell[slot[one]]
        for band in bands:
            band.add(cell, frame[one], frame[two], product)
    return both.since(end - reach)


def pairs(position: np.ndarray, high: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of numbers, in rising order, that are at most so far apart: neighbours, then the next.

    Args:
        position: (n,) not falling.
        high: Largest difference.

    Yields:
        Indices of the first, of the second, and differences.

    Example:
        >>> [list(zip(a.tolist(), b.tolist())) for a, b, _ in pairs(np.array([0, 2, 3, 9]), 3)]
        [[(0, 1), (1, 2)], [(0, 2)]]
    """
    early = np.arange(len(position), dtype=np.int32)
    for ahead in itertools.count(1):
        early = early[: np.searchsorted(early, len(position) - ahead)]
        late = early + np.int32(ahead)
        lag = position[late] - position[early]
        near = np.flatnonzero(lag <= high)
        if not len(near):
            return
        early = early[near]
        yield early, late[near], lag[near]


def by_slot(events: Events, slots: int) -> np.ndarray:
    """Order of events by slot, and in a slot by frame: a counting sort."""
    from scipy.sparse import csr_matrix

    if not len(events.frame):
        return np.zeros(0, dtype=np.int64)
    first = int(events.frame[0])
    rows = int(events.frame[-1]) - first + 1
    start = np.searchsorted(events.frame, np.arange(first, first + rows + 1))
    number = np.arange(len(events.frame), dtype=np.int32)
    table = csr_matrix((number, events.slot, start), shape=(rows, slots))
    return np.asarray(table.tocsc().data)


def scattered(events: Events, first: int, level: int, out: np.ndarray) -> None:
    """Add events to rows of 2ˡᵉᵛᵉˡ frames.

    Args:
        events: All within the rows.
        first: Frame at which the first row begins.
        level: As said.
        out: (row, slot) contiguous rows to which they are added.
    """
    place = ((events.frame - first) >> level) * out.shape[1] + events.slot
    np.add.at(out.reshape(-1), place, events.value)
