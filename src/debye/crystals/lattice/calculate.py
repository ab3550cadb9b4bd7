"""Force constants from the forces of any ASE calculator, by finite displacements.

    K_ij = ∂F_i/∂u_j

Phonopy finds the few displacements from which symmetry gives the rest. Forces at rest are
subtracted from all. Every call is kept in a folder, from which the same call goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from debye.core.files import atomic_write, folder
from debye.crystals.lattice.harmonic import GIVEN, HarmonicCrystal
from debye.crystals.lattice.phonopy import balance, harmonic_of, naming, phonopy_installed
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import primitive
from debye.errors import ComputationError, DebyeError, InputError

if TYPE_CHECKING:
    from phonopy import Phonopy

HEIGHT = 10.0
"""Least distance between opposite faces of the supercell, Å."""
MOST_ATOMS = 4_000
"""Of a supercell: the force constants of a cell of 500 sites would take 144 MB."""
AT_REST = 0.05
"""Force where nothing is displaced from which on it is told, eV/Å."""
DRIFT = 0.02
"""`imbalance` from which on it is told: less is of the displacements' length."""
IMPOSSIBLE = 1e3
"""Force that no atom near its place feels, eV/Å."""
RELAXED, STEPS = 1e-3, 500
"""Largest force of a relaxed crystal, eV/Å, and how many steps it may take."""
MANIFEST = "debye-displacements.json"

Progress = Callable[[int, int], None]
"""Is told how many force calls are done, and of how many; first before the first."""


@dataclass
class _Calls:
    """Force calls of one calculation, each kept in a folder."""

    calculator: Any
    label: str
    folder: Path | None

    def forces(self, cell: Any, number: int, what: str) -> NDArray[np.float64]:  # noqa: ANN401 - phonopy's atoms
        """Forces on a supercell, (N, 3), eV/Å: those kept, or newly found."""
        kept = self.folder / f"forces-{number:04d}.json" if self.folder else None
        if kept is not None and kept.exists():
            return _read(kept, len(cell))
        found = self._called(cell, what)
        if kept is not None:
            atomic_write(kept, json.dumps({"forces_eV_per_angstrom": found.tolist()}) + "\n")
        return found

    def _called(self, cell: Any, what: str) -> NDArray[np.float64]:  # noqa: ANN401 - phonopy's atoms
        from ase import Atoms

        atoms = Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)
        atoms.calc = self.calculator
        with asking(self.label, what):
            found = atoms.get_forces()
        return checked(found, len(cell), self.label, what)


@contextmanager
def asking(label: str, what: str) -> Iterator[None]:
    """Turn whatever a calculator raises into words.

    Raises:
        ComputationError: It raised something.
    """
    try:
        yield
    except DebyeError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        why = f"the calculator raised {type(error).__name__}: {str(error)[:200]}"
        raise _failed(label, what, why) from error


def checked(found: object, count: int, label: str, what: str) -> NDArray[np.float64]:
    """Forces that can be forces, (N, 3), eV/Å.

    Raises:
        ComputationError: They are of another shape, not finite, or impossibly large.
    """
    if found is None:
        raise _failed(label, what, "the calculator returned nothing")
    try:
        forces = np.array(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _failed(label, what, f"the calculator's forces are no numbers ({error})") from error
    if forces.shape != (count, 3):
        why = f"the calculator's forces have the shape {forces.shape}, for {count} atoms"
        raise _failed(label, what, why)
    if not np.isfinite(forces).all():
        raise _failed(label, what, "the calculator's forces hold NaN or infinity")
    if (largest := np.abs(forces).max(initial=0.0)) > IMPOSSIBLE:
        why = f"the calculator has diverged: a force is {largest:.3g} eV/Å"
        raise _failed(label, what, why)
    return forces


def _failed(label: str, what: str, why: str) -> ComputationError:
    fix = "mend the calculator; with an output folder, the same call goes on where it stopped"
    return ComputationError(f"cannot compute {what} of {label}", why=why, fix=fix)


def from_calculator(
    atoms: object,
    calculator: object,
    *,
    supercell: int | Sequence[int] | None = None,
    distance: float = 0.01,
    relax: bool = False,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> HarmonicCrystal:
    """The force constants of a crystal by an ASE calculator.

    Args:
        atoms: What `Crystal.of` takes; brought into its primitive cell.
        calculator: Of ASE, or a function or class that makes one without arguments.
        supercell: How often the cell is repeated: one number, three, or a (3, 3) matrix; so often
            that its faces are 10 Å apart if None.
        distance: Of the displacements, Å.
        relax: Whether to relax cell and positions first, with their symmetry kept. Otherwise
            the crystal vibrates where it is, and the forces there are subtracted.
        output: Folder in which every force call is kept, and from which the same call goes on; in
            the end a calculation of phonopy's.
        progress: See `Progress`.

    Returns:
        As from phonopy: `debye.predict` and `debye.bands` take it.

    Raises:
        InputError: phonopy is not installed, there is nothing that calculates, the crystal has
            mixed sites, the supercell is none or too large, or the folder holds another
            calculation.
        ComputationError: A force call failed, the calculator returned no forces or impossible
            ones, or the crystal does not relax; which displacement it was is told.

    Example:
        >>> from ase.build import bulk
        >>> from ase.calculators.emt import EMT
        >>> from_calculator(bulk("Cu"), EMT(), supercell=2)
        HarmonicCrystal(Cu, 1 sites, 9 pairs)
    """
    if not phonopy_installed():
        why, fix = "phonopy is not installed", "pip install 'debye[phonopy]'"
        raise InputError("cannot displace atoms", why=why, fix=fix)
    if not 1e-4 <= distance <= 0.5:
        why = "below 0.0001 Å forces are noise, and above 0.5 Å not linear"
        raise InputError(f"cannot displace atoms by {distance:g} Å", why=why, fix="take 0.01")
    crystal = primitive(Crystal.of(atoms))
    label = crystal.source or crystal.name or crystal.formula
    potential = calculator_of(calculator, label)
    matrix = _matrix(crystal, supercell, label)
    home = None if output is None else folder(output)
    if home is not None:
        _begin(home, crystal, matrix, distance, relax=relax, calculator=potential)
    if relax:
        crystal = _relaxed(crystal, potential, label, home)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy's announcements
        phonon = _displaced(crystal, matrix, distance)
        rest = _run(phonon, _Calls(potential, label, home), progress)
        return _harmonic(phonon, crystal, rest, type(potential).__name__, home)


def calculator_of(given: object, label: str) -> Any:  # noqa: ANN401 - ASE is not typed
    """A calculator as it is given, or made by a function.

    Raises:
        InputError: It is neither.
        ComputationError: The function raised something.
    """
    if callable(given) and (isinstance(given, type) or not hasattr(given, "get_forces")):
        with asking(label, "forces"):
            given = given()
    if not hasattr(given, "get_forces"):
        why = f"{type(given).__name__} has no get_forces"
        fix = "give a calculator of ASE, such as EMT(), or a function that makes one"
        raise InputError("cannot calculate forces", why=why, fix=fix)
    return given


def _matrix(crystal: Crystal, times: int | Sequence[int] | None, label: str) -> NDArray[np.int64]:
    """The lattice vectors of the supercell in units of the cell's, as rows, (3, 3)."""
    what, fix = f"cannot repeat {label}", "give one whole number from 1, three, or 3 × 3"
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.cell), axis=0)
    asked = np.ceil(HEIGHT / heights - 1e-6) if times is None else np.asarray(times)
    whole = asked.dtype.kind in "iuf" and bool((asked == np.round(asked)).all())
    if not whole or asked.shape not in ((), (3,), (3, 3)):
        raise InputError(what, why=f"{times!r} is no supercell", fix=fix)
    matrix = asked if asked.ndim == 2 else np.diag(np.broadcast_to(asked, 3))
    count = abs(np.linalg.det(matrix)) * crystal.n_sites
    if count < crystal.n_sites - 0.5 or (asked.ndim < 2 and asked.min() < 1):
        raise InputError(what, why=f"{times!r} is no supercell", fix=fix)
    if count > MOST_ATOMS:
        why = f"its supercell would have {count:.0f} atoms, and {MOST_ATOMS:,} at most are sought"
        raise InputError(what, why=why, fix="give a smaller supercell, such as supercell=1")
    return np.round(matrix).astype(np.int64)


def _begin(
    home: Path,
    crystal: Crystal,
    matrix: NDArray[np.int64],
    distance: float,
    *,
    relax: bool,
    calculator: object,
) -> None:
    """Begin in a folder, or go on if it holds the same calculation."""
    sites = (crystal.symbols("a calculation"), crystal.positions.round(8), crystal.cell.round(8))
    asked = {
        "crystal": hashlib.sha256(
            repr([np.asarray(x).tolist() for x in sites]).encode()
        ).hexdigest(),
        "supercell": matrix.tolist(),
        "distance_angstrom": distance,
        "relax": relax,
        "calculator": type(calculator).__name__,
    }
    path = home / MANIFEST
    if not path.exists():
        atomic_write(path, json.dumps(asked, indent=1) + "\n")
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in asked if known.get(key) != asked[key]]
    except (OSError, ValueError, AttributeError):
        differing = ["manifest"]
    if differing:
        why = f"it holds another calculation: its {', '.join(differing)} differs"
        raise InputError(f"will not go on in {home}", why=why, fix="name another folder")


def _read(kept: Path, count: int) -> NDArray[np.float64]:
    """Forces of an earlier call."""
    try:
        record = json.loads(kept.read_text(encoding="utf-8"))
        found = np.array(record["forces_eV_per_angstrom"], dtype=np.float64)
        if found.shape == (count, 3) and np.isfinite(found).all():
            return found
        why = "it does not hold the forces of its supercell"
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        why = f"it is damaged ({error})"
    raise InputError(f"cannot read {kept}", why=why, fix="delete it, and run the same again")


def _relaxed(crystal: Crystal, calculator: Any, label: str, home: Path | None) -> Crystal:  # noqa: ANN401
    """The crystal with its cell and positions relaxed, its symmetry kept."""
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    kept = home / "relaxed.json" if home else None
    if kept is not None and kept.exists():
        return Crystal.read(kept)
    atoms = crystal.to_atoms()
    atoms.calc, atoms.constraints = calculator, [FixSymmetry(atoms, symprec=1e-4)]
    with asking(label, "the relaxation"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=RELAXED, steps=STEPS)
    forces = checked(atoms.get_forces(), len(atoms), label, "the relaxation")
    if not (done and np.isfinite(atoms.cell.array).all()):
        why = f"after {STEPS} steps a force is still {np.abs(forces).max():.2g} eV/Å"
        raise _failed(label, "the relaxation", why)
    change = 100 * (atoms.get_volume() / crystal.volume - 1)
    note = f"relaxed by {type(calculator).__name__}: its volume changed by {change:+.3g} %"
    found = replace(
        crystal,
        positions=atoms.positions,
        cell=atoms.cell.array,
        notes=(*crystal.notes, note),
    )
    if kept is not None:
        found.write(kept)
    return found


def _displaced(crystal: Crystal, matrix: NDArray[np.int64], distance: float) -> Phonopy:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=["H" if s in "DT" else s for s in crystal.symbols("a phonopy cell")],
        cell=crystal.cell,
        positions=crystal.positions,
        masses=crystal.masses,
    )
    phonon = Phonopy(cell, matrix.T, primitive_matrix=np.eye(3), symprec=1e-4)
    phonon.generate_displacements(distance=distance)
    return phonon


def _run(phonon: Phonopy, calls: _Calls, progress: Progress | None) -> float:
    """All force calls; the largest force at rest, eV/Å."""
    cells = phonon.supercells_with_displacements
    total = 1 + len(cells)
    if progress:
        progress(0, total)
    rest = calls.forces(phonon.supercell, 0, "the forces at rest")
    found = []
    for i, (cell, moved) in enumerate(zip(cells, phonon.displacements, strict=True), 1):
        if progress:
            progress(i, total)
        atom, way = int(moved[0]), ", ".join(f"{x:.3g}" for x in moved[1:])
        what = (
            f"displacement {i} of {len(cells)} (atom {atom + 1}, {cell.symbols[atom]}, by {way} Å)"
        )
        found.append(calls.forces(cell, i, what) - rest)
    if progress:
        progress(total, total)
    phonon.forces = found
    return float(np.abs(rest).max())


def _harmonic(
    phonon: Phonopy, crystal: Crystal, rest: float, potential: str, home: Path | None
) -> HarmonicCrystal:
    """The force constants of the forces, symmetrised."""
    phonon.produce_force_constants(calculate_full_force_constants=False)
    with naming(f"the forces of {potential}"):
        drift = balance(phonon, DRIFT)
        found = harmonic_of(phonon, name=crystal.name, source=crystal.source)
    if home is not None:
        phonon.save(home / "phonopy_params.yaml", settings={"force_constants": True})
    made = (
        f"computed from forces of {potential}: {len(phonon.displacements)} displacements "
        f"in {len(phonon.supercell)} atoms"
    )
    notes = [made, *crystal.notes, *(n for n in found.crystal.notes if n != GIVEN)]
    if rest > AT_REST:
        notes.append(f"it is not relaxed: forces at rest, up to {rest:.2g} eV/Å, are subtracted")
    notes += drift
    known = replace(found.crystal, species=crystal.species, notes=tuple(notes))
    return replace(found, crystal=known)
