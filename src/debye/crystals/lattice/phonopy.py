"""Force constants to and from phonopy, which then finds the same frequencies.

phonopy keeps force constants in a supercell and takes the shortest vector between two atoms in it,
or the mean over several equally short ones. Here every pair has its own vector. To write, the
supercell is chosen so wide that no pair has two; to read, each of several becomes a pair with its
part of the force constant.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from debye.core.files import atomic_write
from debye.crystals.lattice.force_constants import ForceConstants, check_single, each_pair_once
from debye.crystals.lattice.harmonic import GIVEN, HarmonicCrystal, unit_warning
from debye.crystals.lattice.polar import BornCharges, Dipoles
from debye.crystals.structure.convert import FORCE_CONSTANTS, calculator_length
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

if TYPE_CHECKING:
    from phonopy import Phonopy

UNBALANCED = 1e-3
"""Force on an atom when all move alike, relative to the largest force constant, from which on
force constants are refused: the acoustic sum rule cannot be made to hold without changing them."""


CANNOT_TAKE = "cannot take force constants from phonopy"


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Have refusals of force constants say where these come from.

    Args:
        source: A file, or whose forces they follow from.

    Raises:
        InputError: What is refused within, of this source.
    """
    try:
        yield
    except InputError as error:
        if error.what != CANNOT_TAKE:
            raise
        what = f"cannot take force constants from {source}"
        raise InputError(what, why=error.why, fix=error.fix) from error


def phonopy_installed() -> bool:
    """Whether phonopy can be used."""
    return importlib.util.find_spec("phonopy") is not None


# To phonopy.


def write_phonopy(path: str | Path, crystal: Crystal, force_constants: ForceConstants) -> Path:
    """Write ``phonopy_params.yaml``, force constants included, as ``phonopy.load`` reads it.

    Args:
        path: The file.
        crystal: Ordered; its sites are those of the force constants.
        force_constants: Of this one crystal.

    Returns:
        The path written.

    Raises:
        InputError: phonopy is not installed, a site is mixed or vacant, there are several
            crystals, or the cell is so flat that its supercell has too many atoms.
        ComputationError: The force constants are not finite.
    """
    phonon = to_phonopy(crystal, force_constants)
    with tempfile.TemporaryDirectory() as folder:  # phonopy writes in place
        written = Path(folder) / "phonopy_params.yaml"
        phonon.save(written, settings={"force_constants": True})
        return atomic_write(path, written.read_bytes())


def to_phonopy(crystal: Crystal, force_constants: ForceConstants) -> Phonopy:
    """The phonopy object of force constants, in compact form.

    Φ_ij(R) = −K_ij(R) for i ≠ j or R ≠ 0, and Φ_ii(0) = Σ K. The supercell's heights exceed twice
    the longest pair, so that phonopy finds each pair at its one shortest vector. Symmetry is not
    looked for; phonopy finds it when it loads what is saved.

    Raises:
        InputError: See `write_phonopy`.
        ComputationError: The force constants are not finite.
    """
    if not phonopy_installed():
        raise InputError(
            "cannot export to phonopy",
            why="phonopy is not installed",
            fix="pip install 'debye[phonopy]'",
        )
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    check_single(force_constants)
    force_constants = force_constants.double()
    cell = PhonopyAtoms(
        symbols=["H" if s in "DT" else s for s in crystal.symbols("a phonopy cell")],
        cell=crystal.cell,
        positions=crystal.positions,
        masses=force_constants.mass.numpy(),
    )
    matrix, dipoles = supercell_of(crystal, force_constants), _dipoles_of(force_constants)
    if dipoles is not None and not np.array_equal(dipoles.supercell, matrix):
        matrix = supercell_of(crystal, force_constants, dipoles.folded)
    # phonopy's matrices hold lattice vectors as columns.
    phonon = Phonopy(cell, matrix.T, primitive_matrix=np.eye(3), is_symmetry=False)
    phonon.force_constants = _compact(phonon, crystal, force_constants, matrix)
    if dipoles is not None:
        if not np.array_equal(dipoles.supercell, matrix):
            # phonopy takes them from this supercell's pairs, to which they must belong first.
            for folded, sign in (
                (dipoles.folded, -1),
                (replace(dipoles, supercell=matrix).folded, 1),
            ):
                phonon.force_constants += sign * _compact(phonon, crystal, folded, matrix)
        born = dipoles.born
        phonon.nac_params = {
            "born": born.charges.numpy(),
            "dielectric": born.dielectric.numpy(),
            "factor": born.coulomb,
        }
    return phonon


MOST_SITES = 20_000
"""Of a supercell: phonopy takes minutes for so many."""


def supercell_of(crystal: Crystal, *pairs: ForceConstants) -> NDArray[np.int64]:
    """The smallest supercell tried whose heights all exceed twice the longest pair, (3, 3).

    Rows are its lattice vectors in units of those of the crystal: near to a cube, or multiples;
    and as symmetric as the lattice, without which phonopy would lose symmetry.

    Raises:
        InputError: The cell is so flat that its supercell has too many atoms.
    """
    steps = np.concatenate([p.step.detach().cpu().double().numpy() for p in pairs])
    least = 2 * np.linalg.norm(steps @ crystal.cell, axis=-1).max(initial=0.0) + 1e-3
    inverse = np.linalg.inv(crystal.cell)
    times = np.floor(least * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    edges = np.linspace(least, least + np.linalg.norm(crystal.cell, axis=1).max(), 100)
    cubes = [np.round(edge * inverse).astype(int) for edge in edges]
    rotations = _rotations(crystal.cell)
    fitting = [
        matrix
        for matrix in (np.diag(times), *cubes)
        if np.linalg.det(matrix) > 0.5
        and _height(matrix @ crystal.cell) > least
        and _keeps(rotations, matrix)
    ]
    # The same multiple of each vector is always wide and symmetric enough.
    best = min([np.eye(3, dtype=int) * times.max(), *fitting], key=np.linalg.det)
    if (sites := round(np.linalg.det(best)) * crystal.n_sites) > MOST_SITES:
        raise InputError(
            "cannot fold force constants into a supercell",
            why=f"the cell is so flat that a wide enough supercell has {sites} atoms",
            fix="give the reduced (Niggli) cell",
        )
    return best


def _rotations(cell: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rotations and reflections of a lattice: W with W G Wᵀ = G, G the metric, (…, 3, 3).

    All of them for a cell of short vectors, where their entries are -1, 0 or 1; else some.
    """
    W = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    metric = cell @ cell.T
    apart = np.abs(W @ metric @ np.swapaxes(W, 1, 2) - metric).max((1, 2))
    return np.asarray(W[apart < 1e-4 * metric.max()])


def _keeps(rotations: NDArray[np.int64], matrix: NDArray[np.int64]) -> bool:
    """Whether a supercell's lattice is turned into itself."""
    turned = matrix @ rotations @ np.linalg.inv(matrix)
    return bool(np.abs(turned - np.round(turned)).max() < 1e-6)


def _height(cell: NDArray[np.float64]) -> float:
    """Least distance between opposite faces of a cell, Å."""
    return float(1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max())


def _compact(
    phonon: Phonopy, crystal: Crystal, force_constants: ForceConstants, matrix: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Force constants between the atoms of one cell and all of the supercell."""
    size = round(np.linalg.det(matrix))
    adjugate = np.round(size * np.linalg.inv(matrix)).astype(int)

    def key(site: NDArray[np.int64], cells: NDArray[np.float64]) -> NDArray[np.int64]:
        """One number for a site in a cell of the lattice, the same in every supercell."""
        corner = np.round(cells).astype(int) @ adjugate % size
        return np.asarray(site * size**3 + corner @ [size**2, size, 1])

    # phonopy numbers the atoms of a supercell in its own order: found by site and cell.
    site = np.searchsorted(phonon.primitive.p2s_map, phonon.supercell.s2u_map)
    cells = phonon.supercell.positions @ np.linalg.inv(crystal.cell) - crystal.fractional[site]
    keys = key(site, cells)
    order = np.argsort(keys)

    def number(site: NDArray[np.int64], cells: NDArray[np.float64]) -> NDArray[np.int64]:
        return order[np.searchsorted(keys, key(site, cells), sorter=order)]

    first, second, values = (
        x.numpy() for x in (force_constants.first, force_constants.second, force_constants.values)
    )
    jump = force_constants.step.numpy() - crystal.fractional[second] + crystal.fractional[first]
    found = np.zeros((crystal.n_sites, len(site), 3, 3))
    np.add.at(found, (first, number(second, jump)), -values)
    np.add.at(found, (second, number(first, -jump)), -np.swapaxes(values, 1, 2))
    sites = np.arange(crystal.n_sites)
    found[sites, number(sites, np.zeros((len(sites), 3)))] += force_constants.on_site().numpy()
    return found


# From phonopy.


def from_phonopy(phonon: Phonopy) -> ForceConstants:
    """The force constants of phonopy's primitive cell, as pairs, and dipoles of its Born charges.

    A pair with several equally short vectors in the supercell becomes as many pairs, each with
    its part. What the two ends of a pair say of it is averaged, as phonopy does. Born charges
    are used by the method of Gonze and Lee, see `debye.crystals.lattice.polar`.

    phonopy keeps force constants in the unit of the calculator that found the forces, as Ry/a₀²;
    its factor from √(unit/u) to THz tells how many eV/Å² that unit is.

    Args:
        phonon: With force constants, in the unit of its calculator.

    Raises:
        InputError: There are no force constants, they are not finite, all zero, or break the
            acoustic sum rule, or there are Born charges that make no sense.
    """
    if phonon.force_constants is None:
        why, fix = "it has no force constants", "produce or read them first"
        raise InputError(CANNOT_TAKE, why=why, fix=fix)
    primitive = phonon.primitive
    site = np.array([primitive.p2p_map[i] for i in primitive.s2p_map])
    rows = _rows(phonon) * _unit(phonon)
    _check_balance(rows)
    vectors, counts = primitive.get_smallest_vectors()
    many, at = counts.reshape(-1, 2).T  # of each atom of the supercell from each of the primitive's
    of = np.repeat(np.arange(len(many)), many)
    j, i = np.divmod(of, len(primitive))
    vector = at[of] + np.arange(len(of)) - (np.cumsum(many) - many)[of]
    columns = (i, site[j], vectors[vector], -rows[i, j] / many[of, None, None])
    pairs = each_pair_once(primitive.masses, *columns)
    return pairs if phonon.nac_params is None else replace(pairs, dipoles=_dipoles(phonon))


def harmonic_of(phonon: Phonopy, *, name: str = "", source: str = "") -> HarmonicCrystal:
    """The primitive cell of a ``Phonopy`` with its force constants, in Å and eV/Å².

    Args:
        phonon: With force constants, in the units of its calculator.
        name: What to call the crystal.
        source: Where it comes from.

    Raises:
        InputError: What `from_phonopy` refuses.
    """
    crystal = Crystal.from_phonopy(phonon, name=name, source=source)
    notes = [note for note in crystal.notes if note != FORCE_CONSTANTS]
    force_constants = from_phonopy(phonon)
    if force_constants.dipoles is not None:
        notes += force_constants.dipoles.notes
    if warning := unit_warning(crystal, force_constants):
        notes.append(warning)
    if (phonon.nac_params or {}).get("method") == "wang":
        notes.append("its Born charges are used by the method of Gonze and Lee, not by Wang's")
    return HarmonicCrystal(replace(crystal, notes=(GIVEN, *notes)), force_constants)


def _dipoles_of(force_constants: ForceConstants) -> Dipoles | None:
    """The dipoles that phonopy knows of."""
    found = force_constants.dipoles
    return found if isinstance(found, Dipoles) else None


def _dipoles(phonon: Phonopy) -> Dipoles:
    """Those of its Born charges, in Å and eV."""
    from phonopy.physical_units import get_calculator_physical_units

    given, primitive = phonon.nac_params, phonon.primitive
    born = BornCharges.of(given["born"], given["dielectric"], len(primitive))
    default = get_calculator_physical_units(phonon.calculator).nac_factor
    length = calculator_length(phonon)
    coulomb = float(given.get("factor") or default) * _unit(phonon) * length**3
    supercell = np.round(phonon.supercell.cell @ np.linalg.inv(primitive.cell)).astype(int)
    crystal = Crystal.from_phonopy(phonon)
    mass = torch.tensor(primitive.masses, dtype=torch.float64)
    return Dipoles.of(crystal, mass, replace(born, coulomb=coulomb), supercell)


def with_born_charges(given: HarmonicCrystal, born: BornCharges) -> HarmonicCrystal:
    """A crystal with the dipoles of Born charges, in the place of those that it had.

    Force constants that tell of no supercell are taken as computed in one that is just so wide
    that each of its pairs fits in once.

    Args:
        given: A crystal with force constants.
        born: Of its sites, see `debye.crystals.data.born.read_born`.

    Raises:
        InputError: They are of another number of sites, or the cell is so flat that its supercell
            has too many atoms.
    """
    crystal, force_constants = given.crystal, given.force_constants
    known = BornCharges.of(born.charges, born.dielectric, crystal.n_sites)
    known = replace(known, coulomb=born.coulomb, notes=born.notes or known.notes)
    old = _dipoles_of(force_constants)
    supercell = supercell_of(crystal, force_constants) if old is None else old.supercell
    dipoles = Dipoles.of(crystal, force_constants.mass, known, supercell)
    notes = dict.fromkeys((*crystal.notes, *dipoles.notes))
    return HarmonicCrystal(
        replace(crystal, notes=tuple(notes)), replace(force_constants, dipoles=dipoles)
    )


def _rows(phonon: Phonopy) -> NDArray[np.float64]:
    """Force constants from each atom of the primitive cell to all of the supercell."""
    found = phonon.force_constants
    primitive = phonon.primitive
    return found if len(found) == len(primitive) else found[primitive.p2s_map]


def _unit(phonon: Phonopy) -> float:
    """eV/Å² in the unit of the force constants: frequencies go as its square root."""
    from phonopy.physical_units import get_calculator_physical_units

    ours = get_calculator_physical_units(None).factor
    return float(phonon.unit_conversion_factor / ours) ** 2


def imbalance(rows: NDArray[np.float64]) -> float:
    """Largest force on an atom when all move alike, relative to the largest force constant."""
    return float(np.abs(rows.sum(1)).max() / max(np.abs(rows).max(), 1e-300))


def balance(phonon: Phonopy, least: float = UNBALANCED) -> list[str]:
    """Make the acoustic sum rule hold, as ``phonopy.load`` does; what is to be said of it.

    Args:
        phonon: With force constants, which change.
        least: `imbalance` from which on it is told.

    Raises:
        InputError: They break it by more than the largest of them: no drift does, but noise and
            another crystal's.
    """
    off = imbalance(phonon.force_constants)
    if off > 1:
        raise InputError(
            CANNOT_TAKE,
            why=f"they break the acoustic sum rule by {off:.2g} of the largest: noise, or another "
            "crystal's",
            fix="see that they are of this cell, its atoms in this order, and converged",
        )
    phonon.symmetrize_force_constants()
    if off < least:
        return []
    return [f"its force constants broke the acoustic sum rule by {off:.2g}: put right"]


def _check_balance(rows: NDArray[np.float64]) -> None:
    if not np.isfinite(rows).all():
        why = "they hold NaN or infinity"
        raise InputError(CANNOT_TAKE, why=why, fix="see the calculation that made them")
    if not rows.any():
        why = "they are all zero: nothing would hold an atom"
        raise InputError(CANNOT_TAKE, why=why, fix="see the forces that they were made from")
    force = imbalance(rows)
    if not force < UNBALANCED:
        raise InputError(
            CANNOT_TAKE,
            why=f"they break the acoustic sum rule by {force:.2g} of the largest",
            fix="call symmetrize_force_constants() of the phonopy object first",
        )
