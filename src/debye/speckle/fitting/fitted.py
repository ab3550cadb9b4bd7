"""A learned law as a file: the equation, what fills its term, and how it was seen."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from debye.core import VERSION, checkpoint
from debye.errors import InputError
from debye.speckle.dynamics.solver import Solver, Trajectory
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.fit import Fitting
from debye.speckle.scattering.models import Scattering
from debye.speckle.serialize import build, describe


@dataclass
class FittedSystem:
    """A system that has learned, with the geometry it learned in.

    Args:
        system: The equation, its term filled.
        scattering: The scattering model.
        solver: How it was integrated.
        gain: Counts per unit of intensity in the frames it learned from.
        covariance: (P, P) of its coefficients, in the order of ``system.parameters()``; None
            where it was not learned by Gauss–Newton.
        card: What else is known: the study, the loss, the state of the learning.
    """

    system: System
    scattering: Scattering
    solver: Solver
    gain: float = 1.0
    covariance: Tensor | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def extrapolate(self, start: Tensor, times: Tensor) -> Trajectory:
        """Follow the law from a state through ``times``, without gradients."""
        with torch.no_grad():
            return self.solver.solve(self.system.vector_field(), start, times)

    def frames(self, states: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Expected counts of states."""
        with torch.no_grad():
            return self.gain * self.scattering(states, specimen)


def covariance(learning: Fitting) -> Tensor | None:
    """Covariance of the coefficients from the curvature of the likelihood at its end.

    For counts the likelihood is in natural units and the inverse curvature is the Cramér–Rao
    bound. Directions the data leave open are given the smallest curvature that rounding can tell
    from 0, so their error bars are long rather than wrong.
    """
    if learning.curvature is None:
        return None
    values, vectors = torch.linalg.eigh(learning.curvature)
    return (vectors / values.clamp(min=1e-12 * float(values.max()))) @ vectors.T


def from_fitting(learning: Fitting, **card: Any) -> FittedSystem:  # noqa: ANN401
    """The law as it stands now."""
    made = learning.experiment
    return FittedSystem(
        made.system, made.scattering, made.solver, made.gain, covariance(learning), card
    )


def save_fitted(path: str | os.PathLike[str], learning: Fitting, **card: Any) -> None:  # noqa: ANN401
    """Write the law as it stands, and all that a resumed learning needs.

    Raises:
        InputError: The file cannot be written, or the system is of a class debye does not know.
    """
    made, tensors = learning.experiment, dict[str, Tensor]()
    plan = {
        "system": describe(made.system, tensors, "system"),
        "scattering": describe(made.scattering, tensors, "scattering"),
        "solver": {
            k: v for k, v in asdict(made.solver).items() if k not in ("tableau", "max_seconds")
        },
    }
    numbers, learned = learning.state()
    whole = {
        "class": "FittedSystem",
        "version": VERSION,
        "gain": made.gain,
        "plan": plan,
        "learning": numbers,
        **card,
    }
    named = {f"plan.{k}": v for k, v in tensors.items()}
    checkpoint.save(path, whole, {**named, **{f"learning.{k}": v for k, v in learned.items()}})


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_fitted(path: str | os.PathLike[str]) -> FittedSystem:
    """Read a law that `save_fitted` wrote.

    Raises:
        InputError: The file is not a law, or is damaged.
    """
    card, tensors = checkpoint.load(path)
    if card.get("class") not in ("FittedSystem", "Law"):  # 0.1.0 called it a law
        raise InputError(
            f"cannot load {path} as a law",
            why=f"it holds a {card.get('class', 'something else')}",
            fix="give a file that debye learn wrote",
        )
    plan, arrays, learned = card["plan"], under(tensors, "plan."), under(tensors, "learning.")
    system, scattering = build(plan["system"], arrays), build(plan["scattering"], arrays)
    try:
        system.load_state_dict(under(learned, "system."))
    except RuntimeError as error:
        raise InputError(
            f"cannot load {path}",
            why=f"its tensors do not fit its equation: {error}",
            fix="learn the law again",
        ) from error
    curved = learned.get("curvature")
    spread = None if curved is None else torch.linalg.pinv(curved, hermitian=True)
    return FittedSystem(system, scattering, Solver(**plan["solver"]), card["gain"], spread, card)


def resume(path: str | os.PathLike[str], learning: Fitting) -> None:
    """Put a learning where the one that wrote ``path`` stood.

    Raises:
        InputError: The file is not a law, or was learned by another plan.
    """
    card, tensors = checkpoint.load(path)
    if "learning" not in card:
        raise InputError(
            f"cannot resume from {path}", why="it is not a law", fix="give a file of debye learn"
        )
    learning.restore(card["learning"], under(tensors, "learning."))
