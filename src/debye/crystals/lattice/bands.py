"""Bands: the frequencies of a crystal along a path through its Brillouin zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from debye.crystals.lattice.force_constants import ForceConstants, frequencies
from debye.crystals.lattice.path import QPath
from debye.crystals.lattice.solve import Progress, solved
from debye.crystals.lattice.velocity import group_velocities
from debye.crystals.structure.crystal import Crystal

IMAGINARY = 0.5
"""cm⁻¹; modes further below zero are imaginary, nearer ones are zero but for rounding."""


@dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies along a path, the branches sorted by frequency at each point."""

    crystal: Crystal
    path: QPath
    frequency: Tensor
    """(Q, 3n) cm⁻¹ ascending, imaginary modes as negative numbers."""
    velocity: Tensor | None = None
    """(Q, 3n, 3) group velocities, km/s; see `group_velocities`."""
    range: tuple[Tensor, Tensor] | None = None
    """(Q, 3n) lowest and highest frequency of each branch among several sets of force constants."""

    @classmethod
    def of(
        cls,
        crystal: Crystal,
        springs: ForceConstants,
        path: QPath,
        *,
        members: Sequence[ForceConstants] = (),
        velocities: bool = False,
        progress: Progress | None = None,
    ) -> Bands:
        """The bands of force constants.

        Args:
            crystal: Primitive; its cell is what ``path`` and ``springs`` are in units of.
            springs: Its force constants.
            path: Where.
            members: Other estimates of the force constants, whose spread becomes ``range``.
            velocities: Whether to find group velocities too.
            progress: Is told how many wave vectors are newly done; each counts for the force
                constants, for every member, and for its velocities.

        Raises:
            Refusal: The force constants are of several crystals.
            Failure: See `solved`.
        """
        frequency, velocity = _frequencies(springs, path, progress), None
        others = [_frequencies(member, path, progress) for member in members]
        low_high = torch.stack(others).aminmax(dim=0) if others else None
        if velocities:
            cell = torch.tensor(crystal.cell)
            velocity = group_velocities(springs, cell, path.q, path.direction, progress)
        between = (low_high.min, low_high.max) if low_high else None
        return cls(crystal, path, frequency, velocity, between)

    @property
    def imaginary(self) -> bool:
        """Whether some mode on the path is imaginary."""
        return bool(self.frequency.min() < -IMAGINARY)

    def at(self, label: str) -> Tensor:
        """Frequencies at a labelled point, (3n,), cm⁻¹."""
        return self.frequency[self.path.labels.index(label)]


def _frequencies(springs: ForceConstants, path: QPath, progress: Progress | None) -> Tensor:
    return torch.cat([frequencies(square) for _, square, _ in solved(springs, path.q, progress)])
