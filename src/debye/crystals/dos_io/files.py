"""Spectra in files: which layout a file has, and reading and writing it safely."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from debye.core.files import atomic_write
from debye.core.packed import open_unpacked
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos_io.layouts import (
    from_csv,
    from_json,
    from_phonopy,
    to_csv,
    to_phonon_dos,
    to_phonopy,
    to_record,
)
from debye.crystals.dos_io.measured import Measured, of_columns
from debye.errors import DebyeError, InputError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""How a text in UTF-16 begins, which holds a zero in every other byte."""
LARGEST = 64 * 2**20
"""Bytes; a spectrum is kilobytes, and a larger file is something else."""


def read_spectrum(
    path: str | os.PathLike[str], *, n_atoms: float | None = None, unit: str | None = None
) -> Spectrum:
    """Read a spectrum from CSV or JSON of `write_spectrum`, phonopy, pymatgen, or a measurement.

    The layout is told by the content, and by the name only where the content leaves it open:
    ``projected_dos.dat`` of one atom looks like ``total_dos.dat``. Phonopy and pymatgen do not
    write the number of atoms; it is a third of the integral, if that is a whole number.

    Args:
        path: The file.
        n_atoms: Atoms in the cell, where the file does not tell or its integral is short.
        unit: Unit of the energies of a measurement, two or three columns of text; its intensity
            is scaled to an integral of 1. `read_measured` keeps errors and noise below zero.

    Returns:
        One spectrum, or one row per partial with its label; ``.sum()`` is then the total.

    Raises:
        InputError: The file is missing, empty, binary, huge, malformed or of no known layout, or
            does not tell how many states it counts.

    Example:
        >>> import tempfile
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_spectrum(write_spectrum(dos, Path(folder) / "total_dos.dat")).n_atoms.item()
        2.0
    """
    if unit is not None:
        measured = read_measured(path, unit)
        for note in measured.notes:
            warnings.warn(f"{path}: {note}", stacklevel=2)
        return measured.spectrum
    text = read_text(Path(path))
    try:
        return _READERS[_layout_of(Path(path), text)](text, n_atoms)
    except DebyeError as error:
        why = f"{error.what}: {error.why}"
        raise InputError(f"cannot read a spectrum from {path}", why=why, fix=error.fix) from error


def read_measured(path: str | os.PathLike[str], unit: str | None = None) -> Measured:
    r"""Read a measured spectrum: two or three columns of text, or any file of a `Spectrum`.

    Columns are energy, intensity and its standard deviation, with spaces, commas, semicolons or
    tabs between; decimal commas, Fortran's exponents, Mantid's numbers of spectra and a column
    that only counts are understood. Lines before the numbers, and those that begin with ``#``,
    are a header, in which the unit of the energies is looked for. Energies that decrease are
    turned round; those below zero and the elastic line are cut, which the notes tell.

    Args:
        path: The file.
        unit: ``meV``, ``THz``, ``cm-1`` or ``K``; None to take it from the header.

    Raises:
        InputError: The file cannot be read, is not such a table, or does not tell its unit; the
            header names another unit than was given; or what `Measured` refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "run.dat"
        ...     _ = path.write_text("# E (meV)  S  err\n0 0.1 0.2\n10 3 0.2\n20 0.2 0.2\n")
        ...     round(read_measured(path).frequency[-1].item(), 2)
        161.31
    """
    text = read_text(Path(path))
    try:
        if text.lstrip().startswith(("{", "[", "frequency_")):
            return _of_spectrum(read_spectrum(path))
        return of_columns(text, unit)
    except DebyeError as error:
        why = f"{error.what}: {error.why}"
        raise InputError(f"cannot use the spectrum {path}", why=why, fix=error.fix) from error


def _of_spectrum(spectrum: Spectrum) -> Measured:
    whole = spectrum.sum() if spectrum.shape else spectrum
    return Measured(whole.frequency, whole.density)


def write_spectrum(
    spectrum: Spectrum,
    path: str | os.PathLike[str],
    *,
    unit: str = "cm-1",
    layout: str | None = None,
    band: tuple[Tensor, Tensor] | None = None,
) -> Path:
    """Write a spectrum, whole or not at all.

    Args:
        spectrum: One, or rows to be written as partials beside their total, shape () or (S,).
        path: The file; ``.csv``, ``.json``, ``projected*.dat`` and ``.dat`` name a layout.
        unit: Of the frequency, for ``csv`` and ``json``; phonopy and pymatgen have THz.
        layout: ``csv``, ``json``, ``total_dos.dat``, ``projected_dos.dat`` or ``pymatgen``;
            from the name of the file if None.
        band: Lower and upper density around the total, (F,) each, for ``csv`` and ``json``.

    Returns:
        The path written.

    Raises:
        InputError: The layout is unknown or cannot hold the spectrum.
        ComputationError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(write_spectrum(dos, Path(folder) / "dos.csv").read_text().splitlines()[0])
        frequency_cm-1,total_3N_per_cm-1_of_2_atoms
    """
    found = layout or _layout_named(Path(path))
    if found in ("csv", "json"):
        layout_of = to_csv if found == "csv" else to_record
        laid = layout_of(spectrum, unit, band)
        text = laid if isinstance(laid, str) else _dump(laid)
    elif found == "pymatgen":
        text = _dump(to_phonon_dos(spectrum))
    elif found in _READERS:
        text = to_phonopy(spectrum, projected=found == "projected_dos.dat")
    else:
        why = f"the layouts are {', '.join(_READERS)}"
        raise InputError(f"no layout {found!r} for a spectrum", why=why, fix="choose one of them")
    return atomic_write(path, text)


_READERS: dict[str, Callable[[str, float | None], Spectrum]] = {
    "csv": lambda text, n_atoms: from_csv(text),
    "json": from_json,
    "pymatgen": from_json,
    "total_dos.dat": from_phonopy,
    "projected_dos.dat": lambda text, n_atoms: from_phonopy(text, projected=True),
}


def _layout_of(path: Path, text: str) -> str:
    """Name of a file's layout, by its content; a further kind of text joins here."""
    if text.lstrip().startswith(("{", "[")):
        return "json"
    if text.lstrip().startswith("frequency_"):
        return "csv"
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    width = len(next((line for line in lines if line), ()))
    if width > 2 or (width == 2 and "projected" in path.name.lower()):
        return "projected_dos.dat"
    if width == 2:
        return "total_dos.dat"
    why = "it holds none of JSON, a table with a header, or columns of numbers"
    raise InputError("the layout is unknown", why=why, fix=f"give one of {', '.join(_READERS)}")


def _layout_named(path: Path) -> str:
    """Layout that the name of a file to be written asks for."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".json"):
        return suffix[1:]
    if suffix == ".dat":
        return "projected_dos.dat" if "projected" in path.name.lower() else "total_dos.dat"
    why = f"{suffix or 'no'!r} names no layout"
    fix = "name it .csv, .json, total_dos.dat or projected_dos.dat, or give layout="
    raise InputError(f"cannot write a spectrum to {path}", why=why, fix=fix)


def read_text(path: Path) -> str:
    """The text of a file that can hold a spectrum.

    Raises:
        InputError: It is missing, empty, binary or huge.
    """
    what = f"cannot read a spectrum from {path}"
    try:
        with open_unpacked(path) as stream:
            data = stream.read(LARGEST + 1)
        size = max(len(data), path.stat().st_size)
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(what, why=why, fix="check the path and its permissions") from error
    if size > LARGEST:
        why = f"it has {size / 2**20:.0f} MB, and a spectrum has less than one"
        raise InputError(what, why=why, fix="give the file that holds the spectrum alone")
    if not data.strip():
        raise InputError(what, why="the file is empty", fix="export it again")
    text = "\0" if data.startswith(UTF_16) else _decoded(data)
    if "\0" in text:
        raise InputError(what, why="it is binary", fix="give CSV, JSON or phonopy's .dat")
    return text


def _decoded(data: bytes) -> str:
    """UTF-8, or Latin-1, in which older headers spell Å and °."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _dump(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
