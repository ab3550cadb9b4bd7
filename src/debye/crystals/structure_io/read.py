"""Structure files to crystals and back: what to open, in which format, and what is refused.

Nothing here executes what a file holds: pickles are refused, and no text is evaluated.
"""

from __future__ import annotations

import glob
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar, cast

from debye.core.files import atomic_write
from debye.core.packed import inner_name, is_packed, open_text, open_unpacked, unpacked_bytes
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import type_name
from debye.crystals.structure_io.cif import cif_blocks
from debye.crystals.structure_io.formats import (
    HEAD,
    SUFFIXES,
    could_hold_structures,
    decoded,
    format_of,
    named_format,
    unreadable,
)
from debye.crystals.structure_io.poscar import poscar_structures
from debye.crystals.structure_io.tables import (
    database_structures,
    json_line_structures,
    json_structures,
    parquet_structures,
)
from debye.crystals.structure_io.text import LazyStructure, xyz_structures
from debye.errors import DebyeError, InputError

Result = TypeVar("Result")

LARGEST_TEXT = 50_000_000
"""Bytes of a file that must be read as a whole (CIF, POSCAR, JSON); the others stream."""

HOPELESS = 10_000
"""Structures of one file, with none good among them, after which no more are tried."""

RESULTS = "debye-screen.json"
"""A folder that holds this file holds results of a screening, and no structures."""


@dataclass(frozen=True)
class FailedInput:
    """A structure that could not be read, where others could.

    Args:
        source: The file, and the structure in it where it holds several.
        error: What happened, why, and what to do.
    """

    source: str
    error: DebyeError

    def __repr__(self) -> str:
        return " ".join(f"FailedInput({self.source}: {self.error.why})".split())


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Files, folders or patterns; one may stand alone."""

Piece = LazyStructure | FailedInput | Path
"""Structures not yet made: one of a file that streams, one that is none, or a whole file."""


def read_structures(inputs: Paths) -> Iterator[Crystal | FailedInput]:
    """Every structure of files, folders and patterns, one at a time, in order.

    A folder is searched through and through for files of known names; a pattern is a shell's
    (``runs/**/*.cif``). What cannot be read is yielded as `FailedInput`, and the next is read.

    Args:
        inputs: Paths or patterns; one may stand alone.

    Yields:
        A `Crystal`, or `FailedInput` in its place.

    Example:
        >>> [item.error.why for item in read_structures("nowhere.cif")]
        ['there is no such file']
    """
    for path in find_files(inputs):
        if isinstance(path, FailedInput):
            yield path
        else:
            yield from read_file(path)


def find_files(
    inputs: Paths, whole: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path | FailedInput]:
    """The files that paths, folders and patterns mean, in order; see `read_structures`.

    Args:
        inputs: Paths or patterns.
        whole: Which folders are one thing, and come out as they are.
    """
    one = isinstance(inputs, str | bytes | os.PathLike) or not isinstance(inputs, Iterable)
    for entry in cast("Iterable[str]", [inputs] if one else inputs):
        label = str(entry) if isinstance(entry, str | os.PathLike) else type_name(entry)
        found = attempt(label, lambda entry=entry: _expanded(entry, whole))  # type: ignore[misc]
        yield from [found] if isinstance(found, FailedInput) else found


def pieces(path: Path) -> Iterator[Piece]:
    """What a file holds, found but not yet made: `make` does that, in another process if need be.

    Files that stream (xyz, JSON lines, Parquet, databases) come structure by structure; one that
    must be read as a whole (CIF, POSCAR, JSON) comes as its path, unopened.
    """
    if named_format(path) in ("cif", "poscar", "json"):
        yield path
    else:
        yield from lazy_structures(path)


def make(piece: Piece) -> Iterator[Crystal | FailedInput]:
    """The structures of a piece."""
    if isinstance(piece, Path):
        yield from read_file(piece)
    else:
        yield piece if isinstance(piece, FailedInput) else attempt(piece.source, piece.make)


def read_file(path: str | Path) -> Iterator[Crystal | FailedInput]:
    """Every structure of one file, one at a time, in order.

    Args:
        path: A file in a known format; the content decides where the name does not.

    Yields:
        A `Crystal`, or `FailedInput` in its place. A file without structures is one `FailedInput`.
    """
    yield from made(lazy_structures(path))


def made(structures: Iterable[LazyStructure | FailedInput]) -> Iterator[Crystal | FailedInput]:
    """The structures of one file, made; where the first `HOPELESS` all fail, no more are tried."""
    good = False
    for tried, found in enumerate(structures, 1):
        for item in make(found):
            good = good or isinstance(item, Crystal)
            yield item
        if tried == HOPELESS and not good:
            why = f"none of its first {HOPELESS} structures could be read"
            label = found.source
            yield FailedInput(label, unreadable(label, why, "mend it; nothing after it was read"))
            return


def read_crystals(path: str | Path) -> list[Crystal]:
    """Every structure of one file.

    Raises:
        InputError: Any of them cannot be read.
    """
    return [_strict(item) for item in read_file(path)]


def read_crystal(path: str | Path, index: int = 0) -> Crystal:
    """One structure of a file.

    Args:
        path: The file.
        index: Which of several, from 0, or from the end if negative.

    Raises:
        InputError: It cannot be read, or there are not so many.
    """
    if index < 0:
        items = list(read_file(path))
        if len(items) + index >= 0:
            return _strict(items[index])
    else:
        items = list(islice(read_file(path), index + 1))
        if len(items) > index:
            return _strict(items[index])
    _strict(items[-1])  # a file that could not be read to its end says so
    why = f"it holds {len(items)} structures"
    raise unreadable(f"{path}[{index}]", why, "count from 0, or from the end with -1")


def _strict(item: Crystal | FailedInput) -> Crystal:
    if isinstance(item, FailedInput):
        raise item.error
    return item


def write_structures(
    path: str | os.PathLike[str],
    crystals: Crystal | Sequence[Crystal],
    format: str | None = None,  # noqa: A002
) -> Path:
    """Write crystals to a file, whole or not at all.

    Args:
        path: Its name decides the format: ``.cif``, ``.xyz``, ``.extxyz``, ``.vasp``, ``POSCAR``,
            ``.json``, ``.jsonl``.
        crystals: One, or several where the format holds several (all but POSCAR); what
            `Crystal.of` takes will do.
        format: ``cif``, ``xyz``, ``poscar``, ``json`` or ``jsonl``, whatever the name.

    Returns:
        The path written.

    Raises:
        InputError: The format is unknown, cannot hold a mixed site or several structures, or the
            file cannot be written.
        ComputationError: The disk is full or failed while writing.
    """
    from debye.crystals.structure_io import write as writers

    items = [crystals] if isinstance(crystals, Crystal) else list(map(Crystal.of, crystals))
    path = as_path(path)
    kind = format or ("" if inner_name(path) != path else named_format(path))
    if kind == "cif":
        text = "\n".join(map(writers.to_cif, items))
    elif kind == "xyz":
        text = "".join(map(writers.to_xyz, items))
    elif kind == "json":
        text = writers.to_json(items)
    elif kind == "jsonl":
        text = "".join(writers.to_json([item]) for item in items)
    elif kind == "poscar" and len(items) == 1:
        text = writers.to_poscar(items[0])
    else:
        raise InputError(
            f"cannot write {path}",
            why="a POSCAR holds one structure" if kind == "poscar" else "its format is unknown",
            fix="name it .cif, .extxyz, .json or .jsonl; POSCAR and .vasp hold one structure",
        )
    return atomic_write(path, text)


# What to open.


def as_path(given: str | os.PathLike[str]) -> Path:
    """A path, with ``~`` as the home folder.

    Raises:
        InputError: It is no path, or empty.

    Example:
        >>> as_path("~/quartz.cif").is_absolute()
        True
    """
    if not isinstance(given, str | os.PathLike):
        raise unreadable(type_name(given), "it is no path", "give a file, a folder or a pattern")
    if not str(given).strip():
        why = "the name is empty"
        raise unreadable(repr(given), why, "give a file, a folder or a pattern")
    return Path(os.path.expanduser(given))


def means_many(path: Path) -> bool:
    """Whether a path is a folder or a pattern, however many files that are."""
    return path.is_dir() or (not path.exists() and glob.has_magic(str(path)))


def _expanded(given: str | os.PathLike[str], whole: Callable[[Path], bool]) -> list[Path]:
    """The files that a path or pattern means, sorted."""
    path = as_path(given)
    entry = str(path)
    if not path.is_dir() and means_many(path):
        found = [Path(name) for name in sorted(glob.glob(entry, recursive=True))]
        files = [p for f in found for p in (_in_folder(f, whole) if f.is_dir() else [f])]
        if not files:
            raise unreadable(entry, "the pattern matches no file", "check the folder and pattern")
        return files
    if path.is_dir():
        files = _in_folder(path, whole)
        if not files:
            why = f"no structure file is in the folder ({', '.join(SUFFIXES)}, POSCAR, CONTCAR)"
            raise unreadable(entry, why, "give another folder, or a file by its name")
        return files
    if not path.exists():
        raise _absent(entry)
    return [path]


def _in_folder(folder: Path, whole: Callable[[Path], bool]) -> list[Path]:
    """Files below a folder that could hold structures, hidden ones apart."""
    found = []
    for root, folders, names in os.walk(folder):
        one_thing = whole(Path(root))
        if one_thing or RESULTS in names:
            found += [Path(root)] * one_thing
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
        found += [path for path in paths if could_hold_structures(path)]
    return found


# One file, or one text.


def lazy_structures(path: str | os.PathLike[str]) -> Iterator[LazyStructure | FailedInput]:
    """The structures of one file, found but not yet made; see `read_file`."""
    label = os.path.expanduser(str(path))
    return _until_unreadable(lambda: _opened(path, label), label)


def lazy_structures_of(
    content: str | bytes, label: str, name: str = ""
) -> Iterator[LazyStructure | FailedInput]:
    """The structures of a file's content, found but not yet made.

    Args:
        content: The whole of a CIF, POSCAR, (ext)xyz, JSON or JSON lines.
        label: What to call it in errors.
        name: Of the file, whose suffix names the format; the content does where it is empty.
    """
    return _until_unreadable(lambda: _of_content(content, name, label), label)


def _until_unreadable(
    opened: Callable[[], Iterator[LazyStructure]], label: str
) -> Iterator[LazyStructure | FailedInput]:
    """Each structure; `FailedInput` ends them where they cannot be read, or not further."""
    structures, empty = opened(), True
    while (found := attempt(label, lambda: next(structures, None))) is not None:
        empty = False
        yield found
        if isinstance(found, FailedInput):
            return
    if empty:
        yield FailedInput(label, unreadable(label, "no structures in it", "give a file with some"))


def _opened(path: str | os.PathLike[str], label: str) -> Iterator[LazyStructure]:
    """The structures of a file, opened in its format."""
    path = as_path(path)
    if not path.exists():
        raise _absent(label)
    if not path.is_file():
        raise unreadable(label, "it is no regular file", "give a file, a folder or a pattern")
    with open_unpacked(path) as stream:
        kind = format_of(stream.read(HEAD), path.name, label)
    if kind in ("db", "parquet"):
        if is_packed(path):
            raise unreadable(label, "a database or a table is read unpacked only", "unpack it")
        yield from (database_structures if kind == "db" else parquet_structures)(path, label)
    elif kind in ("xyz", "jsonl"):
        with open_text(path) as lines:
            yield from _in_text(lines, kind, label)
    else:
        with open_unpacked(path) as stream:
            data = stream.read(LARGEST_TEXT + 1)
        _check_size(max(len(data), path.stat().st_size), kind, label)
        yield from _in_text(_lines(data), kind, label)


def _of_content(content: str | bytes, name: str, label: str) -> Iterator[LazyStructure]:
    """The structures of a file's content."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    data = unpacked_bytes(data, label, LARGEST_TEXT + 1)
    kind = format_of(data[:LARGEST_TEXT], name, label)
    if kind in ("db", "parquet"):
        why = "a database or a table is read from a file only"
        raise unreadable(label, why, "give its path")
    _check_size(len(data), kind, label)
    yield from _in_text(_lines(data), kind, label)


def _lines(data: bytes) -> IO[str]:
    return io.StringIO(decoded(data), newline=None)


def _check_size(size: int, kind: str, label: str) -> None:
    if size > LARGEST_TEXT:
        why = f"{size / 1e6:.0f} MB; a {kind} file may have {LARGEST_TEXT / 1e6:.0f} MB"
        raise unreadable(label, why, "split it, or write many structures as .extxyz or .jsonl")


def _in_text(text: IO[str], kind: str, label: str) -> Iterator[LazyStructure]:
    """The structures of a text in a known format; those of lines are read as they are asked for."""
    if kind == "cif":
        return (LazyStructure(*block) for block in cif_blocks(text.read(), label))
    if kind in ("json", "poscar"):
        return (json_structures if kind == "json" else poscar_structures)(text.read(), label)
    return (xyz_structures if kind == "xyz" else json_line_structures)(text, label)


def _absent(label: str) -> InputError:
    return unreadable(label, "there is no such file", "check the path")


def attempt(
    source: str,
    make: Callable[[], Result],
    failed: str = "it cannot be parsed",
    fix: str = "repair the file or export it again",
) -> Result | FailedInput:
    """What ``make`` makes, or why it could not; its warnings become the crystal's notes.

    The one place that catches everything: parsers of other libraries, given damaged files,
    raise anything, and one bad structure must not stop the rest.

    Args:
        source: What it is made of, for errors.
        make: Makes it.
        failed: What to say where something unforeseen is raised.
        fix: What to do about that.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = make()
        except DebyeError as error:
            return FailedInput(source, error)
        except OSError as error:
            why = error.strerror or str(error)
            return FailedInput(
                source, unreadable(source, why, "check the path and its permissions")
            )
        except Exception as error:  # noqa: BLE001 - see above
            why = f"{failed} ({type(error).__name__}: {str(error)[:200]})"
            return FailedInput(source, unreadable(source, why, fix))
    if caught and isinstance(made, Crystal):
        return replace(made, notes=(*made.notes, *(str(w.message) for w in caught)))
    return made
