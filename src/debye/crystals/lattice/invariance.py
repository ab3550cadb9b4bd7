"""What a rotation of the whole crystal costs: nothing, if force constants are physical."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from debye.core.neighbors import sum_onto
from debye.crystals.lattice.force_constants import ForceConstants


class RotationalCost(NamedTuple):
    """How far force constants break two sum rules, as a share of the terms summed; 0 to 1."""

    forces: float
    """Born and Huang: turned as a whole, the atoms feel no force."""
    stress: float
    """Huang: neither does the cell feel a stress; elastic constants need it."""


def rotational_cost(springs: ForceConstants, cell: Tensor) -> RotationalCost:
    """How far force constants break the sum rules of rotation.

    Born and Huang:  Σ_j Φ_ij^αβ r_ij^γ  is symmetric in β and γ, for every atom i
    Huang:           Σ_ij Φ_ij^αβ r_ij^γ r_ij^λ  is the same with αβ and γλ exchanged

    Both hold for a crystal without forces or stress. M. Born and K. Huang, *Dynamical Theory of
    Crystal Lattices* (1954), §§ 23 and 27.

    Args:
        springs: Of one crystal.
        cell: Lattice vectors as rows, Å, (3, 3).

    Example:
        Springs along the line between two atoms keep both; the same springs in all directions do
        not:

        >>> chain = ForceConstants(
        ...     crystal=torch.tensor([0]), mass=torch.tensor([2.0]),
        ...     first=torch.tensor([0]), second=torch.tensor([0]),
        ...     step=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     spring=torch.diag(torch.tensor([3.0, 0.0, 0.0])).unsqueeze(0), n_crystals=1)
        >>> rotational_cost(chain, torch.eye(3))
        RotationalCost(forces=0.0, stress=0.0)
        >>> from dataclasses import replace
        >>> stiff = replace(chain, spring=torch.eye(3).unsqueeze(0))
        >>> round(rotational_cost(stiff, torch.eye(3)).stress, 3)
        0.577
    """
    springs = springs.double()
    r = springs.step @ cell.double()
    size = springs.spring.norm(dim=(1, 2)) * r.norm(dim=1)
    # Each pair seen from both of its ends.
    turning = torch.einsum("pab,pc->pabc", springs.spring, r)
    back = torch.einsum("pba,pc->pabc", springs.spring, -r)
    n = len(springs.mass)
    of_site = sum_onto(springs.first, turning, n) + sum_onto(springs.second, back, n)
    scale = sum_onto(springs.first, size, n) + sum_onto(springs.second, size, n)
    of_cell = torch.einsum("pab,pc,pd->abcd", springs.spring, r, r)
    of_cell = (of_cell + of_cell.transpose(0, 1)) / 2
    return RotationalCost(
        _share(of_site - of_site.mT, scale.norm()),
        _share(of_cell - of_cell.permute(2, 3, 0, 1), size @ r.norm(dim=1)),
    )


def _share(broken: Tensor, scale: Tensor) -> float:
    """Norm of the antisymmetric part, ½ |x − xᵀ|, of what was summed."""
    return (broken.norm() / (2 * scale)).item() if scale > 0 else 0.0
