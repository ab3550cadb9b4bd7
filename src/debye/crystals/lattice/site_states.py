"""Density of states of each site, as its modes make it: differentiable, and finely.

    g_i(ω) = Σ_k |e_ki|² h(ω; ω_k) = Tr[P_i h(ω; D)]        P_i projects on the motions of site i

The right-hand side does not mention eigenvectors, whose derivatives have poles at degeneracies: it
is a smooth function of D, and its derivative is that of Daleckii and Krein (1965),

    dTr[P f(D)] = Σ_ab f[λ_a, λ_b] ⟨b|P|a⟩ ⟨a|dD|b⟩,

with f[x, y] = (f(x) − f(y)) / (x − y) and f[x, x] = f′(x).

Sound lives at short wave vectors, of which an even mesh holds few: `Mesh` is finer and finer
towards q = 0, where ω² of the low modes is what a heat capacity at a few kelvins is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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
SMALLER = 1 / 3
"""Edge of each cube of wave vectors around q = 0, of the one around it."""
CUBES, IN_EACH = 2, 3
"""How many of them, and wave vectors in each."""


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


class Mesh(NamedTuple):
    """Wave vectors of the zone, and what fraction of it each stands for."""

    q: Tensor
    """(Q, 3) in units of the reciprocal lattice vectors."""
    weight: Tensor
    """(Q,), adds up to 1."""
    even: int
    """The first so many of them fill the zone evenly."""

    @classmethod
    def of(cls, count: int, inner: int = IN_EACH) -> Mesh:
        """An even mesh, and more wave vectors in `CUBES` cubes around q = 0.

        Those of the even mesh that lie in a cube give way to the ones put there.

        Args:
            count: Of the even mesh.
            inner: In each cube; 0 for the even mesh alone.

        Example:
            >>> mesh = Mesh.of(20)
            >>> len(mesh.q), mesh.weight.sum().item(), mesh.q[-1].sub(0.5).abs().max() > 0.44
            (26, 1.0, tensor(True))
        """
        even = low_discrepancy(count)
        if not inner:
            return cls(even, torch.full((count,), 1 / count), count)
        outside = (even - even.round()).abs().amax(-1) > SMALLER / 2
        volume = [SMALLER ** (3 * k) for k in range(CUBES + 1)]
        weight = outside * (1 - volume[1]) / outside.sum().clamp(min=1)
        shells, weights = [even], [weight]
        for k in range(1, CUBES + 1):
            within = volume[k] - (volume[k + 1] if k < CUBES else 0.0)
            hollow = SMALLER if k < CUBES else 0.0
            shells.append(_hollow_cube(inner, hollow) * SMALLER**k % 1.0)
            weights.append(torch.full((inner,), within / inner))
        every = torch.cat(weights)
        return cls(torch.cat(shells), every / every.sum(), count)


def _hollow_cube(count: int, hollow: float) -> Tensor:
    """(count, 3) points of the cube −½ … ½ that do not lie in a smaller one, spread evenly."""
    found = low_discrepancy(8 * count + 8) - 0.5
    return found[found.abs().amax(-1) >= hollow / 2][:count]


class SiteModes(NamedTuple):
    """The modes of B crystals of n sites each, by wave vector."""

    crystals: Tensor
    """(B,) which of the batch."""
    sites: Tensor
    """(B n,) which of its sites."""
    square: Tensor
    """(B, Q, 3n) ω², eV/(Å² u)."""
    part: Tensor
    """(B, Q, 3n, n) of each mode, how much is the motion of each site."""
    mesh: Mesh

    @classmethod
    def of(cls, force_constants: ForceConstants, q_points: int) -> Iterator[SiteModes]:
        """Those of a batch, crystals of one size at a time.

        Args:
            force_constants: Of the batch.
            q_points: Wave vectors of the even mesh times sites, about.
        """
        for crystals, sites, of_size in force_constants.by_size():
            n = len(of_size.mass) // of_size.n_crystals
            inner = min(IN_EACH, q_points // (4 * n))
            mesh = Mesh.of(max(1, round(q_points / n)), inner)
            q = mesh.q.to(of_size.values).expand(len(crystals), -1, -1)
            square, vectors = torch.linalg.eigh(of_size.dynamical_matrix(q))
            yield cls(crystals, sites, square, _parts(vectors, n), mesh)

    def on_wavenumbers(self, points: int) -> Tensor:
        """`site_states` of the even mesh, (B, n, G)."""
        even = slice(self.mesh.even)
        low, beyond, _ = _bracketed(self.square[:, even], points)
        return _counted(self.part[:, even], low, beyond, points)

    @property
    def omega(self) -> Tensor:
        """(B, Q, 3n) cm⁻¹; imaginary modes negative, but for the slow ones."""
        omega = frequencies(self.square)
        return torch.where(omega < UNSTABLE, omega, omega.abs())

    def fine(self, points: int, *, imaginary: bool = False) -> Tensor:
        """States per unit of the zone on 0, 5, 10 … cm⁻¹, (B, n, G); a real mode, or not.

        Args:
            points: G, beyond the highest mode.
            imaginary: Whether to count the imaginary modes, by the modulus of their frequency.
        """
        omega = self.omega
        counts = (omega < 0) if imaginary else (omega >= 0)
        x = (omega.abs() / SPACING).clamp(max=points - 1.01)
        low = x.floor()
        weight = self.mesh.weight.to(x).unsqueeze(-1) * counts
        return _counted(self.part * weight.unsqueeze(-1), low.long(), x - low, points)
