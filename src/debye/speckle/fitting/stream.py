"""A fit that goes on while frames come: each stretch of them is fitted and then forgotten.

What the last stretch told is what is known before the next: of c, all that is shared, a Gaussian
whose precision is its curvature with all states eliminated; of the state of each run a Gaussian
that follows c, x = m + K (c − c_0), with the covariance Q that is left where c is known. The flow
carries both along a stretch: with X its derivative by the first state and J by c, K becomes J + X K
and Q becomes X Q Xᵀ, to which a little room is added for what the law does not know. Memory grows
with one stretch.

Reference: Anderson & Moore, Optimal Filtering (1979), chapter 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.frames import Frames, Window
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.carried import carried
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fit import RESOLUTION, prepare
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import (
    GaussNewton,
    forward_slopes,
    from_vector,
    to_vector,
)
from debye.speckle.fitting.goodness import Goodness, least_of
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.jacobian import call
from debye.speckle.fitting.plan import LAST, Plan, Stage, first_look
from debye.speckle.fitting.prior import Prior
from debye.speckle.fitting.residuals import examine_counts
from debye.speckle.fitting.starts import Starts, StartsToo
from debye.speckle.scattering.models import Scattering

ITERATIONS = 12
"""Steps at most of a stretch after the first."""
ROOM = 1e-4
"""What a state may stray in a stretch that the law does not know, as a part of its size."""
JUMP = 1.5
"""Frame times between two stretches above which frames are taken to be missing."""


@dataclass(frozen=True)
class Stretch:
    """What a stretch of frames came to.

    Attributes:
        first: Its first time.
        last: Its last time.
        p: How likely frames of the law would look so bad; 1 without counts.
        note: What is odd about it; empty if nothing is.
    """

    first: float
    last: float
    p: float
    note: str = ""


class Stream:
    """A system that is fitted to frames while they come.

    Args:
        system: The equation, its term filled with something learnable; fitted in place.
        frames: The first stretch, with the states of its first frame.
        plan: How the first stretch is fitted, Gauss–Newton; its last stage sees all of it. Windows
            of 3, 6, … frames from its start if None.
        solver: How to integrate; adaptively if None.
        scattering: What the detector sees; the frames' own by default.
        instrument: What is fitted of the instrument too, as `debye.speckle.fit` takes it.

    Attributes:
        stretches: What each stretch came to.

    Raises:
        InputError: The frames hold no counts or no states, the plan does not see all of them, or
            something is of the wrong kind.
        ComputationError: The loss is not finite and cannot be rescued.

    Example:
        >>> from debye.speckle import Detector, Drift, Flow, GaussianProbe, RigidCloud, simulate
        >>> swing = Drift(lambda x: torch.stack([x[..., 1], -x[..., 0]], -1))
        >>> seen = RigidCloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.1)
        >>> cloud = 0.6 * torch.rand(1, 30, 2, generator=torch.Generator().manual_seed(0)) - 0.3
        >>> frames = simulate(
        ...     swing, seen, [[0.2, 0.0]], [0, 0.5, 1, 1.5, 2, 2.5], solver=Solver(),
        ...     specimen=cloud, photons=300)
        >>> stream = Stream(Drift(Flow(degree=1)), frames.stretch(slice(0, 4)), instrument=False)
        >>> stream.take(frames.stretch(slice(4, 6))).last
        2.5
    """

    def __init__(
        self,
        system: System,
        frames: Frames,
        plan: Plan | None = None,
        *,
        solver: Solver | None = None,
        scattering: Scattering | None = None,
        instrument: Instrument | bool | None = None,
    ) -> None:
        _check_counts(frames)
        plan = plan or stretch_plan(frames, system)
        last = plan.stages[-1]
        whole = (last.starts == 1, last.frames >= frames.count, last.runs >= len(frames.data))
        if not all(whole) or plan.method != "gauss-newton":
            raise InputError(
                "cannot begin a stream by this plan",
                why="its last stage does not see the whole first stretch from its start"
                if plan.method == "gauss-newton"
                else f"{plan.method} knows no errors, and so nothing of what comes next",
                fix="end with a Stage of all its frames and runs, starts=1, by gauss-newton",
            )
        self.fitting = prepare(
            system, frames, plan, solver=solver, scattering=scattering, instrument=instrument
        )
        for _ in self.fitting.run():
            pass
        windows = last.windows(frames)
        self.mask, self.specimen = frames.mask, frames.specimen
        self.stretches: list[Stretch] = []
        self.worst: Goodness | None = None
        self.portion, self.interval = last.portion, float(frames.times.diff().median())
        self._keep(windows, "")
        self._carry(self.fitting.minimiser(self.mask), windows)

    def take(self, frames: Frames) -> Stretch:
        """Fit the next stretch of frames, which may be of any length.

        Raises:
            InputError: They do not follow in time, or are of other runs or pixels.
            ComputationError: The system does not last until their end.
        """
        _check_counts(frames)
        windows, note = self._windows(frames), self._jump(frames)
        made = self.fitting.experiment
        parts = (made.system, made.scattering, made.solver, made.gain, made.instrument)
        given = dict(self.known.given)
        self.fitting.experiment = Experiment(*parts, {k: x.clone() for k, x in given.items()})
        self.fitting.starts = self.known
        self.mask = self.mask & frames.mask
        fit = StartsToo(
            self.fitting.experiment,
            self.fitting.experiment.compared,
            self.mask,
            self.fitting.likelihood,
            prior=self.prior,
            resolution=RESOLUTION if self.fitting.data.photons else inf,
            starts=self.known,
        )
        for _ in fit.run(windows, ITERATIONS):
            pass
        self.fitting.outcome = examine_counts(
            self.fitting.experiment, windows, self.mask, self.prior, self.known
        )
        self._keep(windows, note)
        self._carry(fit, windows)
        return self.stretches[-1]

    def result(self) -> FittedSystem:
        """The system as all frames so far tell it, with the goodness of the worst stretch.

        Raises:
            InputError: The system has no parameters.
        """
        made = FittedSystem.of(self.fitting)
        if self.worst is None or self.worst.p is None:
            return made
        whole = least_of([stretch.p for stretch in self.stretches])
        tests = {f"t = {s.first:g} to {s.last:g}": s.p for s in self.stretches}
        made.goodness = replace(self.worst, p=whole, tests=tests)
        return made

    def _keep(self, windows: list[Window], note: str) -> None:
        """Note what a stretch came to."""
        outcome = self.fitting.outcome
        found = outcome.goodness if outcome else None
        p = 1.0 if found is None or found.p is None else found.p
        times = windows[0].times
        self.stretches.append(Stretch(float(times[0]), float(times[-1]), p, note))
        if found and (self.worst is None or p < (self.worst.p or 0.0)):
            self.worst = found

    @torch.no_grad()
    def _carry(self, fit: GaussNewton[Window], windows: list[Window]) -> None:
        """Make what is known at the end of a stretch what is known before the next."""
        made = self.fitting.experiment
        vector = to_vector(made)
        S, _ = fit.linearised(vector, windows)
        shared = vector[: len(S)]
        ends, precision, slope = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
        count, variance = len(self.stretches), 0.0
        for window in windows:
            end = made.path(window)[:, -1]
            J, X = end_slopes(made, window, len(S)), carried(made, window)[:, -1].double()
            for run, name in enumerate(window.names):
                own = fit.blocks.get(name) if isinstance(fit, StartsToo) else None
                Q = room(end[run]) * torch.eye(len(X[run])).to(S)
                K = J[:, run].T.to(S)
                if own is not None:
                    inverse = torch.cholesky_inverse(torch.linalg.cholesky(own.H))
                    K = K - X[run] @ inverse @ own.cross
                    Q = Q + X[run] @ inverse @ X[run].T
                new = f"frame {count} run {window.run + run}"
                ends[new], slope[new] = end[run], K
                precision[new] = torch.cholesky_inverse(torch.linalg.cholesky(Q))
                variance += float(Q.diagonal().mean())
        error = (variance / len(ends)) ** 0.5
        self.known = Starts(ends, error, precision, slope, shared)
        P = S + fit.known.precision.to(S)
        self.prior = Prior(P, shared, fit.known.least, fit.known.most)
        self.now = float(windows[0].times[-1])

    def _windows(self, frames: Frames) -> list[Window]:
        """The stretch, from where the last one ended: its own frames alone are compared."""
        runs = len(self.known.given)
        if len(frames.data) != runs or frames.mask.shape != self.mask.shape:
            raise InputError(
                "these frames do not go on with the stream",
                why=f"they are {len(frames.data)} runs of {tuple(frames.mask.shape)} pixels, "
                f"and it is {runs} of {tuple(self.mask.shape)}",
                fix="give frames of the same runs and detector",
            )
        if float(frames.times[0]) <= self.now:
            raise InputError(
                "the stream jumps back in time",
                why=f"its frames go on at t = {float(frames.times[0]):g}, after t = {self.now:g}",
                fix="give each frame once, in the order in which they were taken",
            )
        times = torch.cat([frames.times.new_tensor([self.now]), frames.times])
        data = torch.cat([frames.data[:, :1], frames.data], 1)  # nobody looks at the first
        starts, found = list(self.known.given.values()), []
        for first in range(0, runs, self.portion):
            part = slice(first, min(first + self.portion, runs))
            cloud = None if self.specimen is None else self.specimen[part]
            state = torch.stack(starts[part])
            found.append(
                Window(state, times, data[part], cloud, len(self.stretches), first, first=False)
            )
        return found

    def _jump(self, frames: Frames) -> str:
        """What to say where frames are missing before a stretch."""
        gap = float(frames.times[0]) - self.now
        if gap <= JUMP * self.interval:
            return ""
        return (
            f"the stream jumps from t = {self.now:g} to {float(frames.times[0]):g}, over "
            f"{round(gap / self.interval) - 1} frames: the state was carried across by the law"
        )


def end_slopes(experiment: Experiment, window: Window, shared: int) -> Tensor:
    """(P, run, n) derivative of the last states of a window by the P shared unknowns."""
    vector = to_vector(experiment)

    def end(v: Tensor) -> Tensor:
        named = from_vector(experiment, torch.cat([v, vector[shared:]]))
        states: Tensor = call(experiment, "path", named, window)
        return states[:, -1].flatten(1)

    return forward_slopes(end, vector[:shared], 32).double()


def room(state: Tensor) -> float:
    """Variance that a state may stray by in a stretch."""
    size = float(state.double().square().mean())
    return ROOM**2 * max(size, 1e-12)


def stretch_plan(frames: Frames, system: System | None = None) -> Plan:
    """Windows of 3, 6, 12 … frames from the start of a stretch, to all of it.

    Of bodies that move under a spline the first step is seen at low q before.

    Example:
        >>> [s.frames for s in stretch_plan(Frames(torch.ones(2, 10, 8, 8), range(10))).stages]
        [3, 6, 10]
    """
    lengths, most, runs = list[int](), frames.count, len(frames.data)
    while (n := 3 * 2 ** len(lengths)) < most:
        lengths.append(n)
    walk = [*first_look(min(3, most), system), *((n, 1.0) for n in (*lengths, most))]
    stages = [Stage(n, runs, q=q) for n, q in walk]
    return Plan((*stages[:-1], replace(stages[-1], iterations=LAST)))


def _check_counts(frames: Frames) -> None:
    if not frames.photons:
        raise InputError(
            "cannot fit this stream",
            why="its frames hold no counting noise, by which stretches are weighed",
            fix="give counts, or fit all frames at once",
        )
