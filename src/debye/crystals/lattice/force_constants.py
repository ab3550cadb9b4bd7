"""ForceConstants: force constants between pairs of atoms → dynamical matrices → modes.

    V = ½ Σ_pairs (u_i − u_j)ᵀ K_ij (u_i − u_j)            harmonic energy, K = −Φ_ij
    D_ij(q) = −Σ_R K_ij(R) e^{2πi q·(r_j + R − r_i)} / √(m_i m_j),    i ≠ j
    D(q) e = ω² e

Only displacements of one atom against another cost energy, so the acoustic sum rule holds exactly:
D_ii carries Σ_j K_ij, and three frequencies vanish at q = 0. Every pair stands once, so D is
Hermitian by construction.

Many wave vectors are solved in bounded memory, with errors that name the wave vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.errors import ComputationError, InputError
from debye.units import FORCE_CONSTANT_TO_CM1


class LongRange(Protocol):
    """Forces that no pairs hold, of one crystal: `debye.crystals.lattice.polar.Dipoles`."""

    @property
    def numbers(self) -> int:
        """Complex numbers that a wave vector takes in memory."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the modes should know."""

    def matrix(self, q: Tensor, direction: Tensor | None = None) -> Tensor:
        """What they add to D, (Q, 3n, 3n), at q (Q, 3), where it is 0 along a direction (Q, 3)."""

    def derivative(self, q: Tensor, *along: Tensor) -> Tensor:
        """How that changes as q moves, see `ForceConstants.derivative`."""


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
    dipoles: LongRange | None = None
    """The long-range forces that pairs lack, of one polar crystal whose charges are known."""

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

    def dynamical_matrix(self, q: Tensor, direction: Tensor | None = None) -> Tensor:
        """D(q) of crystals of equal size.

        Args:
            q: (B, Q, 3) wave vectors in units of the reciprocal lattice vectors.
            direction: (B, Q, 3) Cartesian, along which q → 0 where it is 0 and there are dipoles;
                their macroscopic field is left out there if None.

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
        D = self._whole(half.index_add(0, site * n + site % n, spread))
        if self.dipoles is None:
            return D
        return D + self.dipoles.matrix(q[0], None if direction is None else direction[0])

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
        change = self._whole(self._half(waves))
        if self.dipoles is None:
            return change
        return change + self.dipoles.derivative(q[0], *(way[0] for way in along))

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
        return ForceConstants(**found, n_crystals=self.n_crystals, dipoles=self.dipoles)


NOTHING = 1e-13
"""Size of a force constant, relative to the largest, below which there is no pair."""


def each_pair_once(
    mass: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    step: NDArray[np.float64],
    values: NDArray[np.float64],
) -> ForceConstants:
    """Pairs seen from both of their ends, each once, with the mean of what the ends have.

    Args:
        mass: (n,) u, of one crystal's sites.
        first: (P,) one site of a pair.
        second: (P,) the other.
        step: (P, 3) from first to second, in units of the lattice vectors.
        values: (P, 3, 3) K as the first site has it, eV/Å².
    """
    steps = np.round(step, 5) + 0.0  # no minus zero
    strength = np.abs(values).max((1, 2))
    moved = (np.abs(steps).max(1) > 0) & (strength > NOTHING * strength.max())
    first, second, step, values = first[moved], second[moved], step[moved], values[moved]
    steps = steps[moved]
    leading = steps[np.arange(len(steps)), (steps != 0).argmax(1)]
    turn = (first > second) | ((first == second) & (leading < 0))
    flip = turn[:, None]
    ends = np.where(flip, np.c_[second, first], np.c_[first, second])
    keys, member = np.unique(
        np.c_[ends, np.where(flip, -steps, steps) + 0.0], axis=0, return_inverse=True
    )
    seen = np.where(turn[:, None, None], np.swapaxes(values, 1, 2), values)
    total, way = np.zeros((len(keys), 3, 3)), np.zeros((len(keys), 3))
    np.add.at(total, member.ravel(), seen / 2)
    way[member.ravel()] = np.where(flip, -step, step)
    return ForceConstants(
        crystal=torch.zeros(len(mass), dtype=torch.long),
        mass=torch.tensor(mass, dtype=torch.float64),
        first=torch.from_numpy(keys[:, 0].astype(np.int64)),
        second=torch.from_numpy(keys[:, 1].astype(np.int64)),
        step=torch.from_numpy(way),
        values=torch.from_numpy(total),
        n_crystals=1,
    )


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


AT_ONCE = 128_000_000
"""Bytes that the matrices of one step may take, about."""

Progress = Callable[[int], None]
"""Is told how many wave vectors are newly done."""


def solved(
    force_constants: ForceConstants,
    q: Tensor,
    progress: Progress | None = None,
    direction: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Eigenvalues and eigenvectors of D(q) of one crystal, some wave vectors at a time.

    Args:
        force_constants: Of one crystal; computed with in double precision.
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors.
        progress: See `Progress`.
        direction: (Q, 3) Cartesian, along which q → 0; see `ForceConstants.dynamical_matrix`.

    Yields:
        Wave vectors (Q', 3), eigenvalues ω² (Q', 3n) ascending in eV/(Å² u), and eigenvectors
        (Q', 3n, 3n) as columns.

    Raises:
        InputError: There are several crystals.
        ComputationError: The force constants are not finite, or the eigenvalues cannot be found.
    """
    check_single(force_constants)
    force_constants = force_constants.double()
    step = _chunk(force_constants)
    ways = [None] * len(q) if direction is None else direction.double().split(step)
    for part, ahead in zip(q.double().split(step), ways, strict=direction is not None):
        yield part, *_eigh(force_constants, part, ahead)
        if progress:
            progress(len(part))


def check_single(force_constants: ForceConstants) -> None:
    """Refuse a batch, and force constants with which nothing can be computed.

    Raises:
        InputError: There are several crystals, or a mass is not above zero.
        ComputationError: A number is not finite.
    """
    if force_constants.n_crystals != 1:
        why = f"there are {force_constants.n_crystals} crystals in the batch"
        raise InputError("cannot draw the bands of a batch", why=why, fix="give one crystal")
    if not (force_constants.values.isfinite().all() and force_constants.mass.isfinite().all()):
        why = "the force constants or masses hold NaN or infinity"
        raise ComputationError("cannot solve for the modes", why=why, fix="check what made them")
    if not (force_constants.mass > 0).all():
        why = f"a site has a mass of {force_constants.mass.min().item():g} u"
        raise InputError("cannot solve for the modes", why=why, fix="give masses above zero")


def _chunk(force_constants: ForceConstants) -> int:
    """Wave vectors at a time: D stands in memory about five times over, pairs three times."""
    numbers = 5 * (3 * len(force_constants.mass)) ** 2 + 3 * 9 * len(force_constants.first)
    if force_constants.dipoles is not None:
        numbers += force_constants.dipoles.numbers
    return max(1, AT_ONCE // (16 * numbers))


def _eigh(
    force_constants: ForceConstants, q: Tensor, direction: Tensor | None
) -> tuple[Tensor, Tensor]:
    ahead = None if direction is None else direction.unsqueeze(0)
    D = force_constants.dynamical_matrix(q.unsqueeze(0), ahead).squeeze(0)
    try:
        square, vectors = torch.linalg.eigh(D)
    except RuntimeError as error:
        raise _unsolved(q[0] if len(q) == 1 else q[_failing(D)], str(error)) from error
    bad = ~square.isfinite().all(-1)
    if bad.any():
        raise _unsolved(q[bad][0], "the eigenvalues are not finite")
    return square, vectors


def _failing(D: Tensor) -> int:
    """The first matrix that the eigensolver cannot do."""
    for i, matrix in enumerate(D):
        try:
            torch.linalg.eigvalsh(matrix)
        except RuntimeError:
            return i
    return 0


def _unsolved(q: Tensor, why: str) -> ComputationError:
    point = ", ".join(f"{x:.4g}" for x in q.tolist())
    return ComputationError(
        f"cannot solve for the modes at q = ({point})",
        why=why,
        fix="check the force constants: they may be far too large",
    )
