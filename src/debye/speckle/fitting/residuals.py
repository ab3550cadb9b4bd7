"""Work out how well a fit describes its frames, and how sure its unknowns are for that.

Two passes over the frames: the first adds up curvature and gradient of the fitted unknowns and of
all that could have been fitted of the instrument; the second looks at every pixel, with the
parameters that the fit took from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from math import nan
from typing import NamedTuple

import torch
from torch import Tensor

from debye.errors import ComputationError
from debye.speckle.data.frames import Window
from debye.speckle.fitting.curvature import FAINT, Curvature
from debye.speckle.fitting.deviance import DARKEST, moments, unit_deviance
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import check_curvature, free, to_vector
from debye.speckle.fitting.goodness import (
    Cause,
    Goodness,
    Group,
    deviance_test,
    least_of,
    score_test,
    two_sided,
)
from debye.speckle.fitting.instrument import UNKNOWNS, Instrument, possible
from debye.speckle.fitting.prior import Prior, ridge
from debye.speckle.fitting.prior_checks import (
    instrument_against,
    starts_against,
    system_against,
    unseen,
)
from debye.speckle.fitting.slopes import FrameSlopes, frame_slopes
from debye.speckle.fitting.starts import Starts

RINGS = 6
"""Rings of |q| that are looked at, of as many pixels each."""
SANDWICH = 0.01
"""A p below which errors are taken from the spread of the scores of the frames too."""


class Outcome(NamedTuple):
    """What is found at the end of a fit.

    Attributes:
        goodness: How well it describes the frames.
        covariance: (P, P) of all shared unknowns that were fitted; None where nothing was
            differentiated.
        starts: Standard errors of fitted first states, by the names of their windows.
    """

    goodness: Goodness
    covariance: Tensor | None = None
    starts: dict[str, Tensor] = {}  # noqa: RUF012 - never changed


def covariance_of(curvature: Tensor) -> Tensor:
    """Covariance of the coefficients from the curvature of the likelihood at its end.

    For counts the likelihood is in natural units and the inverse curvature is the Cramér–Rao
    bound. Directions the data leave open are given the smallest curvature that rounding can tell
    from 0, so their error bars are long rather than wrong.

    Example:
        >>> covariance_of(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
        tensor([[0.2500, 0.0000],
                [0.0000, 1.0000]])
    """
    values, vectors = torch.linalg.eigh(curvature)
    return (vectors / values.clamp(min=1e-12 * float(values.max()))) @ vectors.T


def examine_counts(
    experiment: Experiment,
    windows: Sequence[Window],
    mask: Tensor,
    prior: Prior | None = None,
    starts: Starts | None = None,
) -> Outcome:
    """Goodness and covariance of an experiment that was fitted to frames of counts.

    Args:
        experiment: As fitted.
        windows: What it was fitted to.
        mask: (qy, qx) open pixels.
        prior: Of its fitted unknowns that are shared.
        starts: Of its first states, where they were fitted.

    Raises:
        ComputationError: The system does not last through a window, or the frames depend on
            nothing that was fitted.
    """
    return _Counts(experiment, windows, mask, prior, starts).examine()


def examine_prediction(
    experiment: Experiment, windows: Sequence[Window], mask: Tensor, *, counted: bool
) -> Goodness:
    """Goodness of a prediction by itself: of frames without noise, or of a network.

    Args:
        experiment: As fitted.
        windows: What it was fitted to.
        mask: (qy, qx) open pixels.
        counted: Whether the frames are counts.

    Raises:
        ComputationError: The system does not last through a window.
    """
    total, whole, pixels = 0.0, 0.0, 0
    excess, variance, expected = 0.0, 0.0, 0.0
    for window in windows:
        with torch.no_grad():
            rate = experiment(window).double()[..., mask]
        n = experiment.compared(window).double()[..., mask]
        total += float((rate.clamp(min=0).sqrt() - n.clamp(min=0).sqrt()).square().sum())
        whole, pixels = whole + float(n.clamp(min=0).sum()), pixels + n.numel()
        if counted:
            rate = rate.clamp(min=DARKEST)
            mean, spread = moments(rate)
            excess += float((unit_deviance(rate, n) - mean).sum())
            variance, expected = variance + float(spread.sum()), expected + float(mean.sum())
    misfit = (total / whole) ** 0.5 if whole else 0.0
    if not counted:
        return Goodness(pixels, misfit)
    _, p = deviance_test(excess, variance, expected)
    tests = {"deviance": p}
    return Goodness(pixels, misfit, expected + excess, expected, None, p, tests)


class _Sums:
    """Excess, variance and expectation of the deviance of a group of pixels."""

    def __init__(self) -> None:
        self.excess = self.variance = self.expected = 0.0

    def add(self, excess: Tensor, variance: Tensor, expected: Tensor) -> None:
        self.excess += float(excess.sum())
        self.variance += float(variance.sum())
        self.expected += float(expected.sum())

    def group(self, where: str) -> Group:
        return Group(where, *deviance_test(self.excess, self.variance, self.expected))


class _Counts:
    """The two passes."""

    def __init__(
        self,
        experiment: Experiment,
        windows: Sequence[Window],
        mask: Tensor,
        prior: Prior | None,
        starts: Starts | None,
    ) -> None:
        self.experiment, self.windows, self.mask = experiment, windows, mask
        self.probe, self.starts = with_every_unknown(experiment), starts
        self.vector = to_vector(self.probe)[: self.probe.shared]
        owners = [name for name, p in free(self.probe) for _ in range(p.numel())]
        self.owners = owners[: self.probe.shared]
        actual = {name for name, _ in free(experiment)}
        fitted = torch.tensor([name in actual for name in self.owners])
        self.fitted, self.spare = fitted.nonzero()[:, 0], (~fitted).nonzero()[:, 0]
        self.prior = prior or ridge(0.0, len(self.fitted))
        self.ring = q_bins(mask, RINGS)

    def examine(self) -> Outcome:
        self.sums = Curvature(
            self.probe, self.windows, self.mask, self.ring, RINGS, self.fitted, self.starts
        )
        self.H = self.sums.H
        H = self.H[self.fitted][:, self.fitted]
        check_curvature(H, free(self.experiment))
        self.A = H + self.prior.precision.to(H)
        self.C = covariance_of(self.A)
        self._residuals()
        goodness = self._goodness()
        C = self._covariance(goodness)
        return Outcome(goodness, C, self._start_errors(C))

    def _residuals(self) -> None:
        """Second pass: every pixel's deviance, and products of neighbouring residuals."""
        self.root = root_of(self.C)
        self.times: dict[float, _Sums] = defaultdict(_Sums)
        self.runs: dict[int, _Sums] = defaultdict(_Sums)
        self.whole, self.by_ring = _Sums(), [_Sums() for _ in range(RINGS)]
        self.flux = self.vector.new_zeros(RINGS, 2)  # excess of counts, and their mean
        self.products = {"x": [0.0, 0.0], "y": [0.0, 0.0], "time": [0.0, 0.0]}
        self.parameters = self.distance = self.light = 0.0
        self.pixels = 0
        seen: set[tuple[int, float]] = set()
        moved = self.root.new_zeros(self.root.shape[1])
        for window in self.windows:
            finer = self._finer(window)
            last: tuple[Tensor, Tensor, Tensor] | None = None
            times = window.times[self.probe.skip(window) :].tolist()
            for t, frame, fine in zip(times, frame_slopes(self.probe, window), finer, strict=True):
                K = torch.stack(
                    [self._hat(name, frame, run) for run, name in enumerate(window.names)], 1
                )
                for run in range(len(frame.rate)):
                    key = (window.run + run, t)
                    if key not in seen:
                        seen.add(key)
                        self._pixel_sums(*key, frame.rate[run], frame.counts[run], K[:, run])
                last = self._neighbours(frame, K, last)
                shift = (fine - frame.rate) / frame.rate.clamp(min=FAINT).sqrt() * self.mask
                moved += torch.tensordot(K[-len(moved) :], shift, 3)
        self.moved = None if moved.isnan().any() else float(moved.norm())

    def _finer(self, window: Window) -> Tensor:
        """(time, run, qy, qx) what is expected by finer steps; NaN where these do not last."""
        made = copy(self.probe)
        made.solver = made.solver.finer(float(window.times.diff().max()))
        with torch.no_grad():
            try:
                return made(window).transpose(0, 1)
            except ComputationError:
                return torch.full_like(made.compared(window).transpose(0, 1), nan)

    def _hat(self, name: str, frame: FrameSlopes, run: int) -> Tensor:
        """(unknown, qy, qx) K of one frame, whose squares add up to what the fit took from it."""
        w = frame.rate[run].clamp(min=FAINT).rsqrt()
        J, white = frame.shared[:, run] * w, w.new_zeros(0, *w.shape)
        if frame.own is not None:
            white = self.sums.eliminated[name].whitened(frame.own[:, run] * w)
            J = self.sums.eliminated[name].reduced(J, white)
        return torch.cat([white, torch.tensordot(self.root.T, J[self.fitted], 1)])

    def _pixel_sums(self, run: int, t: float, rate: Tensor, n: Tensor, K: Tensor) -> None:
        """Add one frame of one run to whatever it belongs to."""
        rate, n = rate[self.mask].clamp(min=DARKEST), n[self.mask]
        h = K[:, self.mask].square().sum(0)
        mean, variance = moments(rate)
        deviance = unit_deviance(rate, n)
        excess, expected = deviance - mean + h, mean - h
        for sums in (self.whole, self.times[t], self.runs[run]):
            sums.add(excess, variance, expected)
        for k, sums in enumerate(self.by_ring):
            here = self.ring == k
            sums.add(excess[here], variance[here], expected[here])
        self.flux.index_add_(0, self.ring, torch.stack([n - rate, rate], -1))
        self.parameters += float(h.sum())
        self.pixels += len(rate)
        self.distance += float((rate.clamp(min=0).sqrt() - n.sqrt()).square().sum())
        self.light += float(n.sum())

    def _neighbours(
        self, frame: FrameSlopes, K: Tensor, last: tuple[Tensor, Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Products of residuals side by side in x, y and time, less what the fit makes of them."""
        # Where hardly a photon is expected, one photon would outweigh a whole frame.
        damp = (frame.rate / (frame.rate + 0.5)).clamp(min=0).sqrt() * self.mask
        r = (frame.counts - frame.rate) / frame.rate.clamp(min=FAINT).sqrt() * damp
        here = r, damp, K * damp
        across = {
            "x": [(x[..., :-1], x[..., 1:]) for x in here],
            "y": [(x[..., :-1, :], x[..., 1:, :]) for x in here],
        }
        if last is not None:
            across["time"] = list(zip(last, here, strict=True))
        for name, (residual, weight, hat) in across.items():
            self.products[name][0] += float((residual[0] * residual[1]).sum())
            self.products[name][0] += float((hat[0] * hat[1]).sum())
            self.products[name][1] += float((weight[0] * weight[1]).square().sum())
        return here

    def _goodness(self) -> Goodness:
        frames = tuple(s.group(f"t = {t:g}") for t, s in sorted(self.times.items()))
        runs = tuple(s.group(f"{run + 1}") for run, s in sorted(self.runs.items()))
        by_ring = tuple(s.group(f"{k + 1} of {RINGS}") for k, s in enumerate(self.by_ring))
        causes = self._causes()
        tests = {
            "deviance": self.whole.group("").p,
            "frames": least_of([g.p for g in frames]),
            "runs": least_of([g.p for g in runs]),
            "rings": least_of([g.p for g in by_ring]),
            "counts of rings": least_of([two_sided(z) for z in self._flux()]),
            **{
                f"neighbours in {name}": two_sided(z / v**0.5)
                for name, (z, v) in self.products.items()
                if v > 0
            },
            **{cause.words: cause.p for cause in causes},
        }
        expected, f = self.whole.expected, self.fitted
        names = [self.owners[i] for i in f.tolist()]
        return Goodness(
            pixels=self.pixels,
            misfit=(self.distance / self.light) ** 0.5 if self.light else 0.0,
            deviance=expected + self.whole.excess,
            expected=expected,
            parameters=self.parameters,
            p=least_of(list(tests.values())),
            tests=tests,
            by_time=frames,
            by_run=runs,
            by_q=by_ring,
            causes=causes,
            unseen=unseen(self.experiment, self.H[f][:, f], self.A, names),
            against=(
                *system_against(self.prior, self.vector[f], names),
                *instrument_against(self.prior, self.vector[f], names),
                *starts_against(self.starts, self._away()),
            ),
            to_go=self._to_go(),
            solver=self.moved,
        )

    def _away(self) -> dict[str, Tensor]:
        """How far each first state that was fitted is from where it is expected."""
        if self.starts is None:
            return {}
        now, shared = self.probe.starts, self.vector[self.fitted]
        return {k: self.starts.away(k, now[k], shared) for k in self.sums.eliminated}

    def _to_go(self) -> float:
        """½ gᵀ C g of what is free to move."""
        f, bounds = self.fitted, self.prior
        slope = self.sums.g[f] + bounds.slope(self.vector[f]).to(self.C)
        slope = slope.masked_fill(bounds.held(self.vector[f], -slope), 0.0)
        return 0.5 * float(slope @ (self.C @ slope))

    def _flux(self) -> list[float]:
        """Z of the counts of each ring, whose variance is what the fit left of λ."""
        J = self.sums.ring_slopes[self.fitted]
        taken = self.sums.taken + (J * (self.C @ J)).sum(0)
        left = (self.flux[:, 1] - taken).clamp(min=0.05 * self.flux[:, 1])
        z = self.flux[:, 0] / left.sqrt()
        return z.nan_to_num(0.0).tolist()

    def _causes(self) -> tuple[Cause, ...]:
        """A score test of everything of the instrument that was not fitted."""
        g, f, found = self.sums.g, self.fitted, []
        slope = g[f] + self.prior.slope(self.vector[f]).to(g)
        for name in dict.fromkeys(self.owners[i] for i in self.spare.tolist()):
            nu = torch.tensor([i for i in self.spare.tolist() if self.owners[i] == name])
            cross = self.H[nu][:, f]
            s = g[nu] - cross @ self.C @ slope
            V = self.H[nu][:, nu] - cross @ self.C @ cross.T
            short = name.removeprefix("instrument.")
            one = UNKNOWNS[short]
            values, errors, drop, p = score_test(s, V, one.least == 0.0)
            made = values.tolist(), errors.tolist()
            found.append(Cause(short, one.words, one.unit, *made, drop, p))
        return tuple(sorted(found, key=lambda c: -c.drop))

    def _covariance(self, goodness: Goodness) -> Tensor:
        """Of the fitted unknowns: longer by √φ, and by the scores' spread where frames misfit."""
        phi = goodness.dispersion
        if goodness.p is None or goodness.p >= SANDWICH:
            return phi * self.C
        root = root_of(self.C)
        scores = torch.stack(self.sums.scores)[:, self.fitted] @ root
        spread, axes = torch.linalg.eigh(scores.T @ scores)
        wide = root @ axes
        return (wide * spread.clamp(min=phi)) @ wide.T

    def _start_errors(self, C: Tensor) -> dict[str, Tensor]:
        """Standard errors of first states, C the covariance of what is shared."""
        kept = self.fitted
        return {
            name: replace(run, across=run.across[:, kept]).variance(C).sqrt()
            for name, run in self.sums.eliminated.items()
        }


def root_of(covariance: Tensor) -> Tensor:
    """R with C = R Rᵀ."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def with_every_unknown(experiment: Experiment) -> Experiment:
    """The same experiment, all of whose instrument is free."""
    made = experiment.instrument
    values = made.values if made else {}
    instrument = Instrument(possible(experiment.scattering), values)
    instrument.to(next(experiment.system.parameters()).device)
    return Experiment(
        experiment.system,
        experiment.scattering,
        experiment.solver,
        experiment.gain,
        instrument,
        dict(experiment.starts),
    )


def q_bins(mask: Tensor, count: int) -> Tensor:
    """(open pixel,) ring of |q| of each, 0 … count − 1 from the middle, of as many pixels each.

    Example:
        >>> q_bins(torch.ones(4, 4, dtype=torch.bool), 2).bincount()
        tensor([8, 8])
    """
    rows, columns = mask.shape
    y, x = (torch.arange(n, device=mask.device).double() - n // 2 for n in (rows, columns))
    rho = torch.hypot(y[:, None], x)[mask]
    order = rho.argsort(stable=True).argsort(stable=True)
    return order * count // max(len(rho), 1)
