"""Phonopy folders as labelled crystals: force constants brought onto the published grid."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from debye.core.neighbors import heights
from debye.crystals.data.labels import FREQUENCY, Row, published_recipe, published_view
from debye.crystals.data.phonopy_files import FORCES, RECORDS, REQUIRED, load_phonon, named
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.dos import spectrum_of_modes
from debye.crystals.structure.convert import with_isotope
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import MASSES
from debye.crystals.structure_io.read import FailedInput, attempt
from debye.errors import InputError
from debye.units import frequency_factor

if TYPE_CHECKING:
    from phonopy import Phonopy

LENGTH = 150.0
"""Fineness of the q mesh, Å: N_i = l |a*_i| points along each reciprocal vector. Against l = 300 Å
and the tetrahedron method, the 1 cm⁻¹ density of Al and Cu3Au (EMT) differs by 2 and 3 % of its
states, most of it the broadening, and the published view by 0.002 and 0.004 at most."""
SIGMA = 1.0
"""Standard deviation of the Gaussian that each mode becomes, cm⁻¹."""
IMAGINARY = 0.05
"""Fraction of imaginary modes above which a calculation is no label: the structure is not the one
that vibrates, and the states that are left would be scaled up to hide it."""
NOTED = 1e-3
"""Fraction of lost states that a crystal's notes tell."""


def read_phonopy_folders(path: Path) -> Iterator[Row | FailedInput]:
    """Labelled crystals from phonopy calculations, in the published view.

    The crystal is phonopy's primitive cell; its notes tell states that the label lost, imaginary
    or above 1000 cm⁻¹. More than 5 % of imaginary modes reject the calculation.

    Args:
        path: One calculation's folder, or a folder of such folders, read in the order of their
            names; see the module for what each must hold.

    Yields:
        The folder's name, the crystal and its spectrum; or `FailedInput` in their place.

    Raises:
        InputError: phonopy is not installed, or there is no folder. Told with the first row.
    """
    if importlib.util.find_spec("phonopy") is None:
        raise InputError(
            f"cannot read the calculations in {path}",
            why="phonopy is not installed",
            fix="pip install 'debye[phonopy]'",
        )
    for folder in _calculations(Path(path)):
        yield attempt(str(folder), lambda folder=folder: _row(folder))  # type: ignore[misc]


MOST_POINTS = 1e7
"""Of a mesh; of the smallest cells known, those of hydrogen and diamond, it has a few millions."""


def total_dos(phonon: Phonopy, length: float = LENGTH, sigma: float = SIGMA) -> Spectrum:
    """Density of states on a 1 cm⁻¹ axis, in states per cm⁻¹ of the primitive cell.

    g(ω) = Σ_q w_q Σ_j G_σ(ω - ω_qj), with Σ w_q = 1; see `spectrum_of_modes`.

    Args:
        phonon: With force constants.
        length: Fineness of the q mesh, Å, see `LENGTH`.
        sigma: Standard deviation of the Gaussian, cm⁻¹.

    Returns:
        Normalised to 3N, on whole wavenumbers from below the lowest mode to above the highest.

    Raises:
        InputError: The frequencies are not finite, or impossibly high, or the cell is so flat that
            the mesh has too many points.
    """
    per_height = length / (_angstrom(phonon) * heights(phonon.primitive.cell))
    if (points := float(np.maximum(per_height, 1).prod())) > MOST_POINTS:
        why = f"its cell is so flat that the mesh would have {points:.2g} points"
        raise InputError("cannot sample the zone", why=why, fix="give the reduced (Niggli) cell")
    # phonopy measures the length in the calculator's unit, which may be the Bohr radius.
    phonon.run_mesh(length / _angstrom(phonon))
    mesh = phonon.mesh
    omega = mesh.frequencies * frequency_factor("THz", "cm-1")  # [q, band]
    weights = np.broadcast_to(mesh.weights[:, None] / mesh.weights.sum(), omega.shape)
    return spectrum_of_modes(omega.ravel(), weights.ravel(), len(phonon.primitive), sigma)


def _calculations(path: Path) -> list[Path]:
    """The folder itself if it is a calculation, or else the folders in it."""
    if not path.is_dir():
        raise InputError(
            f"cannot read {path}",
            why="it is no folder" if path.exists() else "there is no such folder",
            fix="give a phonopy calculation, or a folder of them",
        )
    if next(named(path, (*RECORDS, *FORCES)), None):
        return [path]
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(
            f"no phonopy calculation in {path}",
            why="it holds no force constants and no folders",
            fix=f"give a folder that holds {REQUIRED}; or a folder of such folders",
        )
    return folders


def _row(folder: Path) -> Row:
    with warnings.catch_warnings(record=True) as caught:
        # A different mesh than the one asked for, or coming changes, are not the reader's concern.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        phonon = load_phonon(folder)
        dos = total_dos(phonon)
    imaginary = dos.imaginary_fraction.item()
    if imaginary > IMAGINARY:
        raise InputError(
            f"cannot use {folder}",
            why=f"{100 * imaginary:.3g} % of its modes are imaginary, more than the "
            f"{100 * IMAGINARY:g} % allowed",
            fix="relax the structure, use a larger supercell, or leave it out",
        )
    notes = [str(warning.message) for warning in caught] + _lost(dos, imaginary)
    crystal = _crystal(phonon, folder, notes)
    view = published_recipe(dos.frequency, dos.density)
    return crystal.name, crystal, published_view(FREQUENCY, view, crystal.n_atoms)


def _lost(dos: Spectrum, imaginary: float) -> list[str]:
    """What the published grid leaves out."""
    beyond = 1 - (dos.cumulative([FREQUENCY[-1]])[0] / dos.integral).item()
    fractions = {"imaginary": imaginary, f"above {FREQUENCY[-1]:g} cm⁻¹": beyond}
    return [
        f"{100 * fraction:.3g} % of the states are {where} and not in the labelled spectrum"
        for where, fraction in fractions.items()
        if fraction > NOTED
    ]


def _crystal(phonon: Phonopy, folder: Path, notes: Sequence[str]) -> Crystal:
    cell = phonon.primitive
    scale = _angstrom(phonon)
    # phonopy may number the kinds of an element: Fe1, Fe2.
    names = [symbol.rstrip("0123456789") for symbol in cell.symbols]
    species = [with_isotope(s, m) for s, m in zip(names, cell.masses, strict=True)]
    odd = {
        f"the force constants were used with a mass of {m:g} u for {s}"
        for s, m in zip(species, cell.masses, strict=True)
        if s in MASSES and abs(m / MASSES[s] - 1) > 0.01
    }
    return Crystal(
        species,
        cell.positions * scale,
        cell.cell * scale,
        name=folder.resolve().name,
        source=str(folder),
        notes=[*notes, *sorted(odd)],
    )


def _angstrom(phonon: Phonopy) -> float:
    """Å in the calculator's unit of length."""
    from phonopy.physical_units import get_calculator_physical_units

    return float(get_calculator_physical_units(phonon.calculator).distance_to_A)
