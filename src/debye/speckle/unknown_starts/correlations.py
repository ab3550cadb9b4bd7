"""A law from correlations: fitted to g2 and the mean intensity, where no start is known.

Speckle of a sample whose start is unknown, or that noise jostles, cannot be followed frame by
frame; its statistics can. The candidate law is simulated from random starts, seen and correlated
as the sample was, with the same random numbers at every step of the fit, and is moved until its
statistics are the measured ones:

    min_θ (s − m(θ))ᵀ W (s − m(θ)),   s = [ln I(q) + const, g2(q, τ) − 1]

I(q) tells force over noise, and g2 the scale of time. Of a sample that ages, two-time maps take the
place of g2, averaged over stretches of age at every delay. This is indirect inference: Gouriéroux,
Monfort & Renault, J. Appl. Econometrics 8, S85 (1993).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from debye.core.training import Step
from debye.errors import ComputationError, InputError
from debye.speckle.dynamics.brownian import Brownian
from debye.speckle.dynamics.solver import Solver
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import check_size, set_vector, to_vector
from debye.speckle.unknown_starts.statistics import Compared, Linear, has_maps
from debye.speckle.unknown_starts.suspension import Suspension
from debye.speckle.values import expect
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.qmap import QMap

APART = 0.4
"""By what fraction a parameter is moved to see what depends on it."""
FARTHEST = 0.7
"""By what fraction a step may move a parameter."""
SHORT = 0.1
"""Squared step, for each parameter and in units of the errors, that moves nothing."""
WEIGHED = 3
"""Steps that find the weight of the statistics anew, at most."""
FEWEST_SIMULATED = 4
UNLIKELY = 1e-3
"""p-value below which correlations do not follow a law."""


class CorrelationFit:
    """A Brownian system on its way to the correlations of some runs.

    Args:
        system: Fitted in place.
        sample: How it starts and is seen.
        runs: What was measured, each by itself; of one, its scatter is that of the simulation.
        simulated: Runs that are simulated at each step, `FEWEST_SIMULATED` at least: their noise
            is in the result as that of the measured ones is. As many as these are if None, within
            32 and 256.
        contrast: Whether g2 − 1 is lower than simulated by a factor that is fitted too, as partial
            coherence makes it.
        seed: Of all random numbers.
        maps: Whether two-time maps are compared by age instead of g2; where all runs have them if
            None.

    Raises:
        InputError: There are no runs, they share no delay, the simulated detector does not hold
            their rings, there are no maps to compare, too few are simulated, or there is nothing
            to fit.
    """

    def __init__(
        self,
        system: Brownian,
        sample: Suspension,
        runs: Sequence[Correlation],
        *,
        simulated: int | None = None,
        contrast: bool = True,
        seed: int = 0,
        maps: bool | None = None,
    ) -> None:
        check_size(system, most=100)
        self.system, self.sample, self.seed, self.contrast = system, sample, seed, contrast
        self.simulated = min(max(len(runs), 32), 256) if simulated is None else simulated
        if self.simulated < FEWEST_SIMULATED:
            raise InputError(
                f"cannot fit with {self.simulated} simulated runs a step",
                why="slopes and scatter are taken from halves of them",
                fix=f"simulate {FEWEST_SIMULATED} or more, or leave the number out",
            )
        self.qmap, self.photons = seen_by(sample, runs), photons_of(runs)
        maps = all(map(has_maps, runs)) if maps is None else maps
        self.compared = Compared.of(runs, sample.frames, maps=maps)
        self.data = self.compared.statistics(runs)
        size = len(to_vector(system))
        self.at = torch.cat([to_vector(system), torch.zeros(int(contrast))])
        """(P,) the parameters, and the logarithm of the factor of g2 − 1."""
        self.prior = torch.zeros(len(self.at), len(self.at), dtype=torch.float64)
        if contrast:
            self.prior[size, size] = 1.0  # a factor of e is not unusual
        self.last: Linear | None = None
        self.residual = torch.zeros(0)

    def simulate(self, at: Tensor) -> Tensor:
        """(run, S) statistics of the system at some parameters.

        Raises:
            ComputationError: It blows up.
        """
        size = len(at) - int(self.contrast)
        set_vector(self.system, at[:size])
        asked = (self.system, self.qmap, self.simulated, self.seed, self.photons)
        runs = self.sample.correlate(*asked, maps=self.compared.binned * bool(self.compared.ages))
        return self.lowered(self.compared.statistics(runs).values, float(at[size:].sum()))

    def lowered(self, values: Tensor, log_factor: float) -> Tensor:
        """Statistics (run, S) with g2 − 1 times a factor."""
        bins = self.data.bins
        return torch.cat([values[:, :bins], values[:, bins:] * math.exp(log_factor)], 1)

    def linear(self, at: Tensor, weight: Tensor | None = None) -> Linear:
        """The statistics at some parameters and their slopes, by differences to both sides.

        Paths of particles that collide soon part, however near their laws: near parameters give
        more noise than slope, and the differences are wide.

        Args:
            at: (P,) the parameters.
            weight: (S, S) of the statistics; from the scatter of runs nearby if None.

        Raises:
            ComputationError: The system blows up, or no statistic depends on a parameter.
        """
        values, slopes, nearby, bins = self.simulate(at), [], [], self.data.bins
        for k in range(len(at) - int(self.contrast)):
            apart = APART * max(abs(float(at[k])), 1.0)
            to = torch.zeros_like(at).index_fill(0, torch.tensor(k), apart)
            both = [self.simulate(at + to), self.simulate(at - to)]
            slopes.append((both[0] - both[1]) / (2 * apart))
            nearby += [one - one.mean(0) for one in both]
        away = torch.zeros_like(at)
        if self.contrast:
            slopes.append(torch.cat([0 * values[:, :bins], values[:, bins:]], 1))
            away[-1] = at[-1]
        of_run = torch.stack(slopes, 2)
        halves = torch.stack([of_run[0::2].mean(0), of_run[1::2].mean(0)])
        told = halves.mean(0).square().sum(0)
        if not bool((told > 0).all()):
            raise ComputationError(
                "cannot fit these correlations",
                why="they do not depend on all parameters of the system",
                fix="check that cutoff, box and times are in the units of the data",
            )
        near = torch.cat(nearby)
        return Linear(halves, near, values, self.data.values, self.prior, away, weight)

    def run(self, iterations: int = 10) -> Iterator[Step]:
        """Gauss–Newton steps, until one moves much less than an error, or less and to no avail.

        They are not held to a falling χ², which simulated statistics make rough: what a step ends
        at is as good as the next, and its scatter is in the errors. The first steps find the
        weight where they start; then it is held, or the minimum would move with every step.

        Args:
            iterations: At most.

        Yields:
            What each step did; its loss is half of χ² before it, and its gradient the squared step
            in units of the errors.

        Raises:
            ComputationError: The system blows up, or no statistic depends on a parameter.
        """
        before, weight = math.inf, None
        for i in range(iterations):
            here = self.linear(self.at, weight)
            most = FARTHEST * self.at.abs().clamp(min=1.0)
            step = here.step.clamp(-most, most)
            moved = float(step @ here.information @ step) / len(step)
            chi2 = here.chi2(here.residual)
            held = weight is not None
            rests = held and (moved < SHORT or (moved < 1 and chi2 > before - 1))
            weight = here.weight if held or i + 1 >= WEIGHED or moved < 1 else None
            self.at, self.last, before = self.at + step, here, chi2
            self.residual = here.residual - here.J @ step
            set_vector(self.system, self.at[: len(self.at) - int(self.contrast)])
            ends = rests or i == iterations - 1
            yield Step(i + 1, 0, ends, 0.5 * chi2, {}, 1.0, moved, False)
            if rests:
                return

    def result(self, **card: Any) -> FittedSystem:  # noqa: ANN401 - JSON
        """The system as it is now, with errors, and how well it fits in its card.

        Args:
            card: What else to say.

        Raises:
            ComputationError: It was not fitted yet.
        """
        if self.last is None:
            raise ComputationError(
                "there is no result yet", why="no step was made", fix="walk through run() first"
            )
        size = len(self.at) - int(self.contrast)
        p = self.last.p_values(self.residual, {"all": slice(None)} | self.data.parts)
        found: dict[str, Any] = {
            "p_value": p.pop("all"),
            "p_values": p,
            "chi2": self.last.chi2(self.residual),
            "statistics": len(self.last.residual),
            "runs": len(self.data.values),
            "simulated": self.simulated,
        }
        for k, (name, logarithm) in enumerate(self.system.constants.items()):
            found[name] = math.exp(float(self.system.get_parameter(logarithm).detach()))
            found[f"{name}_error"] = found[name] * float(self.last.covariance[k, k].sqrt())
        if self.contrast:
            factor = math.exp(float(self.at[-1]))
            found["contrast"] = factor
            found["contrast_error"] = factor * float(self.last.covariance[-1, -1].sqrt())
        return FittedSystem(
            self.system,
            self.sample.scattering,
            Solver(),
            covariance=self.last.covariance[:size, :size],
            card={"correlations": found, **card},
        )


def seen_by(sample: Suspension, runs: Sequence[Correlation]) -> QMap:
    """The rings of measured runs on the simulated detector.

    Args:
        sample: With that detector.
        runs: Measured.

    Raises:
        InputError: There are no runs, or the detector does not hold their rings.
    """
    if not runs:
        raise InputError("there is nothing to fit", why="no run was given", fix="give at least one")
    theirs = runs[0].qmap
    made = sample.qmap(theirs.q_edges, theirs.phi_edges)
    if len(made) != len(theirs):
        raise InputError(
            f"the simulated detector holds {len(made)} of the {len(theirs)} bins",
            why="the others hold too few of its pixels",
            fix="simulate a larger or finer detector, or correlate in fewer bins",
        )
    return made


def photons_of(runs: Sequence[Correlation]) -> float:
    """Mean counts of a pixel of the bins; 0 where the frames do not count photons."""
    if not all(run.counts for run in runs):
        return 0.0
    return float(torch.stack([r.saxs_2d[r.qmap.dynamic.labels > 0].mean() for r in runs]).mean())


def fit_correlations(
    system: Brownian,
    sample: Suspension,
    correlation: Correlation | Sequence[Correlation],
    **options: Any,  # noqa: ANN401 - of CorrelationFit
) -> FittedSystem:
    """Fit a Brownian system to correlations and mean intensity of runs whose starts nobody knows.

    Args:
        system: Its parameters are fitted in place.
        sample: How it starts and is seen.
        correlation: Of each run, or the mean of several with its ``slices``.
        options: Of `CorrelationFit`.

    Returns:
        The fitted system. Its card says in ``correlations`` how well the statistics agree, by
        p-values that are even between 0 and 1 when the law is true.

    Raises:
        InputError: What `CorrelationFit` refuses.
        ComputationError: The system to start from blows up, or no statistic depends on it.
    """
    fitting = CorrelationFit(system, sample, runs_in(correlation), **options)
    for _ in fitting.run():
        pass
    return fitting.result()


def runs_in(correlation: Correlation | Sequence[Correlation]) -> list[Correlation]:
    """The runs that a mean is made of, or the one run that it is; one with maps has its ages."""
    if not isinstance(correlation, Correlation):
        return list(correlation)
    whole = has_maps(correlation) or not correlation.slices
    return [correlation] if whole else list(correlation.slices)


def agreement(fitted: FittedSystem) -> tuple[list[str], bool]:
    """What a fit to correlations found, in lines, and whether the correlations follow it.

    Args:
        fitted: Of `fit_correlations`.

    Raises:
        InputError: It is of something else.
    """
    found = fitted.card["correlations"]
    told = {k: (found[k], found[f"{k}_error"]) for k in found if f"{k}_error" in found}
    logarithms = expect(fitted.system, Brownian, "fitted.system").constants.values()
    values = fitted.errors
    for name, value in fitted.system.named_parameters():
        if value.numel() == 1 and name not in logarithms:
            told[name.rpartition(".")[2]] = float(value.detach()), float(values[name])
    lines = [fitted.formula.replace("-", "−")]
    lines += [f"{name} = {value:.4g} ± {error:.2g}" for name, (value, error) in told.items()]
    fits = found["p_value"] >= UNLIKELY
    if fits:
        return [*lines, f"the correlations follow this law (p = {found['p_value']:.2g})"], True
    worst = min(found["p_values"], key=found["p_values"].get)
    return [
        *lines,
        f"these correlations do not follow this law (p = {found['p_value']:.1g}), least of all "
        f"{worst}: try another force, more particles in the box, or rings farther from the beam",
    ], False
