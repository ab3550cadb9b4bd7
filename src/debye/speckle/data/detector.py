"""What a file says of its detector: when pixels are full, which are masked, when frames came."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.clock import exact_times, seconds
from debye.speckle.data.hdf5 import array
from debye.speckle.data.locate import DETECTOR, datasets
from debye.speckle.data.saturation import full_at

BIT_DEPTH = re.compile(r"bit_?depth(_?(image|readout))?|bits_?per_?(pixel|sample)", re.IGNORECASE)
CUTOFF = re.compile(
    r"(saturation|overload|saturated)(_?(value|level|cutoff|limit))?"
    r"|(count_?)?(rate_?)?(correction_?)?(count_?)?cutoff",
    re.IGNORECASE,
)
SUMMED = re.compile(r"nframes_?sum|frames_?summed|sum_?images", re.IGNORECASE)
"""Names of the number of readouts that make an image."""
MASK_BITS = {
    0: "gap",
    1: "dead",
    2: "unresponsive",
    3: "overresponsive",
    4: "noisy",
    6: "clustered",
}
"""Bits of a NeXus pixel_mask, https://manual.nexusformat.org/classes/base_classes/NXdetector.html."""
CXI_BITS = {0: "invalid", 1: "saturated", 2: "hot", 3: "dead", 4: "shadowed", 10: "noisy"}
"""Bits of a mask of CXI, whose bits 5, 11, 13 and 14 say nothing bad of a pixel."""
FILE = "file's"
"""What a pixel is that the file masks without saying why."""
CXI_DETECTOR = "/entry_1/instrument_1/detector_1"
CXI_GOOD = 1 << 5 | 1 << 11 | 1 << 13 | 1 << 14
MASKS = ("pixel_mask", "mask", "detectorSpecific/pixel_mask", "bad_pixel_mask")
CLOCKS = (
    "time",
    "times",
    "timestamp",
    "timestamps",
    "time_stamp",
    "time_stamps",
    "frame_time_stamps",
)
PERIODS = ("frame_time", "frame_period", "exposure_period", "acquire_period", "count_time")


class Taken(NamedTuple):
    """When frames were taken."""

    times: Tensor
    unit: str
    """``s``, or nothing where it is unknown."""
    note: str = ""
    is_named: bool = True
    """Whether the file names a unit."""


def full_in(file: h5py.File, name: str, found: h5py.Dataset) -> float:
    """Counts at which a pixel is full, as the file states it; infinite if it does not.

    The least of 2ⁿ − 1 of every stated bit depth (of a readout times the readouts that make an
    image) and every stated saturation or cutoff, of the same entry.
    """
    stated = {k: v for k, v in _scalars(file, name).items() if v > 0}
    stated |= {k: _number(v) for k, v in found.attrs.items() if _number(v) > 0}
    short = {k.rsplit("/", 1)[-1]: v for k, v in stated.items()}
    summed = max([v for k, v in short.items() if SUMMED.fullmatch(k)], default=1.0)
    levels = [math.inf]
    for key, value in short.items():
        if BIT_DEPTH.fullmatch(key) and 1 < value <= 64:
            levels.append(full_at(value) * (summed if "image" not in key.lower() else 1.0))
        elif CUTOFF.fullmatch(key):
            levels.append(value)
    return min(levels)


def _scalars(file: h5py.File, name: str) -> dict[str, float]:
    """Numbers of a dataset's entry whose names may state when pixels are full."""
    entry, found = "/" + name.strip("/").split("/")[0], {}
    under = entry if isinstance(file.get(entry), h5py.Group) else "/"
    for path, thing in datasets(file, under).items():
        key = path.rsplit("/", 1)[-1]
        if any(p.fullmatch(key) for p in (BIT_DEPTH, CUTOFF, SUMMED)) and thing.size == 1:
            found[path] = _number(thing[()])
    return found


def _number(value: Any) -> float:  # noqa: ANN401 - whatever HDF5 holds
    """A number or the text of one; 0 for anything else."""
    try:
        flat = np.asarray(value).ravel()
        text = flat[0].decode() if isinstance(flat[0], bytes) else flat[0]
        number = float(text) if len(flat) == 1 else 0.0
    except (ValueError, TypeError, IndexError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def homes(file: h5py.File, name: str) -> list[str]:
    """Groups where what belongs to a dataset may lie: its own, and the detector of its entry.

    Args:
        file: An open file.
        name: The dataset.
    """
    group = "/" + name.strip("/").rpartition("/")[0]
    instrument = f"/{name.strip('/').split('/')[0]}/instrument"
    known = (group, DETECTOR, "/entry/instrument/detector_1", CXI_DETECTOR)
    found = file.get(instrument)
    keys = list(found)[:50] if isinstance(found, h5py.Group) else []
    detectors = [f"{instrument}/{k}" for k in keys if _is_detector(found, k)]
    # Of several nobody knows whose the frames are, if they lie in none of them.
    return list(dict.fromkeys((*known, *(detectors if len(detectors) == 1 else []))))


def _plots(file: h5py.File, name: str) -> list[str]:
    """The groups of a dataset's entry that show it by a link, as NXdata does, with its axes."""
    top = "/" + name.strip("/").split("/")[0]
    entry, found = file.get(top), []
    for key in list(entry)[:50] if isinstance(entry, h5py.Group) else ():
        group = entry.get(key, getlink=True)
        if not isinstance(group, h5py.HardLink) or not isinstance(entry[key], h5py.Group):
            continue
        signal = entry[key].attrs.get("signal", "")
        signal = signal.decode(errors="replace") if isinstance(signal, bytes) else str(signal)
        link = entry[key].get(signal, getlink=True) if signal else None
        if isinstance(link, h5py.HardLink | h5py.SoftLink) and entry[key].get(signal) == file[name]:
            found.append(f"{top}/{key}")
    return found


def _is_detector(group: h5py.Group, key: str) -> bool:
    """Whether NeXus calls something a detector."""
    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        return False
    kind = group[key].attrs.get("NX_class", "")
    return (kind.decode() if isinstance(kind, bytes) else kind) == "NXdetector"


def masked_in(file: h5py.File, name: str, shape: tuple[int, ...]) -> tuple[Tensor, dict[str, int]]:
    """(qy, qx) True where the file's masks leave a pixel, and how many they take, by reason.

    In a mask of NeXus or CXI 0 is a good pixel, and each bit a reason.

    Raises:
        InputError: A mask is of another shape than a frame, or cannot be read.
    """
    good, counts = np.ones(shape, dtype=bool), dict[str, int]()
    for path in (f"{home}/{mask}" for home in homes(file, name) for mask in MASKS):
        if path not in file:
            continue
        values = array(file, path)
        if values.shape != shape:
            raise InputError(
                f"cannot use the mask {path} of {file.filename}",
                why=f"it is {values.shape}, and a frame {shape}",
                fix="write one mask of the shape of a frame, 0 where a pixel is good",
            )
        is_cxi = path == f"{CXI_DETECTOR}/mask"
        if is_cxi and values.dtype.kind in "ui":
            values = values.astype(np.int64) & ~CXI_GOOD
        new = good & (values != 0)
        for kind, n in _reasons(values, new, CXI_BITS if is_cxi else MASK_BITS).items():
            counts[kind] = counts.get(kind, 0) + n
        good &= values == 0
    return torch.from_numpy(good), counts


def _reasons(values: np.ndarray, masked: np.ndarray, bits: dict[int, str]) -> dict[str, int]:
    """How many pixels a mask takes by the lowest bit that is set."""
    if not masked.any():
        return {}
    if values.dtype.kind not in "ui" or int(values.max()) == 1:
        return {FILE: int(masked.sum())}
    low = values[masked].astype(np.int64)
    lowest = np.log2(np.abs(low & -low).astype(float)).astype(int)
    kinds = [bits.get(int(b), FILE) for b in lowest]
    return {k: kinds.count(k) for k in dict.fromkeys(kinds)}


def taken_at(file: h5py.File, name: str, count: int) -> Taken:
    """When the frames of a dataset were taken; counted where the file does not say.

    Raises:
        InputError: The times cannot be read.
    """
    where = (*homes(file, name), *_plots(file, name))
    for path in (f"{home}/{clock}" for home in where for clock in CLOCKS):
        if path in file and isinstance(file[path], h5py.Dataset) and file[path].ndim == 1:
            times, unit = seconds(exact_times(array(file, path, ndim=(1,))), unit_of(file[path]))
            return Taken(times, unit, is_named=bool(unit_of(file[path])))
    numbers = torch.arange(count, dtype=torch.float64)
    for key in PERIODS:
        for home in homes(file, name):
            period = _number(file[f"{home}/{key}"][()]) if f"{home}/{key}" in file else 0.0
            if period > 0:
                step, unit = seconds(
                    torch.tensor([period], dtype=torch.float64),
                    unit_of(file[f"{home}/{key}"]) or "s",
                )
                note = f"the file holds no times: frames are taken to be {float(step):g} s apart, "
                return Taken(numbers * step, unit, note + f"its {key}")
    return Taken(numbers, "", "the file holds no times: frames are counted")


def unit_of(found: h5py.Dataset) -> str:
    """The unit of a dataset, as its attribute says."""
    unit = found.attrs.get("units", found.attrs.get("unit", ""))
    return unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
