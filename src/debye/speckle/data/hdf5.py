"""Read HDF5 with care: links, shapes and types are checked before a byte of data is read.

A file may name other files, declare arrays of any size, or be cut short; none of these should
reach memory unasked.

Frames in HDF5 files that describe themselves, under NeXus names where such exist.

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from debye import __version__
from debye.errors import ComputationError, DebyeError, InputError
from debye.speckle.data.frames import Frames, bad_pixels
from debye.speckle.serialize import build, describe

MAX_BYTES = 8 * 2**30
"""Largest array that will be read, unless a caller says otherwise."""


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a file for reading, with the compression filters detectors use.

    Raises:
        InputError: The file is missing, no HDF5 file, or cut short.
    """
    import hdf5plugin  # noqa: F401 - registers bitshuffle and its kin

    place = Path(path)
    if not place.is_file():
        raise InputError(f"cannot read {place}", why="there is no such file", fix="check the path")
    try:
        with h5py.File(place, "r") as file:
            yield file
    except DebyeError:
        raise
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises any of them on damage
        raise InputError(
            f"cannot read {place}",
            why=str(error).split("\n")[0],
            fix="it is no HDF5 file, or was cut short: copy it again",
        ) from error


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Write a file under a temporary name beside it, and rename it when it is whole.

    Raises:
        InputError: The folder is missing or cannot be written.
        ComputationError: The disk is full or failed.
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise InputError(
            f"cannot write {place}",
            why=f"there is no folder {place.parent}",
            fix="create the folder, or choose another",
        )
    if place.is_dir():
        raise InputError(
            f"cannot write {place}", why="it is a folder", fix="give the name of a file in it"
        )
    draft = place.with_name(f".debye-{os.getpid()}-{place.name[-64:]}.tmp")
    try:
        with h5py.File(draft, "w") as file:
            yield file
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(place)
    except OSError as error:
        raise ComputationError(
            f"cannot write {place}",
            why=str(error).split("\n")[0],
            fix="free some space or choose another disk, and try again",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


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
    """Refuse a path on which a link leaves the folder of the file, or that runs in circles."""
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
    """Refuse raw data kept in other places: external storage, virtual sources out of the folder."""
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
    """Refuse a link to a file that is not in the folder ``here`` or below it."""
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


DETECTOR, SAMPLE, PROCESS = "/entry/instrument/detector", "/entry/sample", "/entry/process"


def save_frames(path: str | os.PathLike[str], frames: Frames) -> None:
    """Write frames and all that is known of them.

    Args:
        path: File to write, ``.h5`` by custom.
        frames: What to write; counts are stored as integers, intensities as float32.

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
        InputError: The file is missing, damaged, not of this layout, links out of its folder,
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
