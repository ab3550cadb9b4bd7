"""Crystal: species fractions per site, positions and cell, checked once when made.

The rest of debye relies on what is checked here: finite numbers, a cell with a volume, known
species, occupancies in (0, 1], and no two atoms in one place. Reading and writing files lives in
`debye.crystals.structure_io.read`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import product
from math import gcd, prod
from operator import index
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from debye.core.upward import Displayed, higher
from debye.crystals.structure.convert import (
    Parts,
    ase_atoms,
    atoms_parts,
    parts_of,
    phonopy_parts,
    pymatgen_parts,
    pymatgen_record,
    pymatgen_structure,
    record_parts,
)
from debye.crystals.structure.elements import ATOMIC_NUMBERS, ISOTOPES, MASSES, electronegativity
from debye.crystals.structure.validate import (
    TOLERANCE,
    Species,
    check_count,
    check_overlap,
    check_volume,
    checked_array,
    checked_species,
    structure_error,
)
from debye.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import ase
    from pymatgen.core import Structure

VACANCY_NOTE = "occupancies that sum below 1 are taken as vacancies"
ISOTOPE_NOTE = "{} is treated as H chemically, with its own mass of {:.3f} u"


@dataclass(frozen=True, eq=False)
class Crystal(Displayed):
    """A periodic structure whose sites may be shared by several species or partly vacant.

    Args:
        species: One entry per site: a symbol, or occupancies by symbol. Kept as mappings.
        positions: Cartesian positions in Å, (sites, 3).
        cell: Lattice vectors as rows in Å, (3, 3); either handedness.
        name: What to call it; the formula where empty.
        source: Where it came from, such as ``set.xyz[3]``; named in errors.
        notes: What a reader of results should know about the input.

    Raises:
        InputError: No atoms, shapes that do not fit, numbers that are not finite, no volume,
            an unknown species, occupancies outside (0, 1] or summing over 1, overlapping atoms.

    Example:
        >>> cell = 2.815 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
        >>> salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.815, 2.815, 2.815]], cell)
        >>> salt.formula, salt.n_atoms, round(salt.volume, 2)
        ('NaCl', 2.0, 44.61)
        >>> 2 * salt
        Crystal(NaCl, 16 sites)

    Crystals are equal whose species, positions and cells are, number by number, whatever their
    names.
    """

    species: tuple[Mapping[str, float], ...]
    positions: NDArray[np.float64]  # [site, xyz], Å
    cell: NDArray[np.float64]  # [lattice vector, xyz], Å
    name: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    if TYPE_CHECKING:  # what may be passed is wider than what is kept

        def __init__(
            self,
            species: Sequence[Species],
            positions: ArrayLike,
            cell: ArrayLike,
            name: str = "",
            source: str = "",
            notes: Sequence[str] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        label = self.source or self.name or "the crystal"
        species = checked_species(self.species, label)
        positions = checked_array(self.positions, (len(species), 3), "positions", label)
        cell = checked_array(self.cell, (3, 3), "cell", label)
        times = Counter(map(id, species))  # sites of one pure species share their mapping
        kinds = {id(site): site for site in species}
        check_volume(cell, sum(n * sum(kinds[i].values()) for i, n in times.items()), label)
        check_overlap(species, positions, cell, label)
        notes = dict.fromkeys((*self.notes, *_species_notes(kinds.values())))
        for attribute, value in (
            ("species", species),
            ("positions", positions),
            ("cell", cell),
            ("notes", tuple(notes)),
        ):
            object.__setattr__(self, attribute, value)

    def __repr__(self) -> str:
        called = " ".join(self.name.split())[:60]
        name = f", {called}" if called and called != self.formula else ""
        return f"Crystal({self.formula}, {self.n_sites} sites{name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Crystal):
            return NotImplemented
        return (
            self.species == other.species
            and np.array_equal(self.cell, other.cell)
            and np.array_equal(self.positions, other.positions)
        )

    def __hash__(self) -> int:
        species = tuple(frozenset(site.items()) for site in self.species)
        numbers = ((self.cell + 0.0).tobytes(), (self.positions + 0.0).tobytes())  # -0.0 is 0.0
        return hash((species, *numbers))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self.positions, self.cell):  # pickle and copy forget that they are read-only
            array.setflags(write=False)

    __array_ufunc__ = None  # numpy's numbers leave `*` to the crystal

    def __mul__(self, n: int | Sequence[int]) -> Crystal:
        return self.supercell(n)

    __rmul__ = __mul__

    # What it is made of.

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.species)

    @cached_property
    def occupancies(self) -> NDArray[np.float64]:
        """Sum of the occupancies of each site, (sites,); 1 where nothing is missing."""
        return np.array([sum(site.values()) for site in self.species])

    @property
    def n_atoms(self) -> float:
        """Number of atoms in the cell: the sum of all occupancies."""
        return float(self.occupancies.sum())

    @cached_property
    def composition(self) -> dict[str, float]:
        """Atoms of each species in the cell, the least electronegative first."""
        amounts: Counter[str] = Counter()
        for site in self.species:
            for symbol, occupancy in site.items():
                amounts[symbol] += occupancy  # type: ignore[assignment]  # counts may be fractions
        return {s: float(amounts[s]) for s in sorted(amounts, key=_formula_order)}

    @property
    def elements(self) -> tuple[str, ...]:
        """The species present, the least electronegative first; D and T count on their own."""
        return tuple(self.composition)

    @cached_property
    def n_formula_units(self) -> int:
        """Formula units in the cell: how often every kind of site occurs at the least."""
        kinds = Counter(tuple(sorted(site.items())) for site in self.species)
        return reduce(gcd, kinds.values())

    @cached_property
    def formula(self) -> str:
        """Formula unit: ``SiO2``, ``Mg3Bi0.5Sb1.5``.

        The cell's content divided by the greatest common divisor of how often each kind of site
        (a species or a mixture) occurs, so that a supercell has the same formula.
        """
        amounts = self.composition.items()
        return "".join(f"{s}{_amount(n / self.n_formula_units)}" for s, n in amounts)

    @cached_property
    def masses(self) -> NDArray[np.float64]:
        """Mean mass of the atoms on each site in u, (sites,): Σ x m / Σ x."""
        return (
            np.array([sum(x * MASSES[s] for s, x in site.items()) for site in self.species])
            / self.occupancies
        )

    @property
    def mass(self) -> float:
        """Mass of the cell, u."""
        return float(self.masses @ self.occupancies)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def is_ordered(self) -> bool:
        """Whether every site holds exactly one atom of one species."""
        return all(len(s) == 1 for s in self.species) and bool(
            np.all(self.occupancies > 1 - TOLERANCE)
        )

    @property
    def fractional(self) -> NDArray[np.float64]:
        """Positions in units of the lattice vectors, (sites, 3); not wrapped into the cell."""
        return self.positions @ np.linalg.inv(self.cell)

    # Files: see `debye.crystals.structure_io.read`.

    @classmethod
    def read(cls, path: str | Path, index: int = 0) -> Crystal:
        """One structure of a file: CIF, POSCAR, (ext)xyz, JSON, JSONL or ASE database.

        Args:
            path: The file.
            index: Which of several, from 0, or from the end if negative.

        Raises:
            InputError: It cannot be read, or there are not so many.
        """
        return cast("Crystal", higher("read_crystal")(path, index))

    @classmethod
    def read_all(cls, path: str | Path) -> list[Crystal]:
        """Every structure of a file; `read_structures` takes many.

        Raises:
            InputError: Any of them cannot be read.
        """
        return cast("list[Crystal]", higher("read_crystals")(path))

    def write(self, path: str | Path, format: str | None = None) -> Path:  # noqa: A002 - its name everywhere
        """Write a file, whole or not at all: ``.cif``, ``.extxyz``, ``.vasp``, ``.json``.

        Args:
            path: Its name decides the format.
            format: ``cif``, ``xyz``, ``poscar``, ``json`` or ``jsonl``, whatever the name.

        Returns:
            The path written.

        Raises:
            InputError: The format is unknown or cannot hold a mixed site, or the file cannot be
                written.
            ComputationError: The disk is full or failed while writing.
        """
        return cast("Path", higher("write_structures")(path, self, format))

    # Other structures, in memory.

    @classmethod
    def of(cls, thing: Any, *, name: str = "", source: str = "") -> Crystal:  # noqa: ANN401 - whatever they have
        """The crystal of an object of ASE, pymatgen or phonopy; a `Crystal` is one already.

        Args:
            thing: What `from_atoms`, `from_pymatgen`, `from_phonopy` or `from_dict` takes.
            name: See `Crystal`.
            source: See `Crystal`.

        Raises:
            InputError: It is something else, or what `Crystal` refuses.
        """
        if isinstance(thing, Crystal):
            return thing
        return cls._of(parts_of(thing, source), name, source)

    @classmethod
    def from_atoms(cls, atoms: ase.Atoms, *, name: str = "", source: str = "") -> Crystal:
        """The crystal of ASE ``Atoms``, with ASE's own mark for mixed sites where a CIF left it.

        Hydrogen with the mass of deuterium or tritium becomes D or T.

        Args:
            atoms: Or a row of an ASE database. Needs a cell in three dimensions; switches of
                ``pbc`` that are off are noted.
            name: See `Crystal`.
            source: See `Crystal`.

        Raises:
            InputError: It is something else, has no cell, or what `Crystal` refuses.
        """
        return cls._of(atoms_parts(atoms, source), name, source)

    @classmethod
    def from_pymatgen(cls, structure: Any, *, name: str = "", source: str = "") -> Crystal:  # noqa: ANN401 - pymatgen is optional
        """The crystal of a pymatgen ``Structure``, disordered or not; charges are dropped.

        Args:
            structure: A ``pymatgen.core.Structure``, or a ``ComputedStructureEntry``.
            name: See `Crystal`.
            source: See `Crystal`.

        Raises:
            InputError: It is a ``Molecule`` (no cell), something else, or what `Crystal` refuses.
        """
        return cls._of(pymatgen_parts(structure, source), name, source)

    @classmethod
    def from_phonopy(cls, cell: Any, *, name: str = "", source: str = "") -> Crystal:  # noqa: ANN401 - phonopy is optional
        """The crystal of ``PhonopyAtoms``, or of the primitive cell of a ``Phonopy``.

        Its force constants are for `debye.predict`; a note says so.

        Args:
            cell: ``PhonopyAtoms`` in Å, or a ``Phonopy`` in the unit of its calculator.
            name: See `Crystal`.
            source: See `Crystal`.

        Raises:
            InputError: It is something else, or what `Crystal` refuses.
        """
        return cls._of(phonopy_parts(cell, source), name, source)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, name: str = "", source: str = "") -> Crystal:
        """The crystal of a dict as ``ase.Atoms.todict`` or pymatgen's ``as_dict`` have it.

        Args:
            data: ``{numbers, positions (Å), cell (Å), pbc}``, or ``{lattice, sites}``.
            name: See `Crystal`.
            source: See `Crystal`.

        Raises:
            InputError: It is no dict, keys are missing, there is no cell, or what `Crystal`
                refuses.

        Example:
            >>> Crystal.from_dict({"numbers": [84], "positions": [[0, 0, 0]],
            ...                    "cell": [[3.36, 0, 0], [0, 3.36, 0], [0, 0, 3.36]]}).formula
            'Po'
        """
        return cls._of(record_parts(data, source or name), name, source)

    @classmethod
    def _of(cls, parts: Parts, name: str, source: str) -> Crystal:
        return cls(
            parts.species, parts.positions, parts.cell, name or parts.name, source, parts.notes
        )

    def to_dict(self) -> dict[str, Any]:
        """The crystal as pymatgen's ``Structure.from_dict`` and `from_dict` read it (JSON).

        Example:
            >>> iron = Crystal(["Fe"], [[0, 0, 0]], 2.87 * np.eye(3))
            >>> Crystal.from_dict(iron.to_dict()).formula
            'Fe'
        """
        return pymatgen_record(self)

    def to_pymatgen(self) -> Structure:
        """The crystal as a pymatgen ``Structure``, with its occupancies.

        Raises:
            InputError: pymatgen is not installed.
        """
        return pymatgen_structure(self)

    def to_atoms(self) -> ase.Atoms:
        """The crystal as ASE ``Atoms``; D and T become H with their mass.

        Raises:
            InputError: A site is mixed or partly vacant, which ``Atoms`` cannot say.
        """
        return ase_atoms(self)

    def symbols(self, form: str = "a list of symbols") -> list[str]:
        """The symbol of each site of an ordered crystal.

        Args:
            form: What they are wanted for; named in the error.

        Raises:
            InputError: A site is mixed or partly vacant.
        """
        if not self.is_ordered:
            raise InputError(
                f"cannot turn {self.source or self.formula} into {form}",
                why="some of its sites are mixed or partly vacant",
                fix="write CIF or JSON, which hold occupancies, or order the structure first",
            )
        return [next(iter(site)) for site in self.species]

    def supercell(self, n: int | Sequence[int]) -> Crystal:
        """The same crystal in a cell repeated along each lattice vector.

        Args:
            n: How often: one number, or one for each vector; at least 1.

        Raises:
            InputError: ``n`` is not one or three whole numbers ≥ 1, or there are too many sites.

        Example:
            >>> iron = Crystal(["Fe"], [[0, 0, 0]], 2.87 * np.eye(3))
            >>> (iron * (2, 2, 1)).n_sites
            4
        """
        try:
            times = tuple(map(index, n if isinstance(n, Iterable) else (n,) * 3))
        except TypeError:
            times = ()
        if len(times) != 3 or min(times) < 1:
            raise structure_error(
                f"{n!r}", "a supercell needs three whole numbers ≥ 1", "give 2 or (2, 2, 1)"
            )
        check_count(self.n_sites * prod(times), f"a supercell {times} of {self.formula}")
        shifts = np.array(list(product(*map(range, times)))) @ self.cell  # [image, xyz]
        return replace(
            self,
            species=self.species * len(shifts),
            positions=(shifts[:, None] + self.positions).reshape(-1, 3),
            cell=self.cell * np.array(times)[:, None],
        )


def _formula_order(symbol: str) -> tuple[float, str]:
    return electronegativity(ATOMIC_NUMBERS[symbol]), symbol


def _amount(n: float) -> str:
    return "" if abs(n - 1) < 5e-4 else f"{round(n, 3):g}"


def _species_notes(species: Collection[Mapping[str, float]]) -> Iterator[str]:
    for isotope, mass in ISOTOPES.items():
        if any(isotope in site for site in species):
            yield ISOTOPE_NOTE.format(isotope, mass)
    if any(sum(site.values()) < 1 - TOLERANCE for site in species):
        yield VACANCY_NOTE
