"""Frames in ``.npz`` files, archives of ``.npy`` files: read in order, and never unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from debye.core.packed import HEADER_DAMAGE
from debye.errors import InputError
from debye.speckle.data.hdf5 import MAX_BYTES
from debye.speckle.data.images import Reader
from debye.speckle.data.locate import split_name
from debye.speckle.data.saturation import full_of
from debye.speckle.data.stated import Stated

DAMAGE = (*HEADER_DAMAGE, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What zipfile, its codecs and numpy raise of damaged archives."""


class Member(NamedTuple):
    """An array of an archive."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    """Bytes before the first number."""
    is_fortran: bool


class NpzFrames:
    """Frames of an array in an archive, of which a block at a time is unpacked.

    Args:
        spec: ``file.npz`` that holds one array of three axes, or ``file.npz::name``.

    Raises:
        InputError: It is missing, damaged, or holds no such array.
    """

    def __init__(self, spec: str) -> None:
        self.name, (self.path, name) = spec, split_name(spec)
        held = members(self.path)
        found = _named(self.path, held, name) if name else _only(self.path, held)
        if len(found.shape) != 3 or 0 in found.shape or found.dtype.kind not in "uifb":
            raise InputError(
                f"cannot read {spec}",
                why=f"it is {found.shape} of {found.dtype}",
                fix="give (time, qy, qx) counts or intensities",
            )
        self.member = found
        self.shape = (found.shape[0], found.shape[1], found.shape[2])
        self.dtype = found.dtype.newbyteorder("=")
        self.stated = Stated(full=full_of(found.dtype))

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Open the archive, for as long as blocks are read; going back begins it anew.

        Raises:
            InputError: It cannot be read any more.
        """
        member = self.member
        if member.is_fortran:
            whole = npz_array(f"{self.path}::{member.name}")
            yield lambda rows: np.array(whole[rows.start : rows.stop : rows.step])
            return
        size = member.dtype.itemsize * math.prod(member.shape[1:])
        with _refused(self.path):
            archive = zipfile.ZipFile(self.path)
            stream = archive.open(member.name)

        def rows_of(rows: range) -> np.ndarray:
            with _refused(self.path):
                stream.seek(member.start + rows[0] * size)
                held = _filled(stream, (rows[-1] - rows[0] + 1) * size)
            frames = np.frombuffer(held, member.dtype).reshape(-1, *member.shape[1:])
            return frames[:: rows.step].astype(self.dtype, copy=False)

        with archive, stream:
            yield rows_of


def members(path: str) -> list[Member]:
    """The arrays of an archive, by their headers.

    Args:
        path: Of a ``.npz`` file.

    Raises:
        InputError: It is missing, damaged, or an array is shorter than it says.
    """
    found = []
    if not Path(path).is_file():
        raise InputError(f"cannot read {path}", why="there is no such file", fix="check the path")
    with _refused(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as stream:
                found.append(_member(stream, info, path))
    return found


def npz_array(spec: str) -> np.ndarray:
    """An array of an archive, whole.

    Args:
        spec: ``file.npz`` that holds one, or ``file.npz::name``.

    Raises:
        InputError: There is none, it is damaged or too large.
    """
    path, name = split_name(spec)
    held = members(path)
    if not name and len(held) != 1:
        raise _which(path, held)
    member = _named(path, held, name) if name else held[0]
    size = member.dtype.itemsize * math.prod(member.shape)
    if size > MAX_BYTES:
        raise InputError(
            f"cannot read {spec}",
            why=f"it is {member.shape} of {member.dtype}, to be held as a whole",
            fix="save it in the order of C: numpy.ascontiguousarray",
        )
    with _refused(path), zipfile.ZipFile(path) as archive, archive.open(member.name) as stream:
        stream.seek(member.start)
        values = np.frombuffer(_filled(stream, size), member.dtype)
        return values.reshape(member.shape, order="F" if member.is_fortran else "C")


def _member(stream: IO[bytes], info: zipfile.ZipInfo, path: str) -> Member:
    """What the header of an array says, held against the bytes that there are."""
    version = np.lib.format.read_magic(stream)
    reader: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise ValueError(f"{info.filename} is of version {version}")
    shape, is_fortran, dtype = reader(stream)
    start = stream.tell()
    if not dtype.hasobject and start + dtype.itemsize * math.prod(shape) != info.file_size:
        raise ValueError(f"{info.filename} is {shape} of {dtype}, and not as long as that")
    return Member(info.filename, shape, dtype, start, is_fortran and len(shape) > 1)


def _named(path: str, held: list[Member], name: str) -> Member:
    """The array of a name."""
    for member in held:
        if member.name in (name, f"{name}.npy"):
            if member.dtype.hasobject:
                raise InputError(
                    f"cannot read {path}::{name}",
                    why="it holds objects, which would have to be unpickled",
                    fix="save numbers: numpy.savez(…, name=array)",
                )
            return member
    raise _which(path, held, f"it holds no {name!r}: ")


def _only(path: str, held: list[Member]) -> Member:
    """The array that could be frames."""
    able = [m for m in held if len(m.shape) == 3 and m.dtype.kind in "uifb"]
    if len(able) != 1:
        raise _which(path, held)
    return able[0]


def _which(path: str, held: list[Member], why: str = "") -> InputError:
    listed = ", ".join(f"{m.name.removesuffix('.npy')} {m.shape} {m.dtype}" for m in held[:8])
    return InputError(
        f"cannot tell which array of {path} is meant",
        why=f"{why}it holds {listed or 'none'}",
        fix=f"name it: {path}::NAME",
    )


def _filled(stream: IO[bytes], size: int) -> bytearray:
    """So many bytes."""
    held, at = bytearray(size), 0
    view = memoryview(held)
    while at < size:
        got = stream.read(min(size - at, 2**24))
        if not got:
            raise EOFError("it is cut short")
        view[at : at + len(got)] = got
        at += len(got)
    return held


@contextmanager
def _refused(path: str) -> Iterator[None]:
    """Say of what is damaged which file it is."""
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"cannot read {path}",
            why=str(error).split("\n")[0] or "it is damaged",
            fix="write it with numpy.savez, and copy it whole",
        ) from error
