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

from debye import __version__
from debye.errors import Refusal
from debye.speckle.data.frames import Frames, bad_pixels
from debye.speckle.data.hdf5 import array, dataset, reading, text, writing
from debye.speckle.serialize import build, describe

DETECTOR, SAMPLE, PROCESS = "/entry/instrument/detector", "/entry/sample", "/entry/process"


def save_frames(path: str | os.PathLike[str], frames: Frames) -> None:
    """Write frames and all that is known of them.

    Args:
        path: File to write, ``.h5`` by custom.
        frames: What to write; counts are stored as integers, intensities as float32.

    Raises:
        Refusal: The folder is missing, or a class cannot be named in a file.
        Failure: The disk is full.
    """
    tensors: dict[str, Tensor] = {}
    plan = {
        "system": describe(frames.system, tensors, "system"),
        "scattering": describe(frames.scattering, tensors, "scattering"),
        "about": frames.about,
    }
    with writing(path) as file:
        entry = group(file, "entry", "NXentry", default="data")
        entry["title"] = str(frames.about.get("study", "speckle frames"))
        entry["program_name"] = "debye"
        entry["program_name"].attrs["version"] = __version__
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
    data = frames.data.numpy()
    if frames.photons:
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

    Broken, dead and saturated pixels are added to the mask; how many is told in
    ``about["masked"]``.

    Args:
        path: The file.
        saturation: Counts at which a pixel is full; the largest of an integer type by default.

    Raises:
        Refusal: The file is missing, damaged, not of this layout, links out of its folder,
            declares too much, or too many pixels are bad.
    """
    with reading(path) as file:
        stored = dataset(file, f"{DETECTOR}/data", ndim=(3, 4))
        if saturation is None and stored.dtype.kind == "u" and "program_name" not in file["entry"]:
            saturation = float(np.iinfo(stored.dtype).max)
        data = tensor(array(file, f"{DETECTOR}/data", ndim=(3, 4)))
        single = data.ndim == 3  # one run, without an axis of its own
        times = tensor(array(file, f"{DETECTOR}/time", ndim=(1,))).double()
        mask = read_mask(file, data)
        states = optional(file, f"{SAMPLE}/states")
        specimen = optional(file, f"{SAMPLE}/specimen")
        if single:
            data = data[None]
            states = None if states is None else states[None]
            specimen = None if specimen is None else specimen[None]
        process = read_process(file)
    mask, masked = cleaned(data, mask, saturation)
    data = torch.where(mask, data, torch.zeros_like(data))
    about = process.pop("about") | ({"masked": masked} if masked else {})
    process.setdefault("photons", float(data[:, 0].max()))
    return Frames(data, times, mask, states, specimen, about=about, **process)


def tensor(values: np.ndarray) -> Tensor:
    """A tensor of the same numbers; integers become float32, big-endian becomes native."""
    kind = {"f": values.dtype, "c": values.dtype}.get(values.dtype.kind, np.dtype(np.float32))
    return torch.from_numpy(np.array(values, dtype=kind.newbyteorder("=")))


def optional(file: h5py.File, name: str) -> Tensor | None:
    """The array of that name, or None."""
    return tensor(array(file, name)) if name in file else None


def read_mask(file: h5py.File, data: Tensor) -> Tensor:
    """The pixel mask, or everything open."""
    found = optional(file, f"{DETECTOR}/pixel_mask")
    return torch.ones(data.shape[-2:], dtype=torch.bool) if found is None else found == 0


def read_process(file: h5py.File) -> dict[str, Any]:
    """Equation, geometry, gain and the rest, as `Frames` takes them."""
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
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(
            f"cannot read {PROCESS} from {file.filename}",
            why=f"it is damaged: {error}",
            fix="copy the file again, or simulate it anew",
        ) from error


def cleaned(data: Tensor, mask: Tensor, saturation: float | None) -> tuple[Tensor, dict[str, int]]:
    """The mask without bad pixels, and how many of each kind were open before.

    Raises:
        Refusal: More than a quarter of the open pixels are bad.
    """
    bad = {k: v & mask for k, v in bad_pixels(data, saturation).items()}
    counts = {k: int(v.sum()) for k, v in bad.items() if v.any()}
    good = mask & ~torch.stack(list(bad.values())).any(0)
    if int(good.sum()) < 0.75 * int(mask.sum()):
        listed = ", ".join(f"{n} {k}" for k, n in counts.items())
        raise Refusal(
            "cannot use these frames",
            why=f"of {int(mask.sum())} open pixels {listed}",
            fix="mask the bad part of the detector, or correct the data",
        )
    return good, counts
