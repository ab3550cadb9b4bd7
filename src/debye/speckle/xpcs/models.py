"""How g2 decays: the models that are fitted, with what their parameters may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from debye.errors import InputError


class Parameter(NamedTuple):
    """A number of a model."""

    name: str
    low: float
    high: float
    start: float | None = None
    """Where the fit begins; found from the data where it is None."""
    is_time: bool = False
    """Whether it is positive and searched by its logarithm."""


class Model(NamedTuple):
    """g2(t) of times in s and parameters."""

    name: str
    parameters: tuple[Parameter, ...]
    value: Callable[..., np.ndarray]

    def __repr__(self) -> str:
        return f"model({self.name!r})"

    @property
    def names(self) -> list[str]:
        """Of the parameters."""
        return [p.name for p in self.parameters]


BASELINE = Parameter("baseline", 0.0, np.inf, 1.0)
CONTRAST = Parameter("contrast", 0.0, np.inf)
TAU = Parameter("tau", 0.0, np.inf, is_time=True)


def _single(t: np.ndarray, baseline: float, contrast: float, tau: float) -> np.ndarray:
    return baseline + contrast * np.exp(-2 * t / tau)


def _stretched(
    t: np.ndarray, baseline: float, contrast: float, tau: float, exponent: float
) -> np.ndarray:
    return baseline + contrast * np.exp(-2 * (t / tau) ** exponent)


def _double(
    t: np.ndarray, baseline: float, contrast: float, tau: float, fraction: float, ratio: float
) -> np.ndarray:
    field = fraction * np.exp(-t / tau) + (1 - fraction) * np.exp(-t / (tau * ratio))
    return baseline + contrast * field**2


def _cumulants(
    t: np.ndarray, baseline: float, contrast: float, tau: float, polydispersity: float
) -> np.ndarray:
    # Beyond t ≈ τ/√polydispersity the truncated series bends up again: it is cut where it is 2.
    bent = np.minimum(0.5 * polydispersity * (t / tau) ** 2, 1.0)
    return baseline + contrast * np.exp(-2 * t / tau) * (1 + bent) ** 2


MODELS = {
    m.name: m
    for m in (
        Model("single", (BASELINE, CONTRAST, TAU), _single),
        Model(
            "stretched",
            (BASELINE, CONTRAST, TAU, Parameter("exponent", 0.1, 4.0, 1.0)),
            _stretched,
        ),
        Model(
            "double",
            (
                BASELINE,
                CONTRAST,
                TAU,
                Parameter("fraction", 0.0, 1.0, 0.5),
                Parameter("ratio", 1.0, np.inf, 10.0, is_time=True),
            ),
            _double,
        ),
        Model(
            "cumulants",
            (BASELINE, CONTRAST, TAU, Parameter("polydispersity", 0.0, 1.0, 0.1)),
            _cumulants,
        ),
    )
}
"""single: b + β exp(−2t/τ). stretched: b + β exp(−2 (t/τ)^γ), whose ``exponent`` is γ.
double: b + β [f exp(−t/τ) + (1 − f) exp(−t/(r τ))]², with ``fraction`` f and ``ratio`` r ≥ 1.
cumulants: b + β exp(−2t/τ) [1 + μ₂t²/2]², with 1/τ the mean rate and ``polydispersity`` μ₂τ²."""


def model_of(name: str | Model) -> Model:
    """The model of a name.

    Args:
        name: One of ``MODELS``, or a model.

    Raises:
        InputError: There is none.

    Example:
        >>> model_of("stretched").names
        ['baseline', 'contrast', 'tau', 'exponent']
    """
    if isinstance(name, Model):
        return name
    if name not in MODELS:
        raise InputError(
            f"unknown model {name!r} of g2", why=f"there are {', '.join(MODELS)}", fix="use one"
        )
    return MODELS[name]


def averaged(
    model: Model, time: np.ndarray, width: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
    """g2 of frames that were summed: the model over the differences of their times.

    Two sums of n frames, each a time ``width`` long, a delay t apart hold frames t − width …
    t + width apart, with a weight that falls linearly to both sides; to the second order that is
    m(t) + (1 − 1/n²) [m(t + width) − 2 m(t) + m(t − width)] / 12.

    Args:
        model: The model.
        time: (D,) s.
        width: (D, 2) the width in s and 1 − 1/n².
        parameters: Of the model.
    """
    middle, w = model.value(time, *parameters), width[:, 0]
    around = model.value(time + w, *parameters) + model.value(time - w, *parameters)
    return np.asarray(middle + width[:, 1] * (around - 2 * middle) / 12)
