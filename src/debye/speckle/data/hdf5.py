"""Read HDF5 with care: links, shapes and types are checked before a byte of data is read.

A file may name other files, declare arrays of any size, or be cut short; none of these should
reach memory unasked.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.errors import ComputationError, DebyeError, InputError
from debye.speckle.values import to_tensor

MAX_BYTES = 8 * 2**30
"""Largest array that will be read, unless a caller says otherwise."""


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a file for reading, with the compression filters detectors use.

    Raises:
        InputError: The file is missing, no HDF5 file, or cut short.
    """
    import hdf5plugin  # noqa: F401 - registers bitshuffle and its kin

    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"cannot read {path}", why="there is no such file", fix="check the path")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DebyeError:
        raise
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises any of them on damage
        raise InputError(
            f"cannot read {path}",
            why=str(error).split("\n")[0],
            fix="it is no HDF5 file, or was cut short: copy it again",
        ) from error


@contextmanager
def write_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Write a file under a temporary name beside it, and rename it when it is whole.

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
        with h5py.File(unfinished, "w") as file:
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
            why=f"there is none; the file holds {', '.join(list(file)[:8]) or 'nothing'}",
            fix="give the path of a dataset, such as /entry/data/data",
        ) from error
    if not isinstance(found, h5py.Dataset):
        raise InputError(
            what, why="it is a group", fix=f"name one of {', '.join(list(found)[:8])} in it"
        )
    check_sources(file, found, what)
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


def check_links(file: h5py.File, name: str, hops: int = 8) -> None:
    """Refuse a path on which a link leaves the folder of the file, or that runs in circles.

    Raises:
        InputError: It does.
    """
    if hops == 0:
        raise InputError(
            f"cannot follow {name}", why="its links run in circles", fix="check the file"
        )
    here = Path(file.filename).resolve().parent
    parts = [p for p in name.split("/") if p]
    for depth in range(1, len(parts) + 1):
        at = "/" + "/".join(parts[:depth])
        try:
            link = file.get(at, getlink=True)
        except (KeyError, OSError):
            return  # the way ends here: whoever asked will find nothing, and say so
        if isinstance(link, h5py.ExternalLink):
            refuse_outside(here, link.filename, at)
        if isinstance(link, h5py.SoftLink):
            full = link.path if link.path.startswith("/") else f"{at.rsplit('/', 1)[0]}/{link.path}"
            check_links(file, full, hops - 1)


def check_sources(file: h5py.File, found: h5py.Dataset, what: str) -> None:
    """Refuse raw data kept in other places: external storage, virtual sources out of the folder.

    Raises:
        InputError: They are.
    """
    here = Path(file.filename).resolve().parent
    if found.external:
        raise InputError(
            what,
            why="its data lie in a raw file outside HDF5",
            fix="store them inside, or link HDF5 files",
        )
    for source in found.virtual_sources() if found.is_virtual else ():
        if source.file_name != ".":
            refuse_outside(here, source.file_name, found.name)


def refuse_outside(here: Path, target: str, at: str) -> None:
    """Refuse a link to a file that is not in the folder ``here`` or below it.

    Raises:
        InputError: It is not.
    """
    full = (here / target).resolve()
    if not full.is_relative_to(here):
        raise InputError(
            f"will not follow the link {at}",
            why=f"it leads to {target}, outside {here}",
            fix="copy the linked file beside the first, or merge them with h5repack",
        )


def array(file: h5py.File, name: str, **options: Any) -> np.ndarray:  # noqa: ANN401
    """The dataset `dataset` finds, read whole; a read that fails is refused with its reason.

    Raises:
        InputError: What `dataset` refuses, or the stored bytes cannot be decoded.
    """
    found = dataset(file, name, **options)
    try:
        return np.asarray(found[()])
    except OSError as error:
        raise InputError(
            f"cannot read {name} from {file.filename}",
            why=str(error).split("\n")[0],
            fix="the data are damaged, or use a compression filter that is not installed",
        ) from error


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
