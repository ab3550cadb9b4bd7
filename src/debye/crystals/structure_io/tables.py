"""Structures in records: JSON, JSON lines, Parquet tables, ASE databases.

A record is a dictionary. It is a structure itself, as pymatgen or ASE write one, or holds it in
a column: as such a dictionary, or as text (JSON, CIF or POSCAR). Everything but JSON streams.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from debye.crystals.structure.convert import NAMES, name_in
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import structure_error
from debye.crystals.structure_io.cif import cif_blocks
from debye.crystals.structure_io.formats import sniffed
from debye.crystals.structure_io.poscar import poscar_structures
from debye.crystals.structure_io.text import LazyStructure, lines_of

COLUMNS = ("structure", "atoms", "cif", "poscar", "atoms_json")
"""Where a record holds its structure, if it is not one itself; the last is pymatgen's of ASE."""
_PARTS = ("sites", "lattice", "numbers", "positions", "cell", "pbc")
DEEPEST = 1000
"""Brackets within each other in a JSON text."""
ROWS_AT_ONCE = 256
"""Of a Parquet table, held in memory together."""


def json_structures(text: str, label: str) -> Iterator[LazyStructure]:
    """The structures of a JSON text: one, a list, or a dictionary of them by name.

    Raises:
        InputError: It is no JSON, or holds no structure where one is looked for.
    """
    yield from record_structures(_parsed(text, label), label)


def record_structures(record: Any, label: str) -> Iterator[LazyStructure]:  # noqa: ANN401 - anything JSON can say
    """The structures of what a JSON text says; see `json_structures`."""
    if isinstance(record, dict) and {"ids", "nextid"} <= record.keys():  # ASE's database in JSON
        keys = record["ids"] if isinstance(record["ids"], list) else []
        named = [(str(i), record.get(str(i)), "") for i in keys]
    elif isinstance(record, list) and record:
        named = [(str(i), item, "") for i, item in enumerate(record)]
    elif isinstance(record, dict) and record and all(map(_is_record, record.values())):
        named = [(key, item, key) for key, item in record.items()]
    else:
        yield LazyStructure(label, partial(_crystal, record, label, ""))
        return
    for key, item, name in named:
        yield LazyStructure(f"{label}[{key}]", partial(_crystal, item, f"{label}[{key}]", name))


def json_line_structures(stream: IO[str], label: str) -> Iterator[LazyStructure]:
    """The structures of a JSON-lines text, one a line, read as they are asked for.

    Raises:
        InputError: A line is too long.
    """
    for i, line in enumerate(line for line in lines_of(stream, label) if line.strip()):
        yield LazyStructure(f"{label}[{i}]", partial(_line_crystal, line, f"{label}[{i}]"))


def parquet_structures(path: Path, label: str) -> Iterator[LazyStructure]:
    """The rows of a Parquet table, read a few at a time.

    Raises:
        InputError: No column of it can hold structures.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as table:
        there = table.schema_arrow.names
        if not {*COLUMNS, "sites", "numbers"} & set(there):
            raise structure_error(
                label,
                f"no column holds structures; it has {', '.join(there)[:200] or 'none'}",
                f"name a column {', '.join(COLUMNS)}",
            )
        wanted = [name for name in there if name in {*COLUMNS, *NAMES, *_PARTS}]
        index = 0
        for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
            for row in batch.to_pylist():
                yield LazyStructure(
                    f"{label}[{index}]", partial(_crystal, row, f"{label}[{index}]", "")
                )
                index += 1


def database_structures(path: Path, label: str) -> Iterator[LazyStructure]:
    """The rows of an ASE database in SQLite, read as they are asked for."""
    from ase.db import connect

    with connect(path, type="db", use_lock_file=False) as database:
        for i, row in enumerate(database.select()):
            yield LazyStructure(f"{label}[{i}]", partial(Crystal.of, row, source=f"{label}[{i}]"))


def _line_crystal(line: str, source: str) -> Crystal:
    record = _parsed(line, source)
    return _crystal(record[0] if isinstance(record, list) and record else record, source, "")


def _parsed(text: str, source: str) -> Any:  # noqa: ANN401 - anything JSON can say
    try:
        _check_depth(text)
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise structure_error(source, f"not valid JSON ({error})", "write it again") from error


def _check_depth(text: str) -> None:
    """Refuse what overflows the stack: Python does, unless someone (symfc) has raised its limit.

    Raises:
        RecursionError: Brackets stand deeper in each other than Python allows by itself.
    """
    if sys.getrecursionlimit() > DEEPEST:
        codes = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
        opened, closed = (np.isin(codes, list(pair)) for pair in (b"[{", b"]}"))
        if np.cumsum(opened.astype(int) - closed).max(initial=0) > DEEPEST:
            raise RecursionError(f"nested more than {DEEPEST} deep")


def _is_record(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and not {"numbers", "sites", *COLUMNS}.isdisjoint(value)


def _crystal(record: Any, source: str, name: str) -> Crystal:  # noqa: ANN401
    """The crystal of a record: of a dictionary in it, of itself, or of a text in it."""
    if not _is_record(record):
        raise structure_error(
            source,
            "no structure: it has neither 'sites' (pymatgen) nor 'numbers' (ASE)",
            f"write Structure.as_dict(), or numbers, positions and cell, or a column {COLUMNS[0]}",
        )
    pairs = record.get("key_value_pairs")
    given = name_in(record) or name_in(pairs if isinstance(pairs, Mapping) else {}) or name
    columns = [record.get(key) for key in COLUMNS]
    inner = next(filter(_is_record, columns), None)
    if inner is None and any(record.get(key) is not None for key in ("sites", "numbers")):
        inner = record
    text = next((column for column in columns if isinstance(column, str | bytes)), None)
    if inner is None and text is not None:
        return _text_crystal(text, source, given)
    # What is there but no structure goes through too, to be refused for what it is.
    return Crystal.from_dict(inner or record, name=given, source=source)


def _text_crystal(text: str | bytes, source: str, name: str) -> Crystal:
    """The crystal of a text in a table: JSON, the first block of a CIF, or a POSCAR."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    kind = sniffed(text)
    if kind == "json":
        record = _parsed(text, source)
        return _crystal(record if isinstance(record, Mapping) else None, source, name)
    if kind == "cif":
        crystal = next(iter(cif_blocks(text, source)))[1]()
    elif kind == "poscar":
        crystal = next(poscar_structures(text, source)).make()
    else:
        why = f"its text is neither JSON nor CIF nor POSCAR: {text[:40]!r}"
        raise structure_error(source, why, "write one of these into the column")
    return replace(crystal, name=name or crystal.name, source=source)
