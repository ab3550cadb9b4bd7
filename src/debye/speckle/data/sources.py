"""Where frames come from, a few at a time: HDF5 files, numpy files and arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from debye.core.packed import HEADER_DAMAGE, inner_name
from debye.errors import InputError
from debye.speckle.data.detector import FILE
from debye.speckle.data.hdf5 import array, open_hdf5
from debye.speckle.data.hdf5_frames import Hdf5Frames, runs_in
from debye.speckle.data.images import ImageFiles, Reader, check_series, images_in, is_image
from debye.speckle.data.locate import split_name
from debye.speckle.data.npz import NpzFrames, npz_array
from debye.speckle.data.readers import images_of_scan, read_beamstop, read_image
from debye.speckle.data.saturation import full_of
from debye.speckle.data.stated import Stated

Spec: TypeAlias = "str | os.PathLike[str] | np.ndarray | Tensor | Sequence[str | os.PathLike[str]]"

NUMPY = (".npy", ".npz")
"""Endings of numpy's files."""
MASKS = (
    "/entry/instrument/detector/pixel_mask",
    "/entry/instrument/detector/detectorSpecific/pixel_mask",
)
"""Where masks lie in which 0 is a good pixel."""
GOOD_IS_ONE = ("/xpcs/qmap/mask", "/qmap/mask", "/xpcs/mask", "/data/mask")
"""Where 8-ID has masks."""


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
        values: (time, qy, qx), or (1, time, qy, qx).
        name: What to call them in an error.

    Raises:
        InputError: They have not three axes, or are no real numbers.
    """

    def __init__(self, values: np.ndarray, name: str = "the frames") -> None:
        values = values[0] if values.ndim == 4 and len(values) == 1 else values
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


class ScanFolder:
    """Frames of a folder as `debye.speckle.data.readers` describes it, and its beamstop.

    Args:
        folder: Holds ``raw``.

    Raises:
        InputError: Frames are missing, or are not square.
    """

    def __init__(self, folder: Path) -> None:
        self.name, self.files = str(folder), images_of_scan(folder)
        side = math.isqrt(self.files[0].stat().st_size // 4)
        read_image(self.files[0], side)
        self.shape, self.dtype = (len(self.files), side, side), np.dtype(np.float32)
        mask = read_beamstop(folder / "raw" / "beamstopMask.h5", side)
        self.stated = Stated(mask=mask, masked={FILE: int((~mask).sum())} if not mask.all() else {})

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Files are opened one by one."""
        side = self.shape[1]
        yield lambda rows: np.stack([read_image(self.files[n], side).numpy() for n in rows])


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
    except HEADER_DAMAGE as error:
        raise InputError(
            f"cannot read {path}",
            why=str(error).split("\n")[0] or "it is damaged",
            fix="write it with numpy.save(…, allow_pickle=False), and copy it whole",
        ) from error


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
    if not paths or not all(map(is_image, paths)):
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
        if (path / "raw").is_dir():
            return ScanFolder(path)
        found = images_in(path)
        check_series([inner_name(p).name for p in found], str(path))
        return ImageFiles(found)
    if path.suffix.lower() == ".npy":
        return ArrayFrames(mapped(path), str(path))
    if Path(split_name(spec)[0]).suffix.lower() == ".npz":
        return NpzFrames(str(path))
    return ImageFiles([path]) if is_image(path) else Hdf5Frames(str(path))


def runs_of(spec: str) -> list[str]:
    """The runs of what is given: those of an HDF5 file that holds several, else itself.

    Args:
        spec: A file, a folder, or ``file.h5::/path``.

    Raises:
        InputError: A file cannot be read.
    """
    path = Path(split_name(spec)[0]).expanduser()
    if path.is_dir() or not path.is_file() or path.suffix.lower() in NUMPY or is_image(path):
        return [spec]
    return runs_in(spec)


def mask_of(spec: str) -> Tensor:
    """(qy, qx) True where a pixel counts, of ``.npy``, an image or ``file.h5::/path``.

    Of whole numbers 0 is a good pixel, as in a pixel_mask of NeXus; of booleans True, as in Python;
    of the masks of 8-ID (``/qmap/mask``, ``/xpcs/qmap/mask``, ``/xpcs/mask``) 1.

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
    """What a file holds, whole; booleans where its layout says that 1 is a good pixel."""
    path = Path(split_name(spec)[0]).expanduser()
    if path.suffix.lower() == ".npy":
        return np.array(mapped(path))
    if is_image(path):
        with ImageFiles([path]).open() as rows_of:
            return rows_of(range(1))
    if path.suffix.lower() == ".npz":
        return npz_array(spec)
    with open_hdf5(path) as file:
        name = "/" + split_name(spec)[1].strip("/")
        if name == "/":
            name = next((k for k in (*MASKS, *GOOD_IS_ONE) if k in file), MASKS[0])
        values = array(file, name)
        return values != 0 if name in GOOD_IS_ONE and values.dtype.kind in "ui" else values
