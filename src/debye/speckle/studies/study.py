"""A published case as data, the study that fits its term, and the report of what is found.

Andrejevic et al., npj Comput. Mater. 10, 225 (2024). Where a study differs on purpose (what fills
the term, how it is fitted, that unseen initial states are truly unseen) its file says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debye.core import VERSION
from debye.core.records import SCHEMA
from debye.core.upward import Displayed
from debye.errors import InputError
from debye.speckle.data.frames import Frames, simulate
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.fit import Fitting, prepare
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.plan import Plan
from debye.speckle.panels import Scene, Strip
from debye.speckle.scattering.models import Scattering

Starts = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
"""Number of runs and a generator → initial states (run, …), and the specimen if there is one."""
UNSEEN = 1_000_003
"""Added to the seed for the initial states that a fitted system is followed from."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Case:
    """Something that moves, and how it is seen.

    Attributes:
        name: What it is called on the command line.
        title: What it is about.
        known: Makes the system that generates the frames.
        scattering: Makes the scattering model.
        starts: Draws initial states.
        runs: Initial states of the published data set.
        times: (first, last, step) of the frames.
        solver: How to integrate while fitting.
        careful: How to integrate the known system, which is the yardstick.
        since: Time of the initial states, before the first frame or at it.
    """

    name: str
    title: str
    known: Callable[[], System]
    scattering: Callable[[], Scattering]
    starts: Starts
    runs: int
    times: tuple[float, float, float]
    solver: Solver
    careful: Solver
    since: float = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}: {self.title})"

    def grid(self, until: float | None = None) -> Tensor:
        """(time,) the times of the frames, to ``until`` if that is later or earlier; float64."""
        first, last, step = self.times
        count = round(((last if until is None else until) - first) / step) + 1
        return first + step * torch.arange(count, dtype=torch.float64)

    def draw(self, runs: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Initial states of a seed, and their specimen; other seeds share nothing with them."""
        return self.starts(runs, torch.Generator().manual_seed(seed))

    def frames(
        self,
        *,
        runs: int | None = None,
        photons: float = 0.0,
        seed: int = 0,
        until: float | None = None,
        watch: Callable[[int], None] = lambda runs: None,
    ) -> Frames:
        """Simulate its frames.

        Args:
            runs: Initial states; as published by default.
            photons: Expected counts in the brightest pixel; 0 for no noise.
            seed: Seed of the initial states and of the photons.
            until: Last time; as published by default.
            watch: Called with the number of runs done, now and then.

        Raises:
            InputError: The times are no times.
            SolveError: The integration stops before the last time.
        """
        y0, specimen = self.draw(runs or self.runs, seed)
        about = {"study": self.name, "seed": seed, "photons": photons, "version": VERSION}
        return simulate(
            self.known(),
            self.scattering(),
            y0,
            self.grid(until),
            solver=self.careful,
            photons=photons,
            specimen=specimen,
            seed=seed,
            since=self.since,
            about=about,
            watch=watch,
        )

    def unseen(self, runs: int, times: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
        """True states (run, time, …) that share nothing with those of ``seed``, and the specimen.

        Raises:
            SolveError: The integration stops before the last time.
        """
        y0, specimen = self.draw(runs, seed + UNSEEN)
        since = times.new_tensor([self.since])
        hidden = torch.cat([since, times]) if times[0] > self.since else times
        with torch.no_grad():
            path = self.careful.solve(self.known().vector_field(), y0, hidden)
        return path.states[-len(times) :].transpose(0, 1), specimen


Walk = Callable[[Fitting], None]
"""Walks a fit to its end: watches, saves, or takes up an earlier one."""


class Fitted(NamedTuple):
    """What came of the frames of a study."""

    data: Frames
    fitting: Fitting
    seconds: dict[str, float]
    extra: dict[str, Any]


class Row(NamedTuple):
    """One line of a study's table."""

    quantity: str
    value: float
    target: float | None = None
    published: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.value <= self.target


def position_error(found: Tensor, true: Tensor) -> Tensor:
    """(time,) mean over runs and particles of the distance, from (run, time, …, coordinate)."""
    distance = (found - true).norm(dim=-1)
    return distance.transpose(0, 1).flatten(1).mean(1)


def relative(found: Tensor, true: Tensor) -> float:
    """‖found − true‖ / ‖true‖.

    Example:
        >>> import torch
        >>> round(relative(torch.tensor([1.1, 1.0]), torch.tensor([1.0, 1.0])), 4)
        0.0707
    """
    return float((found.detach() - true).norm() / true.norm())


def landmarks(study: Study, quick: bool) -> Tensor:
    """Fifty times along the frames, then forty to the horizon unless it is a quick run."""
    first, last, _ = study.times
    early = torch.linspace(first, last, 51, dtype=torch.float64)
    if quick:
        return early
    return torch.cat([early, torch.linspace(last, study.horizon, 41, dtype=torch.float64)[1:]])


def fit_frames(study: Study, plan: Plan, photons: float, seed: int, walk: Walk) -> Fitted:
    """Make the frames of a study and fit its model to them.

    Raises:
        InputError: The plan does not fit the frames.
        ComputationError: The fit does not survive.
    """
    began = time.perf_counter()
    data = study.frames(runs=max(stage.runs for stage in plan.stages), photons=photons, seed=seed)
    simulated = time.perf_counter()
    fitting = prepare(study.model(), data, plan, solver=study.solver)
    walk(fitting)
    seconds = {"simulate": simulated - began, "fit": time.perf_counter() - simulated}
    return Fitted(data, fitting, seconds, {})


def to_the_end(fitting: Fitting) -> None:
    """Walk a fit to its end.

    Raises:
        InputError: The plan does not fit the frames.
        ComputationError: The fit does not survive.
    """
    for _ in fitting.run():
        pass


@dataclass(frozen=True, kw_only=True, repr=False)
class Study(Case):
    """A case with a term to fit, and how the result is looked at.

    Attributes:
        model: Makes the system with something learnable in its term.
        plan: How to fit.
        quick: A shortened plan, for a demonstration.
        horizon: How far the fitted system is followed.
        metrics: The study's table.
        page: The study's figure, as strips of panels.
        scene: What moves, at one of the times: of a report, its true or predicted states
            (run, time, …), and an index.
        error: Predicted and true states (run, time, …) → (time,).
        followed: Times at which the fitted system is compared with the truth, to the horizon or,
            of a quick run, not so far.
        work: Makes the frames and fits.
        guess: Sets a model's coefficients from the states of a run (time, …) at times, before
            the frames are looked at; None starts from the model as it is made.
        runs_unseen: Initial states the fitted system is followed from, drawn from another seed.
        movie_until: Last time of the movie.
    """

    model: Callable[[], System]
    plan: Plan
    quick: Plan
    horizon: float
    metrics: Callable[[Report], list[Row]]
    page: Callable[[Report], list[Strip]]
    scene: Callable[[Report, Tensor, int], Scene]
    error: Callable[[Tensor, Tensor], Tensor] = position_error
    followed: Callable[[Study, bool], Tensor] = landmarks
    work: Callable[[Study, Plan, float, int, Walk], Fitted] = fit_frames
    guess: Callable[[System, Tensor, Tensor, Solver], None] | None = None
    runs_unseen: int = 5
    movie_until: float = float("inf")

    def fitting(
        self,
        frames: Frames,
        plan: Plan | None = None,
        *,
        guess: bool = True,
        instrument: Instrument | bool | None = None,
    ) -> Fitting:
        """A fit of this study's model to anyone's frames, ready to run.

        Args:
            frames: With states, at least at the starts of windows. Where they name no geometry
                the study's is taken.
            plan: How; the study's own plan if None.
            guess: Whether to begin from the study's first guess, if it has one.
            instrument: What of the instrument is fitted too, as `prepare` takes it.

        Raises:
            InputError: The frames are of another kind of system, hold no states, or do not fit
                the plan.
            ComputationError: The first guess blows up.
        """
        model, scattering = self.model(), self.geometry(frames)
        if guess and self.guess and frames.states is not None:
            self.guess(model, frames.states[0].cpu(), frames.times, self.solver)
        return prepare(
            model,
            frames,
            plan or self.plan,
            solver=self.solver,
            scattering=scattering,
            instrument=instrument,
        )

    def geometry(self, frames: Frames) -> Scattering:
        """The frames' own scattering model, or the study's where they name none.

        Raises:
            InputError: The frames are of another kind of system.
        """
        expected = self.scattering()
        if frames.scattering is None:
            return expected
        seen, wanted = type(frames.scattering).__name__, type(expected).__name__
        if seen != wanted:
            raise InputError(
                f"cannot fit {self.name} to these frames",
                why=f"they are of a {seen}, and its equation moves a {wanted}",
                fix="take the equation of the frames' own study, or frames of such a system",
            )
        return frames.scattering


@dataclass(eq=False, repr=False)
class Report(Displayed):
    """What a study found.

    Attributes:
        study: The case.
        fitted: The fitted system.
        data: The frames it was fitted to.
        losses: Stage and loss of every step of the fit.
        times: (time,) at which it was compared with the truth.
        true: (run, time, …) true states of the unseen runs.
        predicted: The same by the fitted system.
        error: (time,) error of the states.
        seen: Times at which frames were compared.
        frame_error: Relative error of the frame amplitudes at ``seen``.
        specimen: Of the unseen runs.
        until: Last time that was fitted.
        horizon: Last time that was to be followed.
        stopped: Where and why the integration ended before it; empty if it did not.
        rows: The table.
        seconds: Wall time of each part.
        extra: Arrays that only one figure needs.
    """

    study: Study
    fitted: FittedSystem
    data: Frames
    losses: list[tuple[int, float]]
    times: Tensor
    true: Tensor
    predicted: Tensor
    error: Tensor
    seen: Tensor
    frame_error: Tensor
    specimen: Tensor | None
    until: float
    horizon: float
    stopped: str = ""
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        met = [row.met for row in self.rows if row.met is not None]
        end = float(self.times[-1])
        return f"Report({self.study.name}: {sum(met)} of {len(met)} targets met, to t = {end:g})"

    def reaches(self, t: float) -> bool:
        """Whether the fitted system was followed as far as ``t``."""
        return float(self.times[-1]) >= t - 1e-9

    def error_at(self, t: float) -> float:
        """Error of the states at the time nearest to ``t``."""
        return float(self.error[(self.times - t).abs().argmin()])

    def errors_at(self, quantity: str, goals: dict[float, tuple[Any, ...]]) -> list[Row]:
        """Rows with the error of the states at the times that were reached.

        Args:
            quantity: What it is, with ``{t:g}`` where the time goes.
            goals: Target and published value by time, each may be missing.
        """
        reached = {t: goal for t, goal in goals.items() if self.reaches(t)}
        return [Row(quantity.format(t=t), self.error_at(t), *goal) for t, goal in reached.items()]

    def counts(self, states: Tensor, i: int) -> Tensor:
        """(qy, qx) expected counts of the first unseen run, at the time of index ``i``."""
        specimen = None if self.specimen is None else self.specimen[:1]
        return self.fitted.frames(states[:1, i : i + 1], specimen)[0, 0]

    def as_json(self) -> dict[str, Any]:
        """Every number of the table, and where it came from."""
        stride = max(len(self.times) // 12, 1)
        points = zip(self.times[::stride].tolist(), self.error[::stride].tolist(), strict=True)
        return {
            "schema": SCHEMA,
            "study": self.study.name,
            "version": VERSION,
            "about": self.data.about,
            "table": [{**row._asdict(), "met": row.met} for row in self.rows],
            "stopped": self.stopped or None,
            "seconds": {k: round(v, 2) for k, v in self.seconds.items()},
            "error": {f"{t:g}": e for t, e in points},
            **({"goodness": self.fitted.goodness.as_json()} if self.fitted.goodness else {}),
        }

    def lines(self) -> list[str]:
        """The table in lines: quantity, value, target, what was published."""
        width = max(len(row.quantity) for row in self.rows)
        lines = [f"{self.study.title} ({self.study.name})", ""]
        lines.append(f"{'quantity':{width}}  {'value':>10}  {'target':>8}  published")
        for row in self.rows:
            target = "" if row.target is None else f"≤ {row.target:g}"
            mark = {True: " met", False: " NOT MET", None: ""}[row.met]
            lines.append(
                f"{row.quantity:{width}}  {row.value:10.4g}  {target:>8}{mark}  {row.published}"
            )
        spent = ", ".join(f"{k} {v:.1f} s" for k, v in self.seconds.items())
        return [*lines, "", *([self.stopped] if self.stopped else []), spent]


def as_study(case: Case) -> Study:
    """The case as a study.

    Raises:
        InputError: Nothing in it is to be fitted.
    """
    if isinstance(case, Study):
        return case
    raise InputError(
        f"there is no study of {case.name}",
        why="no term of its equation is to be fitted",
        fix="use debye simulate, or fill a term yourself with debye.speckle, as "
        "docs/speckle.md shows",
    )
