"""What long waves tell of a crystal: its elastic constants and Debye temperature, in the limit.

They hold as far as the force constants do at long wavelengths: unstrained, without the field of
polar modes, and only where a rotation of the whole costs nothing (see `invariance`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.lattice.velocity import long_waves, sound
from debye.crystals.structure.crystal import Crystal
from debye.units import CM1_TO_K, FORCE_CONSTANT_TO_CM1, STRESS_TO_GPA, VELOCITY_TO_KM_S

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Pairs of Cartesian axes in the customary order: xx, yy, zz, yz, xz, xy."""
DIRECTIONS = 1000
"""Over which an average over all directions is taken."""


def elastic_constants(crystal: Crystal, springs: ForceConstants) -> Tensor:
    """Elastic constants from the velocities of sound, with the atoms of the cell free to move.

    C_αγβλ = ρ (S_αβγλ + S_γβαλ − S_αγβλ), with S of `long_waves`: the method of long waves, M. Born
    and K. Huang, *Dynamical Theory of Crystal Lattices* (1954), § 27.

    Returns:
        (6, 6) GPa in Voigt's order. It is symmetric only as far as rotations cost nothing.
    """
    S = long_waves(springs, torch.tensor(crystal.cell))
    density = springs.mass.double().sum() / crystal.volume
    C = torch.einsum("abgl->agbl", S) + torch.einsum("gbal->agbl", S) - S
    rows = [[C[one + two] for two in VOIGT] for one in VOIGT]
    return torch.tensor(rows, dtype=C.dtype) * density * STRESS_TO_GPA


def debye_temperature(crystal: Crystal, springs: ForceConstants) -> float:
    """Debye temperature of the velocities of sound, K.

    Θ = ħ/k_B (6π² N/V)^⅓ c, with 1/c³ the mean of 1/c_i³ over directions and the three waves:
    what the heat capacity near 0 K tells.

    Returns:
        NaN if some wave does not travel: the crystal is unstable, or falls into parts.
    """
    speed = sound(springs, torch.tensor(crystal.cell), directions(DIRECTIONS)).speed
    if not (speed > 0).all():
        return math.nan
    mean = (speed**-3).mean().item() ** (-1 / 3) / VELOCITY_TO_KM_S
    k = (6 * math.pi**2 * len(springs.mass) / crystal.volume) ** (1 / 3)
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
