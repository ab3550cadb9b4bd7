"""How fast waves travel: group velocities of modes, and sound where the waves are long.

    v = ∂ω/∂k = e† (∂D/∂k) e / 2ω

Where modes are degenerate, e† ∂D/∂k e is diagonalised among them first, along one direction: the
slopes of the branches that part there. At q = 0 the three acoustic modes have no ω to divide by;
their velocities are those of sound, from the second order of D in k.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from debye.crystals.lattice.force_constants import ForceConstants, Progress, check_single, solved
from debye.units import VELOCITY_TO_KM_S

DEGENERATE = 1e-6
"""Difference of ω², relative to the largest, below which modes count as degenerate."""


def reciprocal_steps(cell: Tensor) -> Tensor:
    """What one Å⁻¹ along x, y, z is in units of the reciprocal lattice vectors, rows (3, 3)."""
    return cell.mT / (2 * torch.pi)


def group_velocities(
    force_constants: ForceConstants,
    cell: Tensor,
    q: Tensor,
    direction: Tensor,
    progress: Progress | None = None,
) -> Tensor:
    """Group velocities of all modes.

    Args:
        force_constants: Of one crystal.
        cell: Lattice vectors as rows, Å, (3, 3).
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors.
        direction: (Q, 3) Cartesian unit vectors along which degenerate modes are parted, and
            along which one goes away from q = 0.
        progress: Is told how many wave vectors are newly done.

    Returns:
        (Q, 3n, 3) km/s, modes ascending in ω², degenerate ones in their slope. Imaginary modes
        have the slope of the negative number that stands for them; a mode with ω = 0 away from
        q = 0 has none, and gets NaN.

    Raises:
        InputError: There are several crystals.
        ComputationError: See `solved`.
    """
    force_constants, cell, start = force_constants.double(), cell.double(), 0
    found: list[Tensor] = []
    for part, square, vectors in solved(force_constants, q, progress, direction):
        ahead = direction[start : start + len(part)].double()
        start += len(part)
        branches = _parted(force_constants, part, square, vectors, ahead @ reciprocal_steps(cell))
        gradient = _gradient(force_constants, cell, part)
        slopes = torch.stack([_expected(change, branches) for change in gradient], dim=-1)
        omega = square.abs().sqrt()
        at_rest = omega < 1e-7 * omega.max()
        velocity = slopes / (2 * omega.masked_fill(at_rest, torch.nan)).unsqueeze(-1)
        velocity *= VELOCITY_TO_KM_S
        for i in _at_gamma(part):
            acoustic = square[i].abs().argsort()[:3].sort().values
            velocity[i, acoustic] = sound(force_constants, cell, ahead[i : i + 1]).velocity[0]
        found.append(velocity)
    return torch.cat(found)


def _expected(matrix: Tensor, vectors: Tensor) -> Tensor:
    """e† M e of each column, (Q, 3n)."""
    return (vectors.conj() * (matrix @ vectors)).sum(-2).real


def _at_gamma(q: Tensor) -> list[int]:
    """Which wave vectors are reciprocal lattice vectors."""
    return ((q - q.round()).abs().amax(-1) < 1e-9).nonzero().squeeze(-1).tolist()


def _gradient(force_constants: ForceConstants, cell: Tensor, q: Tensor) -> list[Tensor]:
    """∂D/∂k along x, y and z, (Q, 3n, 3n) each, per Å⁻¹."""
    axes = reciprocal_steps(cell)
    return [force_constants.derivative(q[None], axis.expand(1, len(q), 3))[0] for axis in axes]


def _parted(
    force_constants: ForceConstants, q: Tensor, square: Tensor, vectors: Tensor, along: Tensor
) -> Tensor:
    """Degenerate eigenvectors turned so that each belongs to one branch along a direction."""
    apart = square.diff(dim=-1) > DEGENERATE * square.abs().max()
    change = force_constants.derivative(q[None], along[None])[0]
    turned = vectors.clone()
    for i in (~apart).any(-1).nonzero().squeeze(-1).tolist():
        ends = [0, *(apart[i].nonzero().squeeze(-1) + 1).tolist(), square.shape[-1]]
        for a, b in pairwise(ends):
            if b - a > 1:
                group = vectors[i, :, a:b]
                turned[i, :, a:b] = group @ torch.linalg.eigh(group.mH @ change[i] @ group)[1]
    return turned


class Sound(NamedTuple):
    """Long waves in K directions: their speed, and the direction in which they carry energy."""

    speed: Tensor
    """(K, 3) km/s, ascending; a wave whose ω² falls with k has a negative one."""
    velocity: Tensor
    """(K, 3, 3) group velocity of each wave, [direction, wave, xyz], km/s."""


def sound(force_constants: ForceConstants, cell: Tensor, direction: Tensor) -> Sound:
    """Velocities of sound from the Christoffel matrix.

    Γ_αβ(n) = Σ_γλ S_αβγλ n_γ n_λ,  Γ e = c² e,  v_γ = Σ e_α S_αβγλ e_β n_λ / c

    Args:
        force_constants: Of one crystal.
        cell: Lattice vectors as rows, Å, (3, 3).
        direction: (K, 3) Cartesian unit vectors.

    Raises:
        InputError: The force constants are of several crystals.
        ComputationError: They are not finite.

    Example:
        Force constants along the edges of a simple cubic lattice carry c² = K a² / m:

        >>> cubic = ForceConstants(
        ...     crystal=torch.tensor([0]), mass=torch.tensor([2.0]),
        ...     first=torch.zeros(3, dtype=torch.long), second=torch.zeros(3, dtype=torch.long),
        ...     step=torch.eye(3), values=torch.diag_embed(torch.eye(3) + 1.0), n_crystals=1)
        >>> waves = sound(cubic, 3.0 * torch.eye(3), torch.eye(3)[:1])
        >>> [round(c, 2) for c in waves.speed[0].tolist()]
        [20.84, 20.84, 29.47]
    """
    S, n = long_waves(force_constants, cell), direction.double()
    gamma = torch.einsum("abcd,kc,kd->kab", S, n, n)
    square, e = torch.linalg.eigh(gamma)
    speed = square.sign() * square.abs().sqrt()
    energy = torch.einsum("abcd,kai,kbi,kd->kic", S, e, e, n)
    velocity = energy / torch.where(speed == 0, torch.inf, speed.abs())[..., None]
    return Sound(speed * VELOCITY_TO_KM_S, velocity * VELOCITY_TO_KM_S)


def long_waves(force_constants: ForceConstants, cell: Tensor) -> Tensor:
    """S of the acoustic modes, ω² = k² Σ S_αβγλ e_α e_β n_γ n_λ as k → 0.

    S_γλ = Aᵀ (½ ∂²D/∂k_γ∂k_λ − ½ (∂_γD D⁺ ∂_λD + ∂_λD D⁺ ∂_γD)) A at q = 0, where A are the three
    motions of the crystal as a whole and D⁺ leaves them out: the atoms of the cell give way to
    the strain of the wave. M. Born and K. Huang, *Dynamical Theory of Crystal Lattices* (1954),
    chapter V.

    Returns:
        (3, 3, 3, 3) symmetric in the first two and in the last two, eV/u.

    Raises:
        InputError: The force constants are of several crystals.
        ComputationError: They are not finite.
    """
    force_constants, cell = force_constants.double(), cell.double()
    zero = cell.new_zeros(1, 3)
    check_single(force_constants)
    D = force_constants.dynamical_matrix(zero[None])[0, 0]
    A = (force_constants.mass / force_constants.mass.sum()).sqrt()[:, None, None] * torch.eye(3).to(
        cell
    )
    A = A.reshape(-1, 3).to(D.dtype)
    # Motions that nothing holds, those of the whole among them, do not give way to a strain.
    giving = torch.linalg.pinv(D, rtol=1e-10, hermitian=True)
    first = [change[0] @ A for change in _gradient(force_constants, cell, zero)]
    axes = reciprocal_steps(cell)[:, None, None]
    S = cell.new_zeros(3, 3, 3, 3)
    for c in range(3):
        for d in range(3):
            second = force_constants.derivative(zero[None], axes[c], axes[d])[0, 0]
            soft = first[c].mH @ giving @ first[d]
            S[:, :, c, d] = (A.mH @ second @ A - soft - soft.mH).real / 2
    return S
