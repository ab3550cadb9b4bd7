"""What the studio tells a page of a fitted system: its predictions beside the data, and beyond."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.speckle import (
    FittedSystem,
    Flow,
    FlowNetwork,
    Frames,
    PhaseSeries,
    RadialNetwork,
    RadialSpline,
    RoundFlow,
    extrapolate,
    load_frames,
)
from debye.studio.stacks import cleaned, packed

BEYOND = 1.5
"""Times the last of the data until which the system is followed."""
POINTS = 60
"""Of a curve of the term."""
RINGS = 8
"""In which the goodness of fit is told."""


def compared(path: str, frames: str) -> dict[str, Any]:
    """A fitted system beside its data: frames in step, then the extrapolation, errors, the term.

    Args:
        path: A file of a fitted system.
        frames: The file of frames that it is compared with, which holds their states.

    Raises:
        InputError: A file cannot be used, or the frames hold no states.
        ComputationError: The integration stops before the second frame.
    """
    fitted, measured = FittedSystem.load(path), load_frames(frames).runs(1)
    last = float(measured.times[-1])
    found = extrapolate(fitted, BEYOND * last, measured, runs=1)
    predicted = found.predicted
    chi = goodness(measured, predicted)
    told: dict[str, Any] = {
        "formula": fitted.formula,
        "times": predicted.times.tolist(),
        "measured": len(measured.times),
        "shown": list(predicted.data.shape[-2:]),
        "frames_measured": packed(measured.data[0].numpy().astype("<f4")),
        "frames_predicted": packed(predicted.data[0].numpy().astype("<f4")),
        "frame_error": found.frame_error.tolist(),
        "photon_noise": found.photon_noise.tolist(),
        "stopped": found.stopped,
        "photons": measured.photons,
        "goodness": chi.tolist(),
        "verdict": fitted.goodness.lines() if fitted.goodness else [],
        "rings": _groups(fitted, "by_q"),
        "term": term(fitted),
        "profile": profile(fitted),
    }
    return dict(cleaned(told))


def _groups(fitted: FittedSystem, kind: str) -> list[dict[str, Any]]:
    """Groups of the frames it was fitted to, and how far each is from what it should be."""
    found = getattr(fitted.goodness, kind, ())
    return [{"where": group.where, "z": group.z, "p": group.p} for group in found]


def term(fitted: FittedSystem) -> list[dict[str, Any]]:
    """Coefficients of the learned term with their standard errors.

    Args:
        fitted: The system.
    """
    errors = fitted.errors
    return [
        {"name": name, "value": value, "error": error}
        for name, parameter in fitted.system.named_parameters()
        for value, error in zip(
            parameter.detach().flatten().tolist(), errors[name].flatten().tolist(), strict=True
        )
    ]


def profile(fitted: FittedSystem) -> dict[str, Any] | None:
    """The learned term as curves with their standard errors; None of one that is no function.

    Of a radial term h(r)·r, of a phase coupling both its series, of a flow the velocity along the
    line y = 0.

    Args:
        fitted: The system.
    """
    learned: Any = fitted.system.term
    if isinstance(learned, RadialSpline | RadialNetwork):
        x = torch.linspace(0.02, 1.1 * learned.cutoff, POINTS, dtype=torch.float64)
        return _curves(fitted, "r", x, {"h(r) r": lambda: learned(x) * x})
    if isinstance(learned, PhaseSeries):
        x = torch.linspace(-pi, pi, POINTS, dtype=torch.float64)
        columns = {"a(θ)": lambda: learned(x)[:, 0], "b(θ)": lambda: learned(x)[:, 1]}
        return _curves(fitted, "θ", x, columns)
    if isinstance(learned, Flow | FlowNetwork | RoundFlow):
        x = torch.linspace(-1, 1, POINTS, dtype=torch.float64)
        line = torch.stack([x, torch.zeros_like(x)], -1)
        parts = {"vx(x, 0)": lambda: learned(line)[:, 0], "vy(x, 0)": lambda: learned(line)[:, 1]}
        return _curves(fitted, "x", x, parts)
    return None


def _curves(
    fitted: FittedSystem, name: str, x: Tensor, of: Mapping[str, Callable[[], Tensor]]
) -> dict[str, Any]:
    found = [
        {"name": label, "y": curve().tolist(), "error": fitted.error_of(curve).tolist()}
        for label, curve in of.items()
    ]
    return {"label": name, "x": x.tolist(), "curves": found}


def goodness(measured: Frames, predicted: Frames) -> NDArray[np.float64]:
    """(ring, time) mean over pixels of the squared residual over what photons alone would make.

    Of counts that is 1 where the system is right; of intensities without noise, the residual over
    the mean intensity squared, which is 0.

    Args:
        measured: What was recorded.
        predicted: Expected counts at these times and beyond.
    """
    count = min(len(measured.times), len(predicted.times))
    seen, expected = (f.data[0, :count].double() for f in (measured, predicted))
    tall, wide = seen.shape[-2:]
    y, x = torch.meshgrid(torch.arange(float(tall)), torch.arange(float(wide)), indexing="ij")
    radius = torch.hypot(x - wide // 2, y - tall // 2)
    ring = (radius / (min(tall, wide) / 2) * RINGS).long()
    variance = expected.clamp(min=1e-3) if measured.photons else expected.square().mean()
    square = (seen - expected).square() / variance
    rows = []
    for n in range(RINGS):
        inside = (ring == n) & measured.mask
        rows.append(square[:, inside].mean(1) if inside.any() else square.new_full((count,), 0.0))
    return np.asarray(torch.stack(rows))
