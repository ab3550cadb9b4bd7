"""Read labelled crystals, from a table or from phonopy folders.

Spectra are kept in the published view: 51 points from 0 to 1000 cm⁻¹, maximum 1. A row that
cannot be used is reported and left out; it does not stop the others.
"""

from __future__ import annotations

import ast
import csv
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from debye.crystals.data.labels import FREQUENCY, Collection, Row, published_view
from debye.crystals.data.phonopy_folders import read_phonopy_folders
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import FailedInput
from debye.errors import DebyeError, InputError


def read_collection(path: str | os.PathLike[str]) -> tuple[Collection, list[FailedInput]]:
    """Read labelled crystals.

    Args:
        path: A CSV file with the columns ``mp_id`` (or ``name``), ``structure`` (a literal
            dictionary of numbers, positions, cell), ``phfreq`` and ``phdos`` (literal lists), as
            the E(3)NN tutorial has it; or a folder of phonopy calculations.

    Returns:
        The rows that can be used, and those that cannot: their names as sources, and why.

    Raises:
        InputError: Nothing there can be used.
    """
    path = Path(path)
    folders = path.is_dir()
    rows = map(_by_folder_name, read_phonopy_folders(path)) if folders else _csv_rows(path)
    return _collect(rows, path)


def _by_folder_name(row: Row | FailedInput) -> Row | FailedInput:
    return replace(row, source=Path(row.source).name) if isinstance(row, FailedInput) else row


def _collect(rows: Iterable[Row | FailedInput], path: Path) -> tuple[Collection, list[FailedInput]]:
    good: dict[str, Row] = {}
    bad: list[FailedInput] = []
    for row in rows:
        if isinstance(row, FailedInput):
            bad.append(row)
        elif row[0] in good:
            bad.append(_failed_row(path, row[0], "its name stands in an earlier row too"))
        else:
            good[row[0]] = row
    if not good:
        raise InputError(
            f"no labelled crystal in {path}",
            why=bad[0].error.why if bad else "it holds no rows",
            fix="see the columns described in `debye train --help`",
        )
    names, crystals, spectra = zip(*good.values(), strict=True)
    density = torch.stack([s.density for s in spectra])
    atoms = torch.tensor([c.n_atoms for c in crystals], dtype=density.dtype)
    grid = torch.tensor(FREQUENCY, dtype=density.dtype)
    return Collection(names, crystals, Spectrum(grid, density, atoms, "max")), bad


def _failed_row(path: Path, name: str, why: str) -> FailedInput:
    return FailedInput(
        name,
        InputError(f"cannot use {path} row {name}", why=why, fix="repair the row or remove it"),
    )


def _csv_rows(path: Path) -> Iterator[Row | FailedInput]:
    """Rows of the tutorial's CSV; literals are parsed, never evaluated."""
    columns, rows = read_table(path)
    key = next((c for c in NAMES if c in columns), None)
    missing = sorted({"structure", "phfreq", "phdos"} - set(columns))
    if key is None or missing:
        raise InputError(
            f"{path} is not a table of labelled crystals",
            why=f"it lacks the column {missing[0] if missing else NAMES[0]!r}",
            fix="give a CSV with the columns mp_id, structure, phfreq, phdos",
        )
    for n, row in enumerate(rows, 1):
        name = (row[key] or "").strip()
        if not name:
            yield _failed_row(path, str(n), f"its {key} is empty")
            continue
        try:
            yield name, *_labelled(row, name, path)
        except DebyeError as error:
            named = f"{path} row {name}" in error.what
            yield _failed_row(path, name, error.why if named else f"{error.what}: {error.why}")


NAMES = ("mp_id", "name", "id")
"""Columns that can name a row, in this order."""


def read_table(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    """Columns and rows of a CSV file, as text.

    Raises:
        InputError: The file cannot be read, or is no CSV in UTF-8.
    """
    # A cell of the table holds a whole structure, far more than the module's usual limit.
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            table.fieldnames = columns = [c.strip() for c in table.fieldnames or ()]
            return columns, list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(
            f"cannot read {path}", why=why, fix="give a CSV file in UTF-8 that you may read"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _labelled(row: Mapping[str, str | None], name: str, path: Path) -> tuple[Crystal, Spectrum]:
    structure = _literal(row, "structure")
    if not isinstance(structure, dict):
        raise InputError(
            "column structure is no dictionary",
            why=f"it is {str(structure)[:40]!r}",
            fix="repair it",
        )
    crystal = Crystal.from_dict(structure, name=name, source=f"{path} row {name}")
    return crystal, published_view(
        _literal(row, "phfreq"), _literal(row, "phdos"), n_atoms=crystal.n_atoms
    )


def _literal(row: Mapping[str, str | None], column: str) -> object:
    text = row[column] or ""
    try:
        # NaN is no Python literal, yet tables hold it; a float that overflows says the same.
        return ast.literal_eval(text.replace("nan", "1e999").replace("NaN", "1e999"))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(
            f"column {column} is no literal", why=f"{text[:40]!r}…: {error}", fix="repair it"
        ) from error


def read_label(path: str | os.PathLike[str]) -> Spectrum | None:
    """The spectrum of the first row of a labelled CSV; None if the file is no such table.

    Raises:
        InputError: The row has no spectrum on the published grid.
    """
    if Path(path).suffix.lower() != ".csv":
        return None
    columns, rows = read_table(Path(path))
    if not rows or not {"phfreq", "phdos"} <= set(columns):
        return None
    row = rows[0]
    return published_view(_literal(row, "phfreq"), _literal(row, "phdos"), n_atoms=1.0)
