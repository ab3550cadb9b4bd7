"""Two-time correlation: how each frame correlates with each other, when that is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.core.upward import Displayed
from debye.errors import InputError
from debye.speckle.values import ByValue
from debye.speckle.xpcs.correlation import Correlation, Sums, estimate, scale_of
from debye.speckle.xpcs.dense import Lags
from debye.speckle.xpcs.events import nonzero, pairs
from debye.speckle.xpcs.incoming import checked_frames, checked_numbers, checked_time
from debye.speckle.xpcs.jackknife import without_each
from debye.speckle.xpcs.qmap import SECTORS, QMap
from debye.speckle.xpcs.slots import Slots, weights

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OCCUPANCY = 0.05
"""Lit part of the pixels below which products of sparse matrices are faster."""
BLOCK = 256
"""Rows of a map that are made at once."""
MAX_BYTES = 8 * 2**30
"""Largest memory of the maps, unless a caller says otherwise."""


@dataclass(frozen=True, eq=False, repr=False)
class TwoTime(ByValue, Displayed):
    """Two-time correlation of some bins of a q-map.

    c(t₁, t₂) = Σ_p w² I_p(t₁) I_p(t₂) / (a(t₁) a(t₂) Σ_p w² μ_p²)

    as `Correlator` has it; on the diagonal shot noise is taken off where photons are counted.

    Args:
        bins: (B,) numbers of the bins in the q-map they were taken from.
        maps: (B, time, time) float32, symmetric; NaN where a bin holds no light in a frame.
        correlation: g2 at every delay from the diagonals, with its errors.
    """

    bins: Tensor
    maps: Tensor
    correlation: Correlation

    def __repr__(self) -> str:
        bins, time = self.maps.shape[:2]
        return f"TwoTime({bins} bin{'s' * (bins > 1)}, {time} × {time} frames)"

    @property
    def frame_time(self) -> float:
        """Between rows, s."""
        return self.correlation.frame_time

    def at_age(self, edges: Sequence[float]) -> Tensor:
        """(B, A, D) mean of c at ages (t₁ + t₂)/2 between edges and at delays t₂ − t₁ > 0.

        Args:
            edges: (A + 1,) rising, s from the first frame.

        Returns:
            Delays are 1 … D frames, D being the frames less one; NaN where there is no pair.

        Raises:
            InputError: The edges do not rise.

        Reference:
            Madsen et al., New J. Phys. 12, 055001 (2010), for ages.

        Example:
            >>> from debye.speckle.xpcs.simulate import brownian
            >>> seen = brownian(frames=60, bins=2)
            >>> c = two_time(seen.blocks(), seen.qmap, seen.frame_time)
            >>> young, old = c.at_age([0, 0.03, 0.06])[0, :, 0].tolist()
            >>> young > 1.3 and old > 1.3
            True
        """
        if not (np.diff(edges) > 0).all() or len(edges) < 2:
            raise InputError(
                "cannot sort by age", why=f"the edges {list(edges)} do not rise", fix="sort them"
            )
        time = self.maps.shape[-1]
        first, second = np.triu_indices(time, 1)
        which = np.searchsorted(edges, 0.5 * (first + second) * self.frame_time, "right") - 1
        ages = len(edges) - 1
        there = (which >= 0) & (which < ages)
        where = (which * (time - 1) + second - first - 1)[there]
        found = []
        for one in self.maps.numpy():
            values = one[first, second][there].astype(float)
            lit = np.isfinite(values)
            total = np.bincount(where[lit], values[lit], ages * (time - 1))
            count = np.bincount(where[lit], minlength=ages * (time - 1))
            found.append(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
        return torch.from_numpy(np.stack(found).reshape(len(found), ages, time - 1))


class AllLags(NamedTuple):
    """Sums of products at all lags, as a correlator's level has them."""

    lags: Lags
    rows: int
    sums: np.ndarray


class Into(NamedTuple):
    """What products are added to."""

    maps: np.ndarray
    """(bin, row, row), from the diagonal on."""
    sums: np.ndarray
    """(cell, lag)."""
    flux: np.ndarray
    """(row, cell) Σ_p w I."""
    shot: np.ndarray
    """(row, bin) Σ_p w² I."""

    @property
    def rows(self) -> int:
        """Of a map."""
        return len(self.flux)


class TwoTimer:
    """Two-time correlation of frames as they come; holds the frames, sparse where they are.

    Args:
        qmap: The bins.
        frame_time: Between frames, s.
        bins: Numbers of those wanted, from 0; all by default.
        counts: Whether the frames count photons; whether their numbers are whole by default.
        binned: Frames that are summed to one row.
        max_bytes: Largest memory of the maps.

    Raises:
        InputError: A number is of no use.
    """

    def __init__(
        self,
        qmap: QMap,
        frame_time: float = 1.0,
        *,
        bins: Sequence[int] | None = None,
        counts: bool | None = None,
        binned: int = 1,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if binned < 1:
            raise InputError(f"cannot sum {binned} frames", why="there are none", fix="ask for 1")
        self.bins = list(range(len(qmap)) if bins is None else sorted(set(bins)))
        self.qmap = qmap.only(self.bins)
        self.frame_time = checked_time(frame_time)
        self.counts, self.binned, self.max_bytes = counts, binned, max_bytes
        self.slots = Slots.of(self.qmap)
        self._slot_of = self.slots.of_pixel(int(qmap.mask.numel()))
        self._sum = np.zeros(int(qmap.mask.numel()))
        self._numbers: list[np.ndarray] = []
        self._dense: list[np.ndarray] = []
        self._sparse: list[csr_matrix] = []
        self._is_sparse: bool | None = None

    def update(self, frames: ArrayLike | Tensor, numbers: ArrayLike | None = None) -> None:
        """Take the next frames.

        Args:
            frames: (time, qy, qx) counts or intensities.
            numbers: (time,) rising whole numbers of the frames; they follow one another by default.

        Raises:
            InputError: The frames are not of the map's shape, no real numbers, not finite at a
                pixel that counts, or their numbers do not rise; or the maps would be too large.
        """
        flat = checked_frames(frames, self.qmap.shape)
        start = int(self._numbers[-1][-1]) + 1 if self._numbers else 0
        given = checked_numbers(numbers, len(flat), start)
        if not len(flat):
            return
        if self._is_sparse is None:
            seen = flat[:64, self.slots.pixel]
            self._is_sparse = bool(np.count_nonzero(seen) < OCCUPANCY * seen.size)
            if self.counts is None:
                self.counts = flat.dtype.kind != "f" or bool((seen == np.rint(seen)).all())
        self._numbers.append(given)
        self._sum += flat.sum(0, dtype=np.float64 if flat.dtype.kind == "f" else np.uint64)
        self._check_size(int(given[-1] - self._numbers[0][0]) + 1)
        if self._is_sparse:
            from scipy.sparse import csr_matrix

            row, pixel, value = nonzero(flat)
            slot = self._slot_of[pixel]
            table = (value[slot >= 0].astype(np.float32), (row[slot >= 0], slot[slot >= 0]))
            self._sparse.append(csr_matrix(table, shape=(len(flat), len(self.slots))))
        else:
            self._dense.append(flat[:, self.slots.pixel])

    def finish(self) -> TwoTime:
        """The maps of all frames, and g2 from their diagonals.

        Raises:
            InputError: There are fewer than two rows, a pixel that counts is not finite, or a bin
                is dark.
        """
        numbers = np.concatenate([*self._numbers, np.zeros(0, np.int64)])
        rows = (int(numbers[-1] - numbers[0]) + 1) // self.binned if len(numbers) else 0
        if rows < 2:
            raise InputError(
                "cannot correlate these frames", why=f"they make {rows} rows", fix="give more"
            )
        if not np.isfinite(self._sum[self.slots.pixel]).all():
            raise InputError(
                "cannot correlate these frames",
                why="pixels that count are not finite in some of them",
                fix="mask those pixels in the q-map",
            )
        weight = weights(self._sum / len(numbers), self.qmap, bool(self.counts))[self.slots.pixel]
        weight = (weight * self.slots.is_pixel).astype(np.float32)
        row = (numbers - numbers[0]) // self.binned
        maps = np.zeros((len(self.bins), rows, rows), dtype=np.float32)
        sums = np.zeros((self.slots.cells, rows))
        flux = np.zeros((rows, self.slots.cells), dtype=np.float32)
        shot = np.zeros((rows, len(self.bins)))
        into = Into(maps, sums, flux, shot)
        if self._is_sparse:
            self._add_sparse(row, weight, into)
        else:
            self._add_dense(row, weight, into)
        # What the flux says of the mean is what the rows hold, which need not be all frames.
        light = self._sum * (flux.sum() / (self._sum[self.slots.pixel] @ weight))
        whole = Sums(
            self.qmap,
            self.slots,
            [AllLags(Lags(0, rows - 1), rows, sums)],
            flux,
            light.reshape(self.qmap.shape),
            np.unique(row[row < rows]),
            weight.astype(float),
            bool(self.counts),
        )
        _normalise(maps, whole, shot if self.counts else 0 * shot)
        found = estimate(whole, self.frame_time * self.binned)
        return TwoTime(torch.tensor(self.bins), torch.from_numpy(maps), found)

    def _add_dense(self, row: np.ndarray, weight: np.ndarray, into: Into) -> None:
        """Add products of whole frames, cell by cell."""
        edges = np.searchsorted(self.slots.cell, np.arange(self.slots.cells + 1))
        sum_up = _sum_up(row, into.rows)
        for cell, (first, last) in enumerate(itertools.pairwise(edges)):
            counts = np.concatenate([block[:, first:last] for block in self._dense])
            x = sum_up @ (counts.astype(np.float32) * weight[first:last])
            _add_cell(cell, x, weight[first:last], into)

    def _add_sparse(self, row: np.ndarray, weight: np.ndarray, into: Into) -> None:
        """Add products of pairs of events, bin by bin; of whole rows where a bin is bright."""
        from scipy.sparse import vstack

        summed = _sum_up(row, into.rows) @ vstack(self._sparse)
        summed.data *= weight[summed.indices]
        whole = summed.tocsc()  # by slot, and in a slot by row
        whole.sort_indices()
        for number, (first, size) in enumerate(zip(self.slots.first, self.slots.size, strict=True)):
            begin, end = whole.indptr[first], whole.indptr[first + size * SECTORS]
            if end - begin > OCCUPANCY * into.rows * size * SECTORS:
                for k in range(SECTORS):
                    part = slice(first + k * size, first + (k + 1) * size)
                    x = np.ascontiguousarray(whole[:, part].toarray())
                    _add_cell(number * SECTORS + k, x, weight[part], into)
                continue
            at, value = whole.indices[begin:end].astype(np.int64), whole.data[begin:end]
            held = np.diff(whole.indptr[first : first + size * SECTORS + 1])
            slot = np.repeat(np.arange(size * SECTORS), held)
            cells = slice(number * SECTORS, (number + 1) * SECTORS)
            sector = slot // size
            flux = np.bincount(at * SECTORS + sector, value, into.rows * SECTORS)
            into.flux[:, cells] = flux.reshape(-1, SECTORS)
            into.shot[:, number] = np.bincount(at, value * weight[first + slot], into.rows)
            sums = np.bincount(sector * into.rows, value**2, SECTORS * into.rows)
            total = into.maps[number].reshape(-1)
            np.add.at(total, at * (into.rows + 1), value**2)
            for early, late, lag in pairs(slot * (2 * into.rows) + at, into.rows - 1):
                product = value[early] * value[late]
                np.add.at(total, at[early] * into.rows + at[late], product)
                sums += np.bincount(sector[early] * into.rows + lag, product, len(sums))
            into.sums[cells] = sums.reshape(SECTORS, -1)

    def _check_size(self, frames: int) -> None:
        """Refuse maps that memory does not hold."""
        size = 4 * len(self.bins) * (frames // self.binned) ** 2
        if size > self.max_bytes:
            raise InputError(
                f"cannot make {len(self.bins)} two-time maps of {frames // self.binned} frames",
                why=f"they take {size / 2**30:.1f} GiB",
                fix="ask for fewer bins, sum some frames to one row, or raise max_bytes",
            )


def two_time(
    blocks: Iterable[np.ndarray],
    qmap: QMap,
    frame_time: float = 1.0,
    **options: Any,  # noqa: ANN401 - of TwoTimer
) -> TwoTime:
    """Two-time correlation of blocks of frames.

    Args:
        blocks: Each (time, qy, qx).
        qmap: The bins.
        frame_time: Between frames, s.
        options: Of `TwoTimer`.

    Raises:
        InputError: What `TwoTimer` refuses.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> seen = brownian(frames=50, bins=2)
        >>> two_time(seen.blocks(), seen.qmap, seen.frame_time, bins=[1])
        TwoTime(1 bin, 50 × 50 frames)
    """
    timer = TwoTimer(qmap, frame_time, **options)
    for block in blocks:
        timer.update(block)
    return timer.finish()


def _sum_up(row: np.ndarray, rows: int) -> csr_matrix:
    """(row, frame) 1 where a frame belongs to a row."""
    from scipy.sparse import csr_matrix

    kept = np.flatnonzero(row < rows)
    ones = np.ones(len(kept), np.float32)
    return csr_matrix((ones, (row[kept], kept)), shape=(rows, len(row)))


def _add_cell(cell: int, x: np.ndarray, weight: np.ndarray, into: Into) -> None:
    """Add what the weighted rows (row, slot) of a cell say."""
    number = cell // SECTORS
    into.flux[:, cell] = x.sum(1)
    into.shot[:, number] += x @ weight
    _add_products(x, into.maps[number], into.sums[cell])


def _add_products(x: np.ndarray, total: np.ndarray, sums: np.ndarray) -> None:
    """Add x xᵀ from the diagonal on to a map, and its diagonals to sums by lag, in blocks."""
    for start in range(0, len(x), BLOCK):
        some = x[start : start + BLOCK]
        high, wide = len(some), len(x) - start
        # Columns of zeros end the diagonals: lag k begins at column k.
        block = torch.zeros(high, wide + high)
        torch.matmul(torch.from_numpy(some), torch.from_numpy(x[start:]).T, out=block[:, :wide])
        total[start : start + high, start:] += block[:, :wide].numpy()
        diagonals = block.as_strided((wide, high), (1, wide + high + 1))
        sums[:wide] += diagonals.sum(1, dtype=torch.float64).numpy()


def _normalise(maps: np.ndarray, sums: Sums, shot: np.ndarray) -> None:
    """Divide maps by the flux of their frames, and mirror what is above the diagonal."""
    flux = sums.flux.astype(float).reshape(-1, len(maps), SECTORS)
    scale = scale_of(sums, without_each(flux.sum(0)))[0]
    for number, one in enumerate(maps):
        a = (flux[:, number].sum(1) * scale[number] ** 0.5).astype(np.float32)
        a[a <= 0] = np.nan
        noise = shot[:, number] * scale[number]
        for start in range(0, len(one), BLOCK):
            rows = slice(start, start + BLOCK)
            block = one[rows, start:]
            block /= a[rows, None] * a[start:]
            square = block[:, : len(block)]
            square[:] = np.triu(square) + np.triu(square, 1).T
            one[start + len(block) :, rows] = block[:, len(block) :].T
        raw = np.diagonal(one) * a**2 - shot[:, number]
        np.fill_diagonal(one, raw / np.where(a**2 > noise, a**2 - noise, np.nan))
