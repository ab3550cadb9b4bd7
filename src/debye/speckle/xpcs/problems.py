"""What is fitted to g2, as numbers to be found: bin by bin, or all bins with a power of q."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from debye.errors import InputError
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.least_squares import Problem
from debye.speckle.xpcs.models import Model, Parameter

LARGEST = 300.0
"""Largest logarithm of a time: a replica of what is not determined may go anywhere."""


class Data(NamedTuple):
    """What is fitted."""

    q: np.ndarray
    unit: str
    time: np.ndarray
    width: np.ndarray
    g2: np.ndarray
    replicas: np.ndarray
    error: np.ndarray


def data_of(
    correlation: Correlation,
    model: Model,
    q: tuple[float, float] | None,
    times: tuple[float, float] | None,
) -> Data:
    """Bins and delays within limits.

    Args:
        correlation: What was measured.
        model: What is to be fitted.
        q: Limits in q.
        times: Limits in delay, s.

    Raises:
        InputError: No bin is within them, or fewer delays than the model has parameters.
    """
    return data_of_bins(correlation, model, bins_within(correlation, q), times)


def bins_within(correlation: Correlation, q: tuple[float, float] | None) -> np.ndarray:
    """Numbers of the bins within limits in q.

    Args:
        correlation: What was measured.
        q: Limits in q.

    Raises:
        InputError: There is none.
    """
    every = correlation.qmap.q.numpy()
    low, high = q or (-np.inf, np.inf)
    bins = np.flatnonzero((every >= low) & (every <= high))
    if not len(bins):
        raise InputError(
            f"no bin of the q-map has {low:g} ≤ q ≤ {high:g} {correlation.qmap.unit}",
            why=f"they lie at {every.min():.4g} … {every.max():.4g}",
            fix="widen the range of q",
        )
    return bins


def data_of_bins(
    correlation: Correlation,
    model: Model,
    bins: np.ndarray,
    times: tuple[float, float] | None,
) -> Data:
    """Some bins, at the delays within limits at which all of them have g2 with an error.

    Args:
        correlation: What was measured.
        model: What is to be fitted.
        bins: Their numbers.
        times: Limits in delay, s.

    Raises:
        InputError: These are fewer delays than the model has parameters.
    """
    every_q, every_time = correlation.qmap.q.numpy(), correlation.time.numpy()
    early, late = times or (-np.inf, np.inf)
    g2, error = correlation.g2.numpy()[bins], correlation.error.numpy()[bins]
    usable = (every_time >= early) & (every_time <= late)
    usable &= (np.isfinite(g2) & np.isfinite(error) & (error > 0)).all(0)
    if usable.sum() <= len(model.parameters):
        raise InputError(
            f"cannot fit {len(model.parameters)} parameters to {usable.sum()} delays",
            why="more delays than parameters are needed, each with an error",
            fix="widen the range of times, fit a simpler model, or take more frames",
        )
    width = correlation.width.double().numpy()[usable]
    return Data(
        every_q[bins],
        correlation.qmap.unit,
        every_time[usable],
        np.stack([width * correlation.frame_time, 1 - 1 / width**2], 1),
        g2[:, usable],
        correlation.replicas.numpy()[:, bins][:, :, usable],
        error[:, usable],
    )


def restricted(
    model: Model, fixed: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
) -> list[Parameter]:
    """The parameters with a user's bounds; one that is fixed has both at its value.

    Raises:
        InputError: The model has no such parameter, or bounds beyond its own.
    """
    for name in (*fixed, *bounds):
        if name not in model.names:
            raise InputError(
                f"the model {model.name} has no parameter {name!r}",
                why=f"it has {', '.join(model.names)}",
                fix="fix or bound one of them",
            )
    found = []
    for p in model.parameters:
        low, high = bounds.get(p.name, (p.low, p.high))
        low, high = (p.low if low == -np.inf else low), (p.high if high == np.inf else high)
        if p.name in fixed:
            low = high = float(fixed[p.name])
        if not (p.low <= low <= high <= p.high):
            raise InputError(
                f"cannot hold {p.name} between {low:g} and {high:g}",
                why=f"in the model {model.name} it lies between {p.low:g} and {p.high:g}",
                fix="correct the bounds",
            )
        found.append(p._replace(low=low, high=high))
    if all(p.low == p.high for p in found):
        raise InputError(
            f"there is nothing to fit in the model {model.name}",
            why="all its parameters are fixed",
            fix="leave one free",
        )
    return found


def _guess(data: Data, g2: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Where a fit begins: the contrast of the first delays, and when g2 − 1 is e⁻² of it."""
    first = max(float(np.average(g2[:3], weights=error[:3] ** -2)) - 1, 1e-3)
    end = float(np.average(g2[-3:], weights=error[-3:] ** -2)) - 1
    fallen = np.flatnonzero(g2 - 1 < end + (first - end) * np.exp(-2))
    at = data.time[fallen[0]] if len(fallen) and first > end else data.time[-1]
    return {"contrast": 1.1 * first, "tau": max(float(at), float(data.time[0]))}


def _starts(parameters: list[Parameter], guess: dict[str, float]) -> list[float]:
    return [guess.get(p.name, 1.0) if p.start is None else p.start for p in parameters]


def _inner(p: Parameter, value: float) -> float:
    """A parameter as it is searched."""
    return float(np.log(max(value, 1e-300))) if p.is_time else value


def of_one_bin(
    model: Model, parameters: list[Parameter], data: Data, g2: np.ndarray, error: np.ndarray
) -> Problem:
    """A bin by itself."""
    free = [i for i, p in enumerate(parameters) if p.high > p.low]
    held = np.array([p.low for p in parameters])
    starts = _starts(parameters, _guess(data, g2, error))

    def expand(u: np.ndarray) -> np.ndarray:
        row = held.copy()
        for i, value in zip(free, u, strict=True):
            row[i] = np.exp(np.clip(value, -LARGEST, LARGEST)) if parameters[i].is_time else value
        return row[None]

    return Problem(
        model,
        data.time,
        data.width,
        expand,
        *(
            np.array([_inner(parameters[i], v[i]) for i in free])
            for v in (starts, [p.low for p in parameters], [p.high for p in parameters])
        ),
    )


def of_all_bins(
    model: Model, parameters: list[Parameter], data: Data, shared: set[str], power: float | None
) -> Problem:
    """All bins, with τ a power of q."""
    bins, names = len(data.q), [p.name for p in parameters]
    relative = data.q / np.exp(np.log(data.q).mean())
    guesses = [_guess(data, g, e) for g, e in zip(data.g2, data.error, strict=True)]
    middle = {k: float(np.median([g[k] for g in guesses])) for k in guesses[0]}
    middle["tau"] = float(np.exp(np.median([np.log(g["tau"]) for g in guesses])))
    # Each parameter takes some of u: one where it is shared, one a bin where it is not.
    takes = [
        0 if p.low == p.high else 1 if p.name in shared | {"tau"} else bins for p in parameters
    ]
    ends = np.cumsum(takes)

    def expand(u: np.ndarray) -> np.ndarray:
        rows = np.empty((bins, len(names)))
        for i, p in enumerate(parameters):
            part = u[ends[i] - takes[i] : ends[i]] if takes[i] else np.array([_inner(p, p.low)])
            if p.name == "tau":
                part = part - (u[-1] if power is None else power) * np.log(relative)
            rows[:, i] = np.exp(np.clip(part, -LARGEST, LARGEST)) if p.is_time else part
        return rows

    def vector(values: list[float], last: float) -> np.ndarray:
        inner = [
            np.full(n, _inner(p, v)) for p, v, n in zip(parameters, values, takes, strict=True)
        ]
        return np.concatenate([*inner, [last] if power is None else []])

    return Problem(
        model,
        data.time,
        data.width,
        expand,
        vector(_starts(parameters, middle), 2.0),
        vector([p.low for p in parameters], -10.0),
        vector([p.high for p in parameters], 10.0),
    )
