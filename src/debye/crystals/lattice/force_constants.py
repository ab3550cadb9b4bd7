"""ForceConstants: force constants between pairs of atoms → dynamical matrices → modes.

    V = ½ Σ_pairs (u_i − u_j)ᵀ K_ij (u_i − u_j)            harmonic energy, K = −Φ_ij
    D_ij(q) = −Σ_R K_ij(R) e^{2πi q·(r_j + R − r_i)} / √(m_i m_j),    i ≠ j
    D(q) e = ω² e

Only displacements of one atom against another cost energy, so the acoustic sum rule holds exactly:
D_ii carries Σ_j K_ij, and three frequencies vanish at q = 0. Every pair stands once, so D is
Hermitian by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from debye.units import FORCE_CONSTANT_TO_CM1


@dataclass(frozen=True)
class ForceConstants:
    """Force constants of a batch of crystals: N sites, P pairs, B crystals."""

    crystal: Tensor
    """(N,) which crystal a site belongs to, ascending."""
    mass: Tensor
    """(N,) u."""
    first: Tensor
    """(P,) one site of a pair; no pair stands twice."""
    second: Tensor
    """(P,) the other."""
    step: Tensor
    """(P, 3) from first to second, in units of the lattice vectors."""
    values: Tensor
    """(P, 3, 3) K = −Φ, eV/Å²; K of the pair seen from its other end is the transpose."""
    n_crystals: int

    def by_size(self) -> Iterator[tuple[Tensor, Tensor, ForceConstants]]:
        """Crystals of equal size together, so that they can share one call of the eigensolver.

        Yields:
            Which crystals they are (B'), which sites (B'·n), and their force constants.
        """
        sizes = torch.bincount(self.crystal, minlength=self.n_crystals)
        of_pair = self.crystal[self.first]
        for size in sizes.unique():
            chosen = sizes == size
            sites, pairs = chosen[self.crystal], chosen[of_pair]
            new_site, new_crystal = sites.cumsum(0) - 1, chosen.cumsum(0) - 1
            part = ForceConstants(
                crystal=new_crystal[self.crystal[sites]],
                mass=self.mass[sites],
                first=new_site[self.first[pairs]],
                second=new_site[self.second[pairs]],
                step=self.step[pairs],
                values=self.values[pairs],
                n_crystals=int(chosen.sum()),
            )
            yield chosen.nonzero().squeeze(-1), sites.nonzero().squeeze(-1), part

    def dynamical_matrix(self, q: Tensor) -> Tensor:
        """D(q) of crystals of equal size.

        Args:
            q: (B, Q, 3) wave vectors in units of the reciprocal lattice vectors.

        Returns:
            (B, Q, 3n, 3n) complex, Hermitian, eV/(Å² u).

        Example:
            A chain of equal masses, D = 2 K (1 − cos 2πq) / m:

            >>> chain = ForceConstants(
            ...     crystal=torch.tensor([0]), mass=torch.tensor([2.0]),
            ...     first=torch.tensor([0]), second=torch.tensor([0]),
            ...     step=torch.tensor([[1.0, 0.0, 0.0]]),
            ...     values=torch.diag(torch.tensor([3.0, 0.0, 0.0])).unsqueeze(0), n_crystals=1)
            >>> chain.dynamical_matrix(torch.tensor([[[0.5, 0.0, 0.0]]]))[0, 0, 0, 0].real.item()
            6.0
        """
        n = len(self.mass) // self.n_crystals
        half = self._half(self._waves(q))
        site = torch.arange(len(self.mass), device=q.device)
        on_site = self.on_site() / (2 * self.mass[:, None, None])
        spread = on_site.to(half.dtype).unsqueeze(1).expand(-1, q.shape[1], 3, 3)
        return self._whole(half.index_add(0, site * n + site % n, spread))

    def derivative(self, q: Tensor, *along: Tensor) -> Tensor:
        """How D changes as q moves: ∂D/∂t at q + t·a, or ∂²D/∂s∂t at q + s·a + t·b.

        Args:
            q: (B, Q, 3) wave vectors in units of the reciprocal lattice vectors.
            along: One or more directions (B, Q, 3) in the same units, one for each derivative.

        Returns:
            (B, Q, 3n, 3n) complex, Hermitian, eV/(Å² u) per unit of t.

        Example:
            A chain's slope is 4π K sin(2πq) / m:

            >>> chain = ForceConstants(
            ...     crystal=torch.tensor([0]), mass=torch.tensor([2.0]),
            ...     first=torch.tensor([0]), second=torch.tensor([0]),
            ...     step=torch.tensor([[1.0, 0.0, 0.0]]),
            ...     values=torch.diag(torch.tensor([3.0, 0.0, 0.0])).unsqueeze(0), n_crystals=1)
            >>> q, along = torch.tensor([[[0.25, 0.0, 0.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
            >>> round(chain.derivative(q, along)[0, 0, 0, 0].real.item() / torch.pi, 5)
            6.0
        """
        waves = self._waves(q)
        for direction in along:
            waves = waves * (1j * self._angle(direction))[..., None, None]
        return self._whole(self._half(waves))

    def _angle(self, q: Tensor) -> Tensor:
        """2π q·step of each pair, [pair, q]."""
        along = q[self.crystal[self.first]] @ self.step.unsqueeze(-1)
        return 2 * torch.pi * along.squeeze(-1)

    def _waves(self, q: Tensor) -> Tensor:
        """−K e^{2πi q·step} / √(m_i m_j) of each pair, [pair, q, xyz, xyz]."""
        root = self.mass.rsqrt()
        weighted = self.values * (root[self.first] * root[self.second])[:, None, None]
        angle = self._angle(q)
        phase = torch.polar(torch.ones_like(angle), angle)
        return -phase[..., None, None] * weighted.unsqueeze(1)

    def _half(self, of_pairs: Tensor) -> Tensor:
        """What pairs add to crystal after crystal of n × n blocks, seen from one of their ends."""
        n = len(self.mass) // self.n_crystals
        block = self.first * n + self.second % n
        half = of_pairs.new_zeros(self.n_crystals * n * n, *of_pairs.shape[1:])
        return half.index_add(0, block, of_pairs)

    def _whole(self, half: Tensor) -> Tensor:
        """Matrices of blocks, each pair seen from both of its ends."""
        B, n, Q = self.n_crystals, len(self.mass) // self.n_crystals, half.shape[1]
        D = half.view(B, n, n, Q, 3, 3).permute(0, 3, 1, 4, 2, 5).reshape(B, Q, 3 * n, 3 * n)
        return D + D.mH

    def on_site(self) -> Tensor:
        """Φ_ii = Σ_j K_ij of each site, which the acoustic sum rule asks for, (N, 3, 3), eV/Å²."""
        total = self.values.new_zeros(len(self.mass), 3, 3)
        return total.index_add(0, self.first, self.values).index_add(0, self.second, self.values.mT)

    def double(self) -> ForceConstants:
        """The same in double precision, on the processor, without gradients."""
        held = {k: v.detach().cpu() for k, v in vars(self).items() if isinstance(v, Tensor)}
        found = {k: v.double() if v.is_floating_point() else v for k, v in held.items()}
        return ForceConstants(**found, n_crystals=self.n_crystals)


def mean_force_constants(members: Sequence[ForceConstants]) -> ForceConstants:
    """The mean of several estimates of one batch's force constants."""
    return replace(members[0], values=torch.stack([m.values for m in members]).mean(0))


def frequencies(square: Tensor) -> Tensor:
    """ω = √(ω²) in cm⁻¹, imaginary modes as negative numbers, as is the custom.

    Example:
        >>> frequencies(torch.tensor([1.0, -1.0])).round().tolist()
        [521.0, -521.0]
    """
    return FORCE_CONSTANT_TO_CM1 * square.sign() * square.abs().sqrt()
