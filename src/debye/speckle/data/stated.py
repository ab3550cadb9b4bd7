"""What a file says of frames beside their numbers: mask, clock, and where the detector stood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.clock import seconds
from debye.speckle.data.cxi import DISTANCE, ENERGY, PIXEL, Physical, in_si
from debye.speckle.data.detector import homes, unit_of
from debye.speckle.data.hdf5 import array
from debye.units import LENGTH_UNITS, C, H

WAVELENGTH = Physical("wavelength", LENGTH_UNITS, ("angstrom", "m"), 4e-12, 4e-8)
OLD = "/measurement/instrument"
"""Where 8-ID wrote what it knew until 2023: lengths in mm, without units."""
DETECTORS = ("/entry/instrument/detector_1", f"{OLD}/detector", f"{OLD}/acquisition")
BEAMS = (
    "/entry/instrument/incident_beam",
    "/entry/instrument/beam",
    "/entry/sample/beam",
    "/entry/instrument/monochromator",
    "/entry/instrument/detector/detectorSpecific",
    "/entry_1/instrument_1/source_1",
    f"{OLD}/source_begin",
)
"""Groups where the photons are described: 8-ID and NXxpcs, NeXus, EIGER, CXI."""


@dataclass(frozen=True)
class Stated:
    """What a file states; None where it does not.

    Attributes:
        mask: (qy, qx) True where a pixel may count.
        masked: How many pixels the mask takes, by reason.
        full: Counts at which a pixel is full.
        times: (time,) when frames began.
        time_unit: Of these: s, nothing if it is no unit of time, None where none is named.
        frame_time: Between frames, s.
        count_time: For which a frame was exposed, s.
        centre: x and y of the beam, pixels.
        distance: From the sample, m.
        pixel: Height and width of a pixel, m.
        wavelength: Å.
        tilt: Rotations of the detector, as `debye.speckle.xpcs.geometry.Geometry` has them.
        dq: Step of q from pixel to pixel, 1/length, of a simulation that has no wavelength.
        notes: What was assumed.
    """

    mask: Tensor | None = None
    masked: dict[str, int] = field(default_factory=dict)
    full: float = float("inf")
    times: Tensor | None = None
    time_unit: str | None = "s"
    frame_time: float | None = None
    count_time: float | None = None
    centre: tuple[float, float] | None = None
    distance: float | None = None
    pixel: tuple[float, float] | None = None
    wavelength: float | None = None
    tilt: tuple[float, float, float] | None = None
    dq: float | None = None
    notes: tuple[str, ...] = ()


def geometry_in(file: h5py.File, name: str, notes: list[str]) -> dict[str, object]:
    """Centre, distance, pixel and wavelength, of which a file states some.

    What is zero or not finite is not stated; what is impossible is named in the notes.

    Args:
        file: An open file.
        name: The dataset of frames.
        notes: Gets a word on what was guessed or cannot be used.

    Raises:
        InputError: A number cannot be read.
    """
    detectors, beams = (*homes(file, name), *DETECTORS), _beams(name)
    x, y = (_centre(file, detectors, axis, notes) for axis in "xy")
    sides = [_length(file, detectors, (f"{a}_pixel_size",), PIXEL, notes) for a in "yx"]
    wavelength = _length(file, beams, ("incident_wavelength", "wavelength"), WAVELENGTH, notes)
    if wavelength is None:
        energy = ("incident_energy", "photon_energy", "energy")
        joules = _length(file, beams, energy, ENERGY, notes)
        wavelength = None if joules is None else H * C / joules
    return {
        "centre": None if x is None or y is None else (x, y),
        "distance": _length(file, detectors, ("detector_distance", "distance"), DISTANCE, notes),
        "pixel": None if None in sides else tuple(sides),
        "wavelength": None if wavelength is None else 1e10 * wavelength,
    }


def _beams(name: str) -> tuple[str, ...]:
    """Groups of the photons, in the entry of the frames first."""
    entry = "/" + name.strip("/").split("/")[0]
    own = [f"{entry}{b.removeprefix('/entry')}" for b in BEAMS if b.startswith("/entry/")]
    return tuple(dict.fromkeys((*own, *BEAMS)))


def frame_times_in(file: h5py.File, name: str = "") -> dict[str, float | None]:
    """Seconds between frames, and for which each was exposed, as a file states them.

    Args:
        file: An open file.
        name: The dataset of frames.

    Raises:
        InputError: A number cannot be read.
    """
    found: dict[str, float | None] = {}
    for kind, other in (("frame_time", "exposure_period"), ("count_time", "exposure_time")):
        number = _number(file, (*homes(file, name), *DETECTORS), (kind, other))
        found[kind] = None
        if number is not None and number[0] > 0:
            in_one = torch.tensor([number[0]], dtype=torch.float64)
            value, unit = seconds(in_one, number[1] or "s")
            found[kind] = float(value) if unit else None
    return found


def metadata_of(path: Path, notes: list[str]) -> Path | None:
    """The file of 8-ID that describes the raw data beside it: ``run_metadata.hdf`` of ``run.h5``.

    Args:
        path: Of the raw data.
        notes: Gets a word on which was taken, or why none was.
    """
    there = {
        p: p.name.removesuffix("_metadata.hdf")
        for p in sorted(path.parent.glob("*_metadata.hdf"))
        if p != path
    }
    named = [p for p, stem in there.items() if _is_of(path, stem)]
    if not named and len(there) == 1:
        others = [p for p in path.parent.iterdir() if p != path and p not in there]
        (only, stem), *_ = there.items()
        named = [] if any(_is_of(p, stem) for p in others) else [only]
    if not named:
        if there:
            notes.append(f"of {len(there)} *_metadata.hdf beside it none is of its name")
        return None
    found = max(named, key=lambda p: len(there[p]))
    notes.append(f"what {found.name} says goes before what the file itself does")
    return found


def _is_of(path: Path, stem: str) -> bool:
    """Whether a file is called so, or so with more behind it: ``run_master`` of ``run``."""
    return path.stem == stem or path.stem.startswith(f"{stem}_")


def _centre(file: h5py.File, groups: tuple[str, ...], axis: str, notes: list[str]) -> float | None:
    """The beam on one axis, pixels, moved with the stage of the detector where 8-ID tells it."""
    found = _number(file, groups, (f"beam_center_{axis}",))
    if found is None:
        return None
    new, old = "/entry/instrument/detector_1", f"{OLD}/acquisition"
    stage = {"x": "x", "y": "z"}[axis]
    for now, then, side in (
        (
            f"{new}/position_{axis}",
            f"{new}/beam_center_position_{axis}",
            f"{new}/{axis}_pixel_size",
        ),
        (f"{old}/stage_{stage}", f"{old}/stage_zero_{stage}", f"{OLD}/detector/{axis}_pixel_size"),
    ):
        if all(k in file and file[k].dtype.kind in "uif" for k in (now, then, side)):
            here, before, pixel = (float(np.median(array(file, k))) for k in (now, then, side))
            moved = (here - before) / pixel if pixel else 0.0
            if np.isfinite(moved) and abs(moved) > 0.5:
                notes.append(f"the stage moved the beam by {moved:g} pixels in {axis}")
                return found[0] + moved
    return found[0]


def _places(
    file: h5py.File, groups: tuple[str, ...], keys: tuple[str, ...]
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Numbers of one of some names in one of some groups."""
    for path in (f"{group}/{key}" for key in keys for group in groups):
        if path in file and isinstance(file[path], h5py.Dataset):
            yield path, file[path]


def _number(
    file: h5py.File, groups: tuple[str, ...], keys: tuple[str, ...]
) -> tuple[float, str] | None:
    """The first that says something, and its unit."""
    for path, found in _places(file, groups, keys):
        if found.dtype.kind not in "uif" or not found.size:
            continue
        value = float(np.median(np.asarray(array(file, path), dtype=float)))
        if np.isfinite(value) and value != 0:
            return value, unit_of(found)
    return None


def _length(
    file: h5py.File,
    groups: tuple[str, ...],
    keys: tuple[str, ...],
    kind: Physical,
    notes: list[str],
) -> float | None:
    """A quantity in SI; None, with a word, if it is possible in no unit."""
    found = _number(file, groups, keys)
    if found is None:
        return None
    is_old = not found[1] and OLD in file and "mm" in kind.tried
    for unit in ("mm", "") if is_old else (found[1],):
        try:
            return in_si(kind, abs(found[0]), unit, file.filename, notes)
        except InputError as error:
            why = error.why
    notes.append(f"the file's {kind.name} is not used: {why}")
    return None
