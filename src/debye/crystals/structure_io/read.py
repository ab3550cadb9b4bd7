"""Structure files to crystals and back: what to open, in which format, and what is refused.

Nothing here executes what a file holds: pickles are refused, and no text is evaluated.
"""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from debye.core.files import atomic_write
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.cif import cif_blocks
from debye.crystals.structure_io.tables import (
    database_structures,
    json_line_structures,
    json_structures,
    parquet_structures,
)
from debye.crystals.structure_io.text import (
    LazyStructure,
    poscar_structures,
    sniffed,
    xyz_structures,
)
from debye.errors import DebyeError, InputError

if TYPE_CHECKING:
    from typing import IO

Result = TypeVar("Result")

LARGEST_TEXT = 50_000_000
"""Bytes of a file that must be read as a whole (CIF, POSCAR, JSON); the others stream."""

SUFFIXES = {
    ".cif": "cif",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".db": "db",
    ".parquet": "parquet",
}
"""Format of each suffix; files called POSCAR… and CONTCAR… are POSCARs."""

RESULTS = "debye-screen.json"
"""A folder that holds this file holds results of a screening, and no structures."""

_EXECUTABLE = {
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".ckpt",
    ".torch",
    ".joblib",
    ".traj",
    ".npy",
    ".npz",
}
_PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"}
_MAGIC = {
    b"\x1f\x8b": "packed", b"BZh": "packed", b"\xfd7zXZ": "packed", b"\x28\xb5\x2f\xfd": "packed",
    b"PK\x03\x04": "packed", b"\x80\x02": "pickle", b"\x80\x03": "pickle", b"\x80\x04": "pickle",
    b"\x80\x05": "pickle", b"- of Ulm": "pickle", b"\x93NUMPY": "pickle",
    b"SQLite format 3\0": "db", b"PAR1": "parquet",
}  # fmt: skip


@dataclass(frozen=True)
class FailedInput:
    """A structure that could not be read, where others could.

    Args:
        source: The file, and the structure in it where it holds several.
        error: What happened, why, and what to do.
    """

    source: str
    error: DebyeError


Piece = LazyStructure | FailedInput | Path
"""Structures not yet made: one of a file that streams, one that is none, or a whole file."""


def read_structures(inputs: str | Path | Iterable[str | Path]) -> Iterator[Crystal | FailedInput]:
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


def find_files(inputs: str | Path | Iterable[str | Path]) -> Iterator[Path | FailedInput]:
    """The files that paths, folders and patterns mean, in order; see `read_structures`."""
    for entry in [inputs] if isinstance(inputs, str | Path) else inputs:
        found = attempt(str(entry), lambda entry=entry: _expanded(str(entry)))  # type: ignore[misc]
        yield from [found] if isinstance(found, FailedInput) else found


def pieces(path: Path) -> Iterator[Piece]:
    """What a file holds, found but not yet made: `make` does that, in another process if need be.

    Files that stream (xyz, JSON lines, Parquet, databases) come structure by structure; one that
    must be read as a whole (CIF, POSCAR, JSON) comes as its path, unopened.
    """
    if _named_format(path) in ("cif", "poscar", "json"):
        yield path
    else:
        yield from _drafts(path)


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
    for draft in _drafts(Path(path)):
        yield from make(draft)


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
        index = max(index + len(items), 0)
        return _strict(items[index])
    for n, item in enumerate(read_file(path)):
        if n == index:
            return _strict(item)
    _strict(item)  # a file that could not be read to its end says so
    raise _unreadable(f"{path}[{index}]", f"it holds {n + 1} structures", "count from 0")


def _strict(item: Crystal | FailedInput) -> Crystal:
    if isinstance(item, FailedInput):
        raise item.error
    return item


def write_structures(
    path: str | Path,
    crystals: Crystal | Sequence[Crystal],
    format: str | None = None,  # noqa: A002
) -> Path:
    """Write crystals to a file, whole or not at all.

    Args:
        path: Its name decides the format: ``.cif``, ``.xyz``, ``.extxyz``, ``.vasp``, ``POSCAR``,
            ``.json``, ``.jsonl``.
        crystals: One, or several where the format holds several (all but POSCAR).
        format: ``cif``, ``xyz``, ``poscar``, ``json`` or ``jsonl``, whatever the name.

    Returns:
        The path written.

    Raises:
        InputError: The format is unknown, cannot hold a mixed site or several structures, or the
            file cannot be written.
    """
    from debye.crystals.structure_io import write as writers

    items = [crystals] if isinstance(crystals, Crystal) else list(crystals)
    kind = format or _named_format(Path(path))
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


def _expanded(entry: str) -> list[Path]:
    """The files that a path or pattern means, sorted."""
    if not entry.strip():
        raise _unreadable(repr(entry), "the name is empty", "give a file, a folder or a pattern")
    path = Path(entry)
    if not path.exists() and glob.has_magic(entry):
        found = [Path(name) for name in sorted(glob.glob(entry, recursive=True))]
        files = [p for name in found for p in (_in_folder(name) if name.is_dir() else [name])]
        if not files:
            raise _unreadable(entry, "the pattern matches no file", "check the folder and pattern")
        return files
    if path.is_dir():
        files = _in_folder(path)
        if not files:
            why = f"no structure file is in the folder ({', '.join(SUFFIXES)}, POSCAR, CONTCAR)"
            raise _unreadable(entry, why, "give another folder, or a file by its name")
        return files
    if not path.exists():
        raise _absent(entry)
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    """Files of known names below a folder, hidden ones apart."""
    found = []
    for root, folders, names in os.walk(folder):
        if RESULTS in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
        found += [path for path in paths if _named_format(path)]
    return found


def _named_format(path: Path) -> str:
    if path.suffix.lower() not in SUFFIXES and path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "poscar"
    return SUFFIXES.get(path.suffix.lower(), "")


# One file.


def _drafts(path: Path) -> Iterator[LazyStructure | FailedInput]:
    """The structures of a file; `FailedInput` ends them where it cannot be read, or not further."""
    label = str(path)
    drafts = _opened(path, label)
    empty = True
    while (draft := attempt(label, lambda: next(drafts, None))) is not None:
        empty = False
        yield draft
        if isinstance(draft, FailedInput):
            return
    if empty:
        yield FailedInput(label, _unreadable(label, "no structures in it", "give a file with some"))


def _opened(path: Path, label: str) -> Iterator[LazyStructure]:
    """The structures of a file, opened in its format."""
    kind = _format(path, label)
    if kind in ("db", "parquet"):
        yield from (database_structures if kind == "db" else parquet_structures)(path, label)
    elif kind in ("xyz", "jsonl"):
        stream: IO[str]
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            yield from (xyz_structures if kind == "xyz" else json_line_structures)(stream, label)
    else:
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            why = f"{size / 1e6:.0f} MB; a {kind} file may have {LARGEST_TEXT / 1e6:.0f} MB"
            raise _unreadable(label, why, "split it, or write many structures as .extxyz or .jsonl")
        text = _text(path.read_bytes())
        if kind == "cif":
            yield from (LazyStructure(*block) for block in cif_blocks(text, label))
        else:
            yield from (json_structures if kind == "json" else poscar_structures)(text, label)


def _format(path: Path, label: str) -> str:
    """The format by name, and by content where the name says nothing; refuses what is neither."""
    suffix = path.suffix.lower()
    if not path.exists():
        raise _absent(label)
    if not path.is_file():
        raise _unreadable(label, "it is no regular file", "give a file, a folder or a pattern")
    with path.open("rb") as stream:
        head = stream.read(8192)
    magic = next((kind for start, kind in _MAGIC.items() if head.startswith(start)), "")
    if suffix in _EXECUTABLE or magic == "pickle":
        why = "a pickle or an array file can execute code when it is opened"
        raise _unreadable(label, why, "write the structures as .cif, .extxyz or .json")
    if suffix in _PACKED or magic == "packed":
        raise _unreadable(label, "it is compressed", "unpack it first")
    if not head.strip():
        raise _unreadable(label, "the file is empty", "export it again")
    if magic in ("db", "parquet"):
        return magic
    if b"\0" in head:
        raise _unreadable(label, "it is binary, not text", "give a structure file, in UTF-8")
    kind = _named_format(path) or sniffed(_text(head))
    if kind in ("", "db", "parquet"):
        why = f"unrecognised suffix {suffix!r}, and its content looks like no known format"
        why = f"it is no {'SQLite database' if kind == 'db' else 'Parquet table'}" if kind else why
        raise _unreadable(label, why, f"known are {', '.join(SUFFIXES)}, POSCAR and CONTCAR")
    return kind


def _text(data: bytes) -> str:
    """UTF-8, or Latin-1, in which older CIFs spell their authors."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _absent(label: str) -> InputError:
    return _unreadable(label, "there is no such file", "check the path")


def _unreadable(label: str, why: str, fix: str) -> InputError:
    return InputError(f"cannot read {label}", why=why, fix=fix)


def attempt(source: str, make: Callable[[], Result]) -> Result | FailedInput:
    """What ``make`` makes, or why it could not; its warnings become the crystal's notes.

    The one place that catches everything: parsers of other libraries, given damaged files,
    raise anything, and one bad structure must not stop the rest.
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
                source, _unreadable(source, why, "check the path and its permissions")
            )
        except Exception as error:  # noqa: BLE001 - see above
            why = f"it cannot be parsed ({type(error).__name__}: {str(error)[:200]})"
            return FailedInput(
                source, _unreadable(source, why, "repair the file or export it again")
            )
    if caught and isinstance(made, Crystal):
        return replace(made, notes=(*made.notes, *(str(w.message) for w in caught)))
    return made
