"""Polar crystals: what the dipoles of moving ions add to force constants between pairs.

Ions that move carry dipoles, Z*_i u_i, whose field ends nowhere; near q = 0 it depends on the
direction of q, lifts the LO modes above the TO ones, and no pairs can hold it. X. Gonze and
C. Lee, *Phys. Rev. B* 55, 10355 (1997), sum over reciprocal lattice vectors G, K = q + G,

    C_ij(q) = (4π e²/4πε₀ V) Σ_K (K·Z*_i)(K·Z*_j) / (K·ε·K)
              · e^{−iG·(r_j − r_i) − K·ε·K / 4Λ²} − δ_ij Σ_l C_il(0),

of whose first sum G = 0 is left out at q = 0, or taken along a direction in which q → 0. The rest
of Ewald's sum is of short range and belongs to the pairs.

Force constants are computed in a supercell, and are exact at the wave vectors that fit into it,
fields included. So what pairs lack is C less its own interpolation from that supercell,

    D(q) = D_pairs(q) + [C(q) − C_supercell(q)]_ij / √(m_i m_j),

which is phonopy's default; so are the 300 vectors G, and Λ, by which the last weighs 1e-10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from debye.crystals.lattice.force_constants import ForceConstants, each_pair_once
from debye.errors import InputError
from debye.units import COULOMB

if TYPE_CHECKING:
    from debye.crystals.structure.crystal import Crystal

G_VECTORS = 300
"""How many vectors G the sum has, about."""
LAST_WEIGHT = 1e-10
"""What the last of them weighs."""
WAVES = 1_000_000
"""Sites times vectors G times wave vectors at a time, when C is folded: 48 MB."""
SAME_LENGTH = 1e-5
"""Å; vectors of a supercell that differ by less are equally short, as phonopy has it."""
LARGEST = 100.0
"""No ion has such a charge, e."""
LEAST = 0.1
"""No crystal has such an ε∞; vacuum has 1."""
FORGIVEN = 0.1
"""Sum of the charges for each site, relative to the largest, up to which it is put right."""
NOTED = 1e-3
"""The same, from which on that is told."""
USED = "the dipoles of its Born charges split LO and TO modes near Γ"
"""The note of a crystal whose Born charges are used."""


@dataclass(frozen=True, eq=False)
class BornCharges:
    """What a crystal's ions and electrons answer an electric field with."""

    charges: Tensor
    """(n, 3, 3) Z*, e: force on site i along β in a field along α is e Σ_α E_α Z*_iαβ."""
    dielectric: Tensor
    """(3, 3) ε∞, of the electrons alone."""
    coulomb: float = COULOMB
    """e²/4πε₀, eV Å."""
    notes: tuple[str, ...] = ()
    """What was put right."""

    @classmethod
    def of(
        cls, charges: ArrayLike, dielectric: ArrayLike, n_sites: int, *, label: str = ""
    ) -> BornCharges:
        """Charges and tensor that make sense, their sum put right where it is small.

        A crystal that moves as a whole has no dipole: Σ_i Z*_i = 0. What is missing is taken from
        all sites alike, and told.

        Args:
            charges: (n, 3, 3) e, rows along the field, columns along the motion.
            dielectric: (3, 3).
            n_sites: Of the cell that they are of.
            label: Where they come from, for errors.

        Raises:
            InputError: They are of another number of sites, not finite, far from neutral, or the
                tensor is not symmetric and positive.

        Example:
            >>> found = BornCharges.of([np.eye(3), -0.9 * np.eye(3)], 2.5 * np.eye(3), 2)
            >>> found.charges[:, 0, 0].tolist(), len(found.notes)
            ([0.95, -0.95], 1)
        """
        Z, epsilon = np.asarray(charges, np.float64), np.asarray(dielectric, np.float64)
        what = f"cannot use the Born charges{f' of {label}' if label else ''}"
        if Z.shape != (n_sites, 3, 3) or epsilon.shape != (3, 3):
            why = f"they are {Z.shape} beside a tensor {epsilon.shape}, for {n_sites} sites"
            fix = "give a 3 × 3 matrix for each site of the primitive cell, and one for ε∞"
            raise InputError(what, why=why, fix=fix)
        if not (np.isfinite(Z).all() and np.isfinite(epsilon).all()):
            raise InputError(what, why="they hold NaN or infinity", fix="write them again")
        if (most := np.abs(Z).max()) > LARGEST:
            why, fix = f"one of them is {most:.3g} e", "give them in units of e"
            raise InputError(what, why=why, fix=fix)
        _check_dielectric(what, epsilon)
        missing, largest = Z.mean(0), max(np.abs(Z).max(), 1e-300)
        part = np.abs(missing).max() / largest
        if part > FORGIVEN:
            why = f"they sum to {np.abs(Z.sum(0)).max():.2g} e in the cell, and must to 0"
            fix = "see that they are of this crystal, one for each site, and converged"
            raise InputError(what, why=why, fix=fix)
        said = (
            f"its Born charges summed to {np.abs(Z.sum(0)).max():.2g} e: "
            f"{np.abs(missing).max():.2g} e is taken from each site"
        )
        epsilon = (epsilon + epsilon.T) / 2
        return cls(
            torch.from_numpy(Z - missing),
            torch.from_numpy(epsilon),
            notes=(said,) if part > NOTED else (),
        )


def _check_dielectric(what: str, epsilon: NDArray[np.float64]) -> None:
    """Refuse a tensor that no crystal has."""
    if np.abs(epsilon - epsilon.T).max() > 0.1 * np.abs(epsilon).max():
        raise InputError(what, why="ε∞ is not symmetric", fix="write the tensor again")
    lowest = np.linalg.eigvalsh((epsilon + epsilon.T) / 2).min()
    if not lowest > LEAST:
        why = f"ε∞ has the eigenvalue {lowest:.3g}, and a crystal's are positive, 1 and more"
        raise InputError(what, why=why, fix="give the electronic dielectric tensor, ε∞")


@dataclass(frozen=True, eq=False)
class Dipoles:
    """The long-range forces that pairs of one crystal lack; see the module."""

    born: BornCharges
    cell: Tensor
    """(3, 3) lattice vectors as rows, Å."""
    fractional: Tensor
    """(n, 3)."""
    mass: Tensor
    """(n,) u."""
    supercell: NDArray[np.int64]
    """(3, 3) lattice vectors, in units of the cell's, that the pairs were computed in."""

    @classmethod
    def of(
        cls,
        crystal: Crystal,
        mass: Tensor,
        born: BornCharges,
        supercell: NDArray[np.int64],
    ) -> Dipoles:
        """The dipoles of a crystal.

        Args:
            crystal: Primitive; its cell is that of the force constants.
            mass: (n,) u, of the force constants.
            born: Its charges.
            supercell: See the class.
        """
        return cls(
            born,
            torch.from_numpy(crystal.cell.copy()),
            torch.from_numpy(crystal.fractional.copy()),
            mass.detach().cpu().double(),
            np.asarray(supercell, dtype=np.int64),
        )

    @property
    def numbers(self) -> int:
        """Complex numbers that a wave vector takes in memory."""
        size = 3 * len(self.mass)
        return 5 * size**2 + 3 * (9 * len(self.folded.first) + len(self.vectors) * size)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the modes should know."""
        return (USED, *self.born.notes)

    @cached_property
    def vectors(self) -> Tensor:
        """(G, 3) vectors of the sum, in units of the reciprocal lattice vectors."""
        reduced = (self._short @ self.cell).numpy()
        most = np.ceil(self._cutoff * np.linalg.norm(reduced, axis=1)).astype(int)
        whole = np.array(list(product(*(range(-m, m + 1) for m in most))))
        length = np.linalg.norm(whole @ np.linalg.inv(reduced).T, axis=1)
        near = torch.from_numpy(whole[length < self._cutoff]).double()
        return (near @ torch.linalg.inv(self._short).mT).round()

    @cached_property
    def _short(self) -> Tensor:
        """The shortest lattice vectors in units of the cell's, which may be far too skewed."""
        from ase.geometry import minkowski_reduce

        return torch.from_numpy(minkowski_reduce(self.cell.numpy())[1]).double()

    @cached_property
    def _cutoff(self) -> float:
        """Length of the last vector, 1/Å without 2π."""
        volume = abs(torch.linalg.det(self.cell).item())
        return float((3 * G_VECTORS / (4 * math.pi * volume)) ** (1 / 3))

    @cached_property
    def _decay(self) -> float:
        """1/4Λ² beside K·ε·K without 2π."""
        mean = self.born.dielectric.trace().item() / 3
        return -math.log(LAST_WEIGHT) / (self._cutoff**2 * mean)

    def forces(self, q: Tensor, direction: Tensor | None = None) -> Tensor:
        """C(q) without its second sum, (Q, n, 3, n, 3), eV/Å²."""
        zone = (q.detach() @ self._short.mT).round() @ torch.linalg.inv(self._short).mT
        whole = self.vectors - zone.round()[:, None]  # [q, G, 3], about the nearest Γ
        K = (q[:, None] + whole) @ torch.linalg.inv(self.cell).mT  # Cartesian, without 2π
        at_rest = K.detach().norm(dim=-1, keepdim=True) < 1e-9
        ahead = torch.zeros_like(K) if direction is None else direction[:, None].expand_as(K)
        K = torch.where(at_rest, ahead, K)
        square = torch.einsum("qga,ab,qgb->qg", K, self.born.dielectric, K)
        nothing = square.detach() < 1e-18
        decay = torch.where(at_rest.squeeze(-1), 0.0, square) * self._decay
        volume = torch.linalg.det(self.cell).abs()
        weight = 4 * math.pi * self.born.coulomb / volume * torch.exp(-decay)
        weight = torch.where(nothing, 0.0, weight / torch.where(nothing, 1.0, square))
        phase = 2 * math.pi * whole @ self.fractional.mT  # [q, G, site]
        dipole = torch.einsum("qga,iab->qgib", K, self.born.charges)
        wave = torch.polar(torch.ones_like(phase), phase)[..., None] * dipole
        return torch.einsum("qg,qgia,qgjb->qiajb", weight.to(wave.dtype), wave, wave.conj())

    @cached_property
    def _at_rest(self) -> Tensor:
        """Σ_l C_il(0), which the acoustic sum rule takes from the site, (n, 3, 3)."""
        total = self.forces(torch.zeros(1, 3).double())[0].sum(2).real
        return (total + total.mT) / 2

    def balanced(self, q: Tensor, direction: Tensor | None = None) -> Tensor:
        """C(q), (Q, n, 3, n, 3), eV/Å²."""
        n = len(self.mass)
        on_site = torch.einsum("iab,ij->iajb", self._at_rest, torch.eye(n).double())
        return self.forces(q, direction) - on_site

    @cached_property
    def folded(self) -> ForceConstants:
        """C as pairs of the supercell, which are exact at the wave vectors that fit into it."""
        n, supercell = len(self.mass), self.supercell
        q = cells_within(supercell.T) @ np.linalg.inv(supercell).T
        at_once = max(1, WAVES // (n * len(self.vectors)))
        C = torch.cat([self.balanced(part) for part in torch.from_numpy(q).split(at_once)])
        found = [self._pairs(i, q, C[:, i].numpy()) for i in range(n)]
        first, second, step, values = (np.concatenate(x) for x in zip(*found, strict=True))
        return each_pair_once(self.mass.numpy(), first, second, step, values)

    def _pairs(
        self, i: int, q: NDArray[np.float64], C: NDArray[np.complex128]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """From one site to all of the supercell; C is (q, 3, n, 3)."""
        fractional, cells = self.fractional.numpy(), cells_within(self.supercell)
        away = fractional + cells[:, None] - fractional[i]  # [cell, site, 3]
        phase = np.exp(-2j * np.pi * away @ q.T) / len(q)
        values = np.einsum("qajb,cjq->cjab", C, phase).real
        vectors, of = shortest(away.reshape(-1, 3), self.supercell, self.cell.numpy())
        many = np.bincount(of)
        site = np.tile(np.arange(len(fractional)), len(cells))[of]
        return (
            np.full(len(of), i),
            site,
            vectors,
            -values.reshape(-1, 3, 3)[of] / many[of, None, None],
        )

    def matrix(self, q: Tensor, direction: Tensor | None = None) -> Tensor:
        """What the dipoles add to D(q), (Q, 3n, 3n), eV/(Å² u).

        Args:
            q: (Q, 3) in units of the reciprocal lattice vectors.
            direction: (Q, 3) Cartesian, along which q → 0 where it is 0; the field is left out
                there if None, as between electrodes that are connected.
        """
        n, root = len(self.mass), self.mass.rsqrt()
        weighted = (
            self.balanced(q, direction) * torch.einsum("i,j->ij", root, root)[:, None, :, None]
        )
        return weighted.reshape(len(q), 3 * n, 3 * n) - self.folded.dynamical_matrix(q[None])[0]

    def derivative(self, q: Tensor, *along: Tensor) -> Tensor:
        """How `matrix` changes as q moves, (Q, 3n, 3n); at q = 0 without the field."""

        def moved(f: Callable[[Tensor], Tensor], way: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda x: torch.func.jvp(f, (x,), (way,))[1]

        f: Callable[[Tensor], Tensor] = self.matrix
        _ = self.folded  # made outside of what is differentiated
        for way in along:
            f = moved(f, way.expand_as(q))
        return f(q)


def cells_within(supercell: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lattice points inside a supercell, each once, (N, 3).

    Example:
        >>> cells_within(np.diag([1, 1, 2])).tolist()
        [[0, 0, 0], [0, 0, 1]]
    """
    size = round(np.linalg.det(supercell))
    adjugate = np.round(size * np.linalg.inv(supercell)).astype(int)
    points = np.array(list(product(*map(range, _triangular(supercell)))))
    outside = points @ adjugate * np.sign(size) // abs(size)
    return np.asarray(points - outside @ supercell)


def _triangular(supercell: NDArray[np.int64]) -> list[int]:
    """The diagonal of a triangular matrix whose rows span the same lattice.

    Example:
        >>> _triangular(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
        [1, 1, 2]
    """
    rows = [[int(x) for x in row] for row in supercell]
    for c in range(3):
        for r in range(c + 1, 3):
            while rows[r][c]:  # Euclid
                times = rows[c][c] // rows[r][c]
                rest = [a - times * b for a, b in zip(rows[c], rows[r], strict=True)]
                rows[c], rows[r] = rows[r], rest
    return [abs(rows[c][c]) for c in range(3)]


def shortest(
    away: NDArray[np.float64], supercell: NDArray[np.int64], cell: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The shortest of the vectors that are one in a supercell, all that are equally short.

    Args:
        away: (P, 3) vectors in units of the cell.
        supercell: (3, 3) lattice vectors in units of the cell's.
        cell: (3, 3) Å.

    Returns:
        Vectors (V, 3) in units of the cell, and which of the given each stands for (V,), ascending.
    """
    from ase.geometry import minkowski_reduce

    _, operation = minkowski_reduce(supercell @ cell)
    lattice = operation @ supercell
    inside = away - np.round(away @ np.linalg.inv(lattice)) @ lattice
    around = np.array(list(product((-1, 0, 1), repeat=3))) @ lattice
    length = np.linalg.norm((inside[:, None] + around) @ cell, axis=-1)  # [vector, shift]
    of, which = np.nonzero(length < length.min(1, keepdims=True) + SAME_LENGTH)
    return inside[of] + around[which], of
