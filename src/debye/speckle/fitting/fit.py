"""How to fit, and a fit in progress: from frames to the system behind them.

A `Plan` walks from short windows to long ones: over a short window any start leads downhill, over
a long one small errors of the system have grown large enough to see. A `Fitting` fits whatever is
learnable in a system, so that the frames it predicts agree with the frames recorded, and can be
watched, stopped and taken up again between any two steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from debye.core.training import Recipe, Step, Training, check_numbers
from debye.errors import InputError
from debye.speckle.data.frames import MODELS, Frames, Window, fitted_gain
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.gauss_newton import GaussNewton, check_size, set_vector, to_vector
from debye.speckle.fitting.prior import Prior, ridge
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import likelihood, masked_mean
from debye.speckle.values import OneLine, expect, optional

METHODS = ("gauss-newton", "lbfgs", "adam")
"""Gauss–Newton for systems of tens of coefficients, Adam for networks, L-BFGS in between."""

RANGES: dict[str, tuple[float, float]] = {
    "frames": (2, 1_000_000),
    "runs": (1, 1_000_000),
    "starts": (1, 1_000_000),
    "iterations": (1, 1_000_000),
    "portion": (1, 1_000_000),
    "rate": (1e-12, 1e3),
    "ridge": (0.0, 1e12),
    "seed": (0, 2**32 - 1),
}
"""What each number of a `Stage` and a `Plan` may be."""


@dataclass(frozen=True, repr=False)
class Stage(OneLine):
    """One rung of the curriculum.

    Attributes:
        frames: Frames in a window, the given first one included.
        runs: Runs used, from the first.
        starts: Windows cut from each run, spread evenly over its length.
        iterations: Gauss–Newton or L-BFGS steps at most; epochs of Adam.
        portion: Runs whose derivatives are worked out together; smaller takes less memory.

    Raises:
        InputError: A number is no whole number or out of range.
    """

    frames: int
    runs: int
    starts: int = 1
    iterations: int = 10
    portion: int = 2

    def __post_init__(self) -> None:
        check_numbers("[[stages]]", self, RANGES)

    def first_frames(self, count: int) -> list[int]:
        """First frames of the windows in a series of ``count``.

        Example:
            >>> Stage(frames=11, runs=2, starts=3).first_frames(101)
            [0, 45, 90]
        """
        gap = max(count - self.frames, 0) / max(self.starts - 1, 1)
        return sorted({round(i * gap) for i in range(self.starts)})

    def last_frame(self, count: int) -> int:
        """Index of the last frame this stage sees."""
        return min(self.first_frames(count)[-1] + self.frames, count) - 1

    def windows(self, data: Frames) -> list[Window]:
        """The windows of this stage, a few runs in each.

        Raises:
            InputError: The states at their starts are not known.
        """
        runs = min(self.runs, len(data.data))
        parts = [slice(i, min(i + self.portion, runs)) for i in range(0, runs, self.portion)]
        starts = self.first_frames(data.count)
        found = [data.window(s, self.frames, part) for s in starts for part in parts]
        return [w for w in found if len(w.times) > 1]  # else no frame was left to compare with


@dataclass(frozen=True, repr=False)
class Plan(OneLine):
    """How to fit; every field can stand in a config file.

    Attributes:
        stages: The curriculum.
        method: ``gauss-newton`` for systems of tens of coefficients, ``lbfgs``, or ``adam`` for
            networks.
        likelihood: ``poisson``, ``amplitude``, ``exact`` or ``l1``; None takes ``poisson`` for
            counts and ``exact`` for frames without noise.
        rate: Highest learning rate of Adam.
        ridge: Pull of Gauss–Newton's coefficients towards 0.
        seed: Seed of the order of Adam's windows.

    Raises:
        InputError: The method is unknown, there are no stages, or a number is out of range.

    Example:
        >>> Plan((Stage(frames=3, runs=1), Stage(frames=6, runs=2)), method="lbfgs")
        Plan(stages=(Stage(frames=3, runs=1), Stage(frames=6, runs=2)), method='lbfgs')
    """

    stages: tuple[Stage, ...]
    method: str = "gauss-newton"
    likelihood: str | None = None
    rate: float = 1e-2
    ridge: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                f"unknown method {self.method!r}",
                why="the methods are gauss-newton, lbfgs and adam",
                fix="use one of them",
            )
        if not self.stages or not all(isinstance(stage, Stage) for stage in self.stages):
            raise InputError(
                "there is nothing to do", why="the plan has no stages", fix="add a Stage"
            )
        check_numbers("the plan's", self, RANGES)

    @property
    def iterations(self) -> int:
        """Steps at most."""
        return sum(stage.iterations for stage in self.stages)

    def changed(self, changes: Mapping[str, Any]) -> Plan:
        """This plan with some of its fields changed, as a config file names them.

        Args:
            changes: Values by field; ``stages`` are tables of the fields of `Stage`.

        Raises:
            InputError: There is no such field, or a value does not fit.

        Example:
            >>> Plan((Stage(3, 1),)).changed({"stages": [{"frames": 6, "runs": 2}], "ridge": 1.0})
            Plan(stages=(Stage(frames=6, runs=2),), ridge=1.0)
        """
        try:
            made = dict(changes)
            if "stages" in made:
                made["stages"] = tuple(Stage(**stage) for stage in made["stages"])
            return replace(self, **made)
        except TypeError as error:
            raise InputError(
                "cannot follow this plan", why=str(error), fix="use the fields of Plan and Stage"
            ) from error


def default_plan(data: Frames) -> Plan:
    """Windows of three frames, then of twice as many, to 24 or the whole series.

    Example:
        >>> import torch
        >>> [s.frames for s in default_plan(Frames(torch.ones(2, 10, 8, 8), range(10))).stages]
        [3, 6, 10]
    """
    runs, count = data.data.shape[:2]
    longest = min(count, 24)
    lengths = [n for n in (3, 6, 12) if n < longest] + [longest]
    return Plan(tuple(Stage(n, min(runs, 8), 1 if n == count else 2) for n in lengths))


class Experiment(nn.Module):
    """System, scattering and exposure in one: from a window's start to the counts expected.

    Args:
        system: The law of motion; its parameters are fitted.
        scattering: What the detector sees of a state.
        solver: How to integrate.
        gain: Counts per unit of intensity.
    """

    def __init__(
        self, system: System, scattering: Scattering, solver: Solver, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.system, self.solver, self.gain = system, solver, gain
        self.scattering = scattering.requires_grad_(False)

    def states(self, window: Window) -> Tensor:
        """States (run, time, …) at the window's times after the first, which is given."""
        path = self.solver.solve(self.system.vector_field(), window.start, window.times)
        return path.states[1:].transpose(0, 1)

    def forward(self, window: Window) -> Tensor:
        """Expected counts (run, time, qy, qx) after the first frame."""
        return self.gain * self.scattering(self.states(window), window.specimen)


@dataclass(eq=False, repr=False)
class Fitting:
    """A system on its way through a plan.

    Gauss–Newton and Adam resume exactly; L-BFGS begins its memory anew.

    Args:
        experiment: Holds the system; fitted in place.
        data: The frames to fit.
        plan: How.
        prior: What Gauss–Newton shall know of the parameters beforehand, in their order; the
            plan's ridge if None.

    Raises:
        InputError: The likelihood is unknown.
    """

    experiment: Experiment
    data: Frames
    plan: Plan
    prior: Prior | None = field(default=None, repr=False)
    stage: int = 0
    """Stage it stands in."""
    done: int = 0
    """Steps done in that stage."""
    damping: float = 1e-3
    curvature: Tensor | None = field(default=None, repr=False)
    """Information about the coefficients: the inverse of their covariance, if Gauss–Newton ran."""
    losses: list[tuple[int, float]] = field(default_factory=list, repr=False)
    """Stage and loss of every step so far."""

    def __post_init__(self) -> None:
        self.training: Training[Window] | None = None
        self.resumed: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        name = self.plan.likelihood or ("poisson" if self.data.photons else "exact")
        self.likelihood = likelihood(name)
        self.mask = self.data.mask

    def __repr__(self) -> str:
        stages = len(self.plan.stages)
        at = "done" if self.stage == stages else f"stage {self.stage + 1} of {stages}"
        return f"Fitting({self.experiment.system!r}, {self.plan.method}, {at})"

    def run(self) -> Iterator[Step]:
        """Walk the rest of the plan; each step done is yielded with its stage as ``epoch``.

        Raises:
            InputError: The states at the starts of the windows are not known, or there are too
                many coefficients, or none.
            ComputationError: The system blows up in the first window, or a loss stays not finite.
        """
        walk = {"gauss-newton": self._gauss_newton, "lbfgs": self._lbfgs, "adam": self._adam}
        for number in range(self.stage, len(self.plan.stages)):
            stage = self.plan.stages[number]
            pieces = stage.windows(self.data)
            for step in walk[self.plan.method](stage, pieces):
                self.done += 1
                self.losses.append((number, step.loss))
                yield replace(step, step=self.done, epoch=number)
            self.stage, self.done = number + 1, 0

    def _gauss_newton(self, stage: Stage, pieces: list[Window]) -> Iterator[Step]:
        fit: GaussNewton[Window] = GaussNewton(
            self.experiment,
            lambda w: w.frames[:, 1:],
            self.mask,
            self.likelihood,
            damping=self.damping,
            prior=self.prior or ridge(self.plan.ridge, check_size(self.experiment)),
        )
        for step in fit.run(pieces, max(stage.iterations - self.done, 1)):
            self.damping, self.curvature = fit.damping, fit.curvature
            yield step
        self.damping = 1e-3  # a new stage is a new landscape

    def loss(self, model: nn.Module, window: Window) -> dict[str, Tensor]:
        """Mean loss per open pixel, by name, as the training loop wants it."""
        value = self.likelihood.loss(model(window), window.frames[:, 1:])
        return {"frames": masked_mean(value, self.mask)}

    def _adam(self, stage: Stage, pieces: list[Window]) -> Iterator[Step]:
        recipe = Recipe(
            epochs=stage.iterations,
            peak_rate=self.plan.rate,
            weight_decay=0.0,
            spike=5.0,
            average=0.98,
            seed=self.plan.seed,
        )
        training = self.training = Training(self.experiment, self.loss, recipe)
        if self.resumed:
            training.restore(*self.resumed)
            self.resumed = None

        def shuffled(epoch: int) -> list[Window]:
            order = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + epoch)
            return [pieces[i] for i in torch.randperm(len(pieces), generator=order).tolist()]

        yield from training.run(shuffled, len(pieces))
        self.training = None
        self.experiment.load_state_dict(training.average)

    def _lbfgs(self, stage: Stage, pieces: list[Window]) -> Iterator[Step]:
        optimizer = torch.optim.LBFGS(
            self.experiment.parameters(),
            max_iter=1,
            max_eval=25,
            line_search_fn="strong_wolfe",
            history_size=20,
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            values = []
            for piece in pieces:
                value = self.loss(self.experiment, piece)["frames"] / len(pieces)
                value.backward()
                values.append(value.detach())
            return torch.stack(values).sum()

        last = float("inf")
        for i in range(stage.iterations):
            kept = to_vector(self.experiment)
            loss = float(optimizer.step(closure))
            bad = not torch.isfinite(to_vector(self.experiment)).all()
            if bad:
                set_vector(self.experiment, kept)
            ends = bad or i == stage.iterations - 1 or last - loss < 1e-9 * loss
            yield Step(i + 1, 0, ends, loss, {}, 1.0, 0.0, bad)
            if ends:
                return
            last = loss

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that a resumed run needs: plain numbers, and tensors by name."""
        numbers = {
            "stage": self.stage,
            "done": self.done,
            "damping": self.damping,
            "plan": asdict(self.plan),
            "losses": [(stage, loss) for stage, loss in self.losses if isfinite(loss)],
        }
        tensors = {f"system.{k}": v for k, v in self.experiment.system.state_dict().items()}
        if self.curvature is not None:
            tensors["curvature"] = self.curvature
        if self.training is not None:
            numbers["training"], moments = self.training.state()
            # Copies, because the experiment shares its weights with the system.
            tensors |= {f"training.{k}": v.detach().clone() for k, v in moments.items()}
        return numbers, tensors

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a saved state.

        Raises:
            InputError: It was made by another plan or of another system, so the run would not be
                the same.
        """
        plan = asdict(self.plan)
        plan["stages"] = [list(s.items()) for s in plan["stages"]]
        old = dict(numbers["plan"])
        old["stages"] = [list(s.items()) for s in old["stages"]]
        if old != plan:
            changed = ", ".join(sorted(k for k in plan if old.get(k) != plan[k]))
            raise InputError(
                "cannot resume this fit",
                why=f"the plan has changed in {changed}",
                fix="resume with the plan it was started with, or start a new run",
            )
        self.stage, self.done = int(numbers["stage"]), int(numbers["done"])
        self.damping, self.curvature = float(numbers["damping"]), tensors.get("curvature")
        self.losses = [(int(stage), float(loss)) for stage, loss in numbers.get("losses", ())]
        try:
            self.experiment.system.load_state_dict(under(tensors, "system."))
        except RuntimeError as error:
            raise InputError(
                "cannot resume this fit",
                why="it is of another system: " + str(error).split("\n")[-1].strip(),
                fix="resume with the system it was started with, or start a new run",
            ) from error
        if "training" in numbers:
            self.resumed = (numbers["training"], under(tensors, "training."))


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def prepare(
    system: System,
    data: Frames,
    plan: Plan,
    *,
    solver: Solver | None = None,
    scattering: Scattering | None = None,
) -> Fitting:
    """A `Fitting` that has not begun: iterate its ``run()`` to watch, stop or save.

    System and scattering are moved to the device of the frames.

    Args:
        system: The equation, its term filled with something learnable.
        data: Frames, with the states at the starts of the windows.
        plan: The curriculum and the method.
        solver: How to integrate; adaptively if None.
        scattering: What the detector sees; the frames' own by default.

    Raises:
        InputError: Something is of the wrong kind, the system has no parameters, the likelihood
            is unknown, the frames name no scattering model and none is given, or it has another
            detector than they.
    """
    expect(system, System, "system")  # type: ignore[type-abstract]  # any subclass will do
    expect(data, Frames, "frames"), expect(plan, Plan, "plan")
    optional(scattering, nn.Module, "scattering", MODELS)
    check_size(system)
    model = scattering or data.scattering
    if model is None:
        raise InputError(
            "cannot predict frames",
            why="the frames do not say how they were scattered",
            fix="pass scattering=…, with the detector and probe of the experiment",
        )
    model, system = model.to(data.data.device), system.to(data.data.device)
    gain = fitted_gain(data, model) if data.gain is None else data.gain
    how = optional(solver, Solver, "solver") or Solver()
    return Fitting(Experiment(system, model, how, gain), data, plan)
