"""Sums of products of frames a few rows apart, by matrix products over sectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from debye.speckle.xpcs.qmap import SECTORS
from debye.speckle.xpcs.slots import Slots

ROWS = 64
"""Rows that are correlated at once."""
STEP = 16
"""Rows of one matrix product: wide enough for its speed, with few pairs that nobody wants."""


class Lags(NamedTuple):
    """Lags in rows, from ``low`` to ``high``, both among them."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many."""
        return self.high - self.low + 1


class DenseBand:
    """Σ over rows r of x(r) x(r − lag), cell by cell, of rows that come one after another.

    Before the first row everything is dark, so that its pairs add nothing.

    Args:
        slots: Which columns make a cell.
        lags: Which are wanted.

    Attributes:
        sums: (cell, lag) float64.
        rows: How many have been correlated.
    """

    def __init__(self, slots: Slots, lags: Lags) -> None:
        self.slots, self.lags = slots, lags
        self.sums = np.zeros((slots.cells, lags.size))
        self.rows = 0
        self.filled = 0
        self.unpaired: np.ndarray | None = None
        self.buffer = np.zeros((lags.high + ROWS, len(slots)), dtype=np.float32)

    def room(self, rows: int) -> np.ndarray:
        """A view of at most that many rows, to be filled; `take` says that they are."""
        start = self.lags.high + self.filled
        return self.buffer[start : start + min(rows, ROWS - self.filled)]

    def take(self, rows: int) -> bool:
        """Count rows of `room` as filled; whether there is room for more."""
        self.filled += rows
        return self.filled < ROWS

    def fresh(self) -> np.ndarray:
        """The rows not yet correlated."""
        return self.buffer[self.lags.high : self.lags.high + self.filled]

    def correlate(self) -> None:
        """Add the products of the rows not yet correlated, and keep the last for what follows."""
        if not self.filled:
            return
        high, end = self.lags.high, self.lags.high + self.filled
        padded = -(-self.filled // STEP) * STEP
        self.buffer[end : high + padded] = 0
        if self.rows + self.filled > self.lags.low:  # else there is no pair yet
            for b, (first, size) in enumerate(zip(self.slots.first, self.slots.size, strict=True)):
                cells = slice(b * SECTORS, (b + 1) * SECTORS)
                self.sums[cells] += self._products(first, size, padded)
        last = self.buffer[self.filled : end]
        self.buffer[:high] = last if self.filled >= high else last.copy()
        self.rows += self.filled
        self.filled = 0

    def _products(self, first: int, size: int, rows: int) -> np.ndarray:
        """(sector, lag) sums of a bin."""
        high, wide = self.lags.high, STEP + self.lags.high - self.lags.low
        whole = torch.from_numpy(self.buffer)[:, first : first + SECTORS * size]
        x = whole.unflatten(1, (SECTORS, size)).transpose(0, 1)  # [sector, row, slot]
        total = torch.zeros(SECTORS, STEP, wide)
        for start in range(0, rows, STEP):
            late, early = x[:, high + start : high + start + STEP], x[:, start : start + wide]
            total.baddbmm_(late, early.mT)
        # Row i of the late meets row i + high − lag of the early: lags are diagonals.
        diagonals = total.as_strided((SECTORS, self.lags.size, STEP), (STEP * wide, 1, wide + 1))
        return diagonals.sum(2, dtype=torch.float64).flip(1).numpy()

    def couples(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows // 2, slot) each, the first and second of two rows that are summed to one.

        They are rows not yet correlated; one left without its partner is kept for the next call.
        """
        rows = self.fresh()
        if self.unpaired is not None:
            rows = np.concatenate([self.unpaired[None], rows])
        even = len(rows) // 2 * 2
        self.unpaired = rows[even].copy() if even < len(rows) else None
        return rows[0:even:2], rows[1:even:2]

    @property
    def nbytes(self) -> int:
        """Memory of the rows."""
        return self.buffer.nbytes
