"""A crystal with force constants of its own: somebody's calculation instead of a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from debye.core.upward import higher
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.dos import mesh_for, site_densities
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.lattice.path import QPath
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import primitive

GIVEN = "computed from the force constants given, with no model"
"""The first warning of whatever follows from them."""
PREDICTED = "computed from the predicted force constants of its primitive cell, without intervals"
"""The first note of what follows from these alone."""

USUAL, FALL = 48.7, 2.4
"""Of an atom whose nearest neighbour is d Å away Tr Φ / 3 is usually `USUAL` d^−`FALL` eV/Å²: a fit
to 500 crystals. Of 1,326 all stable ones lie within a factor of 8, all within one of 20."""
ODD = 20.0
"""Factor beyond which another unit is likelier: that of kcal/(mol Å²) is 23, of Ry/a₀² 49."""
OVERLAPPING = 0.1
"""Å; what is nearer is the atom itself."""


def stiffness(crystal: Crystal, force_constants: ForceConstants) -> float:
    """How many times as stiff force constants are as is usual at such distances.

    The median over the sites of Tr Φ_ii / 3, over `USUAL` d^−`FALL` with d to the nearest
    neighbour.

    Args:
        crystal: The cell.
        force_constants: Between its sites.

    Example:
        >>> cube = Crystal(["H"], [[0, 0, 0]], 2 * torch.eye(3).numpy())
        >>> bond = torch.diag(torch.tensor([13.8, 0.0, 0.0])).unsqueeze(0)
        >>> one, zero = torch.tensor([1.0]), torch.tensor([0])
        >>> step = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(stiffness(cube, ForceConstants(zero, one, zero, zero, step, bond, 1)), 2)
        1.0
    """
    K, cell = force_constants.double(), torch.from_numpy(crystal.cell.copy())
    length = (K.step @ cell).norm(dim=-1)
    length = torch.where(length > OVERLAPPING, length, torch.inf)
    nearest = torch.full_like(K.mass, torch.inf)
    for end in (K.first, K.second):
        nearest = nearest.scatter_reduce(0, end, length, "amin")
    held = K.on_site().diagonal(dim1=-2, dim2=-1).mean(-1).abs()
    known = nearest.isfinite()
    return float((held * nearest**FALL / USUAL)[known].median()) if known.any() else 1.0


def unit_warning(crystal: Crystal, force_constants: ForceConstants) -> str | None:
    """What is to be said of force constants far too soft or stiff; None if they are neither."""
    times = stiffness(crystal, force_constants)
    if 1 / ODD <= times <= ODD:
        return None
    return (
        f"its force constants are {times:.2g} times as stiff as is usual at such distances: check "
        "the unit; 1 Ry/a₀² is 48.6 eV/Å², 1 hartree/a₀² 97.2, 1 kcal/(mol Å²) 0.0434"
    )


@dataclass(frozen=True, eq=False, repr=False)
class HarmonicCrystal:
    """A crystal and its force constants, both of one cell.

    Attributes:
        crystal: The cell; its notes tell what is odd about the calculation.
        force_constants: Between its sites, and to those of other cells.
        smooth: Whether a prediction of it is smoothed as the published labels were.
    """

    crystal: Crystal
    force_constants: ForceConstants
    smooth: bool = False

    def __repr__(self) -> str:
        pairs = len(self.force_constants.values)
        return (
            f"HarmonicCrystal({self.crystal.formula}, {self.crystal.n_sites} sites, {pairs} pairs)"
        )

    def as_computed(self, lattice: str) -> HarmonicCrystal:
        """The same, with a note where lengths were to be put right: force constants have theirs.

        Args:
            lattice: What was asked for; see `debye.crystals.structure.functional`.
        """
        if lattice == "given" or PREDICTED in self.crystal.notes:
            return self
        notes = (*self.crystal.notes, f"its force constants are of its own cell, {lattice} or not")
        return replace(self, crystal=replace(self.crystal, notes=notes))

    @cached_property
    def sites(self) -> Spectrum:
        """Density of states of each site, (n, F), on whole wavenumbers.

        Raises:
            InputError: A mode is impossibly fast.
            ComputationError: The modes cannot be found.
        """
        return site_densities(self.force_constants, mesh_for(self.crystal.n_sites))

    def bands(
        self,
        path: str = "auto",
        points: int = 300,
        *,
        velocities: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Bands:
        """The bands along a path; see `Bands.of`. ``progress`` is told how many of how many.

        Raises:
            InputError: The lattice has no such path.
            ComputationError: The modes cannot be found.
        """
        way, done = QPath.of_crystal(self.crystal, path, points), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress:
                progress(done, len(way.q) * (1 + velocities))

        return Bands.of(
            self.crystal,
            self.force_constants,
            way,
            velocities=velocities,
            notes=(*self.crystal.notes, *self._folded()),
            progress=advance,
        )

    def to_euphonic(self) -> Any:  # noqa: ANN401 - euphonic is optional
        """The ``euphonic.ForceConstants`` of it; see `debye.crystals.lattice.euphonic`.

        Raises:
            InputError: Euphonic is not installed, a site is mixed or vacant, or the cell is so
                flat that its supercell has too many atoms.
            ComputationError: The force constants are not finite.
        """
        return higher("to_euphonic")(self.crystal, self.force_constants)

    def _folded(self) -> Iterator[str]:
        smallest = primitive(self.crystal).n_sites
        if smallest < self.crystal.n_sites:
            yield (
                f"the cell holds {self.crystal.n_sites} sites, the primitive one {smallest}: "
                "bands are folded, and the path is that of the larger cell"
            )
