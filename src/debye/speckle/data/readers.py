"""Read measured scans: the published experiment's folder, any HDF5 dataset.

The published layout (Zenodo 10.5281/zenodo.10204976) is a folder with

    raw/image_000000.bin …      headerless float32, side × side, one file a frame
    raw/positions.csv           one row a frame, metres, y before x, no header
    raw/beamstopMask.h5         /entry/data/data
    numeric_data/run0_object_0.csv, run0_probes_0.csv      complex, modes below one another

Any HDF5 dataset of frames: `read_stack`. CXI files: `debye.speckle.data.cxi`. What counts of the
frames is decided by `debye.speckle.data.quality` alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.detector import masked_in
from debye.speckle.data.frames import Frames
from debye.speckle.data.hdf5 import MAX_BYTES, array, open_hdf5, tensor
from debye.speckle.data.locate import split_name
from debye.speckle.data.nexus import read_frames
from debye.speckle.data.quality import Quality, examine, usable
from debye.speckle.scattering.scan import Scan
from debye.speckle.values import ByValue, OneLine


@dataclass(frozen=True, eq=False, repr=False)
class ScanData(OneLine, ByValue):
    """A measured scan.

    Attributes:
        frames: (time, qy, qx) counts.
        positions: (time, 2) metres, ordered x, y; None if the file has none.
        mask: (qy, qx) True where a pixel counts.
        pixel: Size of a pixel of the object, metres; None if unknown.
        specimen: (rows, columns) complex object, where one was reconstructed.
        modes: (mode, side, side) complex probe, likewise.
        quality: What was left out or converted, and why.
    """

    frames: Tensor
    positions: Tensor | None
    mask: Tensor
    pixel: float | None = None
    specimen: Tensor | None = None
    modes: Tensor | None = None
    quality: Quality = field(default=Quality(), compare=False)

    def in_pixels(self) -> Tensor:
        """(time, 2) positions in pixels from their mean, as a `Scan` takes them.

        Raises:
            InputError: Positions or pixel size are unknown.
        """
        if self.positions is None or self.pixel is None:
            raise InputError(
                "cannot place this scan on its object",
                why="its positions or its pixel size are unknown",
                fix="pass pixel=…, or add /entry_1/data_1/translation to the file",
            )
        return (self.positions - self.positions.mean(0)) / self.pixel

    def as_frames(self, times: Tensor | None = None) -> Frames:
        """The scan as one run to learn a motion from, seen through its own object and probe.

        Args:
            times: (time,) of the frames; 1, 2, 3 … by default.

        Raises:
            InputError: Object or probe are unknown, or the probe leaves the object.
        """
        if self.specimen is None or self.modes is None:
            raise InputError(
                "cannot predict these frames",
                why="object and probe were not reconstructed",
                fix="add numeric_data/run0_object_0.csv and run0_probes_0.csv, or pass them",
            )
        model, x = Scan(self.specimen, self.modes, stop=-1.0), self.in_pixels()
        if float(x.abs().max()) > model.room:
            raise InputError(
                "the probe leaves the object",
                why=f"it moves {float(x.abs().max()):.0f} pixels from the middle, and there is "
                f"room for {model.room:.0f}",
                fix="check the pixel size and the units of the positions",
            )
        model.mask = model.mask & self.mask
        kept = list(self.quality.kept or range(len(x)))
        clock = torch.tensor(kept, dtype=torch.float64) + 1 if times is None else times
        if times is not None and len(times) > len(x):  # of all frames, some of which were left out
            clock = times[kept]
        data = torch.where(self.mask, self.frames, torch.zeros_like(self.frames))
        return Frames(
            data[None],
            clock,
            self.mask,
            x[None],
            None,
            float(data[0].max()),
            scattering=model,
            about=self.quality.facts(),
            quality=self.quality,
        )


def read_scan_folder(
    folder: str | os.PathLike[str],
    *,
    side: int = 512,
    pixel: float | None = 6.824e-9,
    frames: slice = slice(None),
) -> ScanData:
    """Read the layout of the published experiment.

    Args:
        folder: Holds ``raw`` and, where the scan was reconstructed, ``numeric_data``.
        side: Pixels a side of a frame.
        pixel: Size of a pixel of the object, metres.
        frames: Which frames; all 963 of 512 × 512 pixels take 1 GB.

    Raises:
        InputError: A file is missing, has another size, positions and frames differ in number, or
            too much of the frames is bad.
    """
    root = Path(folder)
    files = images_of_scan(root)
    positions = read_positions(root / "raw" / "positions.csv", len(files))
    chosen = files[frames]
    data = torch.stack([read_image(path, side) for path in chosen])
    mask = read_beamstop(root / "raw" / "beamstopMask.h5", side)
    numeric, found = root / "numeric_data", examine(data[None], mask)
    return ScanData(
        data[found.kept],
        positions[frames][found.kept],
        found.mask,
        pixel,
        read_complex(numeric / "run0_object_0.csv"),
        stacked_modes(read_complex(numeric / "run0_probes_0.csv")),
        found.quality,
    )


def images_of_scan(root: Path) -> list[Path]:
    """The files of the frames, in order.

    Args:
        root: Of the published layout.

    Raises:
        InputError: There are none, or one is missing between them.
    """
    files = sorted((root / "raw").glob("image_*.bin"))
    if not files:
        raise InputError(
            f"cannot read a scan from {root}",
            why="there is no raw/image_000000.bin in it",
            fix="give the folder that holds raw and numeric_data",
        )
    check_numbering(files)
    return files


def check_numbering(files: list[Path]) -> None:
    """Refuse a series of images with a gap in it, which would shift every later position.

    Raises:
        InputError: A number is missing.
    """
    for want, path in enumerate(files):
        if path.name != f"image_{want:06d}.bin":
            raise InputError(
                "the scan has a gap",
                why=f"image_{want:06d}.bin is missing; the next is {path.name}",
                fix="copy the missing frames, or renumber frames and positions together",
            )


def read_image(path: Path, side: int) -> Tensor:
    """One headerless little-endian float32 image.

    Raises:
        InputError: The file has another size.
    """
    if path.stat().st_size != 4 * side**2:
        raise InputError(
            f"cannot read {path}",
            why=f"it holds {path.stat().st_size} bytes; {side} × {side} float32 need {4 * side**2}",
            fix="copy the file again, or give the right side=…",
        )
    return torch.from_numpy(np.fromfile(path, dtype="<f4").astype(np.float32).reshape(side, side))


def read_positions(path: Path, count: int) -> Tensor:
    """(time, 2) metres, turned from the file's y, x to x, y.

    Raises:
        InputError: The file is no table of two finite columns, or has not one row a frame.
    """
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=float, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path}", why=str(error), fix="give two columns, y and x in metres"
        ) from error
    if rows.shape != (count, 2) or not np.isfinite(rows).all():
        raise InputError(
            f"cannot use {path}",
            why=f"it holds {rows.shape} numbers for {count} frames, or some are not finite",
            fix="give one row of y and x for each frame",
        )
    return torch.from_numpy(rows[:, ::-1].copy())


def read_beamstop(path: Path, side: int) -> Tensor:
    """(qy, qx) True where the file holds more than 0; all open where there is no file.

    Raises:
        InputError: The file is no HDF5 file, or of another size.
    """
    if not path.exists():
        return torch.ones(side, side, dtype=torch.bool)
    with open_hdf5(path) as file:
        stop = array(file, "/entry/data/data", ndim=(2,))
    if stop.shape != (side, side):
        raise InputError(
            f"cannot use {path}", why=f"it is {stop.shape}", fix=f"give {side} × {side} pixels"
        )
    return tensor(stop) > 0


def read_complex(path: Path) -> Tensor | None:
    """(rows, columns) complex64 from a CSV of numbers like ``(1.5-0.2j)``; None without one.

    Raises:
        InputError: The file holds something else.
    """
    if not path.exists():
        return None
    try:
        return torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.complex64, ndmin=2))
    except ValueError as error:
        raise InputError(
            f"cannot read {path}", why=str(error), fix="give complex numbers with commas between"
        ) from error


def stacked_modes(tall: Tensor | None) -> Tensor | None:
    """Modes written below one another, (mode·side, side) to (mode, side, side)."""
    return None if tall is None else tall.reshape(-1, tall.shape[1], tall.shape[1])


def read_stack(spec: str, *, frames: slice = slice(None), max_bytes: int = MAX_BYTES) -> Tensor:
    """Read frames from ``file.h5::/path/to/dataset``.

    Args:
        spec: File and path within it; ``/entry/data/data`` where no path is given.
        frames: Which frames of the first axis; only these are read.
        max_bytes: Largest array.

    Returns:
        (time, qy, qx) float, NaN where the file masks a pixel, or a value is full or a flag:
        `Frames` and `correlate` leave such pixels out, and bad frames.

    Raises:
        InputError: What `debye.speckle.data.hdf5.dataset` refuses, it is complex or has not three
            axes, or the file's mask has another shape.
    """
    path, name = split_name(str(spec))
    with open_hdf5(path) as file:
        whole = name or "/entry/data/data"
        data, full = read_frames(file, [whole], frames, max_bytes)
        mask, _ = masked_in(file, whole, tuple(data.shape[-2:]))
    if data.ndim != 3:
        raise InputError(
            f"cannot read {spec}",
            why=f"its shape is {tuple(data.shape)}",
            fix="name one with 3 axes",
        )
    return usable(data, mask, full)
