"""Read HDF5 with care: links, shapes and types are checked before a byte of data is read.

A file may name other files, declare arrays of any size, or be cut short; none of these should
reach memory unasked.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.errors import ComputationError, DebyeError, InputError
from debye.speckle.data.guarded import check, read
from debye.speckle.data.links import check_links, check_sources
from debye.speckle.values import to_tensor

MAX_BYTES = 8 * 2**30
"""Largest array that will be read, unless a caller says otherwise."""


@contextmanager
def open_hdf5(path: str | os.PathLike[str], *, growing: bool = False) -> Iterator[h5py.File]:
    """Open a file for reading, with the compression filters detectors use.

    Args:
        path: Its name.
        growing: Whether it may still be written (SWMR).

    Raises:
        InputError: The file is missing, no HDF5 file, cut short, or so damaged that reading it ends
            a process.
    """
    import hdf5plugin  # noqa: F401 - registers bitshuffle and its kin

    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"cannot read {path}", why="there is no such file", fix="check the path")
    check(path)
    try:
        with _opened(path, growing) as file:
            yield file
    except DebyeError:
        raise
    except (OSError, RuntimeError, KeyError, UnicodeError) as error:  # h5py's words for damage
        raise InputError(
            f"cannot read {path}",
            why=str(error).split("\n")[0],
            fix=_cure(str(error), path),
        ) from error


def _opened(path: Path, growing: bool) -> h5py.File:
    """A file for reading; if it may grow, also one that is written for readers to follow (SWMR)."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        written = "SWMR" in str(error) or "already open for write" in str(error)
        if not (growing and written):
            raise
        try:
            return h5py.File(path, "r", libver="latest", swmr=True)
        except (OSError, ValueError):
            raise error from None


def _cure(said: str, path: Path) -> str:
    """What helps where HDF5 cannot open a file."""
    if "already open for write" in said or "h5clear" in said:
        return (
            "it was left open for writing: close the program that writes it, or --follow it, or, "
            f"if that has crashed, run h5clear -s {path.name} on a copy"
        )
    if "unable to lock" in said:
        return "another program is writing it: wait until that closes it"
    return "it is no HDF5 file, or was cut short: copy it again"


@contextmanager
def write_hdf5(
    path: str | os.PathLike[str], copy_of: str | os.PathLike[str] | None = None
) -> Iterator[h5py.File]:
    """Write a file under a temporary name beside it, and rename it when it is whole.

    Args:
        path: Its name.
        copy_of: A file whose copy is changed; it is begun empty by default.

    Raises:
        InputError: The folder is missing or cannot be written.
        ComputationError: The disk is full or failed.
    """
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        raise InputError(
            f"cannot write {path}",
            why=f"there is no folder {path.parent}",
            fix="create the folder, or choose another",
        )
    if path.is_dir():
        raise InputError(
            f"cannot write {path}", why="it is a folder", fix="give the name of a file in it"
        )
    unfinished = path.with_name(f".debye-{os.getpid()}-{path.name[-64:]}.tmp")
    try:
        if copy_of is not None:
            shutil.copyfile(copy_of, unfinished)
        with h5py.File(unfinished, "w" if copy_of is None else "r+") as file:
            yield file
        with unfinished.open("rb") as stream:
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise ComputationError(
            f"cannot write {path}",
            why=str(error).split("\n")[0],
            fix="free some space or choose another disk, and try again",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def dataset(
    file: h5py.File, name: str, *, ndim: tuple[int, ...] | None = None, max_bytes: int = MAX_BYTES
) -> h5py.Dataset:
    """A dataset that is safe to read: no link leads out of the folder, type and size are sane.

    Args:
        file: An open file.
        name: Path within it.
        ndim: Numbers of axes allowed; None allows any.
        max_bytes: Largest size in memory.

    Raises:
        InputError: It is missing, a group, behind a link to elsewhere, not numeric, too large,
            or of another number of axes.
    """
    what = f"cannot read {name} from {file.filename}"
    check_links(file, name)
    try:
        found = file[name]
    except (KeyError, OSError) as error:
        raise InputError(
            what,
            why=f"there is none; the file holds {', '.join(map(str, list(file)[:8])) or 'nothing'}",
            fix="give the path of a dataset, such as /entry/data/data",
        ) from error
    if not isinstance(found, h5py.Dataset):
        inside = found if isinstance(found, h5py.Group) else ()
        raise InputError(
            what, why="it is a group", fix=f"name one of {', '.join(map(str, inside))[:200]} in it"
        )
    check_sources(found, what)
    if found.dtype.kind not in "uifcb":
        raise InputError(
            what, why=f"its type is {found.dtype}, not a number", fix="name a numeric dataset"
        )
    if ndim is not None and found.ndim not in ndim:
        raise InputError(what, why=f"its shape is {found.shape}", fix=f"name one with {ndim} axes")
    size = math.prod(found.shape) * found.dtype.itemsize
    if size > max_bytes:
        raise InputError(
            what,
            why=f"it declares {found.shape} {found.dtype}: {size / 2**30:.1f} GiB",
            fix="read a part of it, or raise max_bytes",
        )
    return found


def array(file: h5py.File, name: str, **options: Any) -> np.ndarray:  # noqa: ANN401
    """The dataset `dataset` finds, read whole; a read that fails is refused with its reason.

    Raises:
        InputError: What `dataset` refuses, or the stored bytes cannot be decoded.
    """
    return read(dataset(file, name, **options))


def text(file: h5py.File, name: str, limit: int = 2**20) -> str:
    """A string stored in a scalar dataset, of at most ``limit`` bytes.

    Raises:
        InputError: There is none.
    """
    check_links(file, name)
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.shape != () or found.dtype.kind not in "OS":
        raise InputError(
            f"cannot read {name} from {file.filename}",
            why="there is no such text",
            fix="check that the file was written by debye",
        )
    value = found[()]
    if len(value) > limit:
        raise InputError(
            f"cannot read {name}", why=f"it is {len(value)} bytes long", fix="check the file"
        )
    return value.decode() if isinstance(value, bytes) else str(value)


def tensor(values: np.ndarray) -> Tensor:
    """A tensor of the same numbers, complex ones too; big-endian becomes native.

    Raises:
        InputError: They are no numbers.
    """
    if values.dtype.kind == "c":
        return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("=")))
    return to_tensor(values)
