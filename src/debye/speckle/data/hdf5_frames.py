"""Frames of HDF5 files: of EIGER masters with what they link to, NeXus, CXI, of several runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from debye.errors import InputError
from debye.speckle.data.detector import full_in, masked_in, taken_at
from debye.speckle.data.guarded import read
from debye.speckle.data.hdf5 import dataset, open_hdf5
from debye.speckle.data.images import Reader, check_series
from debye.speckle.data.locate import SERIES, datasets, find_frames, split_name
from debye.speckle.data.saturation import full_of
from debye.speckle.data.stated import Stated, frame_times_in, geometry_in, metadata_of


class Hdf5Frames:
    """Frames of an HDF5 file, of all files that it links to.

    Args:
        spec: The file, ``file.h5::/path``, or ``file.h5::/path[k]`` of several runs.
        growing: Whether parts of a series that are not there yet may be missing at its end.

    Raises:
        InputError: What `debye.speckle.data.nexus.load_frames` refuses of a file, parts are of
            different shapes, one is missing, or there are several runs.
    """

    def __init__(self, spec: str, *, growing: bool = False) -> None:
        self.name, (self.path, inside), self.growing = spec, split_name(spec), growing
        with open_hdf5(self.path, growing=self.growing) as file:
            inside, self.run = _split_run(file, inside)
            self.names, note = find_frames(file, inside)
            if not inside and len(self.names) == 1 and len(also := alike(file, self.names)) > 1:
                note = f"{self.path} holds {len(also)} runs; the first, {self.names[0]}, was taken"
            if growing:
                self.names = _there(file, self.names, self.run)
            self.parts = [_frames_of(file, name, self.run) for name in self.names]
            self._check_parts(file)
            first = self.parts[0]
            self.shape = (sum(p[0] for p in self.parts), first[1], first[2])
            found = dataset(file, self.names[0], max_bytes=1 << 62)
            self.dtype = found.dtype
            self.stated = self._stated(file, found, note)

    def _check_parts(self, file: h5py.File) -> None:
        """Refuse parts of different shapes, and a series with a gap."""
        for name, part in zip(self.names, self.parts, strict=True):
            if part[1:] != self.parts[0][1:]:
                raise InputError(
                    f"cannot join the frames of {file.filename}",
                    why=f"those of {name} are {part[1:]}, of {self.names[0]} {self.parts[0][1:]}",
                    fix="name one dataset: FILE::/PATH",
                )
        if len(self.names) > 1:
            check_series(self.names, file.filename)

    def _stated(self, file: h5py.File, found: h5py.Dataset, note: str) -> Stated:
        """What the file says of them, and the metadata of 8-ID beside it."""
        name, notes = self.names[0], [note] if note else []
        said = geometry_in(file, name, notes) | frame_times_in(file, name)
        if (beside := metadata_of(Path(self.path), notes)) is not None:
            with open_hdf5(beside) as other:
                theirs = geometry_in(other, "", notes) | frame_times_in(other)
                said |= {k: v for k, v in theirs.items() if v is not None}
        mask, masked = masked_in(file, name, self.shape[1:])
        taken = taken_at(file, name, self.shape[0])
        even = "s apart" in taken.note
        is_axis = not taken.note
        if even and self.shape[0] > 1 and said["frame_time"] is None:
            said["frame_time"] = float(taken.times[1])
            notes.append(taken.note)
        return Stated(
            mask=mask,
            masked=masked,
            full=min(full_of(found.dtype), full_in(file, name, found)),
            times=taken.times if is_axis else None,
            time_unit=None if is_axis and not taken.is_named else taken.unit if is_axis else "s",
            **said,  # type: ignore[arg-type]
            notes=tuple(notes),
        )

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Open the file, for as long as the block lasts.

        Raises:
            InputError: It cannot be read any more.
        """
        with open_hdf5(self.path, growing=self.growing) as file:
            held = [dataset(file, name, max_bytes=1 << 62) for name in self.names]

            def rows_of(rows: range) -> np.ndarray:
                wanted, first = np.asarray(rows), 0
                found = []
                for part, (count, _, _) in zip(held, self.parts, strict=True):
                    here = wanted[(wanted >= first) & (wanted < first + count)] - first
                    first += count
                    if len(here):
                        found.append(_rows(part, here, rows.step, self.run))
                return found[0] if len(found) == 1 else np.concatenate(found)

            yield rows_of


def _there(file: h5py.File, names: list[str], run: int | None) -> list[str]:
    """The parts of a series before the first that cannot be read yet; the first at least."""
    for k, name in enumerate(names[1:], 1):
        try:
            _frames_of(file, name, run)
        except InputError:
            return names[:k]
    return names


def _split_run(file: h5py.File, inside: str) -> tuple[str, int | None]:
    """The dataset and the run of ``/path[k]``, but where a dataset is called so."""
    found = re.fullmatch(r"(.+)\[(\d+)\]", inside)
    return (inside, None) if found is None or inside in file else (found[1], int(found[2]))


def _rows(found: h5py.Dataset, here: np.ndarray, step: int, run: int | None) -> np.ndarray:
    """Frames of a dataset of (time, qy, qx), (time, 1, qy, qx) or (run, time, qy, qx)."""
    part = slice(int(here[0]), int(here[-1]) + 1, step)
    if found.ndim == 4 and (run is not None or found.shape[1] != 1):
        return read(found, part, run or 0)
    rows = read(found, part)
    return rows[:, 0] if found.ndim == 4 else rows


def _frames_of(file: h5py.File, name: str, run: int | None) -> tuple[int, int, int]:
    """Shape of the frames of a dataset."""
    found = dataset(file, name, ndim=(3, 4), max_bytes=1 << 62)
    if found.dtype.kind == "c":
        raise InputError(
            f"cannot read {name} from {file.filename}",
            why="its numbers are complex, and a detector counts",
            fix="give intensities: the squared modulus of amplitudes",
        )
    runs = found.shape[0] if found.ndim == 4 and (run is not None or found.shape[1] != 1) else 1
    if not (run or 0) < runs or (run is None and runs > 1):
        raise InputError(
            f"cannot read {name} from {file.filename}",
            why=f"it holds {runs} runs, {found.shape}",
            fix=f"name one, from 0: {file.filename}::{name}[0]",
        )
    if found.ndim == 4 and runs == 1 and run is None and found.shape[1] == 1:
        return (found.shape[0], *found.shape[2:])
    return found.shape[1:] if found.ndim == 4 else found.shape


def alike(file: h5py.File, names: list[str]) -> list[str]:
    """Datasets of frames of one shape whose names differ by numbers alone: runs of one detector.

    Args:
        file: An open file.
        names: One of them; parts of an EIGER's series are one run.
    """
    if len(names) != 1 or not isinstance(file.get(names[0]), h5py.Dataset):
        return names
    shape, series = file[names[0]].shape[-2:], _series(names[0])
    held = datasets(file).items()
    found = [k for k, v in held if _series(k) == series and v.shape[-2:] == shape and v.ndim == 3]
    return sorted({*found, names[0]}, key=_number)


def _series(name: str) -> str:
    """A path without its numbers."""
    return re.sub(r"\d+", "#", name)


def _number(name: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", name)]


def runs_in(spec: str) -> list[str]:
    """The runs of an HDF5 file, each as ``file.h5::/path`` or ``file.h5::/path[k]``.

    Several datasets whose paths differ by numbers alone are runs, and the first axis of one that
    has four, (run, time, qy, qx).

    Args:
        spec: The file, or the file and a dataset.

    Returns:
        What was given, if it is one run.

    Raises:
        InputError: It cannot be read.
    """
    path, inside = split_name(spec)
    with open_hdf5(path) as file:
        try:
            names, _ = find_frames(file, inside)
        except InputError:
            held = datasets(file)
            first = next((k for k, v in held.items() if v.ndim == 3 and min(v.shape) > 1), "")
            names = [first] if first else []
            if len(names) < len(held) and _many_kinds(held):
                return [spec]
        names = names if inside else alike(file, names)
        if len(names) > 1:
            is_series = all(SERIES.fullmatch(n.rsplit("/", 1)[1]) for n in names)
            return [spec] if is_series else [f"{path}::{name}" for name in names]
        found = file.get(names[0]) if names else None
        if isinstance(found, h5py.Dataset) and found.ndim == 4 and min(found.shape[:2]) > 1:
            return [f"{path}::{names[0]}[{k}]" for k in range(found.shape[0])]
    return [spec]


def _many_kinds(held: dict[str, h5py.Dataset]) -> bool:
    """Whether what could be frames is of several series or shapes."""
    kinds = {(_series(k), v.shape[-2:]) for k, v in held.items() if v.ndim in (3, 4)}
    return len(kinds) != 1
