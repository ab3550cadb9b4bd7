"""Phonopy's files, whose makers are strangers: cells, forces and Born charges of one calculation.

A calculation is a folder. It holds a phonopy record with the cells (``phonopy_params.yaml``,
``phonopy.yaml`` or ``phonopy_disp.yaml``, plain or packed as ``.xz``, ``.gz``, ``.bz2``), or
``POSCAR`` with ``DIM`` in ``phonopy.conf``; and forces or force constants, in that record or beside
it as ``FORCE_CONSTANTS``, ``force_constants.hdf5`` or ``FORCE_SETS``. Born charges, in the
record or in ``BORN``, are used where present.

Calculations come from strangers, so nothing in a folder may execute, and only that folder counts:
``phonopy.load`` keeps neither rule (see `_record`), and is not used.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from debye.core.packed import inner_name, open_unpacked
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.lattice.phonopy import balance, harmonic_of, naming
from debye.crystals.structure.convert import comes_from
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import type_name
from debye.crystals.structure_io.anything import Also
from debye.crystals.structure_io.formats import could_hold_structures
from debye.crystals.structure_io.read import FailedInput, as_path, attempt
from debye.errors import InputError

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.interface.phonopy_yaml import PhonopyYamlData

Result = TypeVar("Result")

RECORDS = ("phonopy_params.yaml", "phonopy.yaml", "phonopy_disp.yaml")
FORCES = ("FORCE_CONSTANTS", "force_constants.hdf5", "FORCE_SETS")
POSCARS = ("POSCAR", "POSCAR-unitcell")
PACKED = ("", ".xz", ".gz", ".bz2")
"""What a record's name may end in, the first that is there taken."""
REQUIRED = (
    "phonopy_params.yaml; or FORCE_SETS or FORCE_CONSTANTS beside phonopy_disp.yaml, or beside "
    "POSCAR and a phonopy.conf with DIM"
)

FORCES_INSIDE = re.compile(rb"^(force_constants:|\s*(- )?forces:)", re.MULTILINE)
RECORD = re.compile(rb"^(phonopy|unit_cell|primitive_cell):", re.MULTILINE)
STARTS = 65_536
"""Bytes by which a file is known for phonopy's."""
LARGEST = 200_000_000
"""Bytes of a record, unpacked."""
MOST_ATOMS = 20_000
"""Of a supercell: its force constants would be 29 GB."""
DEEPEST, LONGEST = 100, 5_000
"""Brackets inside brackets, and characters in a line: libyaml crashes on a nesting of 10⁵."""


def force_constants_in(given: object, label: str = "") -> HarmonicCrystal | None:
    """A crystal with force constants, if that is what is given: of phonopy, or a path to its files.

    Where force constants break the acoustic sum rule they are put right, as ``phonopy.load`` does,
    and the crystal's notes tell.

    Args:
        given: Anything. A `HarmonicCrystal`; a ``Phonopy`` with force constants; a folder with
            phonopy's record and
            forces; the record, whatever its name is; or the file of forces beside it.
        label: What to call an object in errors.

    Raises:
        InputError: It is a calculation of phonopy, and damaged or incomplete; or phonopy is not
            installed.
    """
    if isinstance(given, HarmonicCrystal):
        return given
    if comes_from(given, "phonopy", "Phonopy"):
        phonon: Any = given
        has = phonon.force_constants is not None
        return harmonic_of(phonon, source=label) if has else None
    if not isinstance(given, str | os.PathLike) or (isinstance(given, str) and "\n" in given):
        return None  # a text is no path, and too long for some systems to look for
    if not is_calculation(path := as_path(given)):
        return None
    return _harmonic(path)


def from_phonopy(given: object) -> HarmonicCrystal:
    """A crystal with the force constants, and Born charges if any, of a calculation of phonopy.

    Args:
        given: A ``Phonopy`` with force constants; a folder with phonopy's record and forces;
            the record, whatever its name is; or the file of forces beside it.

    Raises:
        InputError: It holds no force constants, is damaged or incomplete; or phonopy is not
            installed.

    Example:
        >>> from_phonopy("nowhere.yaml")
        Traceback (most recent call last):
        debye.errors.InputError: cannot take force constants from nowhere.yaml
          why: there is no such file
          fix: give phonopy_params.yaml, FORCE_CONSTANTS, their folder, or a Phonopy that has some
    """
    found = force_constants_in(given)
    if found is None:
        path = isinstance(given, str | os.PathLike)
        gone = path and not as_path(given).exists()  # type: ignore[arg-type]
        raise InputError(
            f"cannot take force constants from {given if path else type_name(given)}",
            why="there is no such file" if gone else "it holds none",
            fix="give phonopy_params.yaml, FORCE_CONSTANTS, their folder, or a Phonopy that has "
            "some",
        )
    return found


def is_calculation(path: Path) -> bool:
    """Whether a path is of phonopy's files, forces or force constants among them."""
    if path.is_dir():
        return any(named(path, FORCES)) or any(map(_has_forces_inside, named(path, RECORDS)))
    return path.is_file() and (path.name in FORCES or _is_record(path))


def _is_record(path: Path) -> bool:
    """Whether a file is phonopy's YAML, by what stands at the start of its lines."""
    name = inner_name(path).name
    if not name.endswith((".yaml", ".yml")):
        return False
    try:
        with open_unpacked(path) as stream:
            start = stream.read(STARTS)
    except (OSError, InputError):  # what reads it whole says what is wrong
        return name in RECORDS
    return RECORD.search(start) is not None


def _has_forces_inside(record: Path) -> bool:
    """Whether a record holds forces or force constants of its own."""
    try:
        return FORCES_INSIDE.search(_shallow(record)) is not None
    except (OSError, InputError):  # what reads it whole says what is wrong
        return True


CALCULATIONS = Also(force_constants_in, is_calculation)
"""What `crystals_and` takes beside crystals, where crystals may have force constants."""


def _harmonic(path: Path) -> HarmonicCrystal:
    if importlib.util.find_spec("phonopy") is None:
        raise InputError(
            f"cannot read the force constants in {path}",
            why="phonopy is not installed",
            fix="pip install 'debye[phonopy]'",
        )
    phonon = load_phonon(path.parent if path.name in FORCES else path)
    unread = _beside(path) if path.is_dir() else []
    with naming(str(path)):
        drift = balance(phonon)
        found = harmonic_of(phonon, name=path.stem, source=str(path))
    said = [f"its folder is one calculation: {', '.join(unread)} in it not read"] if unread else []
    crystal = replace(found.crystal, notes=(*found.crystal.notes, *said, *drift))
    return replace(found, crystal=crystal)


def _beside(folder: Path) -> list[str]:
    """Files of a calculation's folder that hold structures of their own."""
    own = ("POSCAR", "SPOSCAR", "CONTCAR", *RECORDS, *FORCES, "BORN")
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return [p.name for p in files if not p.name.startswith(own) and could_hold_structures(p)]


def load_phonon(path: Path) -> Phonopy:
    """The phonopy object of one calculation, with force constants, and Born charges if any.

    Like ``phonopy.load``, but confined to its folder, and executing nothing of it.

    Args:
        path: A folder, see the module for what it must hold; or a record in it.

    Raises:
        InputError: Something is missing, damaged, or does not fit the cell.
    """
    from phonopy import Phonopy

    folder = path if path.is_dir() else path.parent
    found = next(named(folder, RECORDS), None) if path.is_dir() else path
    setup = _record(found) if found else _poscar_setup(folder)
    _check_cells(setup, found or folder)
    times, matrix = setup.supercell_matrix, setup.primitive_matrix
    phonon = _parsed(
        found or folder,
        lambda: Phonopy(
            setup.unitcell,
            supercell_matrix=np.eye(3, dtype=int) if times is None else times,
            primitive_matrix="auto" if matrix is None else matrix,
            calculator=setup.calculator,
        ),
    )
    _set_born_charges(phonon, setup, folder)
    # A solver that phonopy may import raises the limit to where deep nesting overflows the stack.
    limit = sys.getrecursionlimit()
    try:
        _set_force_constants(phonon, setup, folder)
    finally:
        sys.setrecursionlimit(limit)
    return phonon


# The cells.


def _check_cells(setup: PhonopyYamlData, source: Path) -> None:
    """Refuse cells on which compiled code would crash, or be busy for good."""
    from phonopy.physical_units import get_calculator_physical_units

    cell = setup.unitcell
    scale = _parsed(source, lambda: get_calculator_physical_units(setup.calculator).distance_to_A)
    # A crystal is finite, has a volume, and no two atoms in one place.
    made = _parsed(source, lambda: Crystal.from_phonopy(cell, source=str(source)))
    replace(made, positions=made.positions * scale, cell=made.cell * scale)
    for matrix in (setup.supercell_matrix, setup.primitive_matrix):
        if matrix is None or isinstance(matrix, str):
            continue
        values = _parsed(source, lambda matrix=matrix: np.asarray(matrix, dtype=float))  # type: ignore[misc]
        if values.shape not in ((3,), (3, 3)) or not np.isfinite(values).all():
            raise _damaged(source, f"a matrix of its cells is {values.tolist()}")
        volume = abs(np.linalg.det(values if values.ndim == 2 else np.diag(values)))
        if not 1e-3 < volume * len(cell) < MOST_ATOMS:
            why = f"a cell would hold {volume * len(cell):.3g} atoms, and {MOST_ATOMS:,} at most"
            raise _damaged(source, why)


def _record(path: Path) -> PhonopyYamlData:
    """What a phonopy YAML file says, once it is known to hold a unit cell."""
    import yaml  # type: ignore[import-untyped,unused-ignore]
    from phonopy.interface.phonopy_yaml import PhonopyYamlLoader

    # phonopy.load parses with yaml.CLoader, which has PyYAML's unsafe constructor: a tag such as
    # !!python/object/apply:os.system runs a command. The safe loader makes plain numbers, texts,
    # lists and dictionaries and refuses such tags; phonopy gets to see only its result.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = _parsed(path, lambda: yaml.load(_shallow(path), Loader=loader))  # noqa: S506 - safe
    if not isinstance(data, dict):
        raise _damaged(path, "it is no phonopy record, or empty")
    setup = _parsed(path, lambda: PhonopyYamlLoader(data).parse().data)
    if setup.unitcell is None:
        raise _damaged(path, "it has no unit_cell")
    return setup


def _shallow(path: Path) -> bytes:
    """The unpacked bytes of a YAML file that libyaml's recursion can follow."""
    with open_unpacked(path) as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise _damaged(path, f"it holds more than {LARGEST / 1e6:.0f} MB")
    codes = np.frombuffer(data, np.uint8)
    brackets = codes[np.isin(codes, list(b"[]{}"))]
    depth = np.where(np.isin(brackets, list(b"[{")), 1, -1).cumsum().max(initial=0)
    ends = np.concatenate([[-1], np.flatnonzero(codes == ord("\n")), [len(codes)]])
    if depth > DEEPEST or np.diff(ends).max() > LONGEST:
        raise _damaged(path, "it is nested too deeply, or its lines are too long")
    return data


def _poscar_setup(folder: Path) -> PhonopyYamlData:
    """The unit cell of a POSCAR and the matrices of phonopy.conf."""
    from phonopy.interface.phonopy_yaml import PhonopyYamlData
    from phonopy.structure.atoms import PhonopyAtoms

    path = next(named(folder, POSCARS), None)
    conf = folder / "phonopy.conf"
    settings = _settings(conf) if conf.is_file() else {}
    if path is None or "DIM" not in settings:
        if not next(named(folder, FORCES), None):
            missing = "it holds neither a phonopy record nor forces"
        elif path is None:
            missing = "the unit cell is missing"
        else:
            missing = "the size of the supercell (DIM in phonopy.conf) is missing"
        raise InputError(f"cannot read {folder}", why=missing, fix=f"it must hold {REQUIRED}")
    crystal = Crystal.read(path)
    axes = settings.get("PRIMITIVE_AXES", settings.get("PRIMITIVE_AXIS"))
    return PhonopyYamlData(
        unitcell=PhonopyAtoms(
            symbols=crystal.symbols("a unit cell"), cell=crystal.cell, positions=crystal.positions
        ),
        supercell_matrix=_parsed(conf, lambda: _matrix(settings["DIM"]).astype(int)),
        primitive_matrix=None
        if axes is None or axes.upper() == "AUTO"
        else _parsed(conf, lambda: _matrix(axes)),
    )


def _settings(conf: Path) -> dict[str, str]:
    """``KEY = value`` lines of a phonopy.conf."""
    text = _parsed(conf, lambda: conf.read_text(encoding="utf-8"))
    pairs = (line.split("#")[0].partition("=") for line in text.splitlines())
    return {key.strip().upper(): value.strip() for key, equals, value in pairs if equals}


def _matrix(text: str) -> NDArray[np.float64]:
    """Three numbers on a diagonal, or nine; 1/2 is a number."""
    numbers = np.array([float(Fraction(word)) for word in text.split()])
    return np.diag(numbers) if len(numbers) == 3 else numbers.reshape(3, 3)


# The forces.


def _set_force_constants(phonon: Phonopy, setup: PhonopyYamlData, folder: Path) -> None:
    """Take what is nearest to force constants, in phonopy's own order."""
    from phonopy.cui.load_helper import read_force_constants_from_hdf5
    from phonopy.file_IO import parse_FORCE_CONSTANTS

    text, hdf5, sets = (folder / name for name in FORCES)
    of = phonon.primitive.p2s_map
    if setup.force_constants is not None:
        found = setup.force_constants
    elif text.is_file():
        found = _parsed(text, lambda: parse_FORCE_CONSTANTS(text, p2s_map=of))
    elif hdf5.is_file():
        found = _parsed(hdf5, lambda: read_force_constants_from_hdf5(hdf5, of, phonon.calculator))
    else:
        _solve(phonon, setup.dataset, sets)
        return
    atoms, primitive = len(phonon.supercell), len(phonon.primitive)
    # Compiled code reads them without looking.
    if found.shape not in {(n, atoms, 3, 3) for n in (atoms, primitive)}:
        raise _damaged(folder, f"force constants {found.shape} for {atoms} atoms in the supercell")
    phonon.force_constants = _finite(found, folder)


def _solve(phonon: Phonopy, dataset: dict[str, Any] | None, sets: Path) -> None:
    """Force constants from displacements and forces, symmetrised."""
    atoms = len(phonon.supercell)
    source = sets.parent
    if not _has_forces(dataset):
        if not sets.is_file():
            why = "it holds neither forces nor force constants"
            raise InputError(f"cannot read {source}", why=why, fix=f"it must hold {REQUIRED}")
        dataset, source = _parsed(sets, lambda: _force_sets(sets, atoms)), sets
    assert dataset is not None  # noqa: S101 - for the type checker
    rows = dataset.get("first_atoms", [dataset])
    for row in rows:
        if np.shape(row["forces"])[-2:] != (atoms, 3):
            shape = np.shape(row["forces"])
            raise _damaged(source, f"forces {shape} for {atoms} atoms in the supercell")
        _finite(row["forces"], source)
    phonon.dataset = dataset
    if "first_atoms" in dataset:  # one atom displaced at a time
        phonon.produce_force_constants(calculate_full_force_constants=False)
        phonon.symmetrize_force_constants()
    else:
        phonon.produce_force_constants(calculate_full_force_constants=False, fc_calculator="symfc")


def _has_forces(dataset: dict[str, Any] | None) -> bool:
    rows = dataset.get("first_atoms", [dataset]) if dataset else []
    return bool(rows) and all("forces" in row for row in rows)


def _force_sets(path: Path, atoms: int) -> dict[str, Any]:
    from phonopy.file_IO import parse_FORCE_SETS_from_strings

    text = path.read_text(encoding="utf-8")
    words = (text.split("\n", 1)[0] if text.strip() else "").split()
    # Six numbers a line, displacement and force: only the cell tells where one set ends.
    return parse_FORCE_SETS_from_strings(text, natom=atoms if len(words) == 6 else None)


def _set_born_charges(phonon: Phonopy, setup: PhonopyYamlData, folder: Path) -> None:
    """Charges and dielectric tensor for the splitting of optical modes, where known."""
    from phonopy.file_IO import parse_BORN
    from phonopy.physical_units import get_calculator_physical_units

    born, source = setup.nac_params, folder / "BORN"
    if born is None and source.is_file():
        born = _parsed(source, lambda: parse_BORN(phonon.primitive, filename=source))
    if born is None:
        return
    shapes = np.shape(born["born"]), np.shape(born["dielectric"])
    if shapes != ((len(phonon.primitive), 3, 3), (3, 3)):
        why = f"Born charges {shapes[0]} for {len(phonon.primitive)} atoms in the primitive cell"
        raise _damaged(folder, why)
    for value in (born["born"], born["dielectric"]):
        _finite(value, folder)
    if "factor" not in born:
        born["factor"] = get_calculator_physical_units(phonon.calculator).nac_factor
    phonon.nac_params = born


# Files.


def named(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Files of these names that are there; a record may be packed."""
    for name in names:
        for packed in PACKED if name in RECORDS else [""]:
            if (path := folder / f"{name}{packed}").is_file():
                yield path


def _parsed(path: Path, parse: Callable[[], Result]) -> Result:
    """What a parser makes of a file; a refusal that names the file if it fails."""

    def attempted() -> Result:
        try:
            return parse()
        except (IndexError, RecursionError) as error:  # phonopy's ways of reading past the end
            raise _damaged(path, "it ends too early") from error

    made = attempt(str(path), attempted)
    if isinstance(made, FailedInput):
        raise made.error
    return made


def _finite(values: NDArray[np.float64], source: Path) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise _damaged(source, "it holds NaN or infinity")
    return values


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"cannot read {path}", why=why, fix="write it again, or copy it again in full"
    )
