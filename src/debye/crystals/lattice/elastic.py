"""What long waves tell of a crystal: its elastic constants and Debye temperature, in the limit.

Elastic constants are worth what the force constants are at long wavelengths: unstrained, without
the field of polar modes, and as far as a turn of the whole crystal costs nothing.

    forces   Σ_j Φ_ij^αβ r_ij^γ is symmetric in β and γ, for every atom i           Born and Huang
    stress   Σ_ij Φ_ij^αβ r_ij^γ r_ij^λ is the same with αβ and γλ exchanged        Huang
    energy   Σ_pairs (ω × r)ᵀ K (ω × r) = 0 for every turn ω                        of pairs alone

The first two hold in every crystal without forces and stress (M. Born and K. Huang, *Dynamical
Theory of Crystal Lattices* (1954), §§ 23 and 27), and in cubic crystals with atoms at centres of
symmetry they hold whatever the forces: there is nothing in them to be broken. The third asks more:
that the energy, pair by pair ½ Σ uᵀK u, does not rise when the crystal is turned. It is so for
central forces without stress, and then Cauchy's relations hold, C12 = C66, if each atom is a
centre of symmetry. Forces between more than two atoms may break it either way (by −25 GPa in
copper, by +43 GPa in silicon), because their energy does not belong to pairs. Force constants none
of which pushes, as those of `PositivePairs`, can only break it upwards: each resists the turn of
its own pair (P. N. Keating, Phys. Rev. 145, 637 (1966)), and C12, C13 and C23 come out too low by
as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debye.core.neighbors import sum_onto
from debye.crystals.lattice.force_constants import ForceConstants, mean_force_constants
from debye.crystals.lattice.velocity import long_waves, sound
from debye.crystals.structure.crystal import Crystal
from debye.units import CM1_TO_K, FORCE_CONSTANT_TO_CM1, STRESS_TO_GPA, VELOCITY_TO_KM_S

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Pairs of Cartesian axes in the customary order: xx, yy, zz, yz, xz, xy."""
DIRECTIONS = 1000
"""Over which an average over all directions is taken."""
UNKNOWN = 0.5
"""Part of an elastic constant that may be open to question before it is no longer given."""


@dataclass(frozen=True, eq=False, repr=False)
class Elasticity:
    """Elastic constants of force constants, and what they are worth.

    Args:
        constants: (6, 6) GPa in Voigt's order, symmetric; see `elastic_constants`.
        asymmetry: (6, 6) GPa by which the two sides of the diagonal differ, of which the constants
            are the mean: how far the force constants break the rules of Born and Huang.
        turning: (6, 6) GPa by which a constant lies below what Cauchy's relation would make it,
            were the atoms at rest in the cell: C66 − C12, and so on; 0 where there is no such
            relation. See the module.
        range: Lowest and highest constants among several sets of force constants; None of one.
        cost: What a turn of the whole costs, in parts of the terms summed.
        debye_temperature: Of the velocities of sound, K; NaN if some wave does not travel.
    """

    constants: Tensor
    asymmetry: Tensor
    turning: Tensor
    range: tuple[Tensor, Tensor] | None
    cost: RotationalCost
    debye_temperature: float

    @classmethod
    def of(
        cls, crystal: Crystal, force_constants: ForceConstants | Sequence[ForceConstants]
    ) -> Elasticity:
        """The elastic constants of force constants; of several estimates, of their mean.

        Raises:
            InputError: The force constants are of several crystals.
            ComputationError: They are not finite.
        """
        given = (
            [force_constants] if isinstance(force_constants, ForceConstants) else force_constants
        )
        mean = mean_force_constants(given)
        C = elastic_constants(crystal, mean)
        each = [elastic_constants(crystal, one) for one in given] if len(given) > 1 else []
        edges = torch.stack([(x + x.T) / 2 for x in each]).aminmax(dim=0) if each else None
        return cls(
            (C + C.T) / 2,
            (C - C.T).abs(),
            _turning(crystal, mean),
            (edges.min, edges.max) if edges else None,
            rotational_cost(mean, torch.tensor(crystal.cell)),
            debye_temperature(crystal, mean),
        )

    def __repr__(self) -> str:
        largest = self.constants.abs().max().item()
        unknown = int((~self.known).triu().sum())
        return f"Elasticity(up to {largest:.0f} GPa, {unknown} of 21 constants unknown)"

    @property
    def known(self) -> Tensor:
        """(6, 6) whether asymmetry and turning leave more than half of a constant certain.

        A hundredth of the largest constant is always allowed: it is as good as nothing. C12, C13
        and C23 above their partners are sound; force constants that resist a turn lower them.
        """
        axis = torch.tensor([one == two for one, two in VOIGT])
        cost = torch.where(axis[:, None] & axis, self.turning.clamp(min=0), self.turning.abs())
        whole = torch.maximum(self.constants.abs(), (self.constants + self.turning).abs())
        allowed = UNKNOWN * whole.clamp(min=0.02 * self.constants.abs().max())
        return torch.maximum(self.asymmetry, cost) <= allowed

    def to_record(self) -> dict[str, Any]:
        """Numbers for JSON, units in the names; null for a constant that is not known."""

        def known(values: Tensor) -> list[list[float | None]]:
            rows = zip(values.tolist(), self.known.tolist(), strict=True)
            return [[x if k else None for x, k in zip(*row, strict=True)] for row in rows]

        record: dict[str, Any] = {"elastic_constants_GPa": known(self.constants)}
        if self.range is not None:
            for name, edge in zip(("lowest", "highest"), self.range, strict=True):
                record[f"elastic_constants_{name}_GPa"] = known(edge)
        return record | {
            "elastic_asymmetry_GPa": self.asymmetry.tolist(),
            "elastic_turning_GPa": self.turning.tolist(),
            "debye_temperature_of_sound_K": self.debye_temperature,
            **{f"rotational_cost_{name}": x for name, x in self.cost._asdict().items()},
        }


def elastic_constants(crystal: Crystal, force_constants: ForceConstants) -> Tensor:
    """Elastic constants from the velocities of sound, with the atoms of the cell free to move.

    C_αγβλ = ρ (S_αβγλ + S_γβαλ − S_αγβλ), with S of `long_waves`: the method of long waves, M. Born
    and K. Huang, *Dynamical Theory of Crystal Lattices* (1954), § 27.

    Returns:
        (6, 6) GPa in Voigt's order. It is symmetric only as far as rotations cost nothing.

    Raises:
        InputError: The force constants are of several crystals.
        ComputationError: They are not finite.
    """
    S = long_waves(force_constants, torch.tensor(crystal.cell))
    density = force_constants.mass.double().sum() / crystal.volume
    return _voigt(_of_waves(S)) * density * STRESS_TO_GPA


def _of_waves(S: Tensor) -> Tensor:
    """C_αγβλ of the S_αβγλ of long waves."""
    return torch.einsum("abgl->agbl", S) + torch.einsum("gbal->agbl", S) - S


def _voigt(C: Tensor) -> Tensor:
    """(6, 6) of (3, 3, 3, 3)."""
    return torch.stack([torch.stack([C[one + two] for two in VOIGT]) for one in VOIGT])


def _turning(crystal: Crystal, force_constants: ForceConstants) -> Tensor:
    """How far constants of a strained axis lie below their Cauchy partners, (6, 6) GPa.

    Partners exchange an index between the two strains, xx with yy and xy with xy; both are taken
    without the atoms of the cell giving way, which central forces too let break the relation.
    """
    brackets = _second_moments(force_constants.double(), torch.tensor(crystal.cell))
    C = _of_waves(brackets) * STRESS_TO_GPA / crystal.volume
    below = _voigt(C.transpose(1, 2) - C)
    axis = torch.tensor([one == two for one, two in VOIGT])
    return torch.where(axis[:, None] | axis, (below + below.T) / 2, 0.0)


def _second_moments(force_constants: ForceConstants, cell: Tensor) -> Tensor:
    """Σ_pairs K_αβ r_γ r_λ, symmetric in the first two and in the last two, eV."""
    r = force_constants.step @ cell
    moments = torch.einsum("pab,pc,pd->abcd", force_constants.values, r, r)
    return (moments + moments.transpose(0, 1)) / 2


def debye_temperature(crystal: Crystal, force_constants: ForceConstants) -> float:
    """Debye temperature of the velocities of sound, K.

    Θ = ħ/k_B (6π² N/V)^⅓ c, with 1/c³ the mean of 1/c_i³ over directions and the three waves:
    what the heat capacity near 0 K tells.

    Returns:
        NaN if some wave does not travel: the crystal is unstable, or falls into parts.

    Raises:
        InputError: The force constants are of several crystals.
        ComputationError: They are not finite.
    """
    speed = sound(force_constants, torch.tensor(crystal.cell), directions(DIRECTIONS)).speed
    if not (speed > 0).all():
        return math.nan
    mean = (speed**-3).mean().item() ** (-1 / 3) / VELOCITY_TO_KM_S
    k = (6 * math.pi**2 * len(force_constants.mass) / crystal.volume) ** (1 / 3)
    return mean * k * FORCE_CONSTANT_TO_CM1 * CM1_TO_K


def directions(count: int) -> Tensor:
    """Unit vectors spread evenly over half a sphere along a golden spiral, (count, 3).

    Example:
        >>> n = directions(1000)
        >>> (3 * n.T @ n / 1000 - torch.eye(3)).abs().max() < 0.01
        tensor(True)
    """
    k = torch.arange(count, dtype=torch.float64)
    z = (k + 0.5) / count
    turn = math.pi * (1 + math.sqrt(5)) * k
    across = (1 - z**2).sqrt()
    return torch.stack([across * turn.cos(), across * turn.sin(), z], dim=-1)


class RotationalCost(NamedTuple):
    """How far force constants break three rules, in parts of the terms summed: −1 to 1."""

    forces: float
    """Born and Huang: turned as a whole, the atoms feel no force."""
    stress: float
    """Huang: neither does the cell feel a stress; elastic constants need it."""
    energy: float
    """Nor does it cost energy, pair by pair; see the module for what may break this rule."""


def rotational_cost(force_constants: ForceConstants, cell: Tensor) -> RotationalCost:
    """How far force constants break the rules of rotation of the module.

    Args:
        force_constants: Of one crystal.
        cell: Lattice vectors as rows, Å, (3, 3).

    Example:
        Force constants along the line between two atoms keep both; the same in all
        directions do not:

        >>> chain = ForceConstants(
        ...     crystal=torch.tensor([0]), mass=torch.tensor([2.0]),
        ...     first=torch.tensor([0]), second=torch.tensor([0]),
        ...     step=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     values=torch.diag(torch.tensor([3.0, 0.0, 0.0])).unsqueeze(0), n_crystals=1)
        >>> rotational_cost(chain, torch.eye(3))
        RotationalCost(forces=0.0, stress=0.0, energy=0.0)
        >>> from dataclasses import replace
        >>> stiff = replace(chain, values=torch.eye(3).unsqueeze(0))
        >>> [round(x, 3) for x in rotational_cost(stiff, torch.eye(3))]
        [0.0, 0.577, 0.577]
    """
    force_constants = force_constants.double()
    r = force_constants.step @ cell.double()
    size = force_constants.values.norm(dim=(1, 2)) * r.norm(dim=1)
    # Each pair seen from both of its ends.
    turning = torch.einsum("pab,pc->pabc", force_constants.values, r)
    back = torch.einsum("pba,pc->pabc", force_constants.values, -r)
    n = len(force_constants.mass)
    of_site = sum_onto(force_constants.first, turning, n) + sum_onto(
        force_constants.second, back, n
    )
    scale = sum_onto(force_constants.first, size, n) + sum_onto(force_constants.second, size, n)
    of_cell = _second_moments(force_constants, cell.double())
    turned = torch.einsum("aacc->", of_cell) - torch.einsum("acac->", of_cell)
    whole = size @ r.norm(dim=1)
    return RotationalCost(
        _part((of_site - of_site.mT).norm(), scale.norm()),
        _part((of_cell - of_cell.permute(2, 3, 0, 1)).norm(), whole),
        _part(turned, whole),
    )


def _part(broken: Tensor, whole: Tensor) -> float:
    """Half of what is left of a sum over the sum of its terms' sizes."""
    return (broken / (2 * whole)).item() if whole > 0 else 0.0
