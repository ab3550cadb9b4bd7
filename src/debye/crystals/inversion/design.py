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
from debye.crystals.dos.quantities import PROPERTIES, OnGrid, Property, kelvins
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.inversion.likelihood import SHIPPED_ERROR, ModelError, normal_half_width
from debye.crystals.inversion.parameters import Array, FreeParameters
from debye.crystals.inversion.refine import double, value_and_gradient
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import bounds_of, numbers
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, covalent_radius
from debye.crystals.uncertainty.uncertainty import LEVEL
from debye.errors import InputError

MOST_COMBINATIONS = 1000
"""Combinations of replacements; more belong into a screening."""
BETTER = 0.5
"""A mixture is proposed if it is off the goal by less than this times what its ends are."""

Function = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of a frequency axis (F,), a density that integrates to 3 per atom (F,), and u per atom."""


@dataclass(frozen=True)
class Target:
    """A property of a spectrum and the value it should have.

    Args:
        name: As the command line has it.
        column: As records have it, with its unit.
        label: To be read, with its unit.
        of: The property, differentiable.
        goal: Its value.
        wanted: The property in the table of quantities; None if it is none of them.
        temperature: K, of a thermal one.
    """

    name: str
    column: str
    label: str
    of: Function
    goal: float
    wanted: Property | None = None
    temperature: float = 300.0

    @property
    def axis(self) -> str:
        """Label of an axis."""
        return self.wanted.axis(self.temperature) if self.wanted else self.label


def property_target(name: str, goal: float, temperature: float = 300.0) -> Target:
    """One of the table of quantities, such as the mean frequency or C_V per kilogram.

    Args:
        name: In `debye.crystals.dos.quantities.PROPERTIES`.
        goal: In its unit.
        temperature: K, of a thermal one.

    Raises:
        InputError: There is no such property, or a bad temperature.

    Example:
        >>> property_target("heat-capacity-per-kg", 800.0).label
        'C_V at 300 K (J/K/kg)'
    """
    if name not in PROPERTIES:
        why = f"the choices are {', '.join(PROPERTIES)}"
        raise InputError(f"cannot design for {name!r}", why=why, fix="choose one of them")
    wanted, (T,) = PROPERTIES[name], kelvins(temperature)
    quantity = wanted.quantity

    def of(frequency: Tensor, density: Tensor, mass: Tensor) -> Tensor:
        value = OnGrid(tuple(frequency.tolist()), density).value(quantity.name, (T,))
        per_atom = value[0] if quantity.thermal else value
        return per_atom / (1e-3 * mass) if wanted.basis == "per-kg" else per_atom

    return Target(name, wanted.column(T), wanted.text(T), of, goal, wanted, T)


def gap(low: float, high: float) -> Target:
    """The fraction of the states between two frequencies in cm⁻¹, which should be none.

    Example:
        >>> axis = torch.arange(0.0, 60.0, 20.0)
        >>> gap(30.0, 60.0).of(axis, torch.tensor([1.0, 1.0, 0.0]), torch.tensor(1.0)).item()
        0.083...
    """

    def of(frequency: Tensor, density: Tensor, mass: Tensor) -> Tensor:
        below = Spectrum(frequency, density, normalisation="1").cumulative([low, high])
        return (below[1] - below[0]) / (density @ trapezoid_weights(frequency))

    column = f"fraction_of_states_{low:g}_to_{high:g}_cm-1"
    return Target("gap", column, f"fraction of states from {low:g} to {high:g} cm⁻¹", of, 0.0)


@dataclass(frozen=True)
class Proposal:
    """A structure that may have the property.

    Args:
        prediction: Of the structure, with the elements that no training structure had.
        value: Of the property.
        lower: End of the interval that holds the true value as often as was asked.
        upper: Likewise.
        distance: |value − goal|.
        replaced: Fraction of each replacement, such as ``{"Bi for Sb": 0.4}``.
    """

    prediction: Prediction
    value: float
    lower: float
    upper: float
    distance: float
    replaced: Mapping[str, float]

    @property
    def half(self) -> float:
        """Half the interval: the number behind ±."""
        return (self.upper - self.lower) / 2

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
    level: float = LEVEL,
) -> list[Proposal]:
    """Proposals, the nearest to the goal first; the start is one of them.

    Args:
        predictor: The model.
        start: A crystal.
        replacements: Elements that may come in the place of each of its species.
        target: What is wanted.
        error: Of the model, for what has no calibrated interval.
        level: How often the true value shall lie in the intervals. Those of the table's
            quantities are the calibrated ones, if the model has them; else they are the usual
            error of the model, taken as normal.

    Raises:
        InputError: A species is not in the crystal, there are too many combinations, or the level
            is not one of the calibration's.
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
        tried = [_ones(free_parameters)]
        if free_parameters.parameters:
            tried.append(_mixed(model, free_parameters, target))
        proposals += [
            _proposal(predictor, free_parameters, values, target, error, level) for values in tried
        ]
    ends = {frozenset(p.replaced): p for p in proposals[::-1] if set(p.replaced.values()) <= {1.0}}
    kept = [p for p in proposals if set(p.replaced.values()) <= {1.0} or _worth(p, ends)]
    kept = [*{tuple(p.replaced.items()): p for p in kept}.values()]  # a mixture may be an end
    reached = 0.01 * max(p.half for p in kept)  # nearer is no better
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
    graph = free_parameters.graph(values, model.cutoff)
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
    level: float,
) -> Proposal:
    prediction = predictor.as_labels().predict(free_parameters.crystal(values))
    value, lower, upper = _interval(prediction, target, error, level)
    fractions = (values + torch.tensor([p.offset for p in free_parameters.parameters])).tolist()
    names = [p.name.removeprefix("fraction of ") for p in free_parameters.parameters]
    replaced = {n: round(x, 6) for n, x in zip(names, fractions, strict=True)}
    return Proposal(prediction, value, lower, upper, abs(value - target.goal), replaced)


def _interval(
    prediction: Prediction, target: Target, error: ModelError, level: float
) -> tuple[float, float, float]:
    """The property of a prediction, and the ends of its interval."""
    known = {}
    if target.wanted is not None:
        known = numbers(
            prediction, [target.wanted], [target.temperature], level=level, several=True
        )
        if prediction.uncertainty is not None:
            lower, upper = (known[end] for end in bounds_of(target.column))
            return known[target.column], lower, upper
    crystal, total = prediction.crystal, prediction.total
    frequency, density = total.frequency.double(), total.to("3").density.double().requires_grad_()
    value = target.of(frequency, density, torch.tensor(crystal.mass / crystal.n_atoms).double())
    if prediction.uncertainty is not None:
        error = error.scaled(prediction.uncertainty.size.item())
    (kernel,) = torch.autograd.grad(value, density)
    deviation = error.deviation(frequency, density.detach() / 3, 3 * kernel)
    half = deviation * normal_half_width(level)
    middle = known.get(target.column, value.item())
    return middle, middle - half, middle + half
