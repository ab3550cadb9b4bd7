"""Structures cut into shards, the unit of work: each becomes one part of the results.

The cut depends on the files and the size alone, so that a run that goes on cuts as it did before.
Nothing is made into a crystal here: that is left to the workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from debye.crystals.structure_io.read import FailedInput, Piece, find_files, pieces

BYTES_OF_ONE = 16_384
"""A file that is read whole counts as one structure for each so many bytes."""


@dataclass(frozen=True)
class Shard:
    """Structures that are screened together, not yet made; it can be sent to another process.

    Args:
        number: Which shard of the run, from 0.
        pieces: What `debye.crystals.structure_io.read.make` makes crystals of.
        digest: Of the names of its structures, and of the size and date of their files.
    """

    number: int
    pieces: tuple[Piece, ...]
    digest: str


def files_of(inputs: Sequence[str]) -> list[Path]:
    """The files that inputs mean, each once, in order.

    Raises:
        InputError: An input means no file.

    Example:
        >>> files_of(["nowhere.cif"])
        Traceback (most recent call last):
        debye.errors.InputError: cannot read nowhere.cif
          why: there is no such file
          fix: check the path
    """
    found: dict[Path, None] = {}
    for path in find_files(inputs):
        if isinstance(path, FailedInput):
            raise path.error
        found[path] = None
    return list(found)


def shards(files: Iterable[Path], size: int) -> Iterator[Shard]:
    """Cut files into shards of about ``size`` structures, as they are read.

    A file that streams is cut within; one that is read whole is not, and counts by its bytes.

    Args:
        files: Each once.
        size: Structures of a shard.

    Example:
        >>> from debye.crystals.predict.predictor import DATA
        >>> quartz = DATA / "demo" / "quartz.cif"
        >>> [shard.number for shard in shards([quartz, quartz, quartz], size=2)]
        [0, 1]
    """
    number, weight, content, known = 0, 0, list[Piece](), hashlib.sha256()
    for path in files:
        stamp = _stamp(path)
        for piece in pieces(path):
            content.append(piece)
            known.update(f"{stamp}\0{source_of(piece)}\n".encode(errors="surrogateescape"))
            weight += _weight(piece)
            if weight >= size:
                yield Shard(number, tuple(content), known.hexdigest()[:8])
                number, weight, content, known = number + 1, 0, [], hashlib.sha256()
    if content:
        yield Shard(number, tuple(content), known.hexdigest()[:8])


def source_of(piece: Piece) -> str:
    """What a piece is called in errors."""
    return str(piece) if isinstance(piece, Path) else piece.source


def _stamp(path: Path) -> str:
    """Size and date of a file, by which it is seen that it changed."""
    try:
        found = path.stat()
    except OSError:  # it vanished since it was found, which the row of it will say
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _weight(piece: Piece) -> int:
    if not isinstance(piece, Path):
        return 1
    try:
        return max(1, piece.stat().st_size // BYTES_OF_ONE)
    except OSError:
        return 1
