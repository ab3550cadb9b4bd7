"""Read result files: debye's own, boost_corr's, and others of the layout of APS 8-ID."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.detector import unit_of
from debye.speckle.data.hdf5 import array, open_hdf5, text
from debye.speckle.data.results import BEAM, DETECTOR, FIT, VERSION
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.fit import Fit
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.qmap import Partition, QMap
from debye.speckle.xpcs.twotime import TwoTime
from debye.units import TIME_UNITS

OWN = "/xpcs/debye/version"
NEXUS = {
    "/xpcs/multitau/normalized_g2": "/entry/data/g2",
    "/xpcs/multitau/normalized_g2_err": "/entry/data/g2_derr",
    "/xpcs/multitau/delay_list": "/entry/data/delay_difference",
    "/xpcs/temporal_mean/scattering_2d": "/entry/data/frame_average",
    "/xpcs/qmap/dynamic_roi_map": "/entry/instrument/masks/dynamic_roi_map",
    "/xpcs/qmap/static_roi_map": "/entry/instrument/masks/static_roi_map",
    "/xpcs/qmap/dynamic_v_list_dim0": "/entry/instrument/masks/dynamic_q_list",
    "/xpcs/qmap/dynamic_v_list_dim1": "/entry/instrument/masks/dynamic_phi_list",
    "/xpcs/qmap/static_v_list_dim0": "/entry/instrument/masks/static_q_list",
    "/xpcs/qmap/mask": "/entry/instrument/masks/mask",
    "/xpcs/qmap/beam_center_x": f"{DETECTOR}/beam_center_x",
    "/xpcs/qmap/beam_center_y": f"{DETECTOR}/beam_center_y",
    "/xpcs/qmap/detector_distance": f"{DETECTOR}/distance",
    "/xpcs/qmap/pixel_size": f"{DETECTOR}/x_pixel_size",
}
"""Where NXxpcs has what 8-ID calls so."""


DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError)
"""What numpy, torch and h5py raise of parts that do not fit together."""


class Results(NamedTuple):
    """What a result file holds."""

    correlation: Correlation | None
    two_time: TwoTime | None
    start_time: str = ""
    fit: Fit | None = None


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read a result file of debye, boost_corr or another that keeps to the layout of APS 8-ID.

    A file of NXxpcs alone is read too, if it says where its bins are. Slices of time, two-time maps
    and what was fitted come along. Files that hold errors alone get replicas that have these
    errors, independent between delays;
    files whose errors are of another origin keep them.

    Args:
        path: The file.

    Raises:
        InputError: It is missing, damaged, of a newer version, or holds no results.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            found = _read(path)
            if found.correlation is not None:
                _check_shapes(found.correlation)
            if found.two_time is not None:
                _check_shapes(found.two_time.correlation)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"cannot read results from {path}",
            why=f"its parts do not fit together: {(str(error) or repr(error)).splitlines()[0]}",
            fix="copy it again, or correlate the frames again",
        ) from error
    return found


def _check_shapes(found: Correlation) -> None:
    """Refuse what would fail later.

    Raises:
        ValueError: Something is of another shape than the rest.
    """
    bins, delays = found.g2.shape
    shapes = {
        "width": (found.width.shape, (delays,)),
        "replicas": (found.replicas.shape, (len(found.replicas), bins, delays)),
        "contrast": (found.contrast.shape, (bins,)),
        "contrast_replicas": (
            found.contrast_replicas.shape,
            (len(found.contrast_replicas), bins),
        ),
        "intensity": (found.intensity.shape, found.numbers.shape),
        "delay": (found.delay.shape, (delays,)),
        "saxs_2d": (found.saxs_2d.shape, found.qmap.shape),
    }
    for name, (shape, wanted) in shapes.items():
        if tuple(shape) != tuple(wanted):
            raise ValueError(f"{name} is {tuple(shape)}, not {tuple(wanted)}")


def _read(path: str | os.PathLike[str]) -> Results:
    """What a file holds."""
    with open_hdf5(path) as file:
        if "/xpcs/qmap" not in file and NEXUS["/xpcs/qmap/dynamic_roi_map"] not in file:
            raise InputError(
                f"cannot read results from {path}",
                why="it has no /xpcs/qmap, and no masks of NXxpcs",
                fix="give a result file of debye or boost_corr, not the frames",
            )
        version = int(array(file, OWN)) if OWN in file else VERSION
        if version > VERSION:
            raise InputError(
                f"cannot read results from {path}",
                why=f"it is of version {version}, and this debye reads {VERSION}",
                fix="update debye",
            )
        qmap = _read_qmap(file)
        start = text(file, "/entry/start_time") if "/entry/start_time" in file else ""
        has_g2 = _named(file, "/xpcs/multitau/normalized_g2") in file or "/xpcs/multitau" in file
        correlation = _read_multitau(file, qmap) if has_g2 else None
        maps = _read_two_time(file, qmap, correlation) if "/xpcs/twotime" in file else None
        fitted = _read_fit(file) if FIT in file else None
    if correlation is None and maps is None:
        raise InputError(
            f"cannot read results from {path}",
            why="it has neither /xpcs/multitau nor /xpcs/twotime",
            fix="correlate the frames again",
        )
    if correlation is not None:
        about = {"source": os.fspath(path), **correlation.about}
        correlation = replace(correlation, two_time=maps, about=about)
    return Results(correlation, maps, start, fitted)


def asked_of(path: str | os.PathLike[str]) -> str:
    """What was asked for when a result file was made, as a digest; empty where that is unknown.

    Args:
        path: The file.
    """
    try:
        with open_hdf5(path) as file:
            return str(_json(file, "/xpcs/debye/about").get("asked", ""))
    except InputError:
        return ""


def _read_qmap(file: Any) -> QMap:  # noqa: ANN401 - as above
    """The q-map of a file."""
    parts: dict[str, Partition] = {}
    for kind in ("dynamic", "static"):
        root = f"/xpcs/qmap/{kind}"
        if kind == "static" and _named(file, f"{root}_roi_map") not in file:
            parts[kind] = parts["dynamic"]
            continue
        name = _named(file, f"{root}_roi_map")
        labels = array(file, name, ndim=(2,)).astype(np.int32)
        try:
            parts[kind] = _partition(file, root, labels)
        except InputError:  # NXxpcs does not say how shells are numbered
            if kind == "dynamic" or OWN in file:
                raise
            parts[kind] = parts["dynamic"]
    own = OWN in file
    labels = parts["dynamic"].labels.numpy()
    where = _named(file, "/xpcs/qmap/mask")
    mask = torch.from_numpy(array(file, where) > 0 if where in file else labels > 0)
    dynamic = parts["dynamic"]
    return QMap(
        dynamic,
        parts["static"],
        _floats(file, "/xpcs/debye/q_edges") if own else _around(dynamic.q),
        _floats(file, "/xpcs/debye/phi_edges") if own else _around(dynamic.phi),
        mask,
        _read_geometry(file),
        tuple(map(tuple, array(file, "/xpcs/debye/left_out").tolist())) if own else (),
    )


def _partition(file: Any, root: str, labels: np.ndarray) -> Partition:  # noqa: ANN401 - as above
    """Bins of a file; where it does not say how they are numbered, each has a q of its own."""
    count = int(labels.max(initial=0))
    q = _floats(file, f"{root}_v_list_dim0").ravel()
    name = _named(file, f"{root}_v_list_dim1")
    phi = _floats(file, name).ravel() if name in file else torch.tensor([180.0]).double()
    if f"{root}_index_mapping" in file:
        index = array(file, f"{root}_index_mapping").astype(np.int64).ravel()
    else:
        index = np.arange(count)
        phi = phi if len(q) * len(phi) == count else torch.tensor([180.0]).double()
    if len(index) != count or (count and not 0 <= index.min() <= index.max() < len(q) * len(phi)):
        raise InputError(
            f"cannot read the q-map of {file.filename}",
            why=f"it labels {count} bins, and says of {len(index)} where they are",
            fix="check who wrote the file",
        )
    return Partition(torch.from_numpy(labels), q, phi, torch.from_numpy(index))


def _read_geometry(file: Any) -> Geometry:  # noqa: ANN401 - as above
    """The geometry of a file."""
    root = "/xpcs/qmap"
    pixel = _known(file, _named(file, f"{root}/pixel_size"))
    wavelength = _known(file, "/xpcs/debye/wavelength")
    energy = _known(file, f"{BEAM}/incident_energy")
    sides = array(file, "/xpcs/debye/pixel").tolist() if OWN in file else []
    tilt = array(file, "/xpcs/debye/tilt").tolist() if "/xpcs/debye/tilt" in file else None
    return Geometry(
        _scalar(file, f"{root}/beam_center_x"),
        _scalar(file, f"{root}/beam_center_y"),
        _known(file, _named(file, f"{root}/detector_distance")),
        (sides[0], sides[1]) if len(sides) == 2 and pixel else pixel,
        wavelength_of(energy) if wavelength is None and energy is not None else wavelength,
        None if tilt is None else (tilt[0], tilt[1], tilt[2]),
        _known(file, "/xpcs/debye/dq"),
    )


def _read_multitau(file: Any, qmap: QMap) -> Correlation:  # noqa: ANN401 - as above
    """g2 of a file, with its replicas, or such as have its errors."""
    root, own = "/xpcs/multitau", "/xpcs/debye/multitau"
    frame_time = _scalar(file, f"{DETECTOR}/frame_time") * _stride(file, root)
    delay = _delays(file, f"{root}/delay_list", frame_time)
    g2 = _floats(file, f"{root}/normalized_g2").T.contiguous()
    if g2.shape != (len(qmap), len(delay)):
        raise InputError(
            f"cannot read g2 from {file.filename}",
            why=f"it is of {tuple(g2.shape)} bins and delays, and there are "
            f"{len(qmap)} bins and {len(delay)} delays",
            fix="check who wrote the file",
        )
    if own in file:
        rest = _read_own(file, own)
    else:
        error = _floats(file, f"{root}/normalized_g2_err").T
        unknown = torch.full((len(qmap),), math.nan, dtype=torch.float64)
        rest = {
            "width": torch.ones_like(delay),
            "replicas": replicas_of(g2, error),
            "contrast": unknown,
            "contrast_replicas": unknown[None],
        }
    mean, shells = (_named(file, f"/xpcs/temporal_mean/scattering_{n}d") for n in (2, 1))
    nothing = torch.full((len(qmap.static),), math.nan, dtype=torch.float64)
    series = torch.full((2, 0), math.nan, dtype=torch.float64)
    if "/xpcs/spatial_mean/intensity_vs_time" in file:
        series = _floats(file, "/xpcs/spatial_mean/intensity_vs_time").reshape(2, -1)
    return Correlation(
        qmap,
        frame_time,
        delay,
        g2=g2,
        saxs_2d=_floats(file, mean).reshape(qmap.shape)
        if mean in file
        else torch.full(qmap.shape, math.nan, dtype=torch.float64),
        saxs_1d=_floats(file, shells).reshape(-1, len(qmap.static))[0]
        if shells in file
        else nothing,
        intensity=series[1],
        numbers=series[0].round().long(),
        slices=_read_slices(file, qmap, frame_time),
        about=_json(file, "/xpcs/debye/about"),
        **rest,
    )


def _read_slices(file: Any, qmap: QMap, frame_time: float) -> tuple[Correlation, ...]:  # noqa: ANN401
    """Slices of time, or runs of which the whole is the mean."""
    root = "/xpcs/debye/slices"
    found = []
    for name in sorted(file[root]) if root in file else ():
        at = f"{root}/{name}"
        values: dict[str, Any] = {
            k: _floats(file, f"{at}/{k}") for k in ("g2", "saxs_2d", "saxs_1d", "intensity")
        }
        values |= {k: torch.from_numpy(array(file, f"{at}/{k}")) for k in ("delay", "numbers")}
        values |= {"about": _json(file, f"{at}/about"), **_read_own(file, at)}
        found.append(Correlation(qmap, frame_time, **values))
    return tuple(found)


def _read_fit(file: Any) -> Fit:  # noqa: ANN401 - as above
    """What was fitted."""
    names = ("q", "values", "replicas", "chi2", "expected", "p_value")
    words = {k: json.loads(text(file, f"{FIT}/{k}")) for k in ("names", "notes")}
    return Fit(
        text(file, f"{FIT}/model"),
        tuple(words["names"]),
        unit=text(file, f"{FIT}/unit"),
        notes=tuple(words["notes"]),
        **{name: _floats(file, f"{FIT}/{name}") for name in names},
    )


def _stride(file: Any, root: str) -> float:  # noqa: ANN401 - as above
    """Frames of the detector between two that were correlated; 1 where a file does not say."""
    names = [f"{root}/config/{k}" for k in ("stride_frame", "avg_frame")]
    return math.prod(_scalar(file, name) for name in names if name in file)


def _delays(file: Any, name: str, frame_time: float) -> Tensor:  # noqa: ANN401 - as above
    """(D,) delays in frames, also where they are told in seconds."""
    name = _named(file, name)
    values, unit = array(file, name).ravel(), unit_of(file[name])
    if TIME_UNITS.get(unit.lower()) and values.dtype.kind == "f":
        values = np.rint(values * TIME_UNITS[unit.lower()] / frame_time)
    return torch.from_numpy(values.astype(np.int64))


def _json(file: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - as above
    """A record in a file; empty where there is none, or it is damaged."""
    try:
        held = text(file, name) if name in file else "{}"
    except InputError:
        return {}
    try:
        found = json.loads(held)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_two_time(
    file: Any,  # noqa: ANN401 - as above
    qmap: QMap,
    correlation: Correlation | None,
) -> TwoTime | None:
    """The maps of a file of debye's; None where another wrote them without their errors."""
    root, own = "/xpcs/twotime", "/xpcs/debye/twotime"
    bins = array(file, f"{root}/processed_bins").astype(np.int64).ravel() - 1
    names = [f"{root}/correlation_map/c2_{n + 1:05d}" for n in bins.tolist()]
    upper = np.stack([array(file, name, ndim=(2,)).astype(np.float32) for name in names])
    maps = torch.from_numpy(upper + np.triu(upper, 1).transpose(0, 2, 1))
    step = _stride(file, root)
    g2 = _floats(file, f"{root}/normalized_g2").T[bins]
    delay = torch.arange(1, g2.shape[1])
    if own not in file:
        if correlation is None:
            return None
        return TwoTime(torch.from_numpy(bins), maps, correlation)
    means: dict[str, Any] = {
        k: _floats(file, f"{own}/{k}") for k in ("saxs_2d", "saxs_1d", "intensity")
    }
    found = Correlation(
        qmap.only(bins.tolist()),
        _scalar(file, f"{DETECTOR}/frame_time") * step,
        delay,
        g2=g2[:, 1:].contiguous(),
        numbers=torch.from_numpy(array(file, f"{own}/numbers")),
        **means,
        **_read_own(file, own),
    )
    return TwoTime(torch.from_numpy(bins), maps, found)


def _read_own(file: Any, root: str) -> dict[str, Any]:  # noqa: ANN401 - as above
    """What only debye has of a correlation."""
    names = ("replicas", "contrast", "contrast_replicas")
    return {
        **{name: _floats(file, f"{root}/{name}") for name in names},
        "width": torch.from_numpy(array(file, f"{root}/width")),
        "counts": bool(array(file, f"{root}/counts")),
    }


def replicas_of(g2: Tensor, error: Tensor) -> Tensor:
    """(2 D, N, D) replicas that have given errors, independent between delays and bins.

    Two replicas differ from g2 at one delay, to both sides; which of them is above, in which bin,
    follows a Walsh pattern, so that bins do not move together.

    Args:
        g2: (N, D).
        error: (N, D).

    Example:
        >>> from debye.speckle.xpcs.jackknife import jackknife_error
        >>> error = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
        >>> torch.allclose(jackknife_error(replicas_of(torch.ones(2, 2), error)), error)
        True
    """
    bins, delays = g2.shape
    both = torch.arange(bins)[:, None] & torch.arange(delays)
    odd = torch.tensor([[bin(n).count("1") % 2 for n in row] for row in both.tolist()])
    away = torch.diag_embed(error * (1 - 2 * odd))  # [bin, delay, delay]
    scale = (delays / (2 * delays - 1)) ** 0.5
    return torch.cat([g2[:, None] + scale * away, g2[:, None] - scale * away], 1).transpose(0, 1)


def _around(middles: Tensor) -> Tensor:
    """Borders half-way between the middles of bins."""
    if len(middles) < 2:
        return torch.cat([middles - 0.5 * middles.abs(), middles + 0.5 * middles.abs()])
    half = 0.5 * (middles[1:] + middles[:-1])
    first, last = 2 * middles[:1] - half[:1], 2 * middles[-1:] - half[-1:]
    return torch.cat([first, half, last])


def _floats(file: Any, name: str) -> Tensor:  # noqa: ANN401 - as above
    return torch.from_numpy(array(file, _named(file, name)).astype(np.float64))


def _scalar(file: Any, name: str) -> float:  # noqa: ANN401 - as above
    return float(np.ravel(array(file, _named(file, name)))[0])


def _named(file: Any, name: str) -> str:  # noqa: ANN401 - as above
    """The name of a dataset in a file: 8-ID's, or NXxpcs' where it has that alone."""
    return NEXUS[name] if name not in file and NEXUS.get(name, name) in file else name


def _known(file: Any, name: str) -> float | None:  # noqa: ANN401 - as above
    """A positive number of a file; None where it has none."""
    value = _scalar(file, name) if name in file else math.nan
    return value if value > 0 and math.isfinite(value) else None
