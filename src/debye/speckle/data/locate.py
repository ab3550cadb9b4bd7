"""Find the frames in somebody's HDF5 file: by name, where NeXus points, or by looking."""

from __future__ import annotations

import re

import h5py

from debye.errors import InputError
from debye.speckle.data.links import check_links, in_words

DETECTOR = "/entry/instrument/detector"
PLACES = (
    "/entry/data/data",
    "/entry_1/data_1/data",
    "/entry_1/instrument_1/detector_1/data",
    "/exchange/data",
)
"""Where frames lie by custom: NeXus, CXI, Data Exchange."""
SERIES = re.compile(r"data_\d{6}")
"""Names of the parts in a master file of EIGER."""
MOST = 5000
"""Objects of a file that are looked at."""


def split_name(spec: str) -> tuple[str, str]:
    """File and path within it of ``file.h5::/path``.

    Example:
        >>> split_name("run.h5::/entry/data"), split_name("run.h5")
        (('run.h5', '/entry/data'), ('run.h5', ''))
    """
    path, _, name = spec.partition("::")
    return path, name


def find_frames(file: h5py.File, name: str = "") -> tuple[list[str], str]:
    """The datasets of frames, to be joined along time, and a word where they were guessed.

    Args:
        file: An open file.
        name: Path within it, where one is given.

    Raises:
        InputError: There are several that could be meant, or none.
    """
    if name:
        return [name if name.startswith("/") else f"/{name}"], ""
    for place in (f"{DETECTOR}/data", _default(file), *PLACES):
        if place and place in file:
            return [place], ""
    for group in (_default_group(file), "/entry/data"):
        if group and isinstance(file.get(group), h5py.Group):
            parts = sorted(k for k in file[group] if SERIES.fullmatch(in_words(k)))
            if parts:
                return [f"{group}/{k}" for k in parts], ""
    found = {k: v.shape for k, v in datasets(file).items() if _may_be_frames(v)}
    if len(found) != 1:
        raise _not_found(file, found)
    only = next(iter(found))
    return [only], f"the frames were taken from {only}, the only ones in the file"


def _not_found(file: h5py.File, found: dict[str, tuple[int, ...]]) -> InputError:
    listed = ", ".join(f"{k} {v}" for k, v in list(found.items())[:8])
    first = next(iter(found), "/path/to/data")
    return InputError(
        f"cannot read {DETECTOR}/data from {file.filename}",
        why=f"there is none; frames could be {listed}"
        if found
        else f"there is none; the file holds {', '.join(map(str, list(file)[:8])) or 'nothing'}",
        fix=f"name the dataset: {file.filename}::{first}",
    )


def _may_be_frames(found: h5py.Dataset) -> bool:
    """Whether a dataset could be a series of images."""
    return found.ndim in (3, 4) and min(found.shape[-2:]) > 1 and found.dtype.kind in "uif"


def datasets(file: h5py.File, under: str = "/") -> dict[str, h5py.Dataset]:
    """Datasets of a group and of those below it, by their paths; links are not followed."""
    found: dict[str, h5py.Dataset] = {}
    seen = 0

    def look(name: str, thing: h5py.HLObject) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(thing, h5py.Dataset):
            found[f"{under.rstrip('/')}/{name}"] = thing
        return True if seen > MOST else None

    group = file.get(under)
    if isinstance(group, h5py.Group):
        group.visititems(look)
    return found


def _default_group(file: h5py.File) -> str:
    """The NXdata group that NeXus's ``default`` attributes lead to, or the first; else nothing."""
    at = "/"
    for _ in range(8):
        group = file.get(at)
        step = _text(group, "default") if isinstance(group, h5py.Group) else ""
        if not step:
            break
        at = f"{at.rstrip('/')}/{step}"
    if at != "/" and isinstance(file.get(at), h5py.Group) and _text(file[at], "signal"):
        return at
    named = [
        f"/{entry}/{key}"
        for entry in list(file)[:50]
        if isinstance(file.get(entry), h5py.Group)
        for key in list(file[entry])[:50]
        if isinstance(file[entry].get(key), h5py.Group) and _text(file[entry][key], "signal")
    ]
    return named[0] if len(named) == 1 else ""


def _default(file: h5py.File) -> str:
    """The dataset that NeXus says to plot, where it holds frames."""
    group = _default_group(file)
    if not group:
        return ""
    place = f"{group}/{_text(file[group], 'signal')}"
    check_links(file, place)
    found = file.get(place)
    return "" if isinstance(found, h5py.Dataset) and not _may_be_frames(found) else place


def _text(thing: h5py.HLObject, name: str) -> str:
    """A text attribute, or nothing."""
    value = thing.attrs.get(name, "")
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str) else ""
