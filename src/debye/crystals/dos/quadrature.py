"""Integrals over a density given at points: linear between them, Debye-like towards zero."""

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
    place, share = _gauss_legendre(frequency)  # both [node], on 0..1
    node = start[:, None] + width[:, None] * place  # [interval, node]
    to_left, to_right = width[:, None] * share * (1 - place), width[:, None] * share * place
    left = interval[:, None].expand_as(node)
    return left.flatten(), node.flatten(), to_left.flatten(), to_right.flatten()


def _debye_nodes(frequency: Tensor, interval: Tensor) -> tuple[Tensor, ...]:
    """Nodes of g = a ω² + b ω⁴ from zero to the end of the one interval that touches zero."""
    start, end = frequency[interval], frequency[interval + 1]
    # States above zero of the two hat functions: the linear interpolant's own count.
    positive = end - start.clamp(min=0.0)
    reach = positive / (end - start)
    of_left, of_right = positive * reach / 2, positive * (1 - reach / 2)
    place, share = _gauss_legendre(frequency)
    octave = 2.0 ** -torch.arange(OCTAVES, dtype=frequency.dtype, device=frequency.device)
    begin = torch.cat([octave[1:], torch.zeros_like(octave[:1])])  # 1/2, 1/4, ..., 2^-15, 0
    width = (octave - begin)[:, None]
    share = (width * share).flatten()  # [octave, node] in a row
    place = (begin[:, None] + width * place).flatten()
    second, fourth = 3 * share * place**2, 5 * share * place**4  # each holds one state
    acoustic = positive / 3  # ∫ (ω/ω₁)² dω: the sound waves that g(ω₁) = a ω₁² stands for
    to_right = acoustic * second + (of_right - acoustic) * fourth
    return interval.expand(len(place)), end * place, of_left * fourth, to_right


def _gauss_legendre(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on 0..1."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    return like.new_tensor((node + 1) / 2), like.new_tensor(weight / 2)
