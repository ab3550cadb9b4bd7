"""A fitted system: the equation, what its term has become, how sure that is, and its file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from debye.core import VERSION, checkpoint
from debye.core.records import SCHEMA
from debye.core.upward import Displayed
from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.learnable import Learnable
from debye.speckle.dynamics.solver import SolveError, Solver, Trajectory
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.described import filled
from debye.speckle.fitting.fit import Fitting, prepare, under
from debye.speckle.fitting.gauss_newton import check_size
from debye.speckle.fitting.goodness import Goodness
from debye.speckle.fitting.instrument import UNKNOWNS, Instrument
from debye.speckle.fitting.plan import Plan, default_plan
from debye.speckle.fitting.residuals import covariance_of
from debye.speckle.scattering.models import Scattering
from debye.speckle.serialize import build, describe
from debye.speckle.values import ByValue, Numbers, Table, expect, table, to_tensor

KIND = ("FittedSystem", "Law")
"""What the card of a file calls itself; 0.1.0 called it a law."""


@dataclass(eq=False, repr=False)
class FittedSystem(ByValue, Displayed):
    """A system whose term was fitted, with the geometry it was fitted in.

    Args:
        system: The equation, its term filled.
        scattering: The scattering model.
        solver: How it was integrated.
        gain: Counts per unit of intensity in the frames it was fitted to.
        covariance: (P, P) of its coefficients, in the order of ``system.parameters()``, whatever
            else was fitted marginalised; None where it was not fitted by Gauss–Newton.
        instrument: What differs from what is written of it.
        nuisance: Of each unknown of the instrument that was fitted, its error, and how far the
            law's coefficients together go with it (the multiple correlation, 0 to 1).
        starts: First states that were fitted too, by run and first frame.
        start_errors: Their standard errors.
        goodness: How well it describes the frames; None of a fit under way.
        card: What else is known: the study, the frames.
        path: The file it was read from.

    Example:
        >>> from debye.speckle import Detector, Drift, GaussianProbe, RigidCloud, RoundFlow, Solver
        >>> model = RigidCloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.1)
        >>> fitted = FittedSystem(Drift(RoundFlow()), model, Solver())
        >>> fitted.formula
        'dx/dt = v(x), v = (0) r̂ + (0) φ̂, ρ = |x − (0, 0)|/1'
        >>> fitted
        FittedSystem(Drift(velocity=RoundFlow()), RigidCloud, 8 coefficients without errors)
    """

    system: System
    scattering: Scattering
    solver: Solver
    gain: float = 1.0
    covariance: Tensor | None = None
    instrument: Instrument | None = None
    nuisance: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    goodness: Goodness | None = None
    card: dict[str, Any] = field(default_factory=dict, compare=False)
    starts: dict[str, Tensor] = field(default_factory=dict)
    start_errors: dict[str, Tensor] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, imports: bool = False) -> FittedSystem:
        """Read a file of `save`; ``imports`` consents to code of your own that it names.

        Raises:
            InputError: The file holds something else, is damaged, or names such code.
        """
        return load(path, imports=imports)

    @classmethod
    def of(cls, fitting: Fitting, **card: Any) -> FittedSystem:  # noqa: ANN401 - JSON
        """A fit as it stands now.

        Raises:
            InputError: The system has no parameters.
        """
        made, ended = fitting.experiment, fitting.outcome
        spread = ended.covariance if ended else None
        if spread is None and fitting.curvature is not None:
            spread = covariance_of(fitting.curvature)
        law, nuisance = None, {}
        if spread is not None:
            size = check_size(made.system)
            law = spread[:size, :size]
            nuisance = made.instrument.errors(spread, size) if made.instrument else {}
        goodness = ended.goodness if ended else None
        if fitting.smoother:
            chosen = fitting.smoother.as_json().items()
            card["smoothness"] = {k.removeprefix("system."): v for k, v in chosen}
        if fitting.starts:
            card["start_error"] = fitting.starts.error
        parts = (made.system, made.scattering, made.solver, made.gain)
        starts = {k: x.detach().clone() for k, x in made.starts.items()}
        errors = {k: e.view_as(starts[k]) for k, e in (ended.starts if ended else {}).items()}
        return cls(*parts, law, made.instrument, nuisance, goodness, card, starts, errors)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a file.

        Raises:
            InputError: The file cannot be written, or the system is of a class debye does not
                know.
            ComputationError: The disk is full.
        """
        save(path, self)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.system.parameters())
        errors = "without" if self.covariance is None else "with"
        seen = type(self.scattering).__name__
        return f"FittedSystem({self.system!r}, {seen}, {size} coefficients {errors} errors)"

    @property
    def formula(self) -> str:
        """The equation, and what its term has become, in a line."""
        term = self.system.term
        return f"{self.system.equation}, {term.formula() if isinstance(term, Learnable) else term}"

    @property
    def errors(self) -> dict[str, Tensor]:
        """Standard error of each coefficient, by the parameter's name; NaN where unknown."""
        named = dict(self.system.named_parameters())
        sizes = [p.numel() for p in named.values()]
        if self.covariance is None:
            return {name: torch.full_like(p.detach(), torch.nan) for name, p in named.items()}
        parts = self.covariance.diagonal().clamp(min=0).sqrt().split(sizes)
        return {k: e.view(p.shape) for (k, p), e in zip(named.items(), parts, strict=True)}

    def to_frame(self) -> Table:
        """Every coefficient with its standard error, as a pandas table.

        Raises:
            InputError: pandas is not installed.
        """
        named = dict(self.system.named_parameters())
        names = [
            f"{name}[{i}]" if p.numel() > 1 else name
            for name, p in named.items()
            for i in range(p.numel())
        ]
        values, errors = (
            torch.cat([x.detach().flatten() for x in many.values()]).numpy(force=True)
            for many in (named, self.errors)
        )
        return table({"coefficient": names, "value": values, "error": errors})

    def error_of(self, curve: Callable[[], Tensor]) -> Tensor:
        """Standard error of whatever is worked out from the coefficients, to first order.

        Args:
            curve: Works out (N,) values from the system.

        Returns:
            (N,) √(J C Jᵀ), J the slopes of the values; NaN where the covariance is not known.
        """
        values = curve()
        if self.covariance is None:
            return torch.full_like(values.detach(), torch.nan)
        parameters = list(self.system.parameters())
        slopes = [
            torch.autograd.grad(v, parameters, retain_graph=True, materialize_grads=True)
            for v in values
        ]
        J = torch.stack([torch.cat([g.flatten() for g in row]) for row in slopes]).double()
        return ((J @ self.covariance) * J).sum(-1).clamp(min=0).sqrt()

    def extrapolate(self, start: Numbers, times: Numbers) -> Trajectory:
        """Follow the system from a state (…) through times (time,), without gradients.

        Raises:
            InputError: The times do not rise, or the state is not finite.
            SolveError: The integration stops before the last time.
        """
        y0, grid = to_tensor(start, "the state"), to_tensor(times, "the times")
        with torch.no_grad():
            return self.solver.solve(self.system.vector_field(), y0, grid)

    def follow(self, start: Numbers, times: Numbers) -> Trajectory:
        """Follow the system as far as the integration goes; the outcome says how it ended.

        Raises:
            InputError: The times do not rise, or the state is not finite.
        """
        try:
            return self.extrapolate(start, times)
        except SolveError as error:
            return error.trajectory

    def frames(self, states: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Expected counts (…, qy, qx) of states (…)."""
        with torch.no_grad():
            if self.instrument is None:
                return self.gain * self.scattering(states, specimen)
            return self.instrument.counts(self.scattering, states, specimen, self.gain)

    def as_json(self) -> dict[str, Any]:
        """The formula, every coefficient with its error, the instrument, and how well it fits."""
        named, errors = dict(self.system.named_parameters()), self.errors
        made: dict[str, Any] = {
            "schema": SCHEMA,
            "formula": self.formula,
            "coefficients": {k: p.detach().flatten().tolist() for k, p in named.items()},
            "errors": {k: e.flatten().tolist() for k, e in errors.items()},
            "gain": self.gain,
        }
        if self.instrument:
            values = self.instrument.values
            made["instrument"] = {
                k: {"value": v, "unit": UNKNOWNS[k].unit, **self.nuisance.get(k, {})}
                for k, v in values.items()
            }
        if self.start_errors:
            made["start_errors"] = {k: _rms(e) for k, e in self.start_errors.items()}
        if self.goodness:
            made["goodness"] = self.goodness.as_json()
        return made

    def lines(self) -> list[str]:
        """The formula, the instrument, and in plain sentences how well the frames are described."""
        said = [self.formula]
        for name, values in (self.instrument.values if self.instrument else {}).items():
            told = self.nuisance.get(name)
            errors = told["error"] if told else [math.nan] * len(values)
            pairs = zip(values, errors, strict=True)
            size = ", ".join(f"{v:.5g} ± {e:.1g}" for v, e in pairs)
            said.append(f"{UNKNOWNS[name].words}: {size} {UNKNOWNS[name].unit}")
        if self.start_errors:
            known = _rms(torch.cat([e.flatten() for e in self.start_errors.values()]))
            said.append(f"first states: fitted, and now known to {known:.2g}")
        return said + (self.goodness.lines() if self.goodness else [])


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def fit(
    system: System | type[System],
    frames: Frames,
    plan: Plan | None = None,
    *,
    solver: Solver | None = None,
    scattering: Scattering | None = None,
    instrument: Instrument | bool | None = None,
) -> FittedSystem:
    """Fit the term of a system to frames, to the end of a plan.

    Args:
        system: The equation with a learnable term, fitted in place; of a class alone, any smooth.
        frames: What was recorded, with the states at the starts of the windows.
        plan: The curriculum and the method; windows of 3, 6, 12, 24 frames by default.
        solver: How to integrate; adaptively if None.
        scattering: What the detector sees; the frames' own by default.
        instrument: What may be otherwise than the scattering model says, and is fitted too; True
            for all that can be, False for nothing. None fits all of it for measured frames, whose
            system nobody wrote down, where the method is Gauss–Newton.

    Returns:
        The fitted system, with the covariance of its coefficients if Gauss–Newton found them.

    Raises:
        InputError: Something is of the wrong kind, there is nothing to fit, or the frames hold no
            states or no scattering model.
        ComputationError: The loss is not finite and cannot be rescued.

    Example:
        >>> import numpy as np
        >>> from debye.speckle import Detector, Drift, Flow, GaussianProbe, RigidCloud, simulate
        >>> model = RigidCloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.1)
        >>> cloud = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 30, 2))
        >>> swing = Drift(lambda x: torch.stack([x[..., 1], -x[..., 0]], -1))
        >>> start = np.array([[0.2, 0.0], [0.0, 0.1]])
        >>> frames = simulate(swing, model, start, [0, 1, 2], solver=Solver(), specimen=cloud)
        >>> fitted = fit(Drift(Flow(degree=1)), frames)
        >>> fitted.extrapolate([0.2, 0.0], [0, np.pi]).states[-1].round(decimals=3)
        tensor([-0.2000,  0.0000], dtype=torch.float64)
    """
    expect(frames, Frames, "frames")
    system = filled(system, scattering or frames.scattering)
    fitting = prepare(
        system,
        frames,
        plan or default_plan(frames, system),
        solver=solver,
        scattering=scattering,
        instrument=instrument,
    )
    for _ in fitting.run():
        pass
    return FittedSystem.of(fitting)


def save(path: str | os.PathLike[str], fitted: FittedSystem | Fitting, **card: Any) -> None:  # noqa: ANN401 - JSON
    """Write a fitted system; of a `Fitting` also all that a resumed one needs.

    Args:
        path: File to write, ``.safetensors`` by custom.
        fitted: What was fitted, or is being fitted.
        card: What else to say in the file: the study, the frames.

    Raises:
        InputError: The file cannot be written, or the system is of a class debye does not know.
        ComputationError: The disk is full.
    """
    going = fitted if isinstance(fitted, Fitting) else None
    made = FittedSystem.of(going) if going else expect(fitted, FittedSystem, "fitted")
    tensors: dict[str, Tensor] = {}
    solver = {k: v for k, v in asdict(made.solver).items() if k not in ("tableau", "max_seconds")}
    whole = {
        **made.card,
        **card,
        "class": KIND[0],
        "version": VERSION,
        "gain": made.gain,
        **({"instrument": made.instrument.as_json()} if made.instrument else {}),
        **({"nuisance": made.nuisance} if made.nuisance else {}),
        **({"goodness": made.goodness.as_json()} if made.goodness else {}),
        "plan": {
            "system": describe(made.system, tensors, "system"),
            "scattering": describe(made.scattering, tensors, "scattering"),
            "solver": solver,
        },
    }
    tensors = {f"plan.{k}": v for k, v in tensors.items()}
    tensors |= {f"system.{k}": v for k, v in made.system.state_dict().items()}
    if going:
        whole["fitting"], state = going.state()
        tensors |= {f"fitting.{k}": v for k, v in state.items() if not k.startswith("system.")}
    for kind in ("starts", "start_errors"):
        tensors |= {f"{kind}.{k}": v for k, v in getattr(made, kind).items()}
    if made.covariance is not None and not (going and going.outcome is None):
        tensors["covariance"] = made.covariance
    checkpoint.save(Path(path).expanduser(), whole, tensors)


def load(path: str | os.PathLike[str], *, imports: bool = False) -> FittedSystem:
    """Read a fitted system that `save` wrote, or 0.1.0.

    Args:
        path: The file.
        imports: Whether systems and terms that are not debye's may be imported, which runs their
            code.

    Raises:
        InputError: The file holds something else, is damaged, or names code that may not or
            cannot be imported.
    """
    path = Path(path).expanduser()
    card, tensors = read(path)
    try:
        plan, arrays = card.pop("plan"), under(tensors, "plan.")
        system, scattering = (
            build(plan[k], arrays, imports=imports) for k in ("system", "scattering")
        )
        system.load_state_dict(under(tensors, "system."))
        solver, gain = Solver(**plan["solver"]), float(card.pop("gain"))
        stated = card.pop("instrument", None)
        instrument = Instrument(**stated) if stated else None
        told = card.pop("goodness", None)
        goodness = Goodness.from_json(told) if told else None
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot load {path}",
            why=f"its tensors do not fit its equation: {error}",
            fix="fit the system again",
        ) from error
    spread = tensors.get("covariance")
    if spread is None and "fitting.curvature" in tensors:
        size = check_size(system)
        spread = covariance_of(tensors["fitting.curvature"])[:size, :size]
    nuisance = card.pop("nuisance", {})
    kept = {k: v for k, v in card.items() if k not in ("class", "fitting", "format", "sha256")}
    parts = (system, scattering, solver, gain, spread)
    starts, errors = under(tensors, "starts."), under(tensors, "start_errors.")
    return FittedSystem(*parts, instrument, nuisance, goodness, kept, starts, errors, path)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Card and tensors of a fitted system, under the names of today.

    Raises:
        InputError: The file holds something else, or is damaged.
    """
    card, tensors = checkpoint.load(path)
    if card.get("class") not in KIND:
        raise InputError(
            f"cannot load {path} as a fitted system",
            why=f"it holds a {card.get('class', 'something else')}",
            fix="give a file that debye learn wrote",
        )
    if "learning" in card:  # 0.1.0
        card["fitting"] = card.pop("learning")
        old = {"learning.system.": "system.", "learning.": "fitting."}
        for before, today in old.items():
            tensors = {re.sub(f"^{before}", today, k): v for k, v in tensors.items()}
    return card, tensors


def resume(path: str | os.PathLike[str], fitting: Fitting, **facts: Any) -> None:  # noqa: ANN401 - JSON
    """Put a fit where the one that wrote ``path`` stood.

    Args:
        path: The file.
        fitting: A fit of the same system by the same plan.
        facts: What the card must say as it was given to `save`: the study, the frames.

    Raises:
        InputError: The file is no fitted system, or was fitted by another plan, of another system
            or to something else.
    """
    card, tensors = read(Path(path).expanduser())
    for name, value in facts.items():
        if card.get(name) != value:
            raise InputError(
                f"cannot go on from {path}",
                why=f"its {name} is {card.get(name)!r}, and now it is {value!r}",
                fix="go on as it was begun, or begin anew",
            )
    if "fitting" not in card:
        raise InputError(
            f"cannot resume from {path}",
            why="it holds the result of a fit, and not where the fit stood",
            fix="give a file of debye learn, or start a new run",
        )
    system = {k: v for k, v in tensors.items() if k.startswith("system.")}
    fitting.restore(card["fitting"], {**system, **under(tensors, "fitting.")})
