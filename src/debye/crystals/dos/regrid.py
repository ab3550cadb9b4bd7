"""A density given at points, linear between them, moved to other points without losing states."""

from __future__ import annotations

import torch
from torch import Tensor

from debye.crystals.dos.quadrature import trapezoid_weights


def cumulated(frequency: Tensor, density: Tensor, at: Tensor | None = None) -> Tensor:
    """States below each point, ∫_{-∞}^ω g dω, exact for the density linear between its points.

    Args:
        frequency: Increasing points, shape (F,).
        density: g, shape (..., F).
        at: Where, shape (P,); the points themselves if None.

    Returns:
        Shape (..., P).

    Example:
        >>> cumulated(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 2.0]), torch.tensor([1.0, 9.0]))
        tensor([0.5000, 2.0000])
    """
    area = (density[..., 1:] + density[..., :-1]) / 2 * frequency.diff()
    total = torch.cat([torch.zeros_like(area[..., :1]), area.cumsum(-1)], -1)
    if at is None:
        return total
    inside = at.clamp(frequency[0], frequency[-1])
    left = _left(frequency, inside)
    step = inside - frequency[left]
    slope = (density[..., left + 1] - density[..., left]) / frequency.diff()[left]
    return total[..., left] + density[..., left] * step + slope * step**2 / 2


def resampled(frequency: Tensor, density: Tensor, onto: Tensor) -> Tensor:
    """Density on other points, each holding the states of its cell between the midpoints.

    Args:
        frequency: Increasing points, shape (F,).
        density: g, shape (..., F).
        onto: New increasing points, shape (P,); states outside them are lost.

    Returns:
        Shape (..., P).

    Example:
        >>> omega = torch.tensor([0.0, 2.0, 4.0])
        >>> resampled(omega, torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 4.0]))
        tensor([1., 1.])
    """
    edges = torch.cat([onto[:1], (onto[1:] + onto[:-1]) / 2, onto[-1:]])
    states = cumulated(frequency, density, edges).diff()
    # Where nothing lies, the difference of two sums is rounding and may be below zero.
    return states.clamp(min=0.0) / trapezoid_weights(onto)


def broadened(frequency: Tensor, density: Tensor, sigma: float | Tensor) -> Tensor:
    """Gaussian convolution that keeps each point's states on the axis and on its side of zero.

    Args:
        frequency: Increasing points, shape (F,).
        density: g, shape (..., F).
        sigma: Standard deviation, in the unit of ``frequency``; one, or one for each point (F,).

    Returns:
        Shape (..., F).

    Example:
        >>> omega = torch.tensor([0.0, 1.0, 2.0])
        >>> broadened(omega, torch.tensor([0.0, 1.0, 0.0]), 1e9)
        tensor([0.5000, 0.5000, 0.5000])
    """
    weights = trapezoid_weights(frequency)
    gaussian = (-(((frequency[:, None] - frequency) / sigma) ** 2) / 2).exp()  # [target, source]
    # A real mode must not become an imaginary one because it was measured with poor resolution.
    gaussian = gaussian * (frequency[:, None] * frequency >= 0)
    return (density * weights) @ (gaussian / (weights @ gaussian)).mT


def cut(frequency: Tensor, density: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Points and density between two frequencies on the axis, which become its ends.

    Args:
        frequency: Increasing points, shape (F,).
        density: g, shape (..., F).
        low: New beginning.
        high: New end.

    Returns:
        Points (P,) and density (..., P).

    Example:
        >>> cut(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 4.0]), 0.5, 1.0)
        (tensor([0.5000, 1.0000]), tensor([1., 2.]))
    """
    inside = (frequency > low) & (frequency < high)
    ends = frequency.new_tensor([low, high])
    left = _left(frequency, ends)
    share = (ends - frequency[left]) / frequency.diff()[left]
    first, last = torch.lerp(density[..., left], density[..., left + 1], share).split(1, -1)
    points = torch.cat([ends[:1], frequency[inside], ends[1:]])
    return points, torch.cat([first, density[..., inside], last], -1)


def _left(frequency: Tensor, at: Tensor) -> Tensor:
    """Index of the interval that holds each frequency."""
    return (torch.searchsorted(frequency, at.contiguous()) - 1).clamp(0, len(frequency) - 2)
