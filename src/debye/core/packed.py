"""Compressed files (.gz, .bz2, .xz), read as what is in them, and never more than is sensible.

Whether a file is compressed is told by its first bytes, not by its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tokenize
import zlib
from pathlib import Path
from typing import IO, Any, cast

from debye.errors import InputError

SUFFIXES = (".gz", ".bz2", ".xz")
"""Of the files that are unpacked."""
FREE = 50_000_000
"""Bytes that any compressed file may hold."""
LARGEST_RATIO = 200
"""Bytes unpacked for one that is read, beyond `FREE`; tables of numbers have 3 to 20."""
MEMORY = 2**28
"""Bytes that the dictionary of an .xz file may take."""

_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
HEADER_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    tokenize.TokenError,
)
"""What numpy raises of damaged headers of arrays, which it parses as Python's literals."""
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def inner_name(name: str | Path) -> Path:
    """A name without the suffix of a compressed file.

    Example:
        >>> inner_name("runs/POSCAR.gz").name, inner_name("a.cif").name
        ('POSCAR', 'a.cif')
    """
    path = Path(name)
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def compression_of(head: bytes) -> str:
    """The suffix that the first bytes of a file call for; empty where it is not compressed.

    Example:
        >>> import gzip
        >>> compression_of(gzip.compress(b"data_x")), compression_of(b"data_x")
        ('.gz', '')
    """
    return next((suffix for start, suffix in _MAGIC.items() if head.startswith(start)), "")


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, by its first bytes."""
    with path.open("rb") as stream:
        return bool(compression_of(stream.read(8)))


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading bytes; a compressed one gives what is in it.

    Reading it raises the same where it is damaged, or holds more than is sensible.

    Raises:
        InputError: It is an .xz file that needs too much memory.
    """
    stream = path.open("rb")
    try:
        return _unpacked(stream, str(path))
    except BaseException:
        stream.close()
        raise


def open_text(path: Path, errors: str = "replace", newline: str | None = None) -> IO[str]:
    """The same as a text in UTF-8; what is not is replaced, or what ``open`` has for it.

    Raises:
        InputError: See `open_unpacked`.
    """
    return io.TextIOWrapper(open_unpacked(path), "utf-8-sig", errors, newline)


def unpacked_bytes(data: bytes, label: str, most: int = FREE) -> bytes:
    """The first ``most`` bytes that compressed bytes hold; others are returned as they are.

    Args:
        data: The whole of a file.
        label: What to call it in errors.
        most: Bytes of what it holds to be read.

    Raises:
        InputError: It is damaged.

    Example:
        >>> import bz2
        >>> unpacked_bytes(bz2.compress(b"data_x"), "a text")
        b'data_x'
    """
    if not compression_of(data):
        return data
    with _unpacked(io.BytesIO(data), label) as stream:
        return stream.read(most)


def _unpacked(stream: IO[bytes], label: str) -> IO[bytes]:
    kind = compression_of(stream.read(8))
    stream.seek(0)
    if not kind:
        return stream
    if kind == ".xz":
        _check_memory(stream, label)
    inner: IO[bytes]
    if kind == ".gz":
        inner = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    else:
        inner = cast("IO[bytes]", (bz2.BZ2File if kind == ".bz2" else lzma.LZMAFile)(stream))
    return io.BufferedReader(_Guarded(inner, stream, label))


def _check_memory(stream: IO[bytes], label: str) -> None:
    head = stream.read(1024)
    stream.seek(0)
    try:
        lzma.LZMADecompressor(memlimit=MEMORY).decompress(head, 1)
    except lzma.LZMAError as error:
        raise _damaged(label, error) from error


class _Guarded(io.RawIOBase):
    """A decompressed stream that ends in an error of ours where it is damaged or a bomb."""

    def __init__(self, inner: IO[bytes], outer: IO[bytes], label: str) -> None:
        self._inner, self._outer, self._label = inner, outer, label
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        try:
            data = self._inner.read(len(buffer))
        except _DAMAGED as error:
            raise _damaged(self._label, error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise _damaged(self._label, error) from error
        self._given += len(data)
        if self._given > max(FREE, LARGEST_RATIO * self._outer.tell()):
            raise InputError(
                f"cannot read {self._label}",
                why=f"it is compressed by more than 1 to {LARGEST_RATIO}: it holds next to nothing",
                fix="unpack it and look at it; give the file that it should hold",
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            self._outer.close()
        super().close()


def _damaged(label: str, error: Exception) -> InputError:
    return InputError(
        f"cannot read {label}",
        why=f"it is compressed and damaged or cut off ({error})",
        fix="copy or download it again",
    )
