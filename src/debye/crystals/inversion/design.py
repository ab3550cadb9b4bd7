"""Design: which substitutions bring a property of the spectrum to a wanted value.

    start, replacements → FreeParameters → network → spectrum → property
    minimise (property − goal)²

Each combination of replacements is predicted whole, and mixed: from the middle, gradients through
the network move the fractions of all of them together. The cell grows with the covalent radii.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import heat_capacity
from debye.crystals.inversion.likelihood import SHIPPED_ERROR, ModelError
from debye.crystals.inversion.parameters import Array, FreeParameters
from debye.crystals.inversion.refine import double, value_and_gradient
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, covalent_radius
from debye.errors import InputError

MOST_COMBINATIONS = 1000
"""Combinations of replacements; more belong into a screening."""
BETTER = 0.5
"""A mixture is proposed if it is off the goal by less than this times what its ends are."""

Property = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of a frequency axis (F,), a density that integrates to 3 per atom (F,), and u per atom."""


@dataclass(frozen=True)
class Target:
    """A property of a spectrum and the value it should have.

    Args:
        name: In words, with its unit.
        of: The property.
        goal: Its value.
    """

    name: str
    of: Property
    goal: float


def mean_frequency(goal: float) -> Target:
    """The mean frequency ∫ ω g / ∫ g, cm⁻¹."""

    def of(frequency: Tensor, density: Tensor, mass: Tensor) -> Tensor:
        w = trapezoid_weights(frequency)
        return (density * frequency) @ w / (density @ w)

    return Target("mean frequency (cm⁻¹)", of, goal)


def heat_capacity_at(kelvin: float, goal: float, *, per_mass: bool = False) -> Target:
    """C_V at a temperature, J/K per mole of atoms or per kilogram."""

    def of(frequency: Tensor, density: Tensor, mass: Tensor) -> Tensor:
        molar = heat_capacity(Spectrum(frequency, density, 1.0), kelvin)
        return molar / (1e-3 * mass) if per_mass else molar

    unit = "J/K/kg" if per_mass else "J/K/mol-atom"
    return Target(f"C_V at {kelvin:g} K ({unit})", of, goal)


def gap(low: float, high: float) -> Target:
    """The share of the states between two frequencies in cm⁻¹, which should be none.

    Example:
        >>> axis = torch.arange(0.0, 60.0, 20.0)
        >>> gap(30.0, 60.0).of(axis, torch.tensor([1.0, 1.0, 0.0]), torch.tensor(1.0)).item()
        0.083...
    """

    def of(frequency: Tensor, density: Tensor, mass: Tensor) -> Tensor:
        below = Spectrum(frequency, density, normalisation="1").cumulative([low, high])
        return (below[1] - below[0]) / (density @ trapezoid_weights(frequency))

    return Target(f"share of states from {low:g} to {high:g} cm⁻¹", of, 0.0)


@dataclass(frozen=True)
class Proposal:
    """A structure that may have the property.

    Args:
        prediction: Of the structure, with the elements that no training structure had.
        value: Of the property.
        uncertainty: Half the interval that holds the true value in 68 of 100 cases.
        distance: |value − goal|.
        replaced: Fraction of each replacement, such as ``{"Bi for Sb": 0.4}``.
    """

    prediction: Prediction
    value: float
    uncertainty: float
    distance: float
    replaced: Mapping[str, float]

    @property
    def crystal(self) -> Crystal:
        """The structure."""
        return self.prediction.crystal


def design(
    predictor: Predictor,
    start: Crystal,
    replacements: Mapping[str, Sequence[str]],
    target: Target,
    *,
    error: ModelError = SHIPPED_ERROR,
) -> list[Proposal]:
    """Proposals, the nearest to the goal first; the start is one of them.

    Args:
        predictor: The model.
        start: A crystal.
        replacements: Elements that may come in the place of each of its species.
        target: What is wanted.
        error: Of the model, for the uncertainty.

    Raises:
        InputError: A species is not in the crystal, or there are too many combinations.
    """
    whole = FreeParameters.of(start)
    options = [[(gives, t) for t in (None, *takes)] for gives, takes in replacements.items()]
    combinations = list(product(*options))
    if len(combinations) > MOST_COMBINATIONS:
        why = f"there are {len(combinations)} combinations, and {MOST_COMBINATIONS} at most"
        fix = "name fewer elements, or write the structures out and screen them"
        raise InputError("too much to design at once", why=why, fix=fix)
    model = double(predictor.model)
    proposals = []
    for combination in combinations:
        free_parameters = whole
        for gives, takes in combination:
            if takes is not None:
                growth = _growth(whole, gives, takes)
                free_parameters = free_parameters.with_fraction(gives, takes, stretch=growth)
        proposals.append(
            _proposal(predictor, free_parameters, _ones(free_parameters), target, error)
        )
        if free_parameters.parameters:
            proposals.append(
                _proposal(
                    predictor,
                    free_parameters,
                    _mixed(model, free_parameters, target),
                    target,
                    error,
                )
            )
    ends = {frozenset(p.replaced): p for p in proposals[::-1] if set(p.replaced.values()) <= {1.0}}
    kept = [p for p in proposals if set(p.replaced.values()) <= {1.0} or _worth(p, ends)]
    reached = 0.01 * max(p.uncertainty for p in kept)  # nearer is no better
    return sorted(kept, key=lambda p: (max(p.distance, reached), len(p.replaced)))


def _worth(mixture: Proposal, ends: Mapping[frozenset[str], Proposal]) -> bool:
    """Whether a mixture is nearer to the goal than what it is mixed of."""
    parents = [ends[frozenset()], ends[frozenset(mixture.replaced)]]
    return mixture.distance < BETTER * min(p.distance for p in parents)


def _growth(free_parameters: FreeParameters, gives: str, takes: str) -> float:
    """Relative growth of the cell when one element comes for another, by covalent radii."""
    radius = {s: covalent_radius(ATOMIC_NUMBERS[s]) for s in {*free_parameters.symbols, takes}
              if s in ATOMIC_NUMBERS}  # fmt: skip
    if takes not in radius:
        why = "it is no element symbol"
        raise InputError(f"cannot put {takes!r} in", why=why, fix="name elements, as in Sb=Bi,As")
    before = sum(
        x * radius[s]
        for s, x in zip(free_parameters.symbols, free_parameters.fraction.tolist(), strict=True)
    )
    held = sum(
        x
        for s, x in zip(free_parameters.symbols, free_parameters.fraction.tolist(), strict=True)
        if s == gives
    )
    return held * (radius[takes] - radius.get(gives, radius[takes])) / before


def _ones(free_parameters: FreeParameters) -> Tensor:
    return torch.tensor([p.high for p in free_parameters.parameters], dtype=torch.float64)


def _mixed(model: Ensemble, free_parameters: FreeParameters, target: Target) -> Tensor:
    """Fractions that bring the property nearest to its goal, from the middle downhill."""
    from scipy.optimize import minimize

    scale = max(abs(target.goal), 1.0 if target.goal else 0.1)

    def cost(values: Tensor) -> Tensor:
        return ((_property(model, free_parameters, values, target) - target.goal) / scale) ** 2

    unit = torch.ones(len(free_parameters.parameters), dtype=torch.float64)

    def both(x: Array) -> tuple[float, Array]:
        return value_and_gradient(cost, x, unit)

    bounds = [(p.low, p.high) for p in free_parameters.parameters]
    middle = np.array([(low + high) / 2 for low, high in bounds])
    found = minimize(both, middle, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-10)
    return torch.from_numpy(found.x)


def _property(
    model: Ensemble, free_parameters: FreeParameters, values: Tensor, target: Target
) -> Tensor:
    graph = free_parameters.graph(values, model.r_max)
    atoms = graph.fraction.sum()
    density = (graph.occupancy @ model(graph).sites) / atoms
    frequency = torch.tensor(model.frequency, dtype=torch.float64)
    return target.of(frequency, density, graph.mass @ graph.fraction / atoms)


def _proposal(
    predictor: Predictor,
    free_parameters: FreeParameters,
    values: Tensor,
    target: Target,
    error: ModelError,
) -> Proposal:
    prediction = predictor.predict(free_parameters.crystal(values))
    crystal, total = prediction.crystal, prediction.total
    mass = torch.tensor(crystal.mass / crystal.n_atoms).double()
    frequency = total.frequency.double()
    density = total.to("3").density.double().requires_grad_()
    value = target.of(frequency, density, mass)
    if prediction.uncertainty is not None:
        error = error.scaled(prediction.uncertainty.size.item())
    (kernel,) = torch.autograd.grad(value, density)
    spread = error.deviation(frequency, density.detach() / 3, 3 * kernel)
    shares = (values + torch.tensor([p.offset for p in free_parameters.parameters])).tolist()
    names = [p.name.removeprefix("fraction of ") for p in free_parameters.parameters]
    replaced = {n: round(x, 6) for n, x in zip(names, shares, strict=True)}
    return Proposal(prediction, value.item(), spread, abs(value.item() - target.goal), replaced)
