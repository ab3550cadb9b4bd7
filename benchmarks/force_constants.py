"""Force constants of structures by a calculator, in the folder that a training is taught from.

    OMP_NUM_THREADS=1 python benchmarks/force_constants.py STRUCTURES \
        --calculator MODULE:FUNCTION --output TAUGHT

STRUCTURES is a CSV with the columns mp_id and structure, or anything that ASE reads, such as what
`teaching.py` writes. Each gives TAUGHT/NAME.npz, and one that is there is not computed again.
Crystals are displaced by phonopy where they are; forces at rest are subtracted. Supercells are 9 Å
thick where that takes no more than 64 sites, and thinner of larger cells. Long waves no such
supercell holds: elastic constants are computed from stresses of strained cells, where a crystal is
stable at q = 0. Sites follow the strain by their force constants there, Φ u = F, and the strains
are those of six whose images under the point group make all others. What fails is told on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.io import iread
from ase.units import GPa
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from teaching import rows_of

THICK = ((9.0, 64), (8.0, 90), (6.5, 130), (5.5, 260))
"""Å between the faces of a supercell, and how many sites it may have for it."""
DISPLACED, STRAINED = 0.01, 0.004
"""Å, and a part of the length."""
SOFTEST = 0.05
"""eV/Å², the least that must hold a site in its place, below which no strain is followed."""
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def structures(file: Path) -> Iterator[tuple[str, Atoms]]:
    """Names and crystals."""
    if file.suffix == ".csv":
        yield from rows_of(file, most=10_000)
        return
    for k, atoms in enumerate(iread(file)):
        yield atoms.info.get("name", f"{file.stem}-{k}"), atoms


def heights(atoms: Atoms) -> np.ndarray:
    """Distances between opposite faces of a cell, Å."""
    return 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)


def repeats(atoms: Atoms) -> np.ndarray:
    """How often to repeat a cell."""
    for length, most in THICK:
        times = np.maximum(1, np.ceil(length / heights(atoms) - 1e-6)).astype(int)
        if times.prod() * len(atoms) <= most:
            break
    return times


def displaced(atoms: Atoms, times: np.ndarray) -> Phonopy:
    """A crystal and its displacements."""
    cell = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, positions=atoms.positions)
    phonon = Phonopy(cell, np.diag(times), primitive_matrix=np.eye(3), symprec=1e-3)
    phonon.generate_displacements(distance=DISPLACED)
    return phonon


def compute(atoms: Atoms, calculator: Any) -> dict[str, np.ndarray]:
    """The arrays of a file but elastic constants: force constants are phonopy's compact ones."""
    times = repeats(atoms)
    phonon = displaced(atoms, times)

    def forces(cell: PhonopyAtoms) -> np.ndarray:
        one = Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)
        one.calc = calculator
        return one.get_forces()

    rest = forces(phonon.supercell)
    phonon.forces = [forces(cell) - rest for cell in phonon.supercells_with_displacements]
    phonon.produce_force_constants(calculate_full_force_constants=False)
    phonon.symmetrize_force_constants()
    return {
        "numbers": atoms.numbers,
        "cell": atoms.cell.array,
        "positions": atoms.positions,
        "supercell": times,
        "fc": phonon.force_constants.astype(np.float32),
    }


def rotations(atoms: Atoms) -> np.ndarray:
    """The point group, Cartesian, (G, 3, 3)."""
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    of_cell = spglib.get_symmetry(cell, symprec=1e-3)["rotations"]
    lattice = atoms.cell.array.T
    return lattice @ of_cell @ np.linalg.inv(lattice)


def in_voigt(tensor: np.ndarray, shear: float) -> np.ndarray:
    """(..., 3, 3) symmetric as (..., 6), what is off the diagonal multiplied."""
    factor = [1, 1, 1, shear, shear, shear]
    return np.stack([f * tensor[..., i, j] for f, (i, j) in zip(factor, VOIGT, strict=True)], -1)


def strains(group: np.ndarray) -> Iterator[np.ndarray]:
    """Unit strains (3, 3) whose images under a group make all others."""
    images = np.empty((0, 6))
    for i, j in VOIGT:
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = 1.0 if i == j else 0.5
        more = in_voigt(group @ strain @ group.transpose(0, 2, 1), 2)
        if np.linalg.matrix_rank(np.vstack([images, more]), 1e-6) > np.linalg.matrix_rank(
            images, 1e-6
        ):
            images = np.vstack([images, more])
            yield strain


def elastic(atoms: Atoms, fc: np.ndarray, calculator: Any) -> np.ndarray | None:
    """Stress by strain with the sites at rest, (6, 6) GPa in Voigt's order; None if some are not.

    Args:
        atoms: A crystal.
        fc: Its compact force constants, eV/Å².
        calculator: Of stresses.
    """
    n = len(atoms)
    cells = fc.shape[1] // n
    hold = fc.reshape(n, n, cells, 3, 3).sum(2).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    stiffness, way = np.linalg.eigh((hold + hold.T) / 2)
    moving = np.argsort(np.abs(stiffness))[3:]
    if len(moving) and stiffness[moving].min() < SOFTEST:
        return None
    follow = way[:, moving] / stiffness[moving] @ way[:, moving].T

    def stress(strain: np.ndarray) -> np.ndarray:
        bent = atoms.copy()
        bent.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        bent.calc = calculator
        off = (bent.get_forces() - rest).ravel()
        bent.positions += (follow @ off).reshape(n, 3)
        return bent.get_stress(voigt=False) / GPa

    still = atoms.copy()
    still.calc = calculator
    rest, group = still.get_forces(), rotations(atoms)
    causes, effects = [], []
    for strain in strains(group):
        change = (stress(STRAINED * strain) - stress(-STRAINED * strain)) / (2 * STRAINED)
        causes.append(in_voigt(group @ strain @ group.transpose(0, 2, 1), 2))
        effects.append(in_voigt(group @ change @ group.transpose(0, 2, 1), 1))
    found = np.linalg.lstsq(np.vstack(causes), np.vstack(effects), rcond=None)[0]
    return (found + found.T) / 2


def label(atoms: Atoms, calculator: Any, file: Path) -> None:
    """Write what is missing of a file, whole or not at all."""
    known = dict(np.load(file)) if file.exists() else compute(atoms, calculator)
    if "elastic" in known:
        return
    found = elastic(atoms, known["fc"], calculator)
    known["elastic"] = np.full((6, 6), np.nan) if found is None else found
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **known)
    os.replace(part, file)


def main() -> None:
    """Compute what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("structures", type=Path)
    parser.add_argument("--calculator", required=True)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    module, function = asked.calculator.split(":")
    calculator = getattr(importlib.import_module(module), function)()
    asked.output.mkdir(parents=True, exist_ok=True)
    for name, atoms in structures(asked.structures):
        try:
            label(atoms, calculator, asked.output / f"{name}.npz")
        except Exception as error:  # noqa: BLE001 - one odd crystal must not end a night's run
            print(f"{name}: {error!r}"[:200], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
