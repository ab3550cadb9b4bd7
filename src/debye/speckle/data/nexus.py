"""Frames in HDF5 files that describe themselves, under NeXus names where such exist.

    /entry (NXentry)
        title, program_name @version
        instrument/detector (NXdetector)   data [run, time, qy, qx], pixel_mask, qx, qy
        data (NXdata)                      links to the frames and their axes
        sample (NXsample)                  states [run, time, …], specimen [run, …]
        process (NXprocess)                plan (JSON), gain, photons, arrays

NeXus: https://manual.nexusformat.org. In a pixel_mask 0 is a good pixel.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.core import VERSION
from debye.errors import DebyeError, InputError
from debye.speckle.data.detector import full_in, masked_in, taken_at
from debye.speckle.data.frames import Frames
from debye.speckle.data.guarded import read
from debye.speckle.data.hdf5 import (
    MAX_BYTES,
    array,
    dataset,
    open_hdf5,
    tensor,
    text,
    write_hdf5,
)
from debye.speckle.data.locate import DETECTOR, find_frames, split_name
from debye.speckle.data.quality import Quality, examine
from debye.speckle.data.saturation import full_at, full_of
from debye.speckle.serialize import build, describe, is_own
from debye.speckle.values import positive

SAMPLE, PROCESS = "/entry/sample", "/entry/process"
MODEL = ("system", "scattering")


def save_frames(path: str | os.PathLike[str], frames: Frames) -> None:
    """Write frames and all that is known of them.

    Args:
        path: File to write, ``.h5`` by custom.
        frames: What to write; counts are stored as integers, masked pixels as 0.

    Raises:
        InputError: The folder is missing, or a class cannot be named in a file.
        ComputationError: The disk is full.
    """
    tensors: dict[str, Tensor] = {}
    plan = {
        "system": describe(frames.system, tensors, "system"),
        "scattering": describe(frames.scattering, tensors, "scattering"),
        "about": frames.about,
    }
    with write_hdf5(path) as file:
        entry = group(file, "entry", "NXentry", default="data")
        entry["title"] = str(frames.about.get("study", "speckle frames"))
        entry["program_name"] = "debye"
        entry["program_name"].attrs["version"] = VERSION
        write_detector(entry, frames)
        write_sample(entry, frames)
        process = group(entry, "process", "NXprocess")
        process["plan"] = json.dumps(plan)
        process["photons"] = frames.photons
        if frames.gain is not None:
            process["gain"] = frames.gain
        for name, value in tensors.items():
            process[f"arrays/{name}"] = value.numpy()


def group(parent: h5py.Group, name: str, kind: str, **attributes: str) -> h5py.Group:
    """A group of a NeXus class."""
    made = parent.create_group(name)
    made.attrs["NX_class"] = kind
    made.attrs.update(attributes)
    return made


def write_detector(entry: h5py.Group, frames: Frames) -> None:
    """The frames, their axes and their mask, and an NXdata group that links to them."""
    detector = group(group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
    data = torch.where(frames.mask, frames.data, torch.zeros_like(frames.data)).numpy()
    if frames.photons and data.max() < full_at(32) and (data == np.round(data)).all():
        data = data.astype(np.uint16 if data.max() < full_at(16) else np.uint32)
    chunks = (1, min(16, data.shape[1]), *data.shape[2:])
    detector.create_dataset(
        "data", data=data, chunks=chunks, compression="gzip", shuffle=True, compression_opts=1
    )
    detector["data"].attrs.update({"units": "counts", "long_name": "photons in a pixel"})
    detector["pixel_mask"] = (~frames.mask).numpy().astype(np.uint32)
    detector["time"] = frames.times.double().numpy()
    detector["time"].attrs["units"] = "time of the equation"
    q = getattr(getattr(frames.scattering, "detector", None), "q", None)
    if q is not None:
        for axis in ("qx", "qy"):
            detector[axis] = q.numpy()
            detector[axis].attrs["units"] = "inverse of the box's unit of length"
    link = group(entry, "data", "NXdata", signal="data")
    link.attrs["axes"] = [".", "time", "qy", "qx"] if q is not None else [".", "time", ".", "."]
    for name in list(detector):
        link[name] = h5py.SoftLink(f"{DETECTOR}/{name}")


def write_sample(entry: h5py.Group, frames: Frames) -> None:
    """What is known of the states."""
    sample = group(entry, "sample", "NXsample")
    for name, value in (("states", frames.states), ("specimen", frames.specimen)):
        if value is not None:
            sample.create_dataset(name, data=value.numpy())
            sample[name].attrs["units"] = "units of the equation"


def load_frames(
    path: str | os.PathLike[str],
    saturation: float | None = None,
    *,
    part: slice | None = None,
    growing: bool = False,
) -> Frames:
    """Read the frames `save_frames` wrote, or anyone's.

    They are looked for where `save_frames` puts them, where NeXus's ``default`` and ``signal``
    attributes lead, and by the customs of CXI, Data Exchange and EIGER; ``file.h5::/path`` names
    the dataset. `debye.speckle.data.quality.examine` decides which pixels and frames count, and
    ``quality`` and ``about`` of the frames say what was left out.

    Args:
        path: The file, or file and dataset.
        saturation: Counts at which a pixel is full; by default the least that the file states
            (bit depth, saturation_value, a cutoff) or its integer type can hold.
        part: Which of the times to read; all of them if None.
        growing: Whether the file may still be written (SWMR).

    Raises:
        InputError: The file is missing, damaged, holds no frames or several that could be meant,
            links out of its folder or to what is missing, declares too much, or too much of it
            is bad.
    """
    place, name = split_name(os.fspath(path))
    with open_hdf5(place, growing=growing) as file:
        names, note = find_frames(file, name)
        data, full = read_frames(file, names, part, by_time=True)
        own = f"{PROCESS}/plan" in file and not name
        taken = taken_at(file, names[0], data.shape[-3] if part is None else part.stop)
        if part is not None:
            taken = taken._replace(times=taken.times[part])
        mask, masked = masked_in(file, names[0], tuple(data.shape[-2:]))
        states = optional(file, f"{SAMPLE}/states")
        if states is not None and part is not None:
            states = states_in(states, data, part)
        specimen = optional(file, f"{SAMPLE}/specimen")
        process = read_process(file)
    if data.ndim == 3:  # one run, without an axis of its own
        states, specimen = (None if x is None else x[None] for x in (states, specimen))
        data = data[None]
    about = process.pop("about") | ({"time_unit": taken.unit} if taken.unit else {})
    whole = Frames(
        data, taken.times, mask, states, specimen, about=about, quality=Quality(), **process
    )
    full = full if saturation is None else positive(saturation, "saturation")
    try:
        found = examine(whole.data, whole.mask, full)
    except InputError as error:
        raise InputError(f"{place}: {error.what}", why=error.why, fix=error.fix) from None
    notes = (*filter(None, (note, taken.note)), *found.quality.notes)
    pixels = found.quality.pixels if own else masked | found.quality.pixels
    frames = whole.only(found._replace(quality=replace(found.quality, pixels=pixels, notes=notes)))
    data = torch.where(frames.mask, frames.data, torch.zeros_like(frames.data))
    photons = process.get("photons", float(data[:, 0].max()))
    return replace(frames, data=data, photons=photons)


def count_frames(path: str | os.PathLike[str]) -> int:
    """How many times the frames of a file that may still be written have been recorded at.

    Raises:
        InputError: The file is missing or damaged, or holds no frames.
    """
    place, name = split_name(os.fspath(path))
    with open_hdf5(place, growing=True) as file:
        names, _ = find_frames(file, name)
        found = [dataset(file, n, ndim=(3, 4), max_bytes=1 << 62) for n in names]
        return sum(int(one.shape[-3]) for one in found)


def states_in(states: Tensor, data: Tensor, part: slice) -> Tensor | None:
    """The states of some times: of a file that grows only the first may be known, or none later."""
    axis = 1 if data.ndim == 4 else 0
    there = states.narrow(axis, 0, min(states.shape[axis], part.stop))[
        (slice(None),) * axis + (part,)
    ]
    if not there.shape[axis]:
        return None
    missing = data.shape[axis] - there.shape[axis]
    last = there.narrow(axis, there.shape[axis] - 1, 1)
    return torch.cat([there, *[last] * missing], axis)


def read_frames(
    file: h5py.File,
    names: list[str],
    part: slice | None = None,
    max_bytes: int = MAX_BYTES,
    *,
    by_time: bool = False,
) -> tuple[Tensor, float]:
    """(run, time, qy, qx) or (time, qy, qx) of datasets joined along time, and when they are full.

    The part is one of the first axis, or ``by_time`` of that of time.

    Raises:
        InputError: What `debye.speckle.data.hdf5.dataset` refuses, or they are complex.
    """
    pieces, full = [], math.inf
    for name in names:
        found = dataset(file, name, ndim=(3, 4), max_bytes=1 << 62 if part else max_bytes)
        if found.dtype.kind == "c":
            raise InputError(
                f"cannot read {name} from {file.filename}",
                why="its numbers are complex, and a detector counts",
                fix="give intensities: the squared modulus of amplitudes",
            )
        full = min(full, full_of(found.dtype), full_in(file, name, found))
        runs = found.shape[0] if by_time and found.ndim == 4 and part else 0
        count = len(range(*(part or slice(None)).indices(found.shape[bool(runs)])))
        size = (
            max(runs, 1) * count * found.dtype.itemsize * math.prod(found.shape[1 + bool(runs) :])
        )
        if size > max_bytes:
            raise InputError(
                f"cannot read {name} from {file.filename}",
                why=f"{count} frames of {found.shape[1:]} are more than "
                f"{max_bytes / 2**30:.1f} GiB",
                fix="read fewer frames at a time with frames=slice(…), or raise max_bytes",
            )
        pieces.append(
            np.stack([read(found, part, run) for run in range(runs)]) if runs else read(found, part)
        )
    data = tensor(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))
    return (data.transpose(0, 1) if data.ndim == 4 and data.shape[1] == 1 else data), full


def optional(file: h5py.File, name: str) -> Tensor | None:
    """The array of that name, or None.

    Raises:
        InputError: What `array` refuses.
    """
    return tensor(array(file, name)) if name in file else None


def read_process(file: h5py.File) -> dict[str, Any]:
    """Equation, geometry, gain and the rest, as `Frames` takes them.

    Raises:
        InputError: The group is damaged, or names a class that is not debye's.
    """
    if PROCESS not in file:
        return {"about": {}}  # measured: the gain is fitted, the counts are counts
    try:
        plan = json.loads(text(file, f"{PROCESS}/plan"))
        arrays = {
            k: tensor(array(file, f"{PROCESS}/arrays/{k}"))
            for k in file.get(f"{PROCESS}/arrays", ())
        }
        known = [k for k in ("gain", "photons") if f"{PROCESS}/{k}" in file]
        numbers = {k: float(array(file, f"{PROCESS}/{k}", ndim=(0,))) for k in known}
        return {
            # Frames are of use without the code of somebody who made them.
            **{k: None if is_own(plan[k]) else build(plan[k], arrays) for k in MODEL},
            "about": dict(plan["about"]),
            **numbers,
        }
    except DebyeError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read {PROCESS} from {file.filename}",
            why=f"it is damaged: {error}",
            fix="copy the file again, or simulate it anew",
        ) from error
