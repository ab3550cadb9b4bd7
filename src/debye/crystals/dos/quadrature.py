"""Integrals over a density given at points: linear between them, Debye-like towards zero.

A density given at points, linear between them, moved to other points without losing states.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

NODES = 8
"""Gauss–Legendre nodes in each interval; 8 integrate e^-x over a width of 6 to 1e-10."""
OCTAVES = 16
"""Halvings of the first interval towards ω = 0, so that the T³ law holds below its width."""


def trapezoid_weights(frequency: Tensor) -> Tensor:
    """Weights w that make Σ w g the integral of g linear between its points.

    w_j = (ω_{j+1} - ω_{j-1}) / 2, and half an interval at either end. The network's
    decoder, the spectrum and its tests count states with this one rule.

    Args:
        frequency: Increasing points, shape (F,), F ≥ 2.

    Returns:
        Weights, shape (F,), in the unit of ``frequency``.

    Example:
        >>> trapezoid_weights(torch.tensor([0.0, 20.0, 40.0, 50.0]))
        tensor([10., 20., 15.,  5.])
    """
    width = frequency.diff()
    nothing = width.new_zeros(1)
    return (torch.cat([width, nothing]) + torch.cat([nothing, width])) / 2


def integration_weights(frequency: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights W that make Σ g W = ∫ g(ω) K(ω) dω over ω > 0, without touching ω = 0.

    Between its points g is linear. In the interval from ω = 0 to the first point ω₁ it is
    g = a ω² + b ω⁴, sound waves and the first term of their dispersion: a ω₁² = g(ω₁), and b
    holds the rest of the states of the linear interpolant. So counting is unchanged, ∫ g/ω²
    is finite, and T → 0 gives Debye's T³ with the a of the data, even if g(0) > 0 by smearing.
    A grid that crosses zero is cut there; what lies below (imaginary modes) gets no weight.

    The kernel is sampled at Gauss–Legendre nodes, 8 in an interval, and in the first
    interval again in each octave towards zero. The rule is linear in g, so
    ``density @ integration_weights(frequency, kernel)`` serves any number of spectra.

    Args:
        frequency: Increasing points, shape (F,).
        kernel: Function of frequencies (Q,) that returns (Q, ...), finite for ω > 0.

    Returns:
        Weights, shape (F, ...), in the unit of ``frequency`` times that of the kernel.

    Example:
        >>> omega = torch.tensor([0.0, 20.0, 40.0], dtype=torch.float64)
        >>> integration_weights(omega, torch.ones_like)  # the trapezoid rule
        tensor([10.0000, 20.0000, 10.0000], dtype=torch.float64)
        >>> integration_weights(omega, lambda w: w**-2.0)[0]  # 10 · (5/3)/20², not ∞
        tensor(0.0417, dtype=torch.float64)
    """
    left, node, to_left, to_right = _nodes(frequency)
    values = kernel(node)  # [node, ...]
    shape = (-1, *[1] * (values.dim() - 1))
    weights = values.new_zeros(len(frequency), *values.shape[1:])
    weights = weights.index_add(0, left, to_left.reshape(shape) * values)
    return weights.index_add(0, left + 1, to_right.reshape(shape) * values)


def _nodes(frequency: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each node's interval, frequency, and weight on the interval's left and right point."""
    upper = frequency[1:]
    # A printed grid may begin at 1e-10 for 0: without states below it, it would not be Debye-like.
    touches_zero = (frequency[:-1] <= 1e-6 * upper) & (upper > 0)
    plain = (~touches_zero & (upper > 0)).nonzero()[:, 0]
    parts = [_plain_nodes(frequency, plain)]
    if bool(touches_zero.any()):
        parts.append(_debye_nodes(frequency, touches_zero.nonzero()[:, 0]))
    left, node, to_left, to_right = (torch.cat(column) for column in zip(*parts, strict=True))
    return left, node, to_left, to_right


def _plain_nodes(frequency: Tensor, interval: Tensor) -> tuple[Tensor, ...]:
    """Gauss–Legendre nodes in intervals where the density is linear."""
    start, width = frequency[interval], frequency.diff()[interval]
    at, weight = _gauss_legendre(frequency)  # both [node], on 0..1
    node = start[:, None] + width[:, None] * at  # [interval, node]
    to_left, to_right = width[:, None] * weight * (1 - at), width[:, None] * weight * at
    left = interval[:, None].expand_as(node)
    return left.flatten(), node.flatten(), to_left.flatten(), to_right.flatten()


def _debye_nodes(frequency: Tensor, interval: Tensor) -> tuple[Tensor, ...]:
    """Nodes of g = a ω² + b ω⁴ from zero to the end of the one interval that touches zero."""
    start, end = frequency[interval], frequency[interval + 1]
    # States above zero of the two hat functions: the linear interpolant's own count.
    positive = end - start.clamp(min=0.0)
    extent = positive / (end - start)
    of_left, of_right = positive * extent / 2, positive * (1 - extent / 2)
    at, weight = _gauss_legendre(frequency)
    octave = 2.0 ** -torch.arange(OCTAVES, dtype=frequency.dtype, device=frequency.device)
    begin = torch.cat([octave[1:], torch.zeros_like(octave[:1])])  # 1/2, 1/4, ..., 2^-15, 0
    width = (octave - begin)[:, None]
    weight = (width * weight).flatten()  # [octave, node] in a row
    at = (begin[:, None] + width * at).flatten()
    second, fourth = 3 * weight * at**2, 5 * weight * at**4  # each holds one state
    acoustic = positive / 3  # ∫ (ω/ω₁)² dω: the sound waves that g(ω₁) = a ω₁² stands for
    to_right = acoustic * second + (of_right - acoustic) * fourth
    return interval.expand(len(at)), end * at, of_left * fourth, to_right


def _gauss_legendre(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on 0..1."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    return like.new_tensor((node + 1) / 2), like.new_tensor(weight / 2)


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
    weight = (ends - frequency[left]) / frequency.diff()[left]
    first, last = torch.lerp(density[..., left], density[..., left + 1], weight).split(1, -1)
    points = torch.cat([ends[:1], frequency[inside], ends[1:]])
    return points, torch.cat([first, density[..., inside], last], -1)


def _left(frequency: Tensor, at: Tensor) -> Tensor:
    """Index of the interval that holds each frequency."""
    return (torch.searchsorted(frequency, at.contiguous()) - 1).clamp(0, len(frequency) - 2)
