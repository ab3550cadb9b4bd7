"""Density of states of each site, as its modes make it: differentiable, and finely.

    g_i(ω) = Σ_k |e_ki|² h(ω; ω_k) = Tr[P_i h(ω; D)]        P_i projects on the motions of site i

The right-hand side does not mention eigenvectors, whose derivatives have poles at degeneracies: it
is a smooth function of D, and its derivative is that of Daleckii and Krein (1965),

    dTr[P f(D)] = Σ_ab f[λ_a, λ_b] ⟨b|P|a⟩ ⟨a|dD|b⟩,

with f[x, y] = (f(x) − f(y)) / (x − y) and f[x, x] = f′(x).

Sound lives at short wave vectors, of which an even mesh holds few, and a heat capacity at a few
kelvins is made of nothing else: there modes are followed along rays from q = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.crystals.lattice.dos import low_discrepancy
from debye.crystals.lattice.force_constants import ForceConstants, frequencies
from debye.units import FORCE_CONSTANT_TO_CM1

FLOOR = 2e-4
"""Added to ω², eV/(Å² u), so that the root has a slope at rest; 7 cm⁻¹."""
SPACING = 5.0
"""cm⁻¹ between the points of a fine density of states."""
UNSTABLE = -30.0
"""cm⁻¹: an imaginary mode slower than that counts as real, for it is as likely to be so."""
CENTRE = 1 / 3
"""Edge of the cube of wave vectors around q = 0 where modes are followed along rays."""
RADII = 8
"""Nodes along a ray."""


def site_states(D: Tensor, sites: int, points: int) -> Tensor:
    """States of each site on 0, 1, 2 … cm⁻¹, summed over wave vectors.

    A mode between two points is shared between them; one beyond the last counts there, an
    imaginary one at the first.

    Args:
        D: (B, Q, 3n, 3n) dynamical matrices, eV/(Å² u).
        sites: n.
        points: G.

    Returns:
        (B, n, G); each site's states add up to 3 Q.

    Example:
        >>> D = torch.diag(torch.tensor([0.01, 0.01, 0.01])).to(torch.complex64).expand(1, 1, 3, 3)
        >>> states = site_states(D, sites=1, points=100)
        >>> states.sum().item(), states.argmax().item()  # 521.47 · √(0.01 + 0.0002)
        (3.0, 53)
    """
    states: Tensor = _SiteStates.apply(D, sites, points)
    return states


class _SiteStates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, D: Tensor, sites: int, points: int) -> Tensor:  # noqa: ANN401
        square, vectors = torch.linalg.eigh(D)
        low, beyond, slope = _bracketed(square, points)
        part = _parts(vectors, sites)
        ctx.save_for_backward(square, vectors, _cell(low, sites, points), beyond, slope)
        return _counted(part, low, beyond, points)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        square, vectors, at, beyond, slope = ctx.saved_tensors
        flat = wanted.flatten()
        low, high = flat[at], flat[at + 1]  # [b, q, mode, site]
        value = torch.lerp(low, high, beyond.unsqueeze(-1).expand_as(low))  # f_i(λ_a)
        rate = (high - low) * slope.unsqueeze(-1)  # f_i'(λ_a)
        apart = square.unsqueeze(-1) - square.unsqueeze(-2)  # λ_a − λ_b
        close = apart.abs() < torch.finfo(square.dtype).eps ** (2 / 3) * square.abs().amax(
            -1, keepdim=True
        ).unsqueeze(-1)
        A, B = (_weighed(vectors, x) for x in (value, rate))
        M = torch.where(close, (B + B.mH) / 2, (A - A.mH) / apart.masked_fill(close, 1.0))
        return vectors @ M @ vectors.mH, None, None


def _bracketed(square: Tensor, points: int) -> tuple[Tensor, Tensor, Tensor]:
    """The point below each mode, how far beyond it the mode lies, and dω/dω²."""
    bounded = square.clamp(min=0) + FLOOR
    omega = FORCE_CONSTANT_TO_CM1 * bounded.sqrt()
    inside = (square > 0) & (omega < points - 1.01)
    slope = torch.where(inside, omega / (2 * bounded), 0.0)
    omega = omega.clamp(max=points - 1.01)
    low = omega.floor()
    return low.long(), omega - low, slope


def _parts(vectors: Tensor, sites: int) -> Tensor:
    """|e_i|² of each mode and site, [b, q, mode, site]."""
    return vectors.abs().square().unflatten(-2, (sites, 3)).sum(-2).mT


def _counted(part: Tensor, low: Tensor, beyond: Tensor, points: int) -> Tensor:
    """States (B, n, G) of modes that each lie ``beyond`` a point, shared between it and the next.

    Args:
        part: (B, Q, M, n).
        low: (B, Q, M) the point below each mode.
        beyond: (B, Q, M) of the way to the next one.
        points: G.
    """
    at, upper = _cell(low, part.shape[-1], points).flatten(), part * beyond.unsqueeze(-1)
    states = part.new_zeros(len(part) * part.shape[-1] * points)
    states.index_add_(0, at, (part - upper).flatten()).index_add_(0, at + 1, upper.flatten())
    return states.view(len(part), -1, points)


def _cell(low: Tensor, sites: int, points: int) -> Tensor:
    """Where in (B·n·G) each mode's lower point lies for each site, [b, q, mode, site]."""
    row = torch.arange(len(low) * sites, device=low.device).view(len(low), 1, 1, sites)
    return row * points + low.unsqueeze(-1)


def _weighed(vectors: Tensor, of_site: Tensor) -> Tensor:
    """Σ_i f_i(λ_a) ⟨a|P_i|b⟩, (…, a, b)."""
    weights = of_site.mT.repeat_interleave(3, dim=-2)  # [b, q, site xyz, mode]
    return (vectors * weights).mH @ vectors


class SiteModes(NamedTuple):
    """The modes of B crystals of n sites each, at Q wave vectors."""

    crystals: Tensor
    """(B,) which of the batch."""
    sites: Tensor
    """(B n,) which of its sites."""
    square: Tensor
    """(B, Q, 3n) ω², eV/(Å² u)."""
    part: Tensor
    """(B, Q, 3n, n) of each mode, how much is the motion of each site."""
    weight: Tensor
    """(Q,) what fraction of the zone each wave vector stands for."""

    @classmethod
    def even(
        cls, force_constants: ForceConstants, q_points: int, start: int = 0
    ) -> Iterator[SiteModes]:
        """Those of a batch on meshes that fill the zone evenly, crystals of one size at a time.

        Wave vectors of the central cube weigh nothing where `central` modes are to stand for it.

        Args:
            force_constants: Of the batch.
            q_points: Wave vectors times sites, about.
            start: Where the meshes begin in the sequence of wave vectors, times sites too.
        """
        for crystals, sites, of_size in force_constants.by_size():
            n = len(of_size.mass) // of_size.n_crystals
            q = low_discrepancy(max(1, round(q_points / n)), round(start / n))
            counted, volume = torch.ones(len(q)), 1.0
            if rays_for(n, q_points):
                counted = ((q - q.round()).abs().amax(-1) > CENTRE / 2).float()
                volume -= CENTRE**3
            found = _solved(of_size, q.expand(len(crystals), -1, -1))
            yield cls(crystals, sites, *found, volume * counted / counted.sum().clamp(min=1))

    @classmethod
    def central(cls, force_constants: ForceConstants, q_points: int) -> list[SiteModes | None]:
        """Those of the central cube of wave vectors, on rays from q = 0.

        ω² = A + B t² + C t⁴ along a ray, by the modes at t = 0, ½ and 1, the cube's face. States
        go as 3 t² dt, so that sound's ω² comes out smooth from a few directions.

        Args:
            force_constants: Of the batch.
            q_points: As of `even`.

        Returns:
            By size, as `even` has them; None for cells too large to need it.
        """
        found: list[SiteModes | None] = []
        for crystals, sites, of_size in force_constants.by_size():
            rays = rays_for(len(of_size.mass) // of_size.n_crystals, q_points)
            found.append(_along_rays(crystals, sites, of_size, rays) if rays else None)
        return found

    def on_wavenumbers(self, points: int) -> Tensor:
        """`site_states` of these modes, each wave vector as good as the other, (B, n, G)."""
        low, beyond, _ = _bracketed(self.square, points)
        return _counted(self.part, low, beyond, points)

    @property
    def omega(self) -> Tensor:
        """(B, Q, 3n) cm⁻¹; imaginary modes negative, but for the slow ones."""
        omega = frequencies(self.square)
        return torch.where(omega < UNSTABLE, omega, omega.abs())

    def fine(self, points: int, *, imaginary: bool = False) -> Tensor:
        """States on 0, 5, 10 … cm⁻¹, (B, n, G), of real modes or of imaginary ones.

        Args:
            points: G, beyond the highest mode.
            imaginary: Whether to count the imaginary modes, by the modulus of their frequency.
        """
        omega = self.omega
        counts = (omega < 0) if imaginary else (omega >= 0)
        x = (omega.abs() / SPACING).clamp(max=points - 1.01)
        low = x.floor()
        weight = self.weight.to(x).unsqueeze(-1) * counts
        return _counted(self.part * weight.unsqueeze(-1), low.long(), x - low, points)


def rays_for(sites: int, q_points: int) -> int:
    """Rays to each face of the central cube, of cells of so many sites; 0 for large cells."""
    return 0 if q_points < 3 * sites else min(12, max(1, round(q_points / (4 * sites))))


def _solved(force_constants: ForceConstants, q: Tensor) -> tuple[Tensor, Tensor]:
    """ω² and parts of crystals of one size at (B, Q, 3)."""
    square, vectors = torch.linalg.eigh(
        force_constants.dynamical_matrix(q.to(force_constants.values))
    )
    return square, _parts(vectors, len(force_constants.mass) // force_constants.n_crystals)


def _along_rays(
    crystals: Tensor, sites: Tensor, force_constants: ForceConstants, rays: int
) -> SiteModes:
    flat = (low_discrepancy(3 * rays)[:, :2] - 0.5).split(rays)
    edge = torch.full((rays, 1), 0.5)
    faces = [torch.cat([uv[:, :k], edge, uv[:, k:]], -1) for k, uv in enumerate(flat)]
    way = CENTRE * torch.cat(faces)  # [ray, xyz], to the faces of the cube; −q has the same modes
    q = torch.cat([torch.zeros(1, 3), way / 2, way])
    square, part = _solved(force_constants, q.expand(len(crystals), -1, -1))
    (first, half, whole), (_, part_half, part_whole) = (
        x.split([1, len(way), len(way)], dim=1) for x in (square, part)
    )
    first = torch.cat([torch.zeros_like(first[..., :3]), first[..., 3:]], -1)  # sound
    B, C = (16 * half - whole - 15 * first) / 3, (4 * whole - 16 * half + 12 * first) / 3
    node, weight = np.polynomial.legendre.leggauss(RADII)
    squares, parts = [], []
    for t in (node + 1) / 2:
        squares.append(first + B * t**2 + C * t**4)
        parts.append(torch.lerp(part_half, part_whole, float(max(2 * t - 1, 0.0))))
    of_node = torch.tensor(3 * ((node + 1) / 2) ** 2 * weight / 2 * CENTRE**3 / len(way))
    weights = of_node.float().repeat_interleave(len(way))
    return SiteModes(crystals, sites, torch.cat(squares, 1), torch.cat(parts, 1), weights)
