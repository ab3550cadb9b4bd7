"""How a single mode looks in a published spectrum: the line shapes of the labels.

The labels were smoothed by a Savitzky–Golay filter of 101 points 1 cm⁻¹ apart, so a mode at ω
appears as that filter's response, negative lobes and first window included. A Gaussian before it
stands for what a model does not know.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

WINDOW, DEGREE = 101, 3
"""The published filter: points 1 cm⁻¹ apart, and degree of the polynomial."""


def smoother(points: np.ndarray) -> np.ndarray:
    """The published filter as a matrix: raw density on 0, 1, 2 … cm⁻¹ → smoothed at some points.

    Args:
        points: (F,) whole numbers of cm⁻¹ from 0.

    Returns:
        (F, last point + 51).
    """
    half = WINDOW // 2
    x = np.arange(-half, half + 1) / half
    powers = np.vander(x, DEGREE + 1, increasing=True)
    fit = np.linalg.pinv(powers)  # values of a window → its polynomial
    matrix = np.zeros((len(points), int(points[-1]) + half + 1))
    for row, point in zip(matrix, np.round(points).astype(int), strict=True):
        start = max(point - half, 0)  # the first window serves for all its points
        at = (point - start - half) / half
        row[start : start + WINDOW] = at ** np.arange(DEGREE + 1) @ fit
    return matrix


@lru_cache(maxsize=4)
def line_shapes(frequency: tuple[float, ...], widths: tuple[float, ...]) -> Tensor:
    """How a mode at 0, 1, 2 … cm⁻¹ appears on a grid, for several Gaussian widths.

    Args:
        frequency: The grid, F points, cm⁻¹.
        widths: Standard deviations of W Gaussians, cm⁻¹; 0 for the filter alone.

    Returns:
        (last point + 1, W, F).
    """
    filter_ = smoother(np.array(frequency))
    raw = np.arange(filter_.shape[1])
    mode = np.arange(int(frequency[-1]) + 1)
    shapes = []
    for width in widths:
        spread = np.exp(-0.5 * ((raw - mode[:, None]) / max(width, 0.3)) ** 2)
        shapes.append(spread / spread.sum(1, keepdims=True) @ filter_.T)
    return torch.from_numpy(np.stack(shapes, axis=1)).float()
