"""phonopy's BORN: a line of a factor or a remark, one of ε∞, and one for each kind of site.

Lines of charges are those of sites that no operation of the space group maps onto an earlier one,
in the order of the primitive cell; or of all its sites. Rows run along the field.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from debye.core.packed import open_unpacked
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.lattice.phonopy import with_born_charges
from debye.crystals.lattice.polar import BornCharges
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import operations_of
from debye.crystals.structure_io.read import as_path
from debye.errors import InputError

SYMMETRIC = 1e-3
"""Å; how far an image may lie from the site it falls on."""
BROKEN = 0.2
"""Difference from what the symmetry asks for, relative to the largest, that is no rounding."""
LARGEST = 10_000_000
"""Bytes of a file."""

Given = str | os.PathLike[str] | BornCharges
"""A file, or its content."""


def born_charges(given: Given, crystal: Crystal) -> BornCharges:
    """The Born charges of a crystal: those of a file, or as they are given.

    Raises:
        InputError: See `read_born`.
        ComputationError: Likewise.
    """
    return given if isinstance(given, BornCharges) else read_born(given, crystal)


def charged(given: HarmonicCrystal, born: Given) -> HarmonicCrystal:
    """A crystal with the dipoles of Born charges, in the place of those that it had.

    Args:
        given: A crystal with force constants.
        born: A BORN file of its cell, or its content.

    Raises:
        InputError: See `read_born`; or the cell is so flat that its supercell has too many atoms.
        ComputationError: The crystal's symmetry cannot be found.
    """
    return with_born_charges(given, born_charges(born, given.crystal))


def read_born(path: str | os.PathLike[str], crystal: Crystal) -> BornCharges:
    r"""The Born charges and the dielectric tensor of a BORN file, for the sites of a crystal.

    Each is brought to all sites of its kind, and made as symmetric as the crystal. A factor in
    the first line, which is for a calculator's units, is not used: charges are in e.

    Args:
        path: The file.
        crystal: In the primitive cell that the file is of, its axes as there.

    Raises:
        InputError: There is no such file, it is damaged or of another crystal, or what
            `BornCharges.of` refuses.
        ComputationError: The crystal's symmetry cannot be found.

    Example:
        >>> import tempfile
        >>> salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.82] * 3], 2.82 * (1 - np.eye(3)))
        >>> with tempfile.NamedTemporaryFile("w", suffix="BORN") as file:
        ...     _ = file.write("default\n2.4 0 0 0 2.4 0 0 0 2.4\n"
        ...                    "1.1 0 0 0 1.1 0 0 0 1.1\n-1.1 0 0 0 -1.1 0 0 0 -1.1\n")
        ...     file.flush()
        ...     read_born(file.name, salt).charges[:, 0, 0].round(decimals=6).tolist()
        [1.1, -1.1]
    """
    source = as_path(path)
    rotations, images = _operations(crystal)
    first = np.unique(images.min(0))
    tensors = _tensors(source)
    if len(tensors) - 1 not in (len(first), crystal.n_sites):
        kinds = f"{len(first)} kinds of site" + f" ({crystal.n_sites} sites)" * (
            len(first) != crystal.n_sites
        )
        raise _unusable(
            source,
            f"it has {len(tensors) - 1} charges, and {crystal.formula} has {kinds}",
            "see that it is of this crystal's primitive cell",
        )
    sites = first if len(tensors) - 1 == len(first) else np.arange(crystal.n_sites)
    turned = rotations[:, None] @ tensors[1:] @ np.swapaxes(rotations, 1, 2)[:, None]
    charges, count = np.zeros((crystal.n_sites, 3, 3)), np.zeros(crystal.n_sites)
    np.add.at(charges, images[:, sites], turned)
    np.add.at(count, images[:, sites], 1)
    charges /= count[:, None, None]
    dielectric = (rotations @ tensors[0] @ np.swapaxes(rotations, 1, 2)).mean(0)
    for name, given, found in (("ε∞", tensors[0], dielectric), ("Z*", tensors[1:], charges[sites])):
        if np.abs(given - found).max() > BROKEN * max(np.abs(given).max(), 1e-300):
            why = f"its {name} lacks the symmetry of {crystal.formula}"
            raise _unusable(source, why, "see that it is of this crystal, in these axes")
    return BornCharges.of(charges, dielectric, crystal.n_sites, label=str(source))


def _tensors(source: os.PathLike[str]) -> NDArray[np.float64]:
    """The tensors of a file, that of ε∞ first, (T, 3, 3)."""
    try:
        with open_unpacked(as_path(source)) as stream:
            data = stream.read(LARGEST + 1)
        lines = data.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise _unusable(source, why, "give a BORN file") from error
    words = [line.partition("#")[0].split() for line in lines[1:]]
    rows = [row for row in words if row]
    try:
        tensors = np.array([[float(word) for word in row] for row in rows])
    except ValueError as error:
        why = "a line of it does not hold nine numbers"
        raise _unusable(source, why, FORM) from error
    if len(data) > LARGEST or tensors.ndim != 2 or tensors.shape[1] != 9 or len(tensors) < 2:
        raise _unusable(source, "a line of it does not hold nine numbers", FORM)
    if not np.isfinite(tensors).all():
        raise _unusable(source, "it holds NaN or infinity", "write it again")
    return tensors.reshape(-1, 3, 3)


FORM = "write a line of a remark, one of ε∞ and one for each kind of site, nine numbers each"


def _operations(crystal: Crystal) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Cartesian rotations (O, 3, 3), and the site that each moves each site to, (O, n)."""
    known: dict[frozenset[tuple[str, float]], int] = {}
    kinds = [known.setdefault(frozenset(site.items()), len(known)) for site in crystal.species]
    at, cell = crystal.fractional, crystal.cell
    found = operations_of(kinds, at, cell, SYMMETRIC)
    images = []
    for rotation, shift in zip(found.rotations, found.shifts, strict=True):
        apart = (at @ rotation.T + shift)[:, None] - at
        apart -= np.round(apart)
        images.append(np.linalg.norm(apart @ cell, axis=-1).argmin(1))
    return cell.T @ found.rotations @ np.linalg.inv(cell.T), np.array(images)


def _unusable(source: os.PathLike[str], why: str, fix: str) -> InputError:
    return InputError(f"cannot use the Born charges in {source}", why=why, fix=fix)
