"""Equivariant building blocks: spherical harmonics, couplings, convolution, gate.

Features are tensors ``h`` of shape (node, m, channel). The axis ``m`` runs over the components
of all orders l = 0 … l_max in turn, (l_max + 1)² of them, and every order has the same number of
channels. Order l has parity (−1)^l, so a pair of orders couples to a third only where the three
add to an even number; those are the couplings that triple products of spherical harmonics give.
The conventions (real harmonics, "component" normalisation, y as the polar axis) are e3nn's
(Geiger & Smidt, arXiv:2207.09453), against which the tests compare.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

L_MAX = 4
"""Highest order for which the spherical harmonics are written out."""


class Features(NamedTuple):
    """Equivariant features of N sites, as the encoder tells them to the heads."""

    scalars: Tensor
    """(N, S): the species, and the scalars of every layer."""
    tensors: Tensor
    """(N, m, C): all orders of the last layer."""


def orders(l_max: int) -> list[slice]:
    """Where each order l = 0 … l_max stands on the axis m.

    Example:
        >>> orders(2)
        [slice(0, 1, None), slice(1, 4, None), slice(4, 9, None)]
    """
    return [slice(l * l, (l + 1) * (l + 1)) for l in range(l_max + 1)]


def by_order(h: Tensor, l_max: int) -> tuple[Tensor, ...]:
    """Features (N, m, C) as one block (N, 2l + 1, C) for each order.

    Split, not sliced: the gradient of a split is one concatenation, that of a slice a whole
    tensor of zeros for every block.
    """
    return h.split([2 * l + 1 for l in range(l_max + 1)], dim=1)


def spherical_harmonics(direction: Tensor, l_max: int) -> Tensor:
    """Real spherical harmonics of unit vectors, normalised to Σ_m Y_lm² = 2l + 1.

    Args:
        direction: (…, 3) unit vectors (x, y, z).
        l_max: Highest order, at most 4.

    Returns:
        (…, (l_max + 1)²), orders in turn.

    Example:
        >>> spherical_harmonics(torch.tensor([0.0, 1.0, 0.0]), 1)
        tensor([1.0000, 0.0000, 1.7321, 0.0000])
    """
    x, y, z = direction.unbind(-1)
    Y = [torch.ones_like(x)]
    if l_max >= 1:
        Y += [sqrt(3) * x, sqrt(3) * y, sqrt(3) * z]
    if l_max >= 2:
        s, xz2, zx2 = sqrt(15), x * x + z * z, z * z - x * x
        Y += [s * x * z, s * x * y, sqrt(5) * (y * y - xz2 / 2), s * y * z, s / 2 * zx2]
    if l_max >= 3:
        a, b, c, fy = sqrt(35 / 8), sqrt(105), sqrt(21 / 8), 4 * y * y - xz2
        Y += [
            a * x * (3 * z * z - x * x),
            b * x * y * z,
            c * x * fy,
            sqrt(7) / 2 * y * (2 * y * y - 3 * xz2),
            c * z * fy,
            b / 2 * y * zx2,
            a * z * (z * z - 3 * x * x),
        ]
    if l_max >= 4:
        y2 = y * y
        a, b, c, d = 1.5 * sqrt(35), 1.5 * sqrt(35 / 2), 1.5 * sqrt(5), 1.5 * sqrt(5 / 2)
        Y += [
            a * z * x * (z * z - x * x),
            b * x * y * (3 * z * z - x * x),
            c * z * x * (7 * y2 - 1),
            d * x * y * (7 * y2 - 3),
            3 / 8 * (35 * y2 * y2 - 30 * y2 + 3),
            d * z * y * (7 * y2 - 3),
            c / 2 * (z * z - x * x) * (7 * y2 - 1),
            b * z * y * (z * z - 3 * x * x),
            a / 4 * (z**4 - 6 * z * z * x * x + x**4),
        ]
    return torch.stack(Y, dim=-1)  # [..., m]


def _sphere(degree: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights that integrate polynomials of a degree exactly over the unit sphere."""
    cos, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    phi = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    sin = np.sqrt(1 - cos**2)
    nodes = [
        np.outer(sin, np.cos(phi)),
        np.outer(cos, np.ones_like(phi)),
        np.outer(sin, np.sin(phi)),
    ]
    weights = np.repeat(weight / 2 / len(phi), len(phi))
    return torch.as_tensor(np.stack(nodes, -1).reshape(-1, 3)), torch.as_tensor(weights)


@lru_cache
def coupling(l1: int, l2: int, l3: int) -> Tensor:
    """How orders l1 and l2 make an order l3: the Clebsch–Gordan tensor of real harmonics.

    For l1 + l2 + l3 even it is proportional to ∫ Y_l1m1 Y_l2m2 Y_l3m3 dΩ, which a quadrature
    gives exactly; so the table is computed rather than kept.

    Returns:
        (2l1 + 1, 2l2 + 1, 2l3 + 1) in float64, of squared norm 2l3 + 1.

    Example:
        The scalar made of two vectors is their dot product.

        >>> (coupling(1, 1, 0).squeeze(-1).abs() * sqrt(3)).round(decimals=6)
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]], dtype=torch.float64)
    """
    nodes, weights = _sphere(l1 + l2 + l3)
    Y = spherical_harmonics(nodes, max(l1, l2, l3))
    block = orders(L_MAX)
    C = torch.einsum("n,ni,nj,nk->ijk", weights, Y[:, block[l1]], Y[:, block[l2]], Y[:, block[l3]])
    C = torch.where(C.abs() < 1e-12, 0.0, C)
    return C * sqrt(2 * l3 + 1) / C.norm()


def paths(l_in: int, l_edge: int, l_out: int) -> list[tuple[int, int, int]]:
    """Every (l1, l2, l3) that couples features to l_in and harmonics to l_edge into l_out.

    Example:
        >>> paths(1, 1, 0)
        [(0, 0, 0), (1, 1, 0)]
    """
    return [
        (l1, l2, l3)
        for l1 in range(l_in + 1)
        for l2 in range(l_edge + 1)
        for l3 in range(l_out + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    ]


class Linear(nn.Module):
    """Mix the channels of each order: h'_lm = h_lm W_l, with a bias on the scalars alone.

    Args:
        l_max: Highest order of the features.
        channels_in: Channels that come in.
        channels_out: Channels that go out.
    """

    def __init__(self, l_max: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.l_max = l_max
        self.maps = nn.ModuleList(
            nn.Linear(channels_in, channels_out, bias=l == 0) for l in range(l_max + 1)
        )

    def forward(self, h: Tensor) -> Tensor:
        """(N, m, channels_in) → (N, m, channels_out)."""
        blocks = by_order(h, self.l_max)
        return torch.cat([f(block) for f, block in zip(self.maps, blocks, strict=True)], dim=1)


class Convolution(nn.Module):
    """Messages of an equivariant convolution, one learned filter per path and channel.

    m_e^{l3} = Σ_paths w_path(r_e) · [h_other^{l1} ⊗ Y^{l2}(r̂_e)]^{l3}

    Args:
        l_in: Highest order of the features that come in.
        l_edge: Highest order of the harmonics.
        l_out: Highest order of the messages.
    """

    def __init__(self, l_in: int, l_edge: int, l_out: int) -> None:
        super().__init__()
        self.l_in, self.l_out = l_in, l_out
        self.paths = paths(l_in, l_edge, l_out)
        for l1 in range(l_in + 1):
            table = _coupling_table([p for p in self.paths if p[0] == l1], l_edge)
            self.register_buffer(f"table{l1}", table, persistent=False)

    def forward(self, h: Tensor, Y: Tensor, weight: Tensor) -> Tensor:
        """Couple what each edge carries.

        Args:
            h: (E, m1, C) features of the other end.
            Y: (E, m2) harmonics of the direction.
            weight: (E, P, C) filters, one for each of ``self.paths``.

        Returns:
            (E, m3, C) messages.
        """
        filters = dict(zip(self.paths, weight.unbind(1), strict=True))
        parts: list[list[Tensor]] = [[] for _ in range(self.l_out + 1)]
        for l1, block in enumerate(by_order(h, self.l_in)):
            starting = [path for path in self.paths if path[0] == l1]
            # The geometry of all paths that start at l1, in turn: [e, m3, m1].
            K = torch.einsum("ea,abp->epb", Y, self.get_buffer(f"table{l1}").to(Y))
            width = [2 * path[2] + 1 for path in starting]
            if l1 == 0:
                # A scalar only scales the harmonics: filter it while it is still small.
                for path, k in zip(starting, K.split(width, dim=1), strict=True):
                    parts[path[2]].append(k * (block * filters[path].unsqueeze(1)))
            else:
                for path, coupled in zip(starting, (K @ block).split(width, dim=1), strict=True):
                    parts[path[2]].append(coupled * filters[path].unsqueeze(1))
        return torch.cat([sum(of_order[1:], of_order[0]) for of_order in parts], dim=1)


def _coupling_table(of_paths: list[tuple[int, int, int]], l_edge: int) -> Tensor:
    """Couplings of paths that start at one order: (all harmonics, 2l1 + 1, m3 of each path)."""
    columns = []
    for l1, l2, l3 in of_paths:
        C = torch.zeros((l_edge + 1) ** 2, 2 * l1 + 1, 2 * l3 + 1, dtype=torch.float64)
        C[orders(l_edge)[l2]] = coupling(l1, l2, l3).transpose(0, 1)
        columns.append(C)
    return torch.cat(columns, dim=-1).float()  # [m2, m1, m3 of each path]


class Gate(nn.Module):
    """Non-linearity that keeps the direction: silu on scalars, σ(gate)·h on the higher orders.

    Takes channels (1 + l_max)·C on the scalars, of which l_max·C are gates.

    Args:
        l_max: Highest order of the features.
    """

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max

    def forward(self, scalars: Tensor, h: Tensor) -> Tensor:
        """(N, (1 + l_max)·C) scalars and gates, (N, m, C) features → (N, m, C)."""
        kept, *gates = scalars.split(h.shape[-1], dim=-1)
        blocks = by_order(h, self.l_max)[1:]
        gated = [b * torch.sigmoid(g).unsqueeze(1) for b, g in zip(blocks, gates, strict=True)]
        return torch.cat([nn.functional.silu(kept).unsqueeze(1), *gated], dim=1)
