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
import os
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.core import VERSION
from debye.errors import DebyeError, InputError
from debye.speckle.data.frames import Frames, bad_pixels
from debye.speckle.data.hdf5 import array, dataset, open_hdf5, tensor, text, write_hdf5
from debye.speckle.serialize import build, describe

DETECTOR, SAMPLE, PROCESS = "/entry/instrument/detector", "/entry/sample", "/entry/process"


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
    if frames.photons and data.max() < 2**32 and (data == np.round(data)).all():
        data = data.astype(np.uint16 if data.max() < 2**16 else np.uint32)
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


def load_frames(path: str | os.PathLike[str], saturation: float | None = None) -> Frames:
    """Read the frames `save_frames` wrote, or anyone's in the same places.

    Broken, dead and saturated pixels are added to the mask; ``about["masked"]`` says how many.

    Args:
        path: The file.
        saturation: Counts at which a pixel is full; the largest of an integer type by default.

    Raises:
        InputError: The file is missing, damaged, not of this layout, links out of its folder,
            declares too much, or too many pixels are bad.
    """
    with open_hdf5(path) as file:
        stored = dataset(file, f"{DETECTOR}/data", ndim=(3, 4))
        if saturation is None and stored.dtype.kind == "u" and "program_name" not in file["entry"]:
            saturation = float(np.iinfo(stored.dtype).max)
        data = tensor(array(file, f"{DETECTOR}/data", ndim=(3, 4)))
        times = tensor(array(file, f"{DETECTOR}/time", ndim=(1,)))
        mask = read_mask(file, data)
        states = optional(file, f"{SAMPLE}/states")
        specimen = optional(file, f"{SAMPLE}/specimen")
        process = read_process(file)
    if data.ndim == 3:  # one run, without an axis of its own
        states, specimen = (None if x is None else x[None] for x in (states, specimen))
        data = data[None]
    mask, masked = cleaned(data, mask, saturation)
    data = torch.where(mask, data, torch.zeros_like(data))
    about = process.pop("about") | ({"masked": masked} if masked else {})
    process.setdefault("photons", float(data[:, 0].max()))
    return Frames(data, times, mask, states, specimen, about=about, **process)


def optional(file: h5py.File, name: str) -> Tensor | None:
    """The array of that name, or None.

    Raises:
        InputError: What `array` refuses.
    """
    return tensor(array(file, name)) if name in file else None


def read_mask(file: h5py.File, data: Tensor) -> Tensor:
    """The pixel mask, or everything open.

    Raises:
        InputError: What `array` refuses.
    """
    found = optional(file, f"{DETECTOR}/pixel_mask")
    return torch.ones(data.shape[-2:], dtype=torch.bool) if found is None else found == 0


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
            "system": build(plan["system"], arrays),
            "scattering": build(plan["scattering"], arrays),
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


def cleaned(data: Tensor, mask: Tensor, saturation: float | None) -> tuple[Tensor, dict[str, int]]:
    """The mask without bad pixels, and how many of each kind were open before.

    Raises:
        InputError: More than a quarter of the open pixels are bad.
    """
    bad = {k: v & mask for k, v in bad_pixels(data, saturation).items()}
    counts = {k: int(v.sum()) for k, v in bad.items() if v.any()}
    good = mask & ~torch.stack(list(bad.values())).any(0)
    if int(good.sum()) < 0.75 * int(mask.sum()):
        listed = ", ".join(f"{n} {k}" for k, n in counts.items())
        raise InputError(
            "cannot use these frames",
            why=f"of {int(mask.sum())} open pixels {listed}",
            fix="mask the bad part of the detector, or correct the data",
        )
    return good, counts
