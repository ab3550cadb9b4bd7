"""Read result files: debye's own, boost_corr's, and others of the layout of APS 8-ID."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.hdf5 import array, open_hdf5, text
from debye.speckle.data.results import BEAM, DETECTOR, VERSION
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.qmap import Partition, QMap
from debye.speckle.xpcs.twotime import TwoTime


class Results(NamedTuple):
    """What a result file holds."""

    correlation: Correlation | None
    two_time: TwoTime | None
    start_time: str = ""


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read a result file of debye, boost_corr or another that keeps to the layout of APS 8-ID.

    Files that hold errors alone get replicas that have these errors, independent between delays;
    files whose errors are of another origin keep them.

    Args:
        path: The file.

    Raises:
        InputError: It is missing, damaged, of a newer version, or holds no results.
    """
    with open_hdf5(path) as file:
        if "/xpcs/qmap" not in file:
            raise InputError(
                f"cannot read results from {path}",
                why="it has no /xpcs/qmap",
                fix="give a result file of debye or boost_corr, not the frames",
            )
        version = int(array(file, "/xpcs/debye/version")) if "/xpcs/debye" in file else VERSION
        if version > VERSION:
            raise InputError(
                f"cannot read results from {path}",
                why=f"it is of version {version}, and this debye reads {VERSION}",
                fix="update debye",
            )
        qmap = _read_qmap(file)
        start = text(file, "/entry/start_time") if "/entry/start_time" in file else ""
        correlation = _read_multitau(file, qmap) if "/xpcs/multitau" in file else None
        maps = _read_two_time(file, qmap, correlation) if "/xpcs/twotime" in file else None
    if correlation is None and maps is None:
        raise InputError(
            f"cannot read results from {path}",
            why="it has neither /xpcs/multitau nor /xpcs/twotime",
            fix="correlate the frames again",
        )
    return Results(correlation, maps, start)


def _read_qmap(file: Any) -> QMap:  # noqa: ANN401 - as above
    """The q-map of a file."""
    parts = {}
    for kind in ("dynamic", "static"):
        root = f"/xpcs/qmap/{kind}"
        q, phi = (_floats(file, f"{root}_v_list_dim{n}").ravel() for n in (0, 1))
        labels = array(file, f"{root}_roi_map", ndim=(2,)).astype(np.int32)
        index = array(file, f"{root}_index_mapping").astype(np.int64).ravel()
        parts[kind] = Partition(torch.from_numpy(labels), q, phi, torch.from_numpy(index))
    own = "/xpcs/debye" in file
    mask = torch.from_numpy(array(file, "/xpcs/qmap/mask") > 0)
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


def _read_geometry(file: Any) -> Geometry:  # noqa: ANN401 - as above
    """The geometry of a file."""
    root = "/xpcs/qmap"
    pixel = _known(file, f"{root}/pixel_size")
    wavelength = _known(file, "/xpcs/debye/wavelength")
    energy = _known(file, f"{BEAM}/incident_energy")
    sides = array(file, "/xpcs/debye/pixel").tolist() if "/xpcs/debye" in file else []
    tilt = array(file, "/xpcs/debye/tilt").tolist() if "/xpcs/debye/tilt" in file else None
    return Geometry(
        float(array(file, f"{root}/beam_center_x")),
        float(array(file, f"{root}/beam_center_y")),
        _known(file, f"{root}/detector_distance"),
        (sides[0], sides[1]) if len(sides) == 2 and pixel else pixel,
        wavelength_of(energy) if wavelength is None and energy is not None else wavelength,
        None if tilt is None else (tilt[0], tilt[1], tilt[2]),
    )


def _read_multitau(file: Any, qmap: QMap) -> Correlation:  # noqa: ANN401 - as above
    """g2 of a file, with its replicas, or such as have its errors."""
    root, own = "/xpcs/multitau", "/xpcs/debye/multitau"
    delay = torch.from_numpy(array(file, f"{root}/delay_list").astype(np.int64).ravel())
    g2 = _floats(file, f"{root}/normalized_g2").T.contiguous()
    step = _scalar(file, f"{root}/config/stride_frame") * _scalar(file, f"{root}/config/avg_frame")
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
    series = _floats(file, "/xpcs/spatial_mean/intensity_vs_time")
    return Correlation(
        qmap,
        _scalar(file, f"{DETECTOR}/frame_time") * step,
        delay,
        g2=g2,
        saxs_2d=_floats(file, "/xpcs/temporal_mean/scattering_2d").squeeze(0),
        saxs_1d=_floats(file, "/xpcs/temporal_mean/scattering_1d").squeeze(0),
        intensity=series[1],
        numbers=series[0].round().long(),
        **rest,
    )


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
    step = _scalar(file, f"{root}/config/stride_frame") * _scalar(file, f"{root}/config/avg_frame")
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
    return torch.from_numpy(array(file, name).astype(np.float64))


def _scalar(file: Any, name: str) -> float:  # noqa: ANN401 - as above
    return float(np.ravel(array(file, name))[0])


def _known(file: Any, name: str) -> float | None:  # noqa: ANN401 - as above
    """A positive number of a file; None where it has none."""
    value = _scalar(file, name) if name in file else math.nan
    return value if value > 0 and math.isfinite(value) else None
