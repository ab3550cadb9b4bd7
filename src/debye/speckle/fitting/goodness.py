"""Does a fit describe its frames, and if not, where does it fail and what would cure it?

The Poisson deviance of the fitted prediction is held against its mean and variance *under that
prediction*, exactly and at any number of photons, less what the fit itself took away (the traces
of its hat matrix): in total, by time, by run and by ring of |q|. Counts of rings and products of
neighbouring residuals see what a deviance does not. A score test says which error of the
instrument would explain the misfit, from one linearisation: with g and H the gradient and the
curvature of the loss, f the unknowns that were fitted and ν those that were not,

    s = g_ν − H_νf H_ff⁻¹ g_f,  V = H_νν − H_νf H_ff⁻¹ H_fν,  sᵀV⁻¹s ~ χ²,  ν ≈ −V⁻¹ s.

All tests together give one p, uniform where the law and the instrument are right.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debye.core.upward import Displayed

LIMIT = 1e-3
"""A p below which a fit does not describe its frames."""


class Cause(NamedTuple):
    """What an error of the instrument that was not fitted would explain.

    Attributes:
        name: Which, of `debye.speckle.fitting.instrument.UNKNOWNS`.
        words: What it is called.
        unit: Of the values.
        values: One-step estimate.
        errors: Their standard errors.
        drop: How far the deviance would fall, to second order.
        p: How likely chance alone drops it so far.
    """

    name: str
    words: str
    unit: str
    values: list[float]
    errors: list[float]
    drop: float
    p: float

    def line(self) -> str:
        """What was found, in a few words."""
        pairs = zip(self.values, self.errors, strict=True)
        size = ", ".join(f"{v:.3g} ± {e:.1g}" for v, e in pairs)
        return f"{self.words} ({size} {self.unit})"


class Group(NamedTuple):
    """A group of pixels: where it is, and how far its deviance stands from what it should be."""

    where: str
    z: float
    p: float


STOPPED = 0.5
"""Natural units that −ln likelihood may still have to fall at the end of a fit."""
COARSE = 0.5
"""Standard errors by which the steps of the solver may move the law: errors an eighth too short."""


@dataclass(frozen=True)
class Goodness(Displayed):
    """How well a fit describes its frames.

    Attributes:
        pixels: Open pixels compared.
        misfit: ‖√λ − √n‖ / ‖√n‖, the relative error of the frames' amplitudes.
        deviance: Poisson deviance of the counts; None where frames have no counting noise.
        expected: What it would be if the prediction were true.
        parameters: Parameters that the frames determined: the trace of the hat matrix.
        p: How likely frames of this law and instrument would look so bad; None without counts.
        tests: p of every test by its name.
        by_time: By time, over all runs.
        by_run: By run, over all its times.
        by_q: By ring of |q|, from the middle outwards.
        causes: What would explain a misfit, likeliest first.
        unseen: Coefficients, and numbers of combinations of them, that the frames do not tell.
        against: What contradicts its prior, of instrument, law and first states, in words.
        to_go: How far −ln likelihood would still fall by its slope and curvature, where the fit
            was stopped; a half is an error of one coefficient.
        solver: How far the coefficients would move if the equation were solved in finer steps, in
            units of their errors: the most of all combinations; None where it cannot be.
    """

    pixels: int
    misfit: float
    deviance: float | None = None
    expected: float | None = None
    parameters: float | None = None
    p: float | None = None
    tests: dict[str, float] | None = None
    by_time: tuple[Group, ...] = ()
    by_run: tuple[Group, ...] = ()
    by_q: tuple[Group, ...] = ()
    causes: tuple[Cause, ...] = ()
    unseen: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    to_go: float = 0.0
    solver: float | None = 0.0

    @property
    def fits(self) -> bool | None:
        """Whether the law describes the frames; None where that cannot be told."""
        return None if self.p is None else self.p >= LIMIT

    @property
    def dispersion(self) -> float:
        """φ, the deviance over what it should be, 1 at least: errors grow with its root."""
        return max(1.0, self.deviance / self.expected) if self.deviance and self.expected else 1.0

    def lines(self) -> list[str]:
        """What it comes to, in plain sentences."""
        said = [self._verdict(), *self._where(), *self._cure(), *self.against]
        if self.to_go > STOPPED:
            said.append("the fit was stopped on its way down: allow its last stage more iterations")
        if self.solver is None or self.solver > COARSE:
            moves = (
                "not last through the frames"
                if self.solver is None
                else (f"move the law by {self.solver:.2g} of its errors")
            )
            said.append(
                f"solved in finer steps the equation would {moves}: halve the solver's step, or "
                "give it a tenth of its tolerances"
            )
        if self.unseen:
            said.append(
                f"the frames do not tell {', '.join(self.unseen)}: their errors are the prior's "
                "or without bound"
            )
        return [line for line in said if line]

    def _verdict(self) -> str:
        if self.p is None:
            return (
                f"the fit leaves {100 * self.misfit:.3g} % of the frames' amplitude; they have no "
                "counting noise to judge that by"
            )
        told = f"deviance {self.deviance:.6g}, {self.expected:.6g} expected, p = {self.p:.2g}"
        return f"the frames {'follow' if self.fits else 'do not follow'} this law ({told})"

    def _where(self) -> list[str]:
        if self.fits is not False:
            return []
        groups = (("frames at", self.by_time), ("run", self.by_run), ("ring", self.by_q))
        worst = {kind: max(some, key=lambda g: g.z) for kind, some in groups if len(some) > 1}
        parts = [f"{kind} {g.where} (z = {g.z:.3g})" for kind, g in worst.items() if g.p < LIMIT]
        return [f"worst are {', '.join(parts)}"] if parts else []

    def _cure(self) -> list[str]:
        if self.fits is not False:
            return []
        excess = (self.deviance or 0.0) - (self.expected or 0.0)
        likely = [c for c in self.causes if c.p < LIMIT]
        if likely and likely[0].drop > 0.3 * excess:
            return [f"what would explain it best is {likely[0].line()}: fit the instrument too"]
        also = f"; best of them is {likely[0].line()}" if likely else ""
        return [
            "no error of the instrument alone explains it: try a richer term, another equation, "
            f"shorter windows, or starts that are fitted{also}"
        ]

    def as_json(self) -> dict[str, Any]:
        """Every number, for JSON."""
        groups = {k: [g._asdict() for g in getattr(self, k)] for k in ("by_time", "by_run", "by_q")}
        causes = [cause._asdict() for cause in self.causes]
        made = {**asdict(self), **groups, "causes": causes, "fits": self.fits}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in made.items()}

    @classmethod
    def from_json(cls, made: dict[str, Any]) -> Goodness:
        """What `as_json` gave."""
        given = {k: v for k, v in made.items() if k in cls.__dataclass_fields__}
        for name in ("by_time", "by_run", "by_q"):
            given[name] = tuple(Group(**g) for g in given.get(name, ()))
        given["causes"] = tuple(Cause(**c) for c in given.get("causes", ()))
        for name in ("unseen", "against"):
            given[name] = tuple(given.get(name, ()))
        return cls(**given)


def deviance_test(excess: float, variance: float, expected: float) -> tuple[float, float]:
    """z, and p of a deviance so large or larger, by the gamma law of its mean and variance.

    Example:
        >>> z, p = deviance_test(excess=40.0, variance=400.0, expected=200.0)
        >>> z, round(p, 3)
        (2.0, 0.028)
    """
    if not (variance > 0 and expected > 0):
        return 0.0, 1.0
    shape = expected**2 / variance
    return excess / variance**0.5, above_gamma(shape, shape * (1 + excess / expected))


def above_gamma(shape: float, x: float) -> float:
    """How likely a gamma variable of that shape and scale 1 lies above ``x``.

    Example:
        >>> round(above_gamma(0.5, 3.841 / 2), 3)  # χ² of one
        0.05
    """
    a, b = (torch.tensor(v, dtype=torch.float64) for v in (shape, max(x, 0.0)))
    return float(torch.special.gammaincc(a, b))


def two_sided(z: float) -> float:
    """How likely a normal z is so far from 0, on either side."""
    return math.erfc(abs(z) / math.sqrt(2))


def least_of(values: list[float]) -> float:
    """P of the least of several independent p, by Šidák.

    Example:
        >>> round(least_of([0.5, 0.01]), 4), least_of([1e-30, 0.5])
        (0.0199, 2e-30)
    """
    if not values:
        return 1.0
    p, count = min(values), len(values)
    return min(count * p, 1.0) if p < 1e-8 else 1 - (1 - p) ** count


def score_test(s: Tensor, V: Tensor, one_sided: bool) -> tuple[Tensor, Tensor, float, float]:
    """Estimate, its errors, χ² and p of unknowns with the efficient score s and information V."""
    C = torch.linalg.pinv(V, hermitian=True)
    estimate, drop = -C @ s, float(s @ C @ s)
    if one_sided and float(estimate.max()) <= 0:  # it would have to be negative
        return 0 * estimate, C.diagonal().clamp(min=0).sqrt(), 0.0, 1.0
    p = above_gamma(len(s) / 2, drop / 2) / (2 if one_sided else 1)
    return estimate, C.diagonal().clamp(min=0).sqrt(), drop, p
