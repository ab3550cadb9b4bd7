"""Pixels in the order in which they are correlated: by bin, by sector in it, weighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from debye.speckle.xpcs.qmap import SECTORS, QMap


@dataclass(frozen=True)
class Slots:
    """Where each pixel of a q-map goes.

    A bin has K sectors of P slots, one after another, so that a matrix product sums over a sector.
    Sectors of fewer pixels are padded with slots of no weight.

    Args:
        pixel: (slot,) flat number of the pixel in a frame.
        is_pixel: (slot,) False where padded.
        cell: (slot,) bin · K + sector.
        first: (bin,) number of the first slot of a bin.
        size: (bin,) P.
    """

    pixel: np.ndarray
    is_pixel: np.ndarray
    cell: np.ndarray
    first: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def of(cls, qmap: QMap) -> Slots:
        """The slots of a q-map."""
        labels = qmap.dynamic.labels.flatten().numpy()
        inside = np.flatnonzero(labels)
        cell = (labels[inside] - 1) * SECTORS + qmap.cells().flatten().numpy()[inside]
        order = np.argsort(cell, kind="stable")
        counts = np.bincount(cell, minlength=len(qmap) * SECTORS)
        size = counts.reshape(-1, SECTORS).max(1)
        wide = np.repeat(size, SECTORS)  # slots of each cell
        begin = np.cumsum(wide) - wide
        rank = np.arange(len(inside)) - np.repeat(np.cumsum(counts) - counts, counts)
        place = np.repeat(begin, counts) + rank
        cells = np.repeat(np.arange(len(wide)), wide)
        pixel = inside[order][(np.cumsum(counts) - counts)[cells]]  # padded with the first
        pixel[place] = inside[order]
        is_pixel = np.zeros(len(pixel), dtype=bool)
        is_pixel[place] = True
        return cls(pixel, is_pixel, cells, tuple(begin[::SECTORS].tolist()), tuple(size.tolist()))

    def __len__(self) -> int:
        return len(self.pixel)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.size) * SECTORS

    def of_pixel(self, pixels: int) -> np.ndarray:
        """(pixel,) int32 slot of each pixel; −1 outside the bins."""
        found = np.full(pixels, -1, dtype=np.int32)
        found[self.pixel[self.is_pixel]] = np.flatnonzero(self.is_pixel)
        return found


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
    return (
        np.asarray(brightest / np.maximum(shell, floor))[label]
        if brightest > 0
        else np.ones(len(label))
    )
