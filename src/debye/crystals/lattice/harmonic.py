"""A crystal with force constants of its own: somebody's calculation instead of a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

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
