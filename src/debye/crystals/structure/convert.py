"""What ASE, pymatgen and phonopy say of a crystal in their own words, in the words of a Crystal.

None of them is imported to recognise its objects: a type is known by its name and its library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from debye.crystals.structure.elements import ISOTOPES, MASSES, SYMBOLS
from debye.crystals.structure.validate import Species, no_cell, structure_error, type_name
from debye.errors import InputError

if TYPE_CHECKING:
    import ase

NOT_PERIODIC = "its periodicity is switched off: treated as periodic"
"""The note for a cell with ``pbc`` off."""

SLAB = "it is a slab, cut from a crystal: treated as periodic with its surface and vacuum"
"""The note for pymatgen's ``Slab``."""

NAMES = ("name", "mp_id", "material_id", "entry_id", "id")
"""Where a record holds its name, in this order."""

FORCE_CONSTANTS = (
    "phonopy's own force constants are not used here: debye.predict and debye.bands take them"
)
"""The note for the crystal of a ``Phonopy`` with force constants."""


class _Sited(Protocol):
    """What other libraries are told of a crystal; a `Crystal` has all of it."""

    @property
    def species(self) -> tuple[Mapping[str, float], ...]: ...
    @property
    def positions(self) -> NDArray[np.float64]: ...
    @property
    def cell(self) -> NDArray[np.float64]: ...
    @property
    def fractional(self) -> NDArray[np.float64]: ...
    @property
    def masses(self) -> NDArray[np.float64]: ...
    @property
    def elements(self) -> tuple[str, ...]: ...
    def symbols(self, form: str = ...) -> list[str]: ...


class Parts(NamedTuple):
    """What a `Crystal` is made of."""

    species: Sequence[Species]
    positions: ArrayLike
    cell: ArrayLike
    notes: Sequence[str] = ()
    name: str = ""


def comes_from(thing: object, library: str, *names: str) -> bool:
    """Whether something is an instance of a library's class, by its name, or of one derived of it.

    Example:
        >>> comes_from(np.float64(1), "numpy", "floating")
        True
    """
    return any(
        base.__name__ in names and base.__module__.partition(".")[0] == library
        for base in type(thing).__mro__
    )


def _foreign(thing: object, label: str, wanted: str) -> InputError:
    return structure_error(
        label or "what was given", f"it is {type_name(thing)}, not {wanted}", f"give {wanted}"
    )


# From other libraries.


def atoms_parts(atoms: Any, label: str) -> Parts:  # noqa: ANN401 - ase is not typed
    """Of ASE ``Atoms``, with ASE's own mark for mixed sites where a CIF left it, or of a row.

    Raises:
        InputError: It is something else, or its atomic numbers name no elements.
    """
    name = ""
    if comes_from(atoms, "ase", "AtomsRow"):
        name, atoms = name_in(atoms.key_value_pairs), atoms.toatoms()
    if not comes_from(atoms, "ase", "Atoms"):
        raise _foreign(atoms, label, "ASE Atoms")
    label = label or "the Atoms"
    species: Sequence[Species] = species_of_numbers(atoms.numbers, label)
    notes = periodicity_notes(atoms.pbc)
    if atoms.has("masses"):
        species, odd = _with_masses(species, atoms.get_masses())
        notes += odd
    species = _mixed(species, atoms.info, atoms.arrays.get("spacegroup_kinds"))
    return Parts(species, atoms.positions, atoms.cell.array, notes, name or name_in(atoms.info))


def pymatgen_parts(structure: Any, label: str) -> Parts:  # noqa: ANN401 - pymatgen is optional
    """Of a pymatgen ``Structure``, or of the one in a ``ComputedStructureEntry``; charges dropped.

    Raises:
        InputError: It is something else, or a ``Molecule``.
    """
    name = ""
    if comes_from(structure, "pymatgen", "ComputedStructureEntry"):
        name, structure = str(structure.entry_id or ""), structure.structure
    if comes_from(structure, "pymatgen", "IMolecule"):
        raise no_cell(label or "the Molecule")
    if not comes_from(structure, "pymatgen", "IStructure"):
        raise _foreign(structure, label, "a pymatgen Structure or ComputedStructureEntry")
    species = [
        site_of((_pymatgen_symbol(kind), float(x)) for kind, x in site.species.items())
        for site in structure
    ]
    lattice, slab = structure.lattice, (SLAB,) if comes_from(structure, "pymatgen", "Slab") else ()
    notes = (*periodicity_notes(lattice.pbc), *slab)
    return Parts(species, structure.cart_coords, lattice.matrix, notes, name)


def _pymatgen_symbol(kind: Any) -> str:  # noqa: ANN401 - pymatgen is optional
    """The symbol of an ``Element`` or ``Species``; deuterium's is H there, and its name is D."""
    element = getattr(kind, "element", kind)
    return str(getattr(element, "name", element.symbol))


def phonopy_parts(given: Any, label: str) -> Parts:  # noqa: ANN401 - phonopy is optional
    """Of ``PhonopyAtoms``, in Å, or of the primitive cell of a ``Phonopy``, in its own unit.

    Raises:
        InputError: It is something else.
    """
    cell, scale, notes = given, 1.0, tuple[str, ...]()
    if comes_from(given, "phonopy", "Phonopy"):
        cell, scale = given.primitive, calculator_length(given)
        notes = () if given.force_constants is None else (FORCE_CONSTANTS,)
    if not comes_from(cell, "phonopy", "PhonopyAtoms"):
        raise _foreign(given, label, "Phonopy or PhonopyAtoms")
    # phonopy may number the kinds of an element: Fe1, Fe2.
    symbols = [str(symbol).rstrip("0123456789") for symbol in cell.symbols]
    species: Sequence[Species] = symbols
    if getattr(cell, "has_mixtures", False):  # phonopy 4 may merge the species of a shared site
        kinds = [cell.species_table[i] for i in cell.species_ids]
        species = [
            site_of(k.mixture) if k.mixture else s for k, s in zip(kinds, symbols, strict=True)
        ]
    elif cell.masses is not None:
        species, odd = _with_masses(symbols, cell.masses)
        notes += odd
    return Parts(species, cell.positions * scale, cell.cell * scale, notes)


def calculator_length(phonon: Any) -> float:  # noqa: ANN401 - phonopy is optional
    """Å in the unit of length of a ``Phonopy``'s calculator."""
    from phonopy.physical_units import get_calculator_physical_units

    return float(get_calculator_physical_units(phonon.calculator).distance_to_A)


_PARTS: Mapping[tuple[str, str], Callable[[Any, str], Parts]] = {
    ("ase", "Atoms"): atoms_parts,
    ("ase", "AtomsRow"): atoms_parts,
    ("pymatgen", "SiteCollection"): pymatgen_parts,
    ("pymatgen", "ComputedStructureEntry"): pymatgen_parts,
    ("phonopy", "Phonopy"): phonopy_parts,
    ("phonopy", "PhonopyAtoms"): phonopy_parts,
}


def is_structure(thing: object) -> bool:
    """Whether something is a structure of ASE, pymatgen or phonopy.

    Example:
        >>> is_structure(3.5)
        False
    """
    return any(comes_from(thing, library, name) for library, name in _PARTS)


def parts_of(thing: object, label: str) -> Parts:
    """Of a structure of any of them, or of its JSON.

    Raises:
        InputError: It is something else, or cannot be taken apart.
    """
    for (library, name), parts in _PARTS.items():
        if comes_from(thing, library, name):
            return parts(thing, label)
    if not isinstance(thing, Mapping):
        wanted = "a Crystal, ASE Atoms, a pymatgen Structure, PhonopyAtoms, or a dict of one"
        raise _foreign(thing, label, wanted)
    return record_parts(thing, label)


# From their JSON.


def record_parts(data: Mapping[str, Any], label: str) -> Parts:
    """Of a dictionary as ``ase.Atoms.todict`` or pymatgen's ``Structure.as_dict`` write it.

    Raises:
        InputError: It is something else, keys are missing, or there is no cell.
    """
    if not isinstance(data, Mapping):
        raise _foreign(data, label, "a dict of numbers, positions and cell, or of a Structure")
    label = label or "the crystal"
    if "sites" in data:
        return _pymatgen_record(data, label)
    for key in ("numbers", "positions"):
        if key not in data:
            raise structure_error(label, f"{key!r} is missing", "give numbers, positions and cell")
    numbers, positions, cell, pbc = (
        _array(data.get(key), label) for key in ("numbers", "positions", "cell", "pbc")
    )
    if cell is None:
        raise no_cell(label)
    species: Sequence[Species] = species_of_numbers(numbers, label)
    notes = periodicity_notes(True if pbc is None else pbc)
    if (masses := _array(data.get("masses"), label)) is not None:
        species, odd = _with_masses(species, _masses(masses, len(species), label))
        notes += odd
    info = data.get("info")
    if isinstance(info, Mapping):
        species = _mixed(species, info, _array(data.get("spacegroup_kinds"), label))
    return Parts(species, positions, cell, notes)


def _mixed(species: Sequence[Species], info: Mapping[str, Any], kinds: Any) -> Sequence[Species]:  # noqa: ANN401 - an array, or nothing
    """The species, shared where ASE's mark for a CIF's mixed sites says so."""
    occupancy = info.get("occupancy")
    if not isinstance(occupancy, Mapping) or kinds is None or np.shape(kinds) != (len(species),):
        return species
    listed = np.asarray(kinds).tolist()
    return [occupancy.get(str(k), s) for k, s in zip(listed, species, strict=True)]


def _masses(masses: ArrayLike, count: int, label: str) -> list[float]:
    """Masses of a record, one for each atom.

    Raises:
        InputError: They are something else.
    """
    try:
        found = np.array(masses, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        why = f"its masses are no numbers ({error})"
        raise structure_error(label, why, "give one for each atom, in u") from error
    if found.shape != (count,):
        why = f"its masses have shape {found.shape}, not {(count,)}"
        raise structure_error(label, why, "give one for each atom, in u")
    return found.tolist()


def _pymatgen_record(data: Mapping[str, Any], label: str) -> Parts:
    if "lattice" not in data:
        raise no_cell(label)
    try:
        cell = np.array(data["lattice"]["matrix"], dtype=np.float64)
        species = [
            site_of((str(kind["element"]), float(kind["occu"])) for kind in site["species"])
            for site in data["sites"]
        ]
        fractional = np.array([site["abc"] for site in data["sites"]], dtype=np.float64)
        slab = (SLAB,) if data.get("@class") == "Slab" or "miller_index" in data else ()
        notes = (*periodicity_notes(data["lattice"].get("pbc", True)), *slab)
        return Parts(species, fractional.reshape(-1, 3) @ cell, cell, notes)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise structure_error(
            label,
            f"not a pymatgen Structure as as_dict writes it ({type(error).__name__}: {error})",
            "write it again with Structure.as_dict()",
        ) from error


def _array(value: Any, label: str) -> Any:  # noqa: ANN401 - anything JSON can say
    """A value of ASE's JSON, in which arrays are ``{"__ndarray__": [shape, type, values]}``."""
    if isinstance(value, Mapping):
        value = value.get("array", value)
    if not isinstance(value, Mapping):
        return value
    try:
        shape, _, values = value["__ndarray__"]
        return np.reshape(values, shape)
    except (KeyError, TypeError, ValueError) as error:
        why = f"an array of it is none as ASE writes them ({type(error).__name__}: {error})"
        raise structure_error(label, why, "write it again with ase.io.jsonio.encode") from error


# To them.


def pymatgen_record(crystal: _Sited) -> dict[str, Any]:
    """What pymatgen's ``Structure.from_dict`` reads."""
    sites = [
        {
            "species": [{"element": s, "occu": x} for s, x in site.items()],
            "abc": abc,
            "xyz": xyz,
            "label": "/".join(site),
            "properties": {},
        }
        for site, abc, xyz in zip(
            crystal.species, crystal.fractional.tolist(), crystal.positions.tolist(), strict=True
        )
    ]
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {"matrix": crystal.cell.tolist(), "pbc": [True, True, True]},
        "properties": {},
        "sites": sites,
    }


def pymatgen_structure(crystal: _Sited) -> Any:  # noqa: ANN401 - pymatgen is optional
    """The crystal as a pymatgen ``Structure``.

    Raises:
        InputError: pymatgen is not installed.
    """
    try:
        from pymatgen.core import Structure
    except ImportError as error:
        raise InputError(
            "cannot make a pymatgen Structure",
            why="pymatgen is not installed",
            fix="python -m pip install 'debye[pymatgen]'",
        ) from error
    return Structure(
        crystal.cell, [dict(site) for site in crystal.species], crystal.positions,
        coords_are_cartesian=True,
    )  # fmt: skip


def ase_atoms(crystal: _Sited) -> ase.Atoms:
    """The crystal as ASE ``Atoms``; D and T become H with their mass.

    Raises:
        InputError: A site is mixed or partly vacant, which ``Atoms`` cannot say.
    """
    from ase import Atoms

    symbols = ["H" if s in ISOTOPES else s for s in crystal.symbols("ASE Atoms")]
    atoms = Atoms(symbols, positions=crystal.positions, cell=crystal.cell, pbc=True)
    if any(s in ISOTOPES for s in crystal.elements):
        atoms.set_masses(crystal.masses)
    return atoms


# What they share.


def species_of_numbers(numbers: ArrayLike, label: str) -> list[str]:
    """The symbols of atomic numbers, each 1 to 118.

    Raises:
        InputError: One of them is no such number.
    """
    try:
        known = [SYMBOLS[n] for n in np.asarray(numbers).tolist() if n > 0 and n == int(n)]
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise structure_error(
            label, f"its atomic numbers are unusable ({error})", "give 1 to 118"
        ) from error
    if len(known) != np.size(numbers):
        raise structure_error(
            label, "an atomic number is 0, negative or no whole number", "give 1 to 118"
        )
    return known


def with_isotope(symbol: str, mass: float) -> str:
    """D or T where hydrogen has their mass; other custom masses are not kept."""
    for isotope, known in ISOTOPES.items() if symbol == "H" else ():
        if abs(mass - known) < 0.05:
            return isotope
    return symbol


def _with_masses(
    symbols: Sequence[Any], masses: Iterable[float]
) -> tuple[list[str], tuple[str, ...]]:
    """Isotopes of hydrogen by their masses, and notes of masses that are not kept."""
    pairs = [(with_isotope(str(s), m), float(m)) for s, m in zip(symbols, masses, strict=True)]
    odd = {
        f"its mass of {m:.4g} u for {s} is not kept: {MASSES[s]:.4g} u is used"
        for s, m in pairs
        if s in MASSES and abs(m / MASSES[s] - 1) > 0.01
    }
    return [s for s, _ in pairs], tuple(sorted(odd))


def periodicity_notes(pbc: ArrayLike) -> tuple[str, ...]:
    """What to note of ``pbc``, one switch or three."""
    return () if np.all(pbc) else (NOT_PERIODIC,)


def site_of(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Occupancies by symbol, where one may come twice: Fe2+ and Fe3+ on a site are both Fe."""
    site: dict[str, float] = {}
    for symbol, occupancy in pairs:
        site[symbol] = site.get(symbol, 0.0) + occupancy
    return site


def name_in(record: Mapping[str, Any]) -> str:
    """The name that a record gives; empty where it gives none."""
    return str(next((record[key] for key in NAMES if record.get(key) is not None), ""))
