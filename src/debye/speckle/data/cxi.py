"""Read CXI files of ptychographic scans, whose units are converted by what is physically possible.

CXI: https://www.cxidb.org/cxi.html, lengths in metres, energy in joules. Programs write
electronvolts and micrometres there as well. A unit that stands beside a number is obeyed; without
one a number that is impossible in SI, and possible in one other unit, is taken in that, with a
word. What is possible in none, or in two others, is refused.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.detector import masked_in, unit_of
from debye.speckle.data.hdf5 import MAX_BYTES, array, open_hdf5
from debye.speckle.data.locate import find_frames, split_name
from debye.speckle.data.nexus import read_frames
from debye.speckle.data.quality import examine
from debye.speckle.data.readers import ScanData
from debye.units import LENGTH_UNITS, PHOTON_UNITS, C, E, H


class Physical(NamedTuple):
    """A quantity, what is possible of it, and the units that programs write it in unsaid."""

    name: str
    units: dict[str, float]
    tried: tuple[str, ...]
    least: float
    most: float


ENERGY = Physical("photon energy", PHOTON_UNITS, ("j", "ev", "kev"), 30 * E, 3e5 * E)
DISTANCE = Physical("detector distance", LENGTH_UNITS, ("m", "mm"), 5e-3, 200.0)
PIXEL = Physical("pixel size", LENGTH_UNITS, ("m", "mm", "um"), 5e-7, 5e-3)
SPAN = Physical("span of the translations", LENGTH_UNITS, ("m", "um"), 0.0, 0.1)


def read_cxi(
    path: str | os.PathLike[str], *, pixel: float | None = None, max_bytes: int = MAX_BYTES
) -> ScanData:
    """Read a CXI file of a ptychographic scan.

    The pixel of the object follows from wavelength, distance and detector: λ·z/(N·pixel size).
    Frames and pixels that do not count, and frames without a position, are left out; ``quality``
    of the scan says which, and what was converted.

    Args:
        path: The file, or ``file.cxi::/path`` of the frames.
        pixel: Size of a pixel of the object, metres, where the file is wrong.
        max_bytes: Largest array.

    Raises:
        InputError: The file is no HDF5 or CXI file, its links leave its folder or lead nowhere, it
            is too large, too much of it is bad, or a quantity is possible in no unit or in two.
    """
    place, name = split_name(os.fspath(path))
    notes: list[str] = []
    with open_hdf5(place) as file:
        names, _ = find_frames(file, name)
        data, full = read_frames(file, names, max_bytes=max_bytes)
        if data.ndim != 3:
            raise InputError(
                f"cannot read {names[0]} from {place}",
                why=f"its shape is {tuple(data.shape)}",
                fix="give one scan: (time, qy, qx)",
            )
        mask, masked = masked_in(file, names[0], tuple(data.shape[-2:]))
        positions = _positions(file, len(data), notes)
        size = _object_pixel(file, data.shape[-1], notes) if pixel is None else pixel
    lost = [] if positions is None else (~positions.isfinite().all(1)).nonzero().flatten().tolist()
    found = examine(data[None], mask, full)
    kept = [t for t in found.kept if t not in lost]
    if len(kept) < 2:
        raise InputError(f"cannot use {place}", why="no two frames are good", fix="record it again")
    frames = found.quality.frames | ({"without a position": lost} if lost else {})
    quality = replace(
        found.quality,
        pixels=masked | found.quality.pixels,
        frames=frames,
        notes=(*notes, *found.quality.notes),
        kept=tuple(kept) if frames else None,
    )
    there = data[kept] if frames else data
    placed = None if positions is None else positions[kept]
    return ScanData(there, placed, found.mask, size, quality=quality)


def _positions(file: h5py.File, count: int, notes: list[str]) -> Tensor | None:
    """(time, 2) metres, NaN where a frame has none; None if the file has none at all."""
    name = "/entry_1/data_1/translation"
    if name not in file:
        return None
    moved = torch.from_numpy(np.asarray(array(file, name, ndim=(2,)), dtype=float))[:, :2]
    if len(moved) != count:
        raise InputError(
            f"cannot use {file.filename}",
            why=f"it holds {count} frames but {len(moved)} positions",
            fix="give one translation for each frame",
        )
    known = moved[moved.isfinite().all(1)]
    span = float((known.amax(0) - known.amin(0)).max()) if len(known) else 0.0
    metres = in_si(SPAN, span, unit_of(file[name]), file.filename, notes) if span else 0.0
    return moved * (metres / span) if span else moved


def _object_pixel(file: h5py.File, side: int, notes: list[str]) -> float | None:
    """Metres; None if the file does not say all that it follows from."""
    detector = "/entry_1/instrument_1/detector_1"
    places = {
        "/entry_1/instrument_1/source_1/energy": ENERGY,
        f"{detector}/distance": DISTANCE,
        f"{detector}/x_pixel_size": PIXEL,
    }
    if not all(name in file for name in places):
        return None
    found = []
    for name, kind in places.items():
        values = np.asarray(array(file, name), dtype=float).ravel()
        value = float(np.median(values)) if len(values) else math.nan
        if kind is DISTANCE and value < 0:
            notes.append(f"a detector distance of {value:g} was taken for {-value:g}")
            value = -value
        found.append(in_si(kind, value, unit_of(file[name]), file.filename, notes))
    energy, distance, size = found
    return H * C / energy * distance / (side * size)


def in_si(kind: Physical, value: float, unit: str, where: str, notes: list[str]) -> float:
    """A quantity in SI, by its unit or by what is possible.

    Args:
        kind: What it is.
        value: The number.
        unit: That stands beside it, if any.
        where: The file in which it stands.
        notes: Gets a word where the unit was guessed.

    Raises:
        InputError: It is possible in none of the units, or in two that are not SI's.
    """

    def possible(name: str) -> bool:
        return kind.least <= value * kind.units[name] <= kind.most and value > 0

    stated = unit.strip().lower()
    tried = [stated] if stated in kind.units else list(kind.tried)
    ways = [name for name in tried if possible(name)]
    if ways and (ways[0] == tried[0] or len(ways) == 1):
        if ways[0] != tried[0]:
            notes.append(f"a {kind.name} of {value:g} without a unit was taken in {ways[0]}")
        return value * kind.units[ways[0]]
    raise InputError(
        f"cannot use the {kind.name} of {where}",
        why=f"it is {value:g} {stated or '(no unit)'}, possible in "
        f"{' and in '.join(ways) or 'none of ' + ', '.join(tried)}",
        fix="correct the file, which should hold SI units, or pass pixel=… of the object",
    )
