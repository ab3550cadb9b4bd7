"""A crystal with force constants of its own: somebody's calculation instead of a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.dos import mesh_for, site_densities
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.lattice.path import QPath
from debye.crystals.lattice.phonopy import short_ranged
from debye.crystals.structure.convert import FORCE_CONSTANTS
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import primitive

if TYPE_CHECKING:
    from phonopy import Phonopy

GIVEN = "computed from the force constants given, with no model"
"""The first warning of whatever follows from them."""
NO_CHARGES = "its Born charges are left out: near Γ, LO and TO modes are not split"


@dataclass(frozen=True, eq=False, repr=False)
class HarmonicCrystal:
    """A crystal and its force constants, both of one cell.

    Attributes:
        crystal: The cell; its notes tell what is odd about the calculation.
        force_constants: Between its sites, and to those of other cells.
    """

    crystal: Crystal
    force_constants: ForceConstants

    @classmethod
    def of_phonopy(cls, phonon: Phonopy, *, name: str = "", source: str = "") -> HarmonicCrystal:
        """The primitive cell of a ``Phonopy`` with force constants, in Å and eV/Å².

        Born charges are left out, and a note says so.

        Args:
            phonon: With force constants, in the units of its calculator.
            name: What to call the crystal.
            source: Where it comes from.

        Raises:
            InputError: There are no force constants, or they break the acoustic sum rule.
        """
        crystal = Crystal.from_phonopy(phonon, name=name, source=source)
        notes = [note for note in crystal.notes if note != FORCE_CONSTANTS]
        notes += [NO_CHARGES] if phonon.nac_params is not None else []
        return cls(replace(crystal, notes=(GIVEN, *notes)), short_ranged(phonon))

    def __repr__(self) -> str:
        pairs = len(self.force_constants.values)
        return (
            f"HarmonicCrystal({self.crystal.formula}, {self.crystal.n_sites} sites, {pairs} pairs)"
        )

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

    def _folded(self) -> Iterator[str]:
        smallest = primitive(self.crystal).n_sites
        if smallest < self.crystal.n_sites:
            yield (
                f"the cell holds {self.crystal.n_sites} sites, the primitive one {smallest}: "
                "bands are folded, and the path is that of the larger cell"
            )
