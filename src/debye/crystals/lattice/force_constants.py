"""ForceConstants: springs between pairs of atoms → dynamical matrices → modes.

    V = ½ Σ_pairs (u_i − u_j)ᵀ K_ij (u_i − u_j)            harmonic energy, K = −Φ_ij
    D_ij(q) = −Σ_R K_ij(R) e^{2πi q·(r_j + R − r_i)} / √(m_i m_j),    i ≠ j
    D(q) e = ω² e

Only displacements of one atom against another cost energy, so the acoustic sum rule holds exactly:
D_ii carries Σ_j K_ij, and three frequencies vanish at q = 0. Every pair stands once, so D is
Hermitian by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from debye.units import FORCE_CONSTANT_TO_CM1


class Modes(NamedTuple):
    """Eigenvalues and eigenvectors at q-points of B crystals of n sites."""

    square: Tensor
    """(B, Q, 3n) eigenvalues ω² of D, eV/(Å² u), ascending; negative where unstable."""
    share: Tensor
    """(B, Q, 3n, n) how much of each mode is a motion of each site; sums to 1 over the sites."""


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
    spring: Tensor
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
                spring=self.spring[pairs],
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
            ...     spring=torch.diag(torch.tensor([3.0, 0.0, 0.0])).unsqueeze(0), n_crystals=1)
            >>> chain.dynamical_matrix(torch.tensor([[[0.5, 0.0, 0.0]]]))[0, 0, 0, 0].real.item()
            6.0
        """
        n, B, Q = len(self.mass) // self.n_crystals, self.n_crystals, q.shape[1]
        root = self.mass.rsqrt()
        weighted = self.spring * (root[self.first] * root[self.second])[:, None, None]
        angle = 2 * torch.pi * (q[self.crystal[self.first]] @ self.step.unsqueeze(-1)).squeeze(-1)
        phase = torch.polar(torch.ones_like(angle), angle)  # [pair, q]
        block = self.first * n + self.second % n  # in crystal after crystal of n × n blocks
        coupled = -phase[..., None, None] * weighted.unsqueeze(1)  # [pair, q, xyz, xyz]
        half = coupled.new_zeros(B * n * n, Q, 3, 3).index_add(0, block, coupled)
        diagonal = torch.arange(len(self.mass), device=q.device)
        on_site = self.on_site() / self.mass[:, None, None]
        half = half.index_add(
            0,
            diagonal * n + diagonal % n,
            (on_site / 2).to(half.dtype).unsqueeze(1).expand(-1, Q, 3, 3),
        )
        D = half.view(B, n, n, Q, 3, 3).permute(0, 3, 1, 4, 2, 5).reshape(B, Q, 3 * n, 3 * n)
        return D + D.mH

    def on_site(self) -> Tensor:
        """Φ_ii = Σ_j K_ij of each site, which the acoustic sum rule asks for, (N, 3, 3), eV/Å²."""
        total = self.spring.new_zeros(len(self.mass), 3, 3)
        return total.index_add(0, self.first, self.spring).index_add(0, self.second, self.spring.mT)

    def modes(self, q: Tensor) -> Modes:
        """Eigenvalues and the sites' shares of the modes, crystals of equal size.

        The derivative of a sum over all modes of one function of ω² is exact also where modes
        are degenerate: the eigenvectors enter it as projectors alone. The shares carry none.
        """
        D = self.dynamical_matrix(q)
        square, vectors = torch.linalg.eigh(D)
        n = len(self.mass) // self.n_crystals
        squares = vectors.detach().abs().square()  # [crystal, q, site xyz, mode]
        return Modes(square, squares.unflatten(-2, (n, 3)).sum(-2).mT)


def frequencies(square: Tensor) -> Tensor:
    """ω = √(ω²) in cm⁻¹, imaginary modes as negative numbers, as is the custom.

    Example:
        >>> frequencies(torch.tensor([1.0, -1.0])).round().tolist()
        [521.0, -521.0]
    """
    return FORCE_CONSTANT_TO_CM1 * square.sign() * square.abs().sqrt()
