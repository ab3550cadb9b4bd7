"""Layouts of a spectrum: our own CSV and JSON, phonopy's .dat, pymatgen's PhononDos dict.

Each is two functions, between text (or a dict) and `Spectrum`. A spectrum with one leading axis
is laid out with its total first and its rows as partials.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.core.numbers import number_of
from debye.crystals.dos.checks import DIFFERENCE, check_normalisation, real_tensor
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.units import frequency_factor

FORMAT, VERSION = "debye spectrum", 1
Numbers = Tensor | ArrayLike
Band = tuple[Tensor, Tensor] | None
EDGES = ("total_lower", "total_upper")
"""Labels of the columns of a band."""
COLUMN = re.compile(
    r"(?P<label>.+)_(?P<count>3N|3|1|max|difference)(_per_(?P<unit>\S+))?_of_(?P<atoms>\S+)_atoms"
)
"""A column of densities, such as ``Ga1_3N_per_cm-1_of_1_atoms``."""


def to_csv(spectrum: Spectrum, unit: str = "cm-1", band: Band = None) -> str:
    """A table whose header names label, normalisation, unit and atoms of each column.

    Args:
        spectrum: One or rows.
        unit: Of the frequency.
        band: Lower and upper density around the total, (F,) each, in its normalisation and per
            cm⁻¹; `from_csv` reads over them.

    Raises:
        InputError: There are several leading axes, or the unit is unknown.

    Example:
        >>> sites = Spectrum([0, 100], [[0, 0.06], [0, 0.06]], labels=("Ga1", "N1"))
        >>> print(to_csv(sites).splitlines()[0].replace(",", " "))
        frequency_cm-1 total_3N_per_cm-1_of_2_atoms Ga1_3N_per_cm-1_of_1_atoms
        N1_3N_per_cm-1_of_1_atoms
    """
    names, columns = [f"frequency_{unit}"], [spectrum.in_unit(unit)[0]]
    for label, row in _rows(spectrum):
        names.append(f"{label}_{_count(row, unit)}_of_{row.n_atoms.item():.15g}_atoms")
        columns.append(row.in_unit(unit)[1])
        if label == "total" and band is not None:
            names += [names[-1].replace("total", edge, 1) for edge in EDGES]
            columns += _edges(row, unit, band)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(torch.stack(columns, -1).tolist())
    return stream.getvalue()


def from_csv(text: str) -> Spectrum:
    """The spectrum of a table written by `to_csv`.

    Raises:
        InputError: It is no such table, or its numbers are no spectrum.

    Example:
        >>> lines = ["frequency_THz,total_3N_per_THz_of_1_atoms", "0,0", "2,3"]
        >>> from_csv(chr(10).join(lines))
        Spectrum(2 points 0..66.7128 cm⁻¹, shape (), normalisation '3N')
    """
    try:
        header, *lines = csv.reader(io.StringIO(text.strip()))
    except csv.Error as error:
        raise InputError("it is not CSV", why=f"{error}", fix="export it again") from error
    if len(header) < 2:
        why = f"its header is {header[0]!r}"
        raise InputError("the table has no density", why=why, fix="give frequency and densities")
    unit = header[0].strip().removeprefix("frequency_")
    columns = _table(lines, len(header), first=2)
    found = [COLUMN.fullmatch(name.strip()) for name in header[1:]]
    rows, counts = [], set()
    for name, match, column in zip(header[1:], found, columns[1:], strict=True):
        if match is not None and match["label"] in EDGES:
            continue
        if match is None or match["unit"] not in (None, unit):
            why, fix = f"column {name!r}", f"name columns like total_3N_per_{unit}_of_2_atoms"
            raise InputError("a column does not say what it counts", why=why, fix=fix)
        rows.append((match["label"], match["atoms"], column))
        counts.add(match["count"])
    return _assemble(unit, columns[0], counts, rows)


def to_record(spectrum: Spectrum, unit: str = "cm-1", band: Band = None) -> dict[str, Any]:
    """Numbers for JSON, with units in the names; arguments as of `to_csv`.

    Raises:
        InputError: There are several leading axes, or the unit is unknown.

    Example:
        >>> list(to_record(Spectrum([0, 100], [0.0, 0.06])))
        ['format', 'version', 'normalisation', 'n_atoms', 'frequency_cm-1', 'dos_3N_per_cm-1']
    """
    (_, total), *partials = _rows(spectrum)
    key = "dos_" + _count(total, unit)
    record = {
        "format": FORMAT,
        "version": VERSION,
        "normalisation": total.normalisation,
        "n_atoms": total.n_atoms.item(),
        f"frequency_{unit}": total.in_unit(unit)[0].tolist(),
        key: total.in_unit(unit)[1].tolist(),
    }
    if band is not None:
        edges = zip(EDGES, _edges(total, unit, band), strict=True)
        record |= {f"{key}_{edge.removeprefix('total_')}": x.tolist() for edge, x in edges}
    if partials:
        record["partials"] = [
            {"label": label, "n_atoms": row.n_atoms.item(), key: row.in_unit(unit)[1].tolist()}
            for label, row in partials
        ]
    return record


def from_record(record: dict[str, Any]) -> Spectrum:
    """The spectrum of a record made by `to_record`.

    Raises:
        InputError: It is of another version, incomplete, or its numbers are no spectrum.

    Example:
        >>> from_record(to_record(Spectrum([0, 100], [0.0, 0.06]), "meV")).integral.item()
        3.0
    """
    if record.get("version") != VERSION:
        why = f"it is version {record.get('version')!r}, this debye reads {VERSION}"
        raise InputError("the record is of another version", why=why, fix="update debye")
    axes = [name for name in record if name.startswith("frequency_")]
    unit = axes[0].removeprefix("frequency_") if axes else ""
    count = str(record.get("normalisation"))
    if count != DIFFERENCE:
        check_normalisation(count)
    key = f"dos_{count}" if count == "max" else f"dos_{count}_per_{unit}"
    try:
        rows = [("total", record["n_atoms"], record[key])]
        rows += [
            (str(row["label"]), row["n_atoms"], row[key]) for row in record.get("partials", [])
        ]
    except (KeyError, TypeError) as error:
        why, fix = f"{error} is missing or misplaced", "export the spectrum again"
        raise InputError("the record is incomplete", why=why, fix=fix) from error
    return _assemble(unit, record[axes[0]] if axes else [], {count}, rows)


def to_phonopy(spectrum: Spectrum, *, projected: bool = False, sigma: float | None = None) -> str:
    """Phonopy's ``total_dos.dat`` or ``projected_dos.dat``: THz, states per cell and THz.

    Args:
        spectrum: One or rows; rows are the columns of ``projected_dos.dat``, atom by atom.
        projected: Write the rows, not their total.
        sigma: Width of a smearing to be told in the first line, THz, as phonopy does.

    Raises:
        InputError: There are several leading axes, or a difference is no spectrum.

    Example:
        >>> print(to_phonopy(Spectrum([0, 100], [0.0, 0.06])).rstrip())
                0.0000000000        0.0000000000
                2.9979245800        2.0013845712
    """
    (_, total), *partials = _rows(spectrum.to("3N"))
    chosen = [row for _, row in partials] if projected and partials else [total]
    columns = [total.in_unit("THz")[0], *(row.in_unit("THz")[1] for row in chosen)]
    lines = ["".join(f"{value:20.10f}" for value in row) for row in _transposed(columns)]
    if sigma is not None:
        lines.insert(0, f"# Sigma = {sigma:f}")
    return "\n".join(lines) + "\n"


def from_phonopy(text: str, n_atoms: float | None = None, *, projected: bool = False) -> Spectrum:
    """The spectrum of phonopy's ``total_dos.dat``, or the atoms' of its ``projected_dos.dat``.

    Args:
        text: The file's content.
        n_atoms: Atoms in the cell; a third of the integral, if None.
        projected: One column per atom, even if there is only one.

    Raises:
        InputError: A row is not numbers, or the columns do not hold 3 states per atom, which those
            of ``XYZ_PROJECTION`` and ``PROJECTION_DIRECTION`` do not.

    Example:
        >>> from_phonopy("# Sigma = 0.1" + chr(10) + "0 0" + chr(10) + "2 6").n_atoms.item()
        2.0
    """
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    width = max((len(line) for line in lines), default=0)
    frequency, *columns = _table(lines, width, first=1)
    if not projected:
        return _counted("THz", frequency, columns[0], n_atoms)
    atoms = [_counted("THz", frequency, column, 1.0) for column in columns]
    density = torch.stack([atom.density for atom in atoms])
    return Spectrum(atoms[0].frequency, density, labels=[str(i + 1) for i in range(len(atoms))])


def to_phonon_dos(spectrum: Spectrum) -> dict[str, Any]:
    """The dict of pymatgen's ``PhononDos``: frequencies in THz, states per cell and THz.

    Raises:
        InputError: There are several leading axes, or a difference is no spectrum.

    Example:
        >>> to_phonon_dos(Spectrum([0, 100], [0.0, 0.06]))["@class"]
        'PhononDos'
    """
    (_, total), *_ = _rows(spectrum.to("3N"))
    frequency, density = total.in_unit("THz")
    return {
        "@module": "pymatgen.phonon.dos",
        "@class": "PhononDos",
        "frequencies": frequency.tolist(),
        "densities": density.tolist(),
    }


def from_phonon_dos(record: dict[str, Any], n_atoms: float | None = None) -> Spectrum:
    """The spectrum of a dict of pymatgen's ``PhononDos`` (or ``CompletePhononDos``, its total).

    Args:
        record: What ``PhononDos.as_dict()`` gives; nothing in it is executed.
        n_atoms: Atoms in the cell; a third of the integral, if None.

    Raises:
        InputError: It lacks its numbers, or they do not tell how many states they count.

    Example:
        >>> from_phonon_dos({"frequencies": [0.0, 2.0], "densities": [0.0, 6.0]}).n_atoms.item()
        2.0
    """
    missing = {"frequencies", "densities"} - record.keys()
    if missing:
        why, fix = f"{' and '.join(sorted(missing))} missing", "give PhononDos.as_dict()"
        raise InputError("this is no PhononDos", why=why, fix=fix)
    return _counted("THz", record["frequencies"], record["densities"], n_atoms)


def from_json(text: str, n_atoms: float | None = None) -> Spectrum:
    """The spectrum of JSON text: a record of `to_record`, or pymatgen's dict.

    Raises:
        InputError: It is no JSON, or none of the two.

    Example:
        >>> from_json('{"frequencies": [0.0, 2.0], "densities": [0.0, 6.0]}').integral.item()
        6.0
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        why, fix = f"{error}", "export it again; it may be cut off"
        raise InputError("it is not JSON", why=why, fix=fix) from error
    if isinstance(record, dict) and record.get("format") == FORMAT:
        return from_record(record)
    if isinstance(record, dict) and "densities" in record:
        return from_phonon_dos(record, n_atoms)
    why = f"neither a record of format {FORMAT!r} nor a pymatgen PhononDos"
    raise InputError("this JSON holds no spectrum", why=why, fix="export the spectrum again")


def _rows(spectrum: Spectrum) -> list[tuple[str, Spectrum]]:
    """The total, then each row that goes into it."""
    if not spectrum.shape:
        return [("total", spectrum)]
    if len(spectrum.shape) > 1:
        why = f"its leading axes are {tuple(spectrum.shape)}"
        raise InputError("cannot write the spectra", why=why, fix="take one crystal at a time")
    total = spectrum.to("3N").sum().to(spectrum.normalisation)
    labels = spectrum.labels or [str(i + 1) for i in range(len(spectrum.density))]
    return [("total", total), *((label, spectrum[i]) for i, label in enumerate(labels))]


def _edges(total: Spectrum, unit: str, band: tuple[Tensor, Tensor]) -> list[Tensor]:
    """A band in the unit of the total's numbers."""
    factor = 1.0 if total.normalisation == "max" else frequency_factor(unit, "cm-1")
    return [edge.to(total.density) * factor for edge in band]


def _count(spectrum: Spectrum, unit: str) -> str:
    """Normalisation and unit of a column; a max view has no unit."""
    count = spectrum.normalisation
    return count if count == "max" else f"{count}_per_{unit}"


def _assemble(
    unit: str, frequency: Numbers, counts: set[str], rows: list[tuple[str, Any, Any]]
) -> Spectrum:
    """One spectrum from a total, or rows from the partials beside it."""
    if len(counts) != 1:
        why, fix = "its columns do not share one normalisation", "export the spectrum again"
        raise InputError("cannot tell what the numbers count", why=why, fix=fix)
    normalisation = counts.pop()
    atoms = real_tensor([row[1] for row in rows], "n_atoms")
    if len(rows) == 1:
        return Spectrum.from_unit(unit, frequency, rows[0][2], atoms[0], normalisation)
    densities = [row[2] for row in rows[1:]]
    labels = [row[0] for row in rows[1:]]
    return Spectrum.from_unit(unit, frequency, densities, atoms[1:], normalisation, labels)


def _counted(unit: str, frequency: Numbers, density: Numbers, n_atoms: float | None) -> Spectrum:
    """A spectrum from numbers that do not say what they count: 3N, by their integral."""
    shape = Spectrum.from_unit(unit, frequency, density, normalisation="1")
    states = shape.integral.item()
    if n_atoms is None:
        n_atoms = max(round(states / 3), 1)
        close = abs(states / 3 - n_atoms) < 0.1
        fix = "give n_atoms="
    else:
        close = abs(states / (3 * n_atoms) - 1) < 0.1
        fix = "make Spectrum.from_unit() with the normalisation the numbers are in"
    if not close:
        why = f"its integral is {states:.4g}, where {3 * n_atoms:g} states were expected"
        raise InputError("cannot tell what the numbers count", why=why, fix=fix)
    return Spectrum(shape.frequency, shape.density, n_atoms)


def _table(lines: Sequence[Sequence[str]], width: int, first: int) -> list[list[float]]:
    """Columns of a table of numbers; ``first`` is the number of its first line."""
    rows = []
    for number, line in enumerate(lines, first):
        if not line:
            continue
        try:
            rows.append([number_of(cell) for cell in line])
        except ValueError as error:
            why = f"line {number}: {error}"
            raise InputError(
                "it is not a table of numbers", why=why, fix="repair the line"
            ) from error
        if len(line) != width or width < 2:
            why = f"line {number} has {len(line)} columns, where {max(width, 2)} are needed"
            raise InputError("the table is ragged", why=why, fix="repair it; it may be cut off")
    return _transposed(rows) if rows else [[] for _ in range(max(width, 2))]


def _transposed(rows: Sequence[Any]) -> list[list[float]]:
    columns = [row.tolist() if isinstance(row, Tensor) else row for row in rows]
    return [list(column) for column in zip(*columns, strict=True)]
