"""A result file that is APS 8-ID's and NeXus' NXxpcs at once, and read again.

Datasets stand once, under ``/xpcs`` as boost_corr writes them; ``/entry`` holds hard links to them
under NXxpcs' names. What neither has (replicas, widths of delays) stands under ``/xpcs/debye``.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.hdf5 import open_hdf5, write_hdf5
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.fit import Fit
from debye.speckle.xpcs.qmap import QMap
from debye.speckle.xpcs.twotime import TwoTime

VERSION = 1
"""Of what stands under ``/xpcs/debye``."""
DETECTOR = "/entry/instrument/detector_1"
FIT = "/xpcs/debye/fit"
BEAM = "/entry/instrument/incident_beam"


def write_results(
    path: str | os.PathLike[str],
    correlation: Correlation | None = None,
    two_time: TwoTime | None = None,
    *,
    start_time: str = "",
    count_time: float | None = None,
    identifier: str = "1",
    overwrite: bool = False,
) -> Path:
    """Write a result file, whole or not at all.

    pyXpcsViewer opens it where the geometry is known; without one its q are in pixels, and what
    the geometry lacks is NaN.

    Args:
        path: Its name, ending in ``.hdf``.
        correlation: g2 and what belongs to it.
        two_time: Maps, of the same frames; those of the correlation by default.
        start_time: When the first frame was taken, ISO 8601; as the frames' file says by default.
        count_time: Exposure of a frame, s; as the frames' file says by default, or the frame time.
        identifier: Of the scan.
        overwrite: Whether a file of that name may be replaced.

    Returns:
        The path.

    Raises:
        InputError: There is nothing to write, the file exists, or its folder does not.
        ComputationError: The disk is full or failed.

    Example:
        >>> import tempfile
        >>> from debye.speckle.data.read_results import read_results
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> found = brownian(frames=100).correlate()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_results(write_results(f"{folder}/a_results.hdf", found)).correlation == found
        True
    """
    path = Path(path).expanduser()
    if two_time is None and correlation is not None:
        two_time = correlation.two_time
    main = correlation or (two_time.correlation if two_time is not None else None)
    if main is None:
        raise InputError(
            f"cannot write {path}", why="there is no result", fix="give a correlation or maps"
        )
    _check_new(path, overwrite)
    binned = 1
    if correlation is not None and two_time is not None:
        binned = round(two_time.frame_time / correlation.frame_time)
    with write_hdf5(path) as file:
        about = main.about
        start_time = start_time or str(about.get("start_time", ""))
        _write_entry(file, main, start_time, count_time or about.get("count_time"), identifier)
        _write_qmap(file, main.qmap)
        _write_means(file, main)
        if correlation is not None:
            _write_multitau(file, correlation)
        if two_time is not None:
            _write_two_time(file, two_time, binned)
        _link(file)
    return path


def write_fit(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    fitted: Fit,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a copy of a result file with a fit in it, whole or not at all.

    Args:
        source: The result file.
        path: The copy's name; it may be the result file itself.
        fitted: What was fitted to it; one that it holds already is replaced.
        overwrite: Whether a file of that name may be replaced.

    Returns:
        The path.

    Raises:
        InputError: The file exists, or its folder does not.
        ComputationError: The disk is full or failed.
    """
    path = Path(path).expanduser()
    _check_new(path, overwrite)
    with write_hdf5(path, Path(source).expanduser()) as file:
        if FIT in file:
            del file[FIT]
        group = file.require_group(FIT)
        for name in ("q", "values", "error", "replicas", "chi2", "expected", "p_value"):
            group[name] = getattr(fitted, name).numpy()
        group["model"], group["unit"] = fitted.model, fitted.unit
        group["names"], group["notes"] = json.dumps(fitted.names), json.dumps(fitted.notes)
    return path


def holds_results(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an HDF5 file of g2 and not of frames.

    Args:
        path: The file; what is no HDF5 file holds none.

    Raises:
        InputError: It is one, and damaged.
    """
    name = Path(path).expanduser()
    if not name.is_file():
        return False
    with name.open("rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return False
    with open_hdf5(name) as file:
        return "/xpcs/multitau" in file or "/entry/data/g2" in file


def _check_new(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(
            f"cannot write {path}", why="it exists", fix="choose another name, or allow overwriting"
        )


def _write_entry(
    file: Any,  # noqa: ANN401 - an open file of h5py, which this room does not import
    found: Correlation,
    start_time: str,
    count_time: float | None,
    identifier: str,
) -> None:
    """Who, when and with what."""
    geometry = found.qmap.geometry
    tall, wide = geometry.sides if geometry.pixel is not None else (math.nan, math.nan)
    file.attrs["default"] = "entry"
    for name, kind in (
        ("/entry", "NXentry"),
        ("/entry/instrument", "NXinstrument"),
        (DETECTOR, "NXdetector"),
        (BEAM, "NXbeam"),
        ("/entry/data", "NXdata"),
    ):
        file.require_group(name).attrs["NX_class"] = kind
    file["/entry/definition"] = "NXxpcs"
    file["/entry/entry_identifier"] = identifier
    file["/entry/scan_number"] = int(identifier) if identifier.isdecimal() else 0
    file["/entry/start_time"] = start_time
    for name, value, unit in (
        (f"{DETECTOR}/frame_time", found.frame_time, "s"),
        (f"{DETECTOR}/count_time", count_time or found.frame_time, "s"),
        (f"{DETECTOR}/distance", geometry.distance, "m"),
        (f"{DETECTOR}/x_pixel_size", wide, "m"),
        (f"{DETECTOR}/y_pixel_size", tall, "m"),
        (f"{DETECTOR}/beam_center_x", geometry.x, "pixel"),
        (f"{DETECTOR}/beam_center_y", geometry.y, "pixel"),
        (f"{BEAM}/incident_energy", geometry.energy, "keV"),
    ):
        file[name] = math.nan if value is None else float(value)
        file[name].attrs["units"] = unit


def _write_qmap(file: Any, qmap: QMap) -> None:  # noqa: ANN401 - as above
    """Masks and bins as 8-ID has them."""
    group, geometry = file.require_group("/xpcs/qmap"), qmap.geometry
    group.attrs["hash"] = qmap.digest
    group["mask"] = qmap.mask.numpy().astype(np.uint8)
    for kind, part in (("dynamic", qmap.dynamic), ("static", qmap.static)):
        group[f"{kind}_roi_map"] = part.labels.numpy().astype(np.uint32)
        group[f"{kind}_v_list_dim0"] = part.q.numpy()
        group[f"{kind}_v_list_dim1"] = part.phi.numpy()
        group[f"{kind}_num_pts"] = [len(part.q), len(part.phi)]
        group[f"{kind}_index_mapping"] = part.index.numpy()
    group["beam_center_x"], group["beam_center_y"] = float(geometry.x), float(geometry.y)
    group["detector_distance"] = math.nan if geometry.distance is None else geometry.distance
    group["pixel_size"] = math.nan if geometry.pixel is None else geometry.sides[1]
    group["map_names"] = np.array([b"q", b"phi"])
    group["map_units"] = np.array([b"1/A" if geometry.is_physical else b"pixel", b"degree"])
    own = file.require_group("/xpcs/debye")
    own["version"] = VERSION
    own["dq"] = math.nan if geometry.dq is None else geometry.dq
    own["q_edges"], own["phi_edges"] = qmap.q_edges.numpy(), qmap.phi_edges.numpy()
    own["left_out"] = np.array(qmap.left_out, dtype=np.int64).reshape(-1, 2)
    if geometry.tilt is not None:
        own["tilt"] = geometry.tilt
    own["wavelength"] = math.nan if geometry.wavelength is None else geometry.wavelength
    own["pixel"] = list(geometry.sides) if isinstance(geometry.pixel, tuple) else geometry.sides[:1]


def _write_means(file: Any, found: Correlation) -> None:  # noqa: ANN401 - as above
    """SAXS and intensity."""
    file["/xpcs/temporal_mean/scattering_2d"] = found.saxs_2d.numpy()[None]
    file["/xpcs/temporal_mean/scattering_1d"] = found.saxs_1d.numpy()[None]
    segments = np.stack([s.saxs_1d.numpy() for s in found.slices or (found,)])
    file["/xpcs/temporal_mean/scattering_1d_segments"] = segments
    series = np.stack([found.numbers.double().numpy(), found.intensity.numpy()])
    file["/xpcs/spatial_mean/intensity_vs_time"] = series


def _write_multitau(file: Any, found: Correlation) -> None:  # noqa: ANN401 - as above
    """g2 as 8-ID has it, (delay, bin), and its replicas."""
    group = file.require_group("/xpcs/multitau")
    group["delay_list"] = found.delay.numpy()
    group["normalized_g2"] = found.g2.T.numpy()
    group["normalized_g2_err"] = found.error.T.numpy()
    group["config/stride_frame"], group["config/avg_frame"] = 1, 1
    if found.slices:
        parts = [_at(found.delay, s) for s in found.slices]
        group["normalized_g2_partial"] = np.stack([g2.T for g2, _ in parts])
        group["normalized_g2_partial_err"] = np.stack([error.T for _, error in parts])
        labels = [f"{int(s.numbers[0])}-{int(s.numbers[-1])}" for s in found.slices]
        group["normalized_g2_partial_labels"] = np.array(labels, dtype="S")
    _write_own(file.require_group("/xpcs/debye/multitau"), found)
    file["/xpcs/debye/about"] = json.dumps(found.about)
    for k, part in enumerate(found.slices):
        _write_slice(file.require_group(f"/xpcs/debye/slices/{k:04d}"), part)


def _write_own(group: Any, found: Correlation) -> None:  # noqa: ANN401 - as above
    """What only debye has of a correlation."""
    for name in ("width", "replicas", "contrast", "contrast_replicas"):
        group[name] = getattr(found, name).numpy()
    group["counts"] = int(found.counts)


def _write_slice(group: Any, part: Correlation) -> None:  # noqa: ANN401 - as above
    """A slice of time, or a run of which the whole is the mean."""
    _write_own(group, part)
    for name in ("delay", "g2", "saxs_1d", "intensity", "numbers"):
        group[name] = getattr(part, name).numpy()
    group.create_dataset("saxs_2d", data=part.saxs_2d.numpy(), compression="lzf", shuffle=True)
    group["about"] = json.dumps(part.about)


def _at(delay: Tensor, part: Correlation) -> tuple[np.ndarray, np.ndarray]:
    """g2 and error of a slice at the delays of the whole; NaN at those it does not have."""
    where = {d: i for i, d in enumerate(part.delay.tolist())}
    chosen = [where.get(d, -1) for d in delay.tolist()]
    lacking = np.array(chosen) < 0
    both = [values.numpy()[:, chosen].copy() for values in (part.g2, part.error)]
    for values in both:
        values[:, lacking] = np.nan
    return both[0], both[1]


def _write_two_time(file: Any, found: TwoTime, binned: int) -> None:  # noqa: ANN401 - as above
    """Maps as 8-ID has them: their upper half, and g2 of all bins, NaN where there is no map."""
    group, g2 = file.require_group("/xpcs/twotime"), found.correlation
    bins, time = len(file["/xpcs/qmap/dynamic_index_mapping"]), found.maps.shape[-1]
    group["processed_bins"] = found.bins.numpy() + 1
    group["config/stride_frame"], group["config/avg_frame"] = 1, binned
    every = np.full((2, time, bins), np.nan)
    every[:, 0, found.bins.numpy()] = np.stack([1 + g2.contrast.numpy(), g2.contrast_error.numpy()])
    every[:, g2.delay.numpy()[:, None], found.bins.numpy()] = np.stack([g2.g2.T, g2.error.T])
    group["normalized_g2"], group["normalized_g2_err"] = every
    group["normalized_g2_segments"] = _segments(found, bins)
    group["delay_list"] = np.arange(time)
    for number, one in zip(found.bins.tolist(), found.maps.numpy(), strict=True):
        name = f"correlation_map/c2_{number + 1:05d}"
        group.create_dataset(name, data=np.triu(one), compression="lzf", shuffle=True)
    own = file.require_group("/xpcs/debye/twotime")
    _write_own(own, g2)
    own["intensity"], own["numbers"] = g2.intensity.numpy(), g2.numbers.numpy()
    own["saxs_2d"], own["saxs_1d"] = g2.saxs_2d.numpy(), g2.saxs_1d.numpy()


def _segments(found: TwoTime, bins: int, count: int = 5) -> np.ndarray:
    """(time / k, k, bin) g2 from diagonals of squares along the diagonal, one after another."""
    side = max(found.maps.shape[-1] // count, 1)
    count = min(count, found.maps.shape[-1] // side)
    segments = np.full((side, count, bins), np.nan)
    for k in range(count):
        square = found.maps[:, k * side : (k + 1) * side, k * side : (k + 1) * side].double()
        for lag in range(side):
            mean = square.diagonal(lag, 1, 2).nanmean(1)
            segments[lag, k, found.bins.numpy()] = mean.numpy()
    return segments


def _link(file: Any) -> None:  # noqa: ANN401 - as above
    """NXxpcs' names for the same datasets."""
    names = {
        "data/frame_average": "temporal_mean/scattering_2d",
        "data/g2": "multitau/normalized_g2",
        "data/g2_derr": "multitau/normalized_g2_err",
        "data/delay_difference": "multitau/delay_list",
        "twotime/two_time_corr_func": "twotime/correlation_map",
        "twotime/g2_from_two_time_corr_func": "twotime/normalized_g2",
        "twotime/g2_err_from_two_time_corr_func": "twotime/normalized_g2_err",
        "instrument/masks/dynamic_roi_map": "qmap/dynamic_roi_map",
        "instrument/masks/static_roi_map": "qmap/static_roi_map",
        "instrument/masks/dynamic_q_list": "qmap/dynamic_v_list_dim0",
        "instrument/masks/dynamic_phi_list": "qmap/dynamic_v_list_dim1",
        "instrument/masks/static_q_list": "qmap/static_v_list_dim0",
        "instrument/masks/mask": "qmap/mask",
    }
    for name, target in names.items():
        if f"/xpcs/{target}" in file:
            file[f"/entry/{name}"] = file[f"/xpcs/{target}"]
    file["/entry/instrument/masks"].attrs["NX_class"] = "NXnote"
    for name in ("g2", "g2_derr", "delay_difference"):
        if f"/entry/data/{name}" in file:
            file[f"/entry/data/{name}"].attrs["storage_mode"] = "one_array"
    if "/entry/twotime" in file:
        file["/entry/twotime"].attrs["NX_class"] = "NXdata"
        maps = file["/entry/twotime/two_time_corr_func"].attrs
        maps["storage_mode"], maps["populated_elements"] = "data_exchange_keys", "upper_half"
        maps["baseline_reference"], maps["time_origin_location"] = 1, "upper_left"
        g2 = file["/entry/twotime/g2_from_two_time_corr_func"].attrs
        g2["storage_mode"], g2["baseline_reference"] = "one_array_q_last", 1
        g2["first_point_for_fit"] = 0
