"""Fit relaxation to g2, bin by bin or all bins at once, with errors from the sectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.core.upward import Displayed
from debye.errors import DebyeError, InputError
from debye.speckle.values import ByValue, Table, table
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.jackknife import jackknife_error
from debye.speckle.xpcs.least_squares import solve
from debye.speckle.xpcs.models import Model, Parameter, model_of
from debye.speckle.xpcs.problems import (
    bins_within,
    data_of,
    data_of_bins,
    of_all_bins,
    of_one_bin,
    restricted,
)

SEEN = 4
"""Relaxation times that the delays must span for a free baseline to be seen."""
BAD = 1e-3
"""p-value below which a fit is called bad."""


@dataclass(frozen=True, eq=False, repr=False)
class Fit(ByValue, Displayed):
    """Parameters of a model of g2 in each bin.

    Args:
        model: Its name.
        names: Of its P parameters.
        q: (N,) q of the bins, in ``unit``.
        unit: Of q.
        values: (N, P).
        replicas: (K, N, P) without one of K sectors each.
        chi2: (N,) Σ over delays of the squared residual over the squared error.
        expected: (N,) what it would be if the model were true; delays are not independent.
        p_value: (N,) chance of a worse one if the model is true.
        notes: What is not to be trusted, and why.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> found = fit(brownian(frames=400, diffusion=0.2).correlate(), "single")
        >>> found
        Fit(single of 4 bins, p = 0.25 … 0.97)
    """

    model: str
    names: tuple[str, ...]
    q: Tensor
    unit: str
    values: Tensor
    replicas: Tensor
    chi2: Tensor
    expected: Tensor
    p_value: Tensor
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        known = self.p_value[~self.failed]
        low, high = float(known.min()), float(known.max())
        return f"Fit({self.model} of {len(self.q)} bins, p = {low:.2g} … {high:.2g})"

    @property
    def failed(self) -> Tensor:
        """(N,) True where the fit of a bin failed."""
        return torch.isnan(self.values).any(1)

    @property
    def error(self) -> Tensor:
        """(N, P) standard errors."""
        return jackknife_error(self.replicas)

    @property
    def tau(self) -> Tensor:
        """(N,) relaxation time, s."""
        return self["tau"]

    def __getitem__(self, name: str) -> Tensor:
        """(N,) a parameter.

        Raises:
            InputError: The model has none of that name.
        """
        return self.values[:, self._number(name)]

    def covariance(self) -> Tensor:
        """(N, P, P) covariance of the parameters of each bin."""
        away = self.replicas - self.replicas.mean(0)
        count = len(self.replicas)
        return torch.einsum("kna,knb->nab", away, away) * ((count - 1) / count)

    def interval(self, name: str, level: float = 0.9) -> Tensor:
        """(N, 2) within which a parameter lies at a level: Student's t of K − 1 freedoms.

        Args:
            name: Of the parameter.
            level: Of confidence.

        Raises:
            InputError: The model has none of that name.
        """
        i = self._number(name)
        return student(self.values[:, i], self.replicas[:, :, i], level)

    def to_frame(self) -> Table:
        """A row for each bin: q, parameters, their errors, χ² and its p-value.

        Raises:
            InputError: pandas is not installed.
        """
        columns = {"q": self.q.numpy()}
        for i, name in enumerate(self.names):
            columns[name] = self.values[:, i].numpy()
            columns[f"{name}_error"] = self.error[:, i].numpy()
        columns |= {"chi2": self.chi2.numpy(), "p_value": self.p_value.numpy()}
        return table(columns)

    def as_json(self) -> dict[str, Any]:
        """A record of parameters with their errors, of each bin, and how good the fits are."""
        record: dict[str, Any] = {
            "model": self.model,
            "parameters": list(self.names),
            "q_unit": self.unit,
            "q": self.q.tolist(),
        }
        for i, name in enumerate(self.names):
            record[name] = self.values[:, i].tolist()
            record[f"{name}_error"] = self.error[:, i].tolist()
        for name in ("chi2", "expected", "p_value"):
            record[name] = getattr(self, name).tolist()
        return record | {"notes": list(self.notes)}

    def _number(self, name: str) -> int:
        if name not in self.names:
            raise InputError(
                f"the model {self.model} has no parameter {name!r}",
                why=f"it has {', '.join(self.names)}",
                fix="name one of them",
            )
        return self.names.index(name)


def student(values: Tensor, replicas: Tensor, level: float) -> Tensor:
    """(…, 2) within which values lie, from (K, …) jackknife replicas."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(replicas) - 1, 0.5 + level / 2)) * jackknife_error(replicas)
    return torch.stack([values - half, values + half], -1)


def fit(
    correlation: Correlation,
    model: str | Model = "stretched",
    *,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    q: tuple[float, float] | None = None,
    times: tuple[float, float] | None = None,
) -> Fit:
    """Fit a model of g2 to each bin; where a fit fails its numbers are NaN, and a note says why.

    Args:
        correlation: What was measured.
        model: A name of `debye.speckle.xpcs.models.MODELS`, or a model.
        fixed: Parameters that are known.
        bounds: Lowest and highest value of others.
        q: Between which q.
        times: Between which delays, s.

    Raises:
        InputError: There is no such model or parameter, no bin in the range, or fewer delays than
            parameters.
        ComputationError: No fit converges.
    """
    chosen = model_of(model)
    parameters = restricted(chosen, fixed or {}, bounds or {})
    bins = bins_within(correlation, q)
    fitted = [_one_bin(correlation, chosen, parameters, int(b), times) for b in bins]
    errors = [one for one in fitted if isinstance(one, DebyeError)]
    if len(errors) == len(bins):
        raise errors[0]
    count, names = len(correlation.replicas), len(parameters)
    found = [
        _Fitted.unknown(count, names, one) if isinstance(one, DebyeError) else one for one in fitted
    ]
    every_q, unit = correlation.qmap.q[bins], correlation.qmap.unit
    notes = [
        f"at q = {value:.4g} {unit} {note}"
        for value, one in zip(every_q.tolist(), found, strict=True)
        for note in one.notes(chosen, parameters, correlation.time_unit)
    ]
    return Fit(
        chosen.name,
        tuple(chosen.names),
        every_q,
        unit,
        torch.from_numpy(np.stack([one.values for one in found])),
        torch.from_numpy(np.stack([one.replicas for one in found], 1)),
        chi2=torch.tensor([one.chi2 for one in found], dtype=torch.float64),
        expected=torch.tensor([one.expected for one in found], dtype=torch.float64),
        p_value=torch.tensor([one.p_value for one in found], dtype=torch.float64),
        notes=tuple(notes),
    )


class _Fitted(NamedTuple):
    """The fit of a bin."""

    values: np.ndarray
    """(P,)."""
    replicas: np.ndarray
    """(K, P)."""
    chi2: float
    expected: float
    p_value: float
    span: tuple[float, float]
    """First and last delay that was fitted."""
    failure: str = ""

    @classmethod
    def unknown(cls, replicas: int, parameters: int, error: DebyeError) -> _Fitted:
        """Of a bin whose fit failed."""
        nan = math.nan
        values = np.full((replicas + 1, parameters), nan)
        return cls(values[0], values[1:], nan, nan, nan, (nan, nan), f"{error.what}: {error.why}")

    def notes(self, model: Model, parameters: list[Parameter], unit: str) -> list[str]:
        """What is not to be trusted in it."""
        if self.failure:
            return [self.failure]
        notes, (first, last) = [], self.span
        free = [p.name for p in parameters if p.low < p.high]
        tau = float(self.values[model.names.index("tau")]) if "tau" in model.names else first
        if not first <= tau <= last:
            notes.append(
                f"τ = {tau:.3g} {unit} lies outside the delays, {first:.3g} … {last:.3g} {unit}: "
                "its value is the model's word alone"
            )
        elif tau > last / SEEN and "baseline" in free:
            notes.append(
                f"τ = {tau:.3g} {unit} is long for delays to {last:.3g} {unit}: a free baseline "
                "may take part of the decay; fix baseline=1, or take more frames"
            )
        if "tau" in model.names:
            spread = self.replicas[:, model.names.index("tau")]
            error = float(jackknife_error(torch.from_numpy(spread)))
            if error > abs(tau):
                notes.append(
                    f"τ = {tau:.3g} ± {error:.2g} {unit} is not told by these g2: fix or bound "
                    "parameters, or fit a simpler model"
                )
        if self.p_value < BAD:
            notes.append(
                f"the fit is bad: χ² is {self.chi2:.3g} where {self.expected:.3g} is expected "
                f"(p = {self.p_value:.1g}); its errors do not hold"
            )
        for p, value in zip(parameters, self.values.tolist(), strict=True):
            if p.low < p.high and np.isclose(value, [p.low, p.high], rtol=1e-6, atol=1e-12).any():
                notes.append(f"{p.name} = {value:.4g} lies at its bound")
        return notes


def _one_bin(
    correlation: Correlation,
    model: Model,
    parameters: list[Parameter],
    number: int,
    times: tuple[float, float] | None,
) -> _Fitted | DebyeError:
    """The fit of a bin by itself, or why there is none."""
    try:
        data = data_of_bins(correlation, model, np.array([number]), times)
        problem = of_one_bin(model, parameters, data, data.g2[0], data.error[0])
        found = solve(problem, data.g2, data.replicas, data.error)
    except DebyeError as error:
        return error
    return _Fitted(
        problem.expand(found.u)[0],
        np.stack([problem.expand(u)[0] for u in found.replicas]),
        found.chi2,
        found.expected,
        found.p_value,
        (float(data.time[0]), float(data.time[-1])),
    )


def fit_global(
    correlation: Correlation,
    model: str | Model = "stretched",
    *,
    shared: tuple[str, ...] = ("baseline", "exponent"),
    power: float | None = None,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    q: tuple[float, float] | None = None,
    times: tuple[float, float] | None = None,
) -> Fit:
    """Fit all bins at once, with τ = τ₀ (q/q₀)^−n and parameters that bins share.

    q₀ is the geometric mean of the bins' q. The fit's `power_law` gives n and τ₀ again.

    Args:
        correlation: What was measured.
        model: A name of `debye.speckle.xpcs.models.MODELS`, or a model.
        shared: Parameters that are the same in all bins, of those the model has.
        power: n, if it is known.
        fixed: As `fit` takes them, like the rest.
        bounds: Likewise.
        q: Likewise.
        times: Likewise.

    Raises:
        InputError: What `fit` refuses.
        ComputationError: The fit does not converge.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> seen = brownian(frames=400, diffusion=0.2).correlate()
        >>> tau = fit_global(seen, "single", power=2.0).tau
        >>> torch.allclose(tau * seen.qmap.q**2, tau[0] * seen.qmap.q[0] ** 2)
        True
    """
    chosen = model_of(model)
    data = data_of(correlation, chosen, q, times)
    parameters = restricted(chosen, fixed or {}, bounds or {})
    problem = of_all_bins(chosen, parameters, data, set(shared), power)
    found = solve(problem, data.g2, data.replicas, data.error)
    values = problem.expand(found.u)
    replicas = np.stack([problem.expand(u) for u in found.replicas])
    span = (float(data.time[0]), float(data.time[-1]))
    notes: dict[str, None] = {}
    for n, value in enumerate(data.q.tolist()):
        one = _Fitted(
            values[n], replicas[:, n], found.chi2, found.expected, found.p_value, span
        ).notes(chosen, parameters, correlation.time_unit)
        notes |= {
            note if "χ²" in note else f"at q = {value:.4g} {data.unit} {note}": None for note in one
        }
    return Fit(
        chosen.name,
        tuple(chosen.names),
        torch.from_numpy(data.q),
        data.unit,
        torch.from_numpy(values),
        torch.from_numpy(replicas),
        chi2=torch.full((len(values),), found.chi2, dtype=torch.float64),
        expected=torch.full((len(values),), found.expected, dtype=torch.float64),
        p_value=torch.full((len(values),), found.p_value, dtype=torch.float64),
        notes=tuple(notes),
    )
