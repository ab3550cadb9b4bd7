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


class Classes(NamedTuple):
    """Pairs of frames sorted by which lag of each level they are at."""

    of: np.ndarray
    """(distance · phases + phase) int32 class of frames so far apart, the first of which has a
    number of that phase, modulo the frames of a row of the highest level."""
    phases: int
    lags: np.ndarray
    """(class, band) number of the lag; −1 where it is none of the band's."""

    @classmethod
    def joining(cls, bands: Sequence[SparseBand]) -> Classes:
        """The classes that levels tell apart.

        Args:
            bands: The levels.
        """
        reach, phases = max(band.span for band in bands), 1 << max(band.level for band in bands)
        distance, phase = np.indices((reach + 1, phases)).reshape(2, -1)
        base, code = 2 + max(band.lags.size for band in bands), np.zeros(len(phase), np.int64)
        for i, band in enumerate(bands):
            lag = ((distance + phase % (1 << band.level)) >> band.level) - band.lags.low
            code += np.where((lag >= 0) & (lag < band.lags.size), lag + 1, 0) * base**i
        codes, of = np.unique(code, return_inverse=True)
        lags = codes[:, None] // base ** np.arange(len(bands)) % base - 1
        return cls(of.astype(np.int32), phases, lags)

    def add(self, products: np.ndarray, bands: Sequence[SparseBand]) -> None:
        """Add products of pairs to the sums of the levels.

        Args:
            products: (cell, class).
            bands: The levels that were joined.
        """
        for band, lags in zip(bands, self.lags.T, strict=True):
            for i in np.unique(lags[lags >= 0]):
                band.sums[:, i] += products[:, lags == i].sum(1)


def correlate(
    bands: Sequence[SparseBand], slots: Slots, carried: Events, events: Events, end: int
) -> Events:
    """Add all pairs of events whose later one is new, to all levels at once.

    Args:
        bands: The levels, from frames on.
        slots: Which slots make a cell.
        carried: Events that new ones may meet.
        events: All new ones.
        end: The frame after them; rows that are not whole by then are left out.

    Returns:
        What to carry on.
    """
    level = len(bands) - 1
    whole = end >> level << level
    if whole < end:  # what follows the last whole row of the highest level is for those below it
        carried = correlate(bands, slots, carried, events.before(whole), whole)
        return correlate(bands[:-1], slots, carried, events.since(whole), end)
    for band in bands:
        band.rows = end >> band.level
    both, reach = joined([carried, events]), max(band.span for band in bands)
    if not len(events.frame):
        return both.since(end - reach)
    # Slots lie so far apart that a small difference of places is a lag in one slot.
    first, phases = int(both.frame[0]) >> level << level, 1 << level
    apart = -(-(end - first + reach) // phases) * phases
    slot, frame, value = by_slot(both, first, len(slots))
    kind = np.int32 if len(slots) * apart < 2**31 else np.int64
    place = slot.astype(kind) * kind(apart) + frame
    late = np.flatnonzero(frame >= int(events.frame[0]) - first)
    cell = slots.cell[slot]
    if bands[0].lags.low == 0:
        bands[0].sums[:, 0] += np.bincount(cell[late], value[late] ** 2, slots.cells)
    classes = Classes.joining(bands)
    products = np.zeros((slots.cells, len(classes.lags)))
    key = (cell * len(classes.lags)).astype(np.int32)
    for early, after, distance in pairs(place, reach, late):
        where = classes.of[distance * kind(phases) + (place[early] & kind(phases - 1))] + key[after]
        found = np.bincount(where, value[early] * value[after], products.size)
        products += found.reshape(products.shape)
    classes.add(products, bands)
    return both.since(end - reach)


def pairs(
    position: np.ndarray, high: int, late: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of numbers, in rising order, that are at most so far apart: neighbours, then the next.

    Args:
        position: (n,) not falling.
        high: Largest difference.
        late: Indices, rising, of those that may be the second of a pair; all by default.

    Yields:
        Indices of the first, of the second, and differences.

    Example:
        >>> [list(zip(a.tolist(), b.tolist())) for a, b, _ in pairs(np.array([0, 2, 3, 9]), 3)]
        [[(0, 1), (1, 2)], [(0, 2)]]
    """
    late = np.arange(len(position)) if late is None else late
    late = late.astype(np.int32)
    for ahead in itertools.count(1):
        late = late[np.searchsorted(late, ahead) :]
        early = late - np.int32(ahead)
        lag = position[late] - position[early]
        near = np.flatnonzero(lag <= high)
        if not len(near):
            return
        late = late[near]
        yield early[near], late, lag[near]


def by_slot(events: Events, first: int, slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events in the order of their slots, and in a slot of their frames: a counting sort.

    Args:
        events: At least one.
        first: Frame from which others are counted.
        slots: Their number.

    Returns:
        (event,) int32 slots, int32 frames from the first one on, float32 values.
    """
    from scipy.sparse import csr_matrix

    rows = int(events.frame[-1]) - first + 1
    start = np.searchsorted(events.frame, np.arange(first, first + rows + 1))
    table = csr_matrix((events.value, events.slot, start), shape=(rows, slots)).tocsc()
    slot = np.repeat(np.arange(slots, dtype=np.int32), np.diff(table.indptr))
    return slot, table.indices, table.data


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
