"""Where frames come from, a few at a time: HDF5 files, numpy files and arrays."""

from __future__ import annotations

import os
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.detector import full_in, masked_in, taken_at
from debye.speckle.data.guarded import read
from debye.speckle.data.hdf5 import array, dataset, open_hdf5
from debye.speckle.data.images import IMAGES, ImageFiles, images_in
from debye.speckle.data.locate import find_frames, split_name
from debye.speckle.data.saturation import full_of
from debye.speckle.data.stated import Stated, frame_time_in, geometry_in

Reader: TypeAlias = Callable[[range], np.ndarray]
"""Gives the frames of some numbers, (time, qy, qx)."""
Spec: TypeAlias = "str | os.PathLike[str] | np.ndarray | Tensor | Sequence[str | os.PathLike[str]]"


NPY_DAMAGE = (
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
"""What numpy raises of damaged headers, which it parses as Python's literals."""


class Source(Protocol):
    """Frames that can be read a few at a time."""

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    stated: Stated

    def open(self) -> AbstractContextManager[Reader]:
        """Open what holds the frames, for as long as they are read."""


class ArrayFrames:
    """Frames in memory, or mapped from a file.

    Args:
        values: (time, qy, qx).
        name: What to call them in an error.

    Raises:
        InputError: They have not three axes, or are no real numbers.
    """

    def __init__(self, values: np.ndarray, name: str = "the frames") -> None:
        if values.ndim != 3 or values.dtype.kind not in "uifb" or 0 in values.shape:
            raise InputError(
                f"cannot read {name}",
                why=f"it is {values.shape} of {values.dtype}",
                fix="give (time, qy, qx) counts or intensities",
            )
        self.name, self.values = name, values
        self.shape = (len(values), values.shape[1], values.shape[2])
        self.dtype = values.dtype
        self.stated = Stated(full=full_of(values.dtype))

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Give copies of them."""
        yield lambda rows: np.array(self.values[rows.start : rows.stop : rows.step])


def mapped(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, mapped; nothing in it is evaluated.

    Raises:
        InputError: It is missing, damaged, cut short or holds something else than numbers.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise InputError(
            f"cannot read {path}", why="there is no such file", fix="check the path"
        ) from None
    except NPY_DAMAGE as error:
        raise InputError(
            f"cannot read {path}",
            why=str(error).split("\n")[0] or "it is damaged",
            fix="write it with numpy.save(…, allow_pickle=False), and copy it whole",
        ) from error


class Hdf5Frames:
    """Frames of an HDF5 file, of all files that it links to.

    Args:
        spec: The file, or ``file.h5::/path``.

    Raises:
        InputError: What `debye.speckle.data.nexus.load_frames` refuses of a file, parts are of
            different shapes, one is missing, or there are several runs.
    """

    def __init__(self, spec: str) -> None:
        self.name, (self.path, inside) = spec, split_name(spec)
        with open_hdf5(self.path) as file:
            self.names, note = find_frames(file, inside)
            self.parts = [_frames_of(file, name) for name in self.names]
            self._check_parts(file)
            first = self.parts[0]
            self.shape = (sum(p[0] for p in self.parts), first[1], first[2])
            found = dataset(file, self.names[0], max_bytes=1 << 62)
            self.dtype = found.dtype
            self.stated = self._stated(file, found, note)

    def _check_parts(self, file: h5py.File) -> None:
        """Refuse parts of different shapes, and a series with a gap."""
        for name, part in zip(self.names, self.parts, strict=True):
            if part[1:] != self.parts[0][1:]:
                raise InputError(
                    f"cannot join the frames of {file.filename}",
                    why=f"those of {name} are {part[1:]}, of {self.names[0]} {self.parts[0][1:]}",
                    fix="name one dataset: FILE::/PATH",
                )
        if len(self.names) > 1:
            check_series(self.names, file.filename)

    def _stated(self, file: h5py.File, found: h5py.Dataset, note: str) -> Stated:
        """What the file says of them."""
        name, notes = self.names[0], [note] if note else []
        where = geometry_in(file, name, notes)
        mask, masked = masked_in(file, name, self.shape[1:])
        taken = taken_at(file, name, self.shape[0])
        known = taken.unit == "s" and len(taken.times) == self.shape[0]
        even = known and "s apart" in taken.note
        return Stated(
            mask=mask,
            masked=masked,
            full=min(full_of(found.dtype), full_in(file, name, found)),
            times=taken.times if known and not even else None,
            frame_time=float(taken.times[1])
            if even and self.shape[0] > 1
            else frame_time_in(file, name),
            **where,  # type: ignore[arg-type]
            notes=tuple(notes),
        )

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Open the file, for as long as the block lasts.

        Raises:
            InputError: It cannot be read any more.
        """
        with open_hdf5(self.path) as file:
            held = [dataset(file, name, max_bytes=1 << 62) for name in self.names]

            def rows_of(rows: range) -> np.ndarray:
                wanted, first = np.asarray(rows), 0
                found = []
                for part, (count, _, _) in zip(held, self.parts, strict=True):
                    here = wanted[(wanted >= first) & (wanted < first + count)] - first
                    first += count
                    if len(here):
                        found.append(_rows(part, here, rows.step))
                return found[0] if len(found) == 1 else np.concatenate(found)

            yield rows_of


def _rows(found: h5py.Dataset, here: np.ndarray, step: int) -> np.ndarray:
    """Frames of a dataset of (time, qy, qx), (time, 1, qy, qx) or (1, time, qy, qx)."""
    part = slice(int(here[0]), int(here[-1]) + 1, step)
    if found.ndim == 4 and found.shape[1] != 1:
        return read(found)[0, part]
    rows = read(found, part)
    return rows[:, 0] if found.ndim == 4 else rows


def _frames_of(file: h5py.File, name: str) -> tuple[int, int, int]:
    """Shape of the frames of a dataset."""
    found = dataset(file, name, ndim=(3, 4), max_bytes=1 << 62)
    if found.ndim == 4 and found.shape[1] == 1:
        return (found.shape[0], *found.shape[2:])
    if found.ndim == 4:
        # Only the first axis is read in parts: one run is held as it is.
        dataset(file, name)
        if found.shape[0] != 1:
            raise InputError(
                f"cannot read {name} from {file.filename}",
                why=f"it holds {found.shape[0]} runs, {found.shape}",
                fix="give a file of one run, or use debye xpcs --run",
            )
        return found.shape[1:]
    if found.dtype.kind == "c":
        raise InputError(
            f"cannot read {name} from {file.filename}",
            why="its numbers are complex, and a detector counts",
            fix="give intensities: the squared modulus of amplitudes",
        )
    return found.shape


def check_series(names: Sequence[str], where: str) -> None:
    """Refuse names that end in numbers, if one is missing between them.

    Args:
        names: In order.
        where: What holds them.

    Raises:
        InputError: A number is missing.

    Example:
        >>> check_series(["a_1", "a_2"], "here")
        >>> check_series(["a_09", "a_11"], "here")
        Traceback (most recent call last):
        debye.errors.InputError: here has a gap
          why: after a_09 comes a_11: a_10 is missing
          fix: copy what is missing, or give a part without a gap
    """
    ends = [re.search(r"(\d+)(\D*)$", name) for name in names]
    for before, after, name, following in zip(ends, ends[1:], names, names[1:], strict=False):
        if before is None or after is None:
            continue
        number, width = int(before[1]) + 1, len(before[1])
        if int(after[1]) != number:
            missing = f"{name[: before.start()]}{number:0{width}d}{before[2]}"
            raise InputError(
                f"{where} has a gap",
                why=f"after {name} comes {following}: {missing} is missing",
                fix="copy what is missing, or give a part without a gap",
            )


def source_of(spec: Spec) -> Source:
    """What reads the frames of a file, a folder, several image files or an array.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    if isinstance(spec, Tensor | np.ndarray):
        return ArrayFrames(np.asarray(spec))
    if isinstance(spec, str | os.PathLike):
        return _file(os.fspath(spec))
    paths = [Path(p).expanduser() for p in spec]
    if len(paths) == 1:
        return _file(str(paths[0]))
    if not paths or any(p.suffix.lower() not in IMAGES for p in paths):
        raise InputError(
            "cannot join these files",
            why=f"{len(paths)} are given, and only images are joined to one stack",
            fix="give one file, one folder, or images",
        )
    return ImageFiles(paths)


def _file(spec: str) -> Source:
    """What reads a file or a folder."""
    path = Path(spec).expanduser()
    if path.is_dir():
        found = images_in(path)
        check_series([p.name for p in found], str(path))
        return ImageFiles(found)
    if path.suffix.lower() == ".npy":
        return ArrayFrames(mapped(path), str(path))
    return ImageFiles([path]) if path.suffix.lower() in IMAGES else Hdf5Frames(str(path))


def mask_of(spec: str) -> Tensor:
    """(qy, qx) True where a pixel counts, of ``.npy``, an image or ``file.h5::/path``.

    Of whole numbers 0 is a good pixel, as in a pixel_mask of NeXus; of booleans True, as in Python.

    Args:
        spec: The file.

    Raises:
        InputError: It cannot be read, or is no mask.
    """
    values = _mask_values(spec)
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise InputError(
            f"cannot use the mask {spec}",
            why=f"it is {values.shape} of {values.dtype}",
            fix="give one number for each pixel: 0 where it is good; or True there",
        )
    return torch.from_numpy(values if values.dtype.kind == "b" else values == 0)


def _mask_values(spec: str) -> np.ndarray:
    """What a file holds, whole."""
    path = Path(split_name(spec)[0]).expanduser()
    if path.suffix.lower() == ".npy":
        return np.array(mapped(path))
    if path.suffix.lower() in IMAGES:
        with ImageFiles([path]).open() as rows_of:
            return rows_of(range(1))
    with open_hdf5(path) as file:
        return array(file, split_name(spec)[1] or "/entry/instrument/detector/pixel_mask")
