"""Whatever a scientist holds, as crystals: paths, texts, open files, objects, and lists of them.

No library is imported to recognise its objects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from debye.crystals.structure.convert import comes_from, is_structure, name_in
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import type_name
from debye.crystals.structure_io.foreign import program_of
from debye.crystals.structure_io.formats import named_format, sniffed, unreadable
from debye.crystals.structure_io.read import (
    LARGEST_TEXT,
    FailedInput,
    as_path,
    attempt,
    find_files,
    lazy_structures,
    lazy_structures_of,
    made,
    means_many,
    read_file,
)
from debye.crystals.structure_io.tables import COLUMNS, record_structures
from debye.crystals.structure_io.text import LazyStructure

GIVE = (
    "give a path, the text of a CIF or POSCAR, an open file, ASE Atoms, a pymatgen Structure or"
    " ComputedStructureEntry, PhonopyAtoms, a Phonopy, a Crystal, a dict of the JSON of one of"
    " these, or a list of them"
)

LONGEST_NAME = 200
"""Characters of a string that is no path, as an error cites it."""

_JSON = re.compile(r'\s*(\{\s*"|\[\s*\{)')
"""The start of JSON, which no path or pattern has."""

Found = Iterator[Crystal | FailedInput]


class Also(NamedTuple):
    """What else than crystals there is."""

    take: Callable[[Any, str], Any]
    """What a thing or an existing path holds, given with its label; or None."""
    whole: Callable[[Path], bool]
    """Whether a folder, or a file, is one such thing."""


def crystals_of(x: Any) -> tuple[Found, bool]:  # noqa: ANN401 - whatever there is
    r"""The crystals of whatever holds them, one at a time, in order.

    Args:
        x: A path (``~``, folders and patterns as in `read_structures`), the text or bytes of a
            structure file, an open one, ASE ``Atoms``, a pymatgen ``Structure`` or
            ``ComputedStructureEntry``, ``PhonopyAtoms``, a ``Phonopy`` (its primitive cell), a
            `Crystal`, a `FailedInput`, or a dictionary as JSON has one of these; or a list, an
            iterator, an array or a pandas column of them.

    Returns:
        Crystals, with `FailedInput` in the place of what cannot be used; and whether many were
        given: a collection, a folder, a pattern, or a file of several structures.

    Example:
        >>> found, many = crystals_of("Po\n3.36\n1 0 0\n0 1 0\n0 0 1\nPo\n1\nDirect\n0 0 0")
        >>> next(found).formula, many
        ('Po', False)
        >>> found, many = crystals_of([{"numbers": [84]}, 3.5])
        >>> [item.error.why for item in found], many
        (["'positions' is missing", 'it is an object of type float'], True)
    """
    return crystals_and(NOTHING_ELSE, x)


def crystals_and(also: Also, x: Any) -> tuple[Iterator[Any], bool]:  # noqa: ANN401 - whatever there is
    """As `crystals_of`, but what holds something else comes out as what ``also`` makes of it.

    Args:
        also: Is asked first, about each thing, each path that exists, and what lies in a folder.
        x: What `crystals_of` takes.
    """
    items = _items(x)
    return _one(x, "", also) if items is None else (_each(items, also), True)


NOTHING_ELSE = Also(lambda thing, label: None, lambda folder: False)
"""Only crystals are looked for."""


# Many.


def _items(x: Any) -> Iterable[Any] | None:  # noqa: ANN401
    """What a collection holds; None of what is one thing."""
    if isinstance(x, np.ndarray):
        return x if x.ndim and x.dtype.kind in "OTU" else None
    one = isinstance(x, str | bytes | bytearray | memoryview | os.PathLike | Mapping | type)
    if one or _reads(x) or is_structure(x) or comes_from(x, "torch", "Tensor"):
        return None
    return x if isinstance(x, Iterable) and not comes_from(x, "pandas", "DataFrame") else None


def _each(items: Iterable[Any], also: Also) -> Iterator[Any]:
    """The crystals of each item; where the collection itself raises, it has ended."""
    iterator = chain.from_iterable([items])
    failed, fix = "the collection raised an error", "mend it; nothing after this item was read"
    for i in count():
        label = f"item {i}"
        got = attempt(label, lambda: list(islice(iterator, 1)), failed, fix)
        if isinstance(got, FailedInput):
            yield got
            return
        if not got:
            return
        if _items(got[0]) is None:
            yield from _one(got[0], label, also)[0]
        else:
            why = f"it is {type_name(got[0])} within another collection"
            yield _refused(label, why, "give one flat list")


# One.


def _one(x: Any, label: str, also: Also) -> tuple[Iterator[Any], bool]:  # noqa: ANN401
    """The crystals of one thing, and whether it holds several."""
    if isinstance(x, np.ndarray) and not x.ndim:
        x = x.item()
    if isinstance(x, Crystal | FailedInput):
        return iter([x]), False
    if isinstance(x, os.PathLike) or (isinstance(x, str) and not _is_text(x)):
        return _at_path(x, also)
    other = attempt(label or f"the {type(x).__name__}", lambda: also.take(x, label))
    return _several(_lazy(x, label)) if other is None else (iter([other]), False)


def _is_text(given: str) -> bool:
    """Whether a string is the text of a structure and no path."""
    several = "\n" in given.strip() or "\r" in given.strip()
    return bool(sniffed(given) or program_of("", given)) if several else bool(_JSON.match(given))


def _at_path(given: str | os.PathLike[str], also: Also) -> tuple[Iterator[Any], bool]:
    """The crystals of a file, or of the files of a folder or a pattern."""
    short = str(given)
    if len(short) > LONGEST_NAME or "\n" in short:
        short = repr(short[:LONGEST_NAME])
    there = attempt(short, lambda: _there(as_path(given)))
    if isinstance(there, FailedInput):
        return iter([there]), False
    other = None if there == "nothing" else attempt(short, lambda: also.take(given, ""))
    if other is not None:
        return iter([other]), False
    if there == "many":
        return _in_files(given, also), True
    if there == "nothing":
        return iter([_refused(short, "there is no such file", f"check the path; or {GIVE}")]), False
    return _several(lazy_structures(given))


def _in_files(given: str | os.PathLike[str], also: Also) -> Iterator[Any]:
    """The crystals of a folder or a pattern, and what else its folders hold."""
    for path in find_files(given, also.whole):
        if isinstance(path, FailedInput):
            yield path
        elif also.whole(path):
            yield attempt(str(path), partial(also.take, path, ""))
        else:
            yield from read_file(path)


def _there(path: Path) -> str:
    """What stands at a path: one file, many (a folder or a pattern), or nothing."""
    return "many" if means_many(path) else "one" if path.exists() else "nothing"


def _several(structures: Iterator[LazyStructure | FailedInput]) -> tuple[Found, bool]:
    """The structures made, and whether there is more than one."""
    first = list(islice(structures, 2))
    return made(chain(first, structures)), len(first) > 1


def _lazy(x: Any, label: str) -> Iterator[LazyStructure | FailedInput]:  # noqa: ANN401
    """The structures of one thing that is no path, not yet made."""
    if isinstance(x, str | bytes | bytearray | memoryview):
        content = x if isinstance(x, str) else bytes(x)
        return lazy_structures_of(content, label or "the given text")
    if isinstance(x, Mapping):
        return _in_record(x, label or "the given dict")
    if is_structure(x):
        called = label or f"the {type(x).__name__}"
        return iter([LazyStructure(called, partial(Crystal.of, x, source=label))])
    if _reads(x):
        return _in_file(x, label or "the open file")
    table = comes_from(x, "pandas", "DataFrame")
    fix = "give one of its columns, such as table['structure']" if table else GIVE
    return iter([_refused(label or "what was given", f"it is {type_name(x)}", fix)])


def _in_record(record: Mapping[str, Any], label: str) -> Iterator[LazyStructure | FailedInput]:
    """The structures of a dictionary, which may hold an object where JSON holds its dictionary."""
    data = attempt(label, lambda: dict(record))
    if isinstance(data, FailedInput):
        return iter([data])
    for key in COLUMNS:
        if is_structure(data.get(key)):
            inner = partial(Crystal.of, data[key], name=name_in(data), source=label)
            return iter([LazyStructure(label, inner)])
    return record_structures(data, label)


def _reads(x: object) -> bool:
    """Whether something is an open file, or reads like one."""
    return callable(getattr(type(x), "read", None)) or comes_from(
        x, "tempfile", "_TemporaryFileWrapper"
    )


def _in_file(stream: Any, label: str) -> Iterator[LazyStructure | FailedInput]:  # noqa: ANN401 - any of Python's files
    """The structures of an open file, from where it stands."""
    read = attempt(
        label,
        lambda: (getattr(stream, "name", ""), stream.read(LARGEST_TEXT + 1)),
        "it cannot be read",
        "open it for reading, or give its path",
    )
    if isinstance(read, FailedInput):
        return iter([read])
    name, content = str(read[0]) if isinstance(read[0], str | os.PathLike) else "", read[1]
    if not isinstance(content, str | bytes):
        return iter([_refused(label, f"it reads {type_name(content)}, no text", GIVE)])
    if not content.strip():
        why, fix = (
            "there is nothing left to read in it",
            "rewind it, with seek(0), or give its path",
        )
        return iter([_refused(name or label, why, fix)])
    return lazy_structures_of(content, name or label, name if named_format(name) else "")


def _refused(label: str, why: str, fix: str) -> FailedInput:
    return FailedInput(label, unreadable(label, why, fix))
