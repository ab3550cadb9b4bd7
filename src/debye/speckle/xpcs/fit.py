"""Fit relaxation to g2, bin by bin or all bins at once, with errors from the sectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from debye.core.upward import Displayed
from debye.errors import InputError
from debye.speckle.values import ByValue, Table, table
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.jackknife import jackknife_error
from debye.speckle.xpcs.least_squares import solve
from debye.speckle.xpcs.models import Model, Parameter, model_of
from debye.speckle.xpcs.problems import Data, data_of, of_all_bins, of_one_bin, restricted

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
        low, high = float(self.p_value.min()), float(self.p_value.max())
        return f"Fit({self.model} of {len(self.q)} bins, p = {low:.2g} … {high:.2g})"

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
    """Fit a model of g2 to each bin.

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
        ComputationError: The fit does not converge.
    """
    chosen = model_of(model)
    data = data_of(correlation, chosen, q, times)
    parameters = restricted(chosen, fixed or {}, bounds or {})
    solved, values, replicas = [], [], []
    for g2, again, error in zip(data.g2, data.replicas.transpose(1, 0, 2), data.error, strict=True):
        problem = of_one_bin(chosen, parameters, data, g2, error)
        found = solve(problem, g2[None], again[:, None], error[None])
        solved.append(found)
        values.append(problem.expand(found.u)[0])
        replicas.append(np.stack([problem.expand(u)[0] for u in found.replicas]))
    return _told(
        chosen,
        data,
        parameters,
        torch.from_numpy(np.stack(values)),
        torch.from_numpy(np.stack(replicas, 1)),
        *(torch.tensor([getattr(s, k) for s in solved]) for k in ("chi2", "expected", "p_value")),
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
    bins = len(data.q)
    return _told(
        chosen,
        data,
        parameters,
        torch.from_numpy(problem.expand(found.u)),
        torch.from_numpy(np.stack([problem.expand(u) for u in found.replicas])),
        *(torch.full((bins,), getattr(found, k)).double() for k in ("chi2", "expected", "p_value")),
    )


def _told(
    model: Model,
    data: Data,
    parameters: list[Parameter],
    values: Tensor,
    replicas: Tensor,
    chi2: Tensor,
    expected: Tensor,
    p_value: Tensor,
) -> Fit:
    """A fit, with what is not to be trusted in it."""
    notes = []
    for n, q in enumerate(data.q):
        where = f"at q = {q:.4g} {data.unit}"
        tau = float(values[n, model.names.index("tau")]) if "tau" in model.names else data.time[0]
        if not data.time[0] <= tau <= data.time[-1]:
            notes.append(
                f"{where} τ = {tau:.3g} s lies outside the delays, "
                f"{data.time[0]:.3g} … {data.time[-1]:.3g} s: its value is the model's word alone"
            )
        if float(p_value[n]) < BAD:
            notes.append(
                f"{where} the fit is bad: χ² is {float(chi2[n]):.3g} where "
                f"{float(expected[n]):.3g} is expected (p = {float(p_value[n]):.1g}); "
                "its errors do not hold"
            )
        for p, value in zip(parameters, values[n].tolist(), strict=True):
            at_bound = np.isclose(value, [p.low, p.high], rtol=1e-6, atol=1e-12).any()
            if p.low < p.high and at_bound:
                notes.append(f"{where} {p.name} = {value:.4g} lies at its bound")
    return Fit(
        model.name,
        tuple(model.names),
        torch.from_numpy(data.q),
        data.unit,
        values,
        replicas,
        chi2,
        expected,
        p_value,
        tuple(notes),
    )
