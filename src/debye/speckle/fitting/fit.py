"""A fit in progress: from frames to the system behind them.

A `Fitting` fits whatever is learnable in a system, and whatever is unknown of the instrument, so
that the frames it predicts agree with the frames recorded. It can be watched, stopped and taken up
again between any two steps, and says at its end how well the frames are described.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from debye.core.training import Recipe, Step, Training
from debye.errors import InputError
from debye.speckle.data.frames import MODELS, Frames, Window, fitted_gain
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import GaussNewton, check_size, set_vector, to_vector
from debye.speckle.fitting.instrument import Instrument, mean_count
from debye.speckle.fitting.plan import Plan, Stage, low_q
from debye.speckle.fitting.prior import Prior, joined, ridge
from debye.speckle.fitting.residuals import Outcome, examine_counts, examine_prediction
from debye.speckle.fitting.settle import held, settle
from debye.speckle.fitting.smoothness import Smoother
from debye.speckle.fitting.starts import Starts, StartsToo
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import likelihood, masked_mean
from debye.speckle.values import expect, optional

WARM_UP = 5
"""Steps at most of the law alone, before first states are fitted with it."""
FAINT = 1e-6
"""Part of a first frame's counts below which what is expected of its state is nothing."""
ENOUGH = 1.0
"""What a step in a stage before the last has to promise, in natural units of the likelihood: short
windows do not tell all directions, and along those that they do not it would walk by noise."""
RESOLUTION = 0.05
"""Of counts, the fall of the summed loss below which a step is the last: well within an error."""


@dataclass(eq=False, repr=False)
class Fitting:
    """A system on its way through a plan.

    Gauss–Newton and Adam resume exactly; L-BFGS begins its memory anew.

    Args:
        experiment: Holds the system; fitted in place.
        data: The frames to fit.
        plan: How.
        prior: What Gauss–Newton shall know of the system's coefficients beforehand, in their
            order; the plan's ridge if None.

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
    """Information about all that is fitted: the inverse of its covariance, if Gauss–Newton ran."""
    outcome: Outcome | None = field(default=None, repr=False)
    """At the end, how well the frames are described and how sure all that was fitted is."""
    losses: list[tuple[int, float]] = field(default_factory=list, repr=False)
    """Stage and loss of every step so far."""

    def __post_init__(self) -> None:
        self.training: Training[Window] | None = None
        self.resumed: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        name = self.plan.likelihood or ("poisson" if self.data.photons else "exact")
        self.likelihood = likelihood(name)
        self.mask = self.data.mask
        self.starts = self._first_states()
        self.smoother = self._smoother()

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
        if self.stage == self.done == 0:
            self._settle()
        for number in range(self.stage, len(self.plan.stages)):
            stage = self.plan.stages[number]
            pieces = stage.windows(self.data)
            for step in walk[self.plan.method](stage, pieces):
                self.done += 1
                self.losses.append((number, step.loss))
                yield replace(step, step=self.done, epoch=number)
            self.stage, self.done = number + 1, 0
        self.outcome = self.examine()

    def examine(self) -> Outcome:
        """How well the frames of the last stage are described as it stands, and how surely.

        Raises:
            InputError: The states at the starts of its windows are not known.
            ComputationError: The system does not last through a window.
        """
        windows = self.plan.stages[-1].windows(self.data)
        counted = self.data.photons > 0
        if counted and self.plan.method == "gauss-newton":
            return examine_counts(self.experiment, windows, self.mask, self.known(), self.starts)
        return Outcome(examine_prediction(self.experiment, windows, self.mask, counted=counted))

    def known(self) -> Prior:
        """What is known of all that is fitted, in the order of the parameters.

        Of smooth terms that is the smoothness that the frames have chosen.

        Raises:
            InputError: The system has no parameters.
        """
        return self.smoother.prior() if self.smoother else self._base()

    def _base(self) -> Prior:
        """What is known of everything beforehand."""
        law = self.prior or ridge(self.plan.ridge, check_size(self.experiment.system))
        instrument = self.experiment.instrument
        if instrument is None or not instrument.free:
            return law
        return joined([law, instrument.prior(mean_count(self.data.data, self.mask))])

    def _smoother(self) -> Smoother | None:
        """What chooses the priors of smooth terms, where there are any and nobody has."""
        wanted = self.plan.smooth and self.plan.method == "gauss-newton" and self.prior is None
        found = Smoother(self.experiment, self._base(), exact=not self.data.photons)
        return found if wanted and found.blocks else None

    def _first_states(self) -> Starts | None:
        """What is known of the first states that are fitted, if any are; the experiment has them.

        Raises:
            InputError: The method cannot, the states are not known, or of too many numbers.
        """
        if not self.plan.start_error:
            return None
        if self.plan.method != "gauss-newton":
            raise InputError(
                f"cannot fit first states by {self.plan.method}",
                why="their prior is that of Gauss–Newton steps",
                fix="use method='gauss-newton', or start_error=0",
            )
        windows = [w for stage in self.plan.stages for w in stage.windows(self.data)]
        known = Starts.of(windows, self.plan.start_error)
        self.experiment.starts.update({k: x.clone() for k, x in known.given.items()})
        return known

    def _settle(self) -> None:
        """Before any law fit the instrument and first states; then the law with these held."""
        instrument = self.experiment.instrument
        unknown = bool(instrument and instrument.free)
        if not (unknown or self.starts):
            return
        windows = self.plan.stages[-1].windows(self.data)
        settle(self.experiment, windows, self.mask, lambda mask: self.minimiser(mask, system=False))
        if self.starts:
            stage = self.plan.stages[0]
            with held(self.experiment.starts):
                fit = self.minimiser(low_q(self.mask, stage.q))
                for _ in fit.run(stage.windows(self.data), WARM_UP):
                    pass

    def minimiser(self, mask: Tensor, *, system: bool = True) -> GaussNewton[Window]:
        """Gauss–Newton steps that compare the open pixels of a mask.

        Args:
            mask: (qy, qx).
            system: Whether the system is fitted; else the instrument and first states alone.

        Raises:
            InputError: There is nothing to fit.
        """
        instrument, made = self.experiment.instrument, self.experiment
        if system:
            prior = self.known()
        else:
            counts = mean_count(self.data.data, self.mask)
            prior = instrument.prior(counts) if instrument else ridge(0.0, 0)
        kind: Callable[..., GaussNewton[Window]] = GaussNewton
        if self.starts and any(p.requires_grad for p in made.starts.parameters()):
            kind = partial(StartsToo, starts=self.starts)
        return kind(
            made,
            made.compared,
            mask,
            self.likelihood,
            prior=prior,
            adapt=self.smoother if system else None,
            resolution=RESOLUTION if self.data.photons else inf,
        )

    def _gauss_newton(self, stage: Stage, pieces: list[Window]) -> Iterator[Step]:
        fit = self.minimiser(low_q(self.mask, stage.q))
        fit.damping = self.damping
        last = stage is self.plan.stages[-1] or not self.data.photons
        enough = 0.0 if last else ENOUGH
        for step in fit.run(pieces, max(stage.iterations - self.done, 1), enough=enough):
            self.damping, self.curvature = fit.damping, fit.curvature
            yield step
        self.damping = 1e-3  # a new stage is a new landscape

    def loss(self, model: nn.Module, window: Window) -> dict[str, Tensor]:
        """Mean loss per open pixel, by name, as the training loop wants it."""
        value = self.likelihood.loss(model(window), self.experiment.compared(window))
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
        parts = ("system.", "instrument.", "starts.")
        held = self.experiment.state_dict().items()
        tensors = {k: v for k, v in held if k.startswith(parts)}
        if self.smoother:
            numbers["smoothness"] = self.smoother.as_json()
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
        old = {
            "smooth": False,
            "start_error": 0.0,
            **numbers["plan"],
        }  # 0.1.0 had none of it, nor q
        old["stages"] = [list({**s, "q": s.get("q", 1.0)}.items()) for s in old["stages"]]
        if old != plan:
            changed = ", ".join(sorted(k for k in plan if old.get(k) != plan[k]))
            raise InputError(
                "cannot resume this fit",
                why=f"the plan has changed in {changed}",
                fix="resume with the plan it was started with, or start a new run",
            )
        self.stage, self.done = int(numbers["stage"]), int(numbers["done"])
        self.damping, self.curvature = float(numbers["damping"]), tensors.get("curvature")
        if self.smoother:
            self.smoother.restore(numbers.get("smoothness", {}))
        self.losses = [(int(stage), float(loss)) for stage, loss in numbers.get("losses", ())]
        try:
            for part in ("system", "instrument", "starts"):
                module = getattr(self.experiment, part)
                if module is not None:
                    module.load_state_dict(under(tensors, f"{part}."))
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
    instrument: Instrument | bool | None = None,
) -> Fitting:
    """A `Fitting` that has not begun: iterate its ``run()`` to watch, stop or save.

    System and scattering are moved to the device of the frames.

    Args:
        system: The equation, its term filled with something learnable.
        data: Frames, with the states at the starts of the windows.
        plan: The curriculum and the method.
        solver: How to integrate; adaptively if None.
        scattering: What the detector sees; the frames' own by default.
        instrument: What may be otherwise than the scattering model says, and is fitted too; True
            for all that can be, False for nothing. None fits all of it for measured frames, whose
            system nobody wrote down, where the method is Gauss–Newton.

    Raises:
        InputError: Something is of the wrong kind, the system has no parameters, the likelihood
            is unknown, the frames name no scattering model and none is given, it has another
            detector than they, states lie outside the probe, or the method cannot fit an
            instrument.
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
    _check_lit(data, model, gain)
    how = optional(solver, Solver, "solver") or Solver()
    unknown = _instrument(instrument, data, plan, model)
    return Fitting(Experiment(system, model, how, gain, unknown), data, plan)


def _check_lit(data: Frames, model: Scattering, gain: float) -> None:
    """Refuse runs that were recorded bright and that lie, as their states say, in the dark.

    Of a scan that is off its object nothing is known.

    Raises:
        InputError: There is one.
    """
    if data.states is None:
        return
    with torch.no_grad():
        first = model(data.states[:, :1], data.specimen)[:, 0]
    pairs = (gain * first, data.data[:, 0])
    expected, recorded = ((x * data.mask).flatten(1).sum(1) for x in pairs)
    off = data.states[:, 0].abs().flatten(1).amax(1) > getattr(model, "room", inf)
    dark = ((~(expected > FAINT * recorded) | off) & (recorded > 0)).nonzero()[:, 0].tolist()
    if dark:
        raise InputError(
            "cannot start from these states",
            why=f"those of run {dark[0]} lie outside the probe, or move it off its object: nothing "
            "is known of what would reach the detector",
            fix="check the unit and the origin of the states, and the box of the scattering model",
        )


def _instrument(
    given: Instrument | bool | None, data: Frames, plan: Plan, model: nn.Module
) -> Instrument | None:
    """The instrument to fit, if any."""
    able = plan.method == "gauss-newton"
    if given is None:
        given = able and data.system is None
    if not given:
        return None
    if not able:
        raise InputError(
            f"cannot fit the instrument by {plan.method}",
            why="its priors and bounds are those of Gauss–Newton steps",
            fix="use method='gauss-newton', or instrument=False",
        )
    made = Instrument.of(model) if given is True else expect(given, Instrument, "instrument")
    return made.to(data.data.device)
