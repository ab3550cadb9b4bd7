"""Labelled crystals, from a table or from phonopy folders, and their split.

Spectra are kept in the published view: 51 points from 0 to 1000 cm⁻¹, maximum 1. A row that
cannot be used is reported and left out; it does not stop the others. A split says which rows are
trained on, which choose the best epoch, and which are kept for testing.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from debye.core.files import atomic_write
from debye.core.packed import open_text
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


LONGEST_LITERAL = 1_000_000
"""Characters; the structure of 10,000 atoms has so many."""

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
        with open_text(path, "strict", newline="") as stream:
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
    if len(text) > LONGEST_LITERAL:
        why = f"it is {len(text)} characters long, and at most {LONGEST_LITERAL} are read"
        raise InputError(f"column {column} is no literal", why=why, fix="repair it")
    # NaN is no Python literal, yet tables hold it; a float that overflows says the same.
    text = text.replace("nan", "1e999").replace("NaN", "1e999")
    try:
        # Where quotes are plain, JSON says the same, and is read twenty times as fast.
        return json.loads(text if {'"', "\\"} & set(text) else text.replace("'", '"'))
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(
            f"column {column} is no literal",
            why=f"{(row[column] or '')[:40]!r}…: {error}",
            fix="repair it",
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


SUBSETS = ("train", "valid", "test")

Split = dict[str, list[str]]
"""Names of the rows of each subset."""


def read_split(path: str | os.PathLike[str]) -> Split:
    """Read a split: CSV with a column of names (``mp_id`` or ``name``) and a column ``split``.

    Raises:
        InputError: The columns are missing, a name stands twice, or there are no rows.
    """
    path = Path(path)
    columns, rows = read_table(path)
    key = next((c for c in NAMES if c in columns), None)
    if key is None or "split" not in columns:
        raise _no_split(path, f"its columns are {', '.join(columns) or 'none'}")
    subset_of: dict[str, str] = {}
    for row in rows:
        name = (row[key] or "").strip()
        if name in subset_of:
            raise _no_split(path, f"{name or 'an empty name'} stands in it twice")
        subset_of[name] = (row["split"] or "").strip()
    if not subset_of:
        raise _no_split(path, "it has no rows")
    split: Split = {}
    for name, part in subset_of.items():
        split.setdefault(part, []).append(name)
    return split


def _no_split(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is not a split",
        why=why,
        fix="give a CSV with the columns mp_id and split, each name in one subset",
    )


def write_split(path: str | os.PathLike[str], split: Mapping[str, Sequence[str]]) -> None:
    """Write a split for `read_split`.

    Raises:
        InputError: The file cannot be written there.
        ComputationError: The disk is full or failed while writing.
    """
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["mp_id", "split"])
    table.writerows((name, part) for part, names in split.items() for name in names)
    atomic_write(path, text.getvalue())


def subset(collection: Collection, split: Split, name: str) -> Collection:
    """The rows of one subset.

    Raises:
        InputError: The split has no such subset, or names rows that are not in the data.
    """
    if not split.get(name):
        raise InputError(
            f"the split has no rows in the subset {name!r}",
            why=f"its subsets are {', '.join(split) or 'none'}",
            fix="name one of them, or put rows into that one",
        )
    return collection.take(split[name])


class Labelled(NamedTuple):
    """Labelled crystals, and what is to be done with each."""

    rows: Collection
    split: Split
    """Of the rows that can be used; empty if there is none."""
    failed: tuple[FailedInput, ...]
    """The other rows, and why they cannot."""

    def subset(self, name: str) -> Collection:
        """The rows of one subset.

        Raises:
            InputError: The split has no such subset, or names rows that are not in the data.
        """
        return subset(self.rows, self.split, name)


def read_labelled(
    data: Labelled | Collection | str | os.PathLike[str],
    split: Split | str | os.PathLike[str] | None = None,
) -> Labelled:
    """Labelled crystals and their split, the split without the rows that cannot be used.

    Args:
        data: What `read_collection` reads; or what has been read already.
        split: What `read_split` reads, or has read.

    Raises:
        InputError: Nothing there can be used, or the split is none.
    """
    if isinstance(data, Labelled):
        rows, parts, failed = data
    elif isinstance(data, Collection):
        rows, parts, failed = data, {}, ()
    else:
        rows, bad = read_collection(data)
        parts, failed = {}, tuple(bad)
    if split is not None:
        parts = read_split(split) if isinstance(split, str | os.PathLike) else dict(split)
    lost = {row.source for row in failed} - set(rows.names)
    kept = {part: [n for n in names if n not in lost] for part, names in parts.items()}
    return Labelled(rows, kept, failed)


def element_balanced_split(
    collection: Collection, parts: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 12
) -> Split:
    """Split so that each element is shared out in the same proportions.

    Elements are taken from the rarest on; the crystals that hold one and are not yet placed are
    shuffled and dealt out so that the element's count in each subset comes nearest to its part.
    A subset that few rows leave empty gets one of common elements from the largest.

    Args:
        collection: What to split.
        parts: Fractions of train, valid and test; they sum to 1.
        seed: Seed of the shuffle.

    Returns:
        Names by subset, in the order of the collection.
    """
    part_of = _placed(collection, parts, seed)
    for at in range(len(parts)):
        largest = max(set(part_of), key=part_of.count)
        if parts[at] > 0 and at not in part_of and part_of.count(largest) > 1:
            part_of[_commonest(collection, part_of, largest)] = at
    return {
        name: [row for row, k in zip(collection.names, part_of, strict=True) if k == at]
        for at, name in enumerate(SUBSETS)
        if at in part_of
    }


def _commonest(collection: Collection, part_of: Sequence[int], part: int) -> int:
    """The row of a part whose rarest element most rows hold."""
    held = Counter(e for crystal in collection.crystals for e in crystal.elements)
    rows = [i for i, k in enumerate(part_of) if k == part]
    return max(rows, key=lambda i: min(held[e] for e in collection.crystals[i].elements))


def folds(collection: Collection, count: int, seed: int = 12) -> list[Split]:
    """Splits for cross-validation: every row is left out, as ``valid``, in exactly one of them.

    Elements are shared out among the folds as `element_balanced_split` does.

    Args:
        collection: What to split.
        count: Number of folds.
        seed: Seed of the shuffle.

    Raises:
        InputError: There are fewer than two folds, or fewer rows than folds.
    """
    if not 2 <= count <= len(collection):
        raise InputError(
            f"cannot make {count} folds of {len(collection)} rows",
            why="each needs a row, and something to train on besides",
            fix="ask for 5, or another number between 2 and the rows",
        )
    part_of = _placed(collection, [1 / count] * count, seed)
    rows = list(zip(collection.names, part_of, strict=True))
    return [
        {
            "train": [name for name, k in rows if k != fold],
            "valid": [name for name, k in rows if k == fold],
        }
        for fold in range(count)
    ]


def _placed(collection: Collection, parts: Sequence[float], seed: int) -> list[int]:
    """The part each row is dealt to."""
    rng = np.random.default_rng(seed)
    holders: dict[str, list[int]] = {}
    for i, crystal in enumerate(collection.crystals):
        for element in crystal.elements:
            holders.setdefault(element, []).append(i)
    part_of: dict[int, int] = {}
    for element in sorted(holders, key=lambda e: (len(holders[e]), e)):
        _deal(holders[element], part_of, np.asarray(parts), rng)
    return [part_of[i] for i in range(len(collection))]


def _deal(
    holders: Sequence[int], part_of: dict[int, int], parts: np.ndarray, rng: np.random.Generator
) -> None:
    """Place the crystals of one element where its part is furthest from being met."""
    counts = np.bincount([part_of[i] for i in holders if i in part_of], minlength=len(parts))
    for i in rng.permutation([i for i in holders if i not in part_of]):
        k = int(np.argmax(parts * len(holders) - counts))
        part_of[int(i)] = k
        counts[k] += 1
