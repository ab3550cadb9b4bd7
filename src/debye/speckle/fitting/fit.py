"""How to learn: a curriculum of windows, a method, a likelihood. Plain data, fit for a file.

From frames to the law behind them.

`learn` fits whatever is learnable in a system, so that the frames it predicts agree with the
frames recorded. It walks a curriculum from short windows to long ones: over a short window any
start leads downhill, over a long one small errors of the law have grown large enough to see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from debye.core.training import Recipe, Step, Training
from debye.errors import InputError
from debye.speckle.data.frames import Frames, Window, fitted_gain
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.gauss_newton import GaussNewton, to_vector
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import likelihood, masked_mean


@dataclass(frozen=True)
class Stage:
    """One rung of the curriculum.

    Attributes:
        frames: Frames in a window, the given first one included.
        runs: Runs used, from the first.
        starts: Windows cut from each run, spread evenly over its length.
        iterations: Gauss–Newton or L-BFGS steps at most; epochs of Adam.
        portion: Runs whose derivatives are worked out together; smaller takes less memory.
    """

    frames: int
    runs: int
    starts: int = 1
    iterations: int = 10
    portion: int = 2

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
        """The windows of this stage, a few runs in each."""
        runs = min(self.runs, len(data.data))
        parts = [slice(i, min(i + self.portion, runs)) for i in range(0, runs, self.portion)]
        starts = self.first_frames(len(data.times))
        return [data.window(s, self.frames, part) for s in starts for part in parts]


@dataclass(frozen=True)
class Plan:
    """How to learn; every field can stand in a config file.

    Attributes:
        stages: The curriculum.
        method: ``gauss-newton`` for laws of tens of coefficients, ``lbfgs``, or ``adam`` for
            networks.
        likelihood: ``poisson``, ``amplitude``, ``exact`` or ``l1``; None takes ``poisson`` for
            counts and ``exact`` for frames without noise.
        rate: Highest learning rate of Adam.
        ridge: Pull of Gauss–Newton's coefficients towards 0.
        seed: Seed of the order of Adam's windows.
    """

    stages: tuple[Stage, ...]
    method: str = "gauss-newton"
    likelihood: str | None = None
    rate: float = 1e-2
    ridge: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("gauss-newton", "lbfgs", "adam"):
            raise InputError(
                f"unknown method {self.method!r}",
                why="the methods are gauss-newton, lbfgs and adam",
                fix="use one of them",
            )
        if not self.stages:
            raise InputError(
                "there is nothing to do", why="the plan has no stages", fix="add a Stage"
            )


class Experiment(nn.Module):
    """Law, scattering and exposure in one: from the start of a window to the counts expected.

    Args:
        system: The law; its parameters are what is learned.
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


@dataclass
class Fitting:
    """A law on its way through a plan.

    Gauss–Newton and Adam resume exactly; L-BFGS begins its memory anew.

    Args:
        experiment: Holds the law; trained in place.
        data: The frames to learn from.
        plan: How.

    Example:
        See `debye.speckle.studies.cases`, or ``debye study drift``.
    """

    experiment: Experiment
    data: Frames
    plan: Plan
    stage: int = 0
    """Stage it stands in."""
    done: int = 0
    """Steps done in that stage."""
    damping: float = 1e-3
    curvature: Tensor | None = field(default=None, repr=False)
    """Information about the coefficients: the inverse of their covariance, if Gauss–Newton ran."""

    def __post_init__(self) -> None:
        self.training: Training[Window] | None = None
        self.resumed: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        name = self.plan.likelihood or ("poisson" if self.data.photons else "exact")
        self.judge = likelihood(name)
        self.mask = self.data.mask

    def run(self) -> Iterator[Step]:
        """Walk the rest of the plan; each step done is yielded with its stage as ``epoch``.

        Raises:
            ComputationError: The law blows up in the first window, or a loss stays not finite.
        """
        walk = {"gauss-newton": self._gauss_newton, "lbfgs": self._lbfgs, "adam": self._adam}
        for number in range(self.stage, len(self.plan.stages)):
            stage = self.plan.stages[number]
            pieces = stage.windows(self.data)
            for step in walk[self.plan.method](stage, pieces):
                self.done += 1
                yield replace(step, step=self.done, epoch=number)
            self.stage, self.done = number + 1, 0

    def _gauss_newton(self, stage: Stage, pieces: list[Window]) -> Iterator[Step]:
        fit: GaussNewton[Window] = GaussNewton(
            self.experiment,
            lambda w: w.frames[:, 1:],
            self.mask,
            self.judge,
            damping=self.damping,
            ridge=self.plan.ridge,
        )
        for step in fit.run(pieces, max(stage.iterations - self.done, 1)):
            self.damping, self.curvature = fit.damping, fit.curvature
            yield step
        self.damping = 1e-3  # a new stage is a new landscape

    def loss(self, model: nn.Module, window: Window) -> dict[str, Tensor]:
        """Mean loss per open pixel, by name, as the training loop wants it."""
        value = self.judge.loss(model(window), window.frames[:, 1:])
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
                torch.nn.utils.vector_to_parameters(kept.float(), self.experiment.parameters())
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
        }
        tensors = {f"system.{k}": v for k, v in self.experiment.system.state_dict().items()}
        if self.curvature is not None:
            tensors["curvature"] = self.curvature
        if self.training is not None:
            numbers["training"], moments = self.training.state()
            # Copies, because the experiment shares its weights with the law.
            tensors |= {f"training.{k}": v.detach().clone() for k, v in moments.items()}
        return numbers, tensors

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a saved state.

        Raises:
            InputError: It was made by another plan, so the run would not be the same.
        """
        plan = asdict(self.plan)
        plan["stages"] = [list(s.items()) for s in plan["stages"]]
        old = dict(numbers["plan"])
        old["stages"] = [list(s.items()) for s in old["stages"]]
        if old != plan:
            changed = ", ".join(sorted(k for k in plan if old.get(k) != plan[k]))
            raise InputError(
                "cannot resume this learning",
                why=f"the plan has changed in {changed}",
                fix="resume with the plan it was started with, or start a new run",
            )
        self.stage, self.done = int(numbers["stage"]), int(numbers["done"])
        self.damping, self.curvature = float(numbers["damping"]), tensors.get("curvature")
        law = {k.removeprefix("system."): v for k, v in tensors.items() if k.startswith("system.")}
        self.experiment.system.load_state_dict(law)
        if "training" in numbers:
            moments = {k.removeprefix("training."): v for k, v in tensors.items()}
            self.resumed = (numbers["training"], moments)


def learn(
    system: System,
    data: Frames,
    plan: Plan,
    *,
    solver: Solver,
    scattering: Scattering | None = None,
) -> Fitting:
    """Learn the term of a system from frames, to the end of a plan.

    Args:
        system: The equation, its term filled with something learnable.
        data: Frames, with the states at the window starts.
        plan: The curriculum and the method.
        solver: How to integrate.
        scattering: What the detector sees; the frames' own by default.

    Returns:
        The finished `Fitting`; the system is fitted in place.

    Raises:
        InputError: The frames name no scattering model and none is given.
        ComputationError: The loss is not finite and cannot be rescued.
    """
    learning = prepare(system, data, plan, solver=solver, scattering=scattering)
    for _ in learning.run():
        pass
    return learning


def prepare(
    system: System,
    data: Frames,
    plan: Plan,
    *,
    solver: Solver,
    scattering: Scattering | None = None,
) -> Fitting:
    """A `Fitting` that has not begun: iterate its ``run()`` to watch, stop or save.

    System and scattering are moved to the device of the frames.
    """
    eye = scattering or data.scattering
    if eye is None:
        raise InputError(
            "cannot predict frames",
            why="the frames do not say how they were scattered",
            fix="pass scattering=…, with the detector and probe of the experiment",
        )
    eye, system = eye.to(data.data.device), system.to(data.data.device)
    gain = fitted_gain(data, eye) if data.gain is None else data.gain
    return Fitting(Experiment(system, eye, solver, gain), data, plan)
