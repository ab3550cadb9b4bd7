"""The files that the studio hands out: what debye's own verbs and methods write."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from debye import Bands, InputError, Prediction
from debye.crystals.lattice.bands import band_yaml, bands_csv, bands_record
from debye.crystals.lattice.phonopy import write_phonopy
from debye.crystals.predict.record import record
from debye.studio.describe import TEMPERATURES

Made = Callable[[], Bands]
"""Makes the bands, for the files that need them."""
MOST_VECTORS = 40
"""Sites of the largest cell whose eigenvectors are written: a file of 200 MB."""


def written(name: str, write: Callable[[Path], object]) -> bytes:
    """What is written into a file of this name."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def spectrum_csv(found: Prediction, bands: Made, unit: str) -> bytes:
    """The density of states with its partials by element, as `Spectrum.write` has them."""
    return written("dos.csv", lambda file: found.elements.write(file, unit=unit))


def spectrum_json(found: Prediction, bands: Made, unit: str) -> bytes:
    """The record of ``debye dos --json``.

    Raises:
        InputError: The unit is unknown.
    """
    return json.dumps(record(found, unit=unit, partial="site"), indent=1).encode()


def bands_as_csv(found: Prediction, bands: Made, unit: str) -> bytes:
    """The bands of ``debye bands``.

    Raises:
        InputError: The unit is unknown.
    """
    return bands_csv(bands(), unit).encode()


def bands_as_json(found: Prediction, bands: Made, unit: str) -> bytes:
    """The record of ``debye bands --json``.

    Raises:
        InputError: The unit is unknown.
    """
    return json.dumps(bands_record(bands(), unit), indent=1).encode()


def bands_as_yaml(found: Prediction, bands: Made, unit: str) -> bytes:
    """Phonopy's ``band.yaml`` with eigenvectors.

    Raises:
        InputError: The cell is too large for them.
    """
    made = bands()
    if made.crystal.n_sites > MOST_VECTORS:
        why = f"its primitive cell holds {made.crystal.n_sites} sites, more than {MOST_VECTORS}"
        fix = "use Bands.write_yaml in Python"
        raise InputError("the eigenvectors would fill hundreds of MB", why=why, fix=fix)
    return band_yaml(made, eigenvectors=True).encode()


def thermo_csv(found: Prediction, bands: Made, unit: str) -> bytes:
    """Heat capacity, entropy and energies, as ``debye thermo`` has them."""
    return found.thermo(TEMPERATURES).to_csv().encode()


def phonopy_params(found: Prediction, bands: Made, unit: str) -> bytes:
    """Cell, supercell and force constants for ``phonopy.load``."""
    made = bands()
    constants = made.force_constants
    return written("phonopy.yaml", lambda file: write_phonopy(file, made.crystal, constants))


def structure_cif(found: Prediction, bands: Made, unit: str) -> bytes:
    """The crystal as a CIF."""
    return written("structure.cif", found.crystal.write)


FILES: Mapping[str, Callable[[Prediction, Made, str], bytes]] = {
    "dos.csv": spectrum_csv,
    "dos.json": spectrum_json,
    "thermo.csv": thermo_csv,
    "bands.csv": bands_as_csv,
    "bands.json": bands_as_json,
    "band.yaml": bands_as_yaml,
    "phonopy_params.yaml": phonopy_params,
    "structure.cif": structure_cif,
}
"""What can be asked for, by the name of the file."""
TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".cif": "chemical/x-cif",
}
