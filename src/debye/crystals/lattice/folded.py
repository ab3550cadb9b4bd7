"""Force constants of a supercell: what finite displacements tell, each pair with all its images.

    Φ̃_ij(c) = Σ_L Φ_ij(c + L),     L over the lattice of the supercell
    D_ij(q) = Σ_c Φ̃_ij(c) e^{2πi q·c} / √(m_i m_j)           exact where q·L is whole for all L

A short-ranged model folds its pairs in the same way, linearly and without loss, so both can be
compared. Between the wave vectors where they are exact, an image must be chosen: the nearest, and
where several are equally near, each of them in part (K. Parlinski, Z. Q. Li and Y. Kawazoe, Phys.
Rev. Lett. 78, 4063 (1997)), as phonopy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import MASSES
from debye.errors import InputError
from debye.units import FORCE_CONSTANT_TO_CM1

SAME = 1e-4
"""Å by which the lengths of equally near images may differ."""
REAL = (1.0 / FORCE_CONSTANT_TO_CM1) ** 2
"""ω² of 1 cm⁻¹, eV/(Å² u): an imaginary mode slower than that is noise."""
UNBALANCED = 1e-2
"""Force on an atom when all move alike, of the largest force constant, that is refused."""


class Places(NamedTuple):
    """Where pairs stand among the (n · n · cells) blocks of folded force constants."""

    there: Tensor
    """(P,) from first to second."""
    back: Tensor
    """(P,) from second to first."""
    own: Tensor
    """(n,) of every site with itself."""


@dataclass(frozen=True, eq=False)
class FoldedForceConstants:
    """Force constants from each site of a cell to all sites of a supercell.

    Args:
        crystal: The cell, n sites.
        supercell: How many cells along each lattice vector.
        values: (n, n, cells, 3, 3) Φ̃, eV/Å²; cells in the order of phonopy's, the first axis
            fastest.

    Raises:
        InputError: The shape is another, a number is not finite, or they break the acoustic sum
            rule.

    Example:
        >>> chain = ForceConstants(
        ...     crystal=torch.tensor([0]), mass=torch.tensor([2.0]),
        ...     first=torch.tensor([0]), second=torch.tensor([0]),
        ...     step=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     values=torch.eye(3).unsqueeze(0), n_crystals=1)
        >>> crystal = Crystal(["H"], [[0, 0, 0]], np.eye(3))
        >>> FoldedForceConstants.of(chain, crystal, (4, 1, 1)).values[0, 0, :, 0, 0].tolist()
        [2.0, -1.0, 0.0, -1.0]
    """

    crystal: Crystal
    supercell: tuple[int, int, int]
    values: Tensor

    def __post_init__(self) -> None:
        n, cells = self.crystal.n_sites, int(np.prod(self.supercell))
        if self.values.shape != (n, n, cells, 3, 3):
            raise self._unusable(
                f"they are of shape {tuple(self.values.shape)}, and {n} sites in {cells} cells ask "
                f"for {(n, n, cells, 3, 3)}",
                "give those of this cell and supercell",
            )
        if not self.values.isfinite().all():
            raise self._unusable("a number is not finite", "calculate them again")
        force = float(self.values.sum((1, 2)).abs().max() / self.values.abs().max().clamp(min=1e-9))
        if force > UNBALANCED:
            raise self._unusable(
                f"they break the acoustic sum rule by {force:.2g} of the largest",
                "symmetrise them, as phonopy's symmetrize_force_constants does",
            )

    def _unusable(self, why: str, fix: str) -> InputError:
        label = self.crystal.source or self.crystal.name or self.crystal.formula
        return InputError(f"cannot use the force constants of {label}", why=why, fix=fix)

    @classmethod
    def of(
        cls, force_constants: ForceConstants, crystal: Crystal, supercell: tuple[int, int, int]
    ) -> FoldedForceConstants:
        """Fold the pairs of one crystal.

        Args:
            force_constants: Of the crystal.
            crystal: The cell.
            supercell: How many cells along each lattice vector.

        Raises:
            InputError: A number is not finite.
        """
        K, n = force_constants, crystal.n_sites
        places = places_of(crystal.fractional, supercell, K.first, K.second, K.step)
        blocks = fold(K, places, n * n * int(np.prod(supercell)))
        return cls(crystal, supercell, blocks.unflatten(0, (n, n, -1)))

    def unfolded(self) -> ForceConstants:
        """Each pair at its nearest image, in double precision; natural masses."""
        return unfolded(self)

    def with_real_modes(self) -> FoldedForceConstants:
        """The same but for imaginary modes at the exact wave vectors, made as fast and real.

        D + 2 Σ_k |λ_k| e_k e_kᴴ over the modes with λ_k = ω_k² < 0.

        Example:
            >>> crystal, up = Crystal(["H"], [[0, 0, 0]], np.eye(3)), torch.eye(3).double()
            >>> blocks = torch.stack([-up, up])[None, None]
            >>> given = FoldedForceConstants(crystal, (2, 1, 1), blocks)
            >>> given.with_real_modes().values[0, 0, :, 0, 0].tolist()
            [1.0, -1.0]
        """
        n, cells = self.crystal.n_sites, self.values.shape[2]
        root = torch.tensor([_mass(site) for site in self.crystal.species]).double().sqrt()
        scale = root[:, None, None, None] * root[:, None]  # [i, xyz, j, xyz]
        turn = self.commensurate @ torch.tensor(_corners(self.supercell).copy()).double().T
        wave = torch.polar(torch.ones_like(turn), 2 * torch.pi * turn)  # [q, cell]
        blocks = self.values.double().to(wave.dtype)
        D = torch.einsum("qc,ijcab->qiajb", wave, blocks) / scale
        square, vectors = torch.linalg.eigh(D.reshape(-1, 3 * n, 3 * n))
        if float(square.min()) > -REAL:
            return self
        added = (vectors * (-2 * square.clamp(max=0)).unsqueeze(1)) @ vectors.mH
        added = added.view(-1, n, 3, n, 3) * scale
        back = torch.einsum("qc,qiajb->ijcab", wave.conj(), added).real / cells
        return replace(self, values=self.values + back.to(self.values))

    @property
    def commensurate(self) -> Tensor:
        """(cells, 3) wave vectors at which the folded force constants are exact."""
        return torch.from_numpy(_corners(self.supercell) / np.array(self.supercell))


def _corners(supercell: tuple[int, int, int]) -> NDArray[np.int64]:
    """(cells, 3) lattice vectors of the cells, the first axis fastest."""
    return np.array(list(np.ndindex(*supercell[::-1])))[:, ::-1]


def places_of(
    fractional: NDArray[np.float64],
    supercell: tuple[int, int, int],
    first: Tensor,
    second: Tensor,
    step: Tensor,
) -> Places:
    """Where pairs fold to.

    Args:
        fractional: (n, 3) sites in units of the lattice vectors.
        supercell: How many cells along each.
        first: (P,) one site of each pair.
        second: (P,) the other.
        step: (P, 3) from first to second in units of the lattice vectors.
    """
    n, size = len(fractional), np.array(supercell)
    i, j = first.numpy(), second.numpy()
    jump = np.round(step.numpy() - fractional[j] + fractional[i]).astype(np.int64)

    def block(a: NDArray[np.int64], b: NDArray[np.int64], cell: NDArray[np.int64]) -> Tensor:
        number = (cell % size) @ np.array([1, size[0], size[0] * size[1]])
        return torch.from_numpy((a * n + b) * size.prod() + number)

    site = np.arange(n)
    none = np.zeros((n, 3), dtype=np.int64)
    return Places(block(i, j, jump), block(j, i, -jump), block(site, site, none))


def fold(force_constants: ForceConstants, places: Places, blocks: int) -> Tensor:
    """Folded force constants (blocks, 3, 3), of a batch too if its places are numbered through.

    Args:
        force_constants: Whose values are folded.
        places: Of its pairs.
        blocks: How many there are.
    """
    values, on_site = force_constants.values, force_constants.on_site()
    folded = values.new_zeros(blocks, 3, 3)
    folded = folded.index_add(0, places.there, -values).index_add(0, places.back, -values.mT)
    return folded.index_add(0, places.own, (on_site + on_site.mT) / 2)


def unfolded(folded: FoldedForceConstants) -> ForceConstants:
    """Pairs at their nearest images, each of several equally near ones with its part.

    Args:
        folded: Of one crystal.
    """
    crystal, size = folded.crystal, np.array(folded.supercell)
    n, corners = crystal.n_sites, _corners(folded.supercell)
    apart = crystal.fractional[None, :] - crystal.fractional[:, None]  # [i, j, xyz]
    steps = (apart[:, :, None] + corners).reshape(-1, 3)
    steps -= np.round(steps / size) * size
    images = np.array(list(product((-2, -1, 0, 1, 2), repeat=3))) * size
    i, j = (end.repeat(len(corners)) for end in np.indices((n, n)).reshape(2, -1))
    pair, image = _nearest(steps, images, crystal.cell)
    step = steps[pair] + images[image]
    part = 1 / np.bincount(pair, minlength=len(steps))[pair]
    values = -folded.values.double().numpy().reshape(-1, 3, 3)[pair] * part[:, None, None]
    i, j = i[pair], j[pair]
    ahead = step @ np.array([1.0, 0.7548777, 0.5698403]) > 0
    moved = np.abs(step).max(1) > 1e-6
    kept = moved & np.where(i == j, ahead, i < j)
    # A pair is seen from both of its ends, which differ by the noise of the calculation.
    return ForceConstants(
        crystal=torch.zeros(n, dtype=torch.long),
        mass=torch.tensor([_mass(site) for site in crystal.species], dtype=torch.float64),
        first=torch.from_numpy(i[kept]),
        second=torch.from_numpy(j[kept]),
        step=torch.from_numpy(step[kept]),
        values=torch.from_numpy(values[kept]),
        n_crystals=1,
    )


def _nearest(
    steps: NDArray[np.float64], images: NDArray[np.int64], cell: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which images of which steps are the nearest ones."""
    pairs, found = [], []
    for start in range(0, len(steps), 4096):  # so that memory stays bounded
        some = steps[start : start + 4096]
        length = np.linalg.norm((some[:, None] + images) @ cell, axis=-1)
        pair, image = np.nonzero(length < length.min(1, keepdims=True) + SAME)
        pairs.append(pair + start)
        found.append(image)
    return np.concatenate(pairs), np.concatenate(found)


def _mass(site: Mapping[str, float]) -> float:
    return sum(MASSES[s] * f for s, f in site.items()) / sum(site.values())
