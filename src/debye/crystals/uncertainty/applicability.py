"""What a model has seen of chemistry, small enough for its card, and how new a crystal is to it.

What sets a crystal apart from the training set, in plain words: there intervals may fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import (
    ATOMIC_NUMBERS,
    NON_METALS,
    SYMBOLS,
    composition_vector,
    covalent_radius,
)

_AMOUNT = re.compile(r"([A-Z][a-z]?)([0-9.]*)")
METALS = np.array([s not in NON_METALS for s in SYMBOLS])
"""(119,) which elements are metals."""
_RADIUS = torch.tensor([covalent_radius(z) for z in range(len(SYMBOLS))])


class Shape(NamedTuple):
    """Two numbers of each crystal's geometry that know what its atoms' sizes are, (B,) each."""

    bond: Tensor
    """The shortest bond over the sum of the covalent radii of its ends."""
    packing: Tensor
    """Volume of covalent spheres over that of the cell."""

    @staticmethod
    def of(graph: Graph) -> Shape:
        """The shapes of a batch."""
        of_site = graph.fraction / graph.occupancy[graph.site]
        radius = graph.fraction.new_zeros(graph.n_sites).index_add(
            0, graph.site, of_site * _RADIUS.to(of_site)[graph.number]
        )
        ratio = graph.vector.norm(dim=-1) / (radius[graph.center] + radius[graph.other])
        owner = graph.crystal[graph.center]
        bond = ratio.new_full((graph.n_crystals,), torch.inf).scatter_reduce(
            0, owner, ratio, "amin"
        )
        spheres = graph.per_crystal(graph.occupancy * radius**3 * (4 * torch.pi / 3))
        return Shape(bond, spheres / torch.linalg.det(graph.cell).abs())


class Applicability(NamedTuple):
    """How a crystal's composition stands to the training set's."""

    nearest: str
    """The training crystal that shares most of its atoms."""
    distance: float
    """Fraction of the atoms that would have to be exchanged to have its composition, 0 to 1."""
    rarest: int
    """Training crystals that hold the least common of its elements."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The compositions a model was trained on, and the range of their geometries.

    Args:
        formulas: One a crystal.
        bond: Least and greatest `Shape.bond`.
        packing: Least and greatest `Shape.packing`.
        largest: Atoms in the largest formula unit.
        mixed: Crystals with mixed or partly vacant sites.
    """

    formulas: tuple[str, ...]
    bond: tuple[float, float]
    packing: tuple[float, float]
    largest: float
    mixed: int

    @classmethod
    def of(cls, crystals: Sequence[Crystal], cutoff: float) -> TrainingSet:
        """The training set of some crystals, their neighbours sought within a cutoff in Å.

        Raises:
            InputError: A site has no neighbours.
        """
        shapes = [Shape.of(Graph.of(crystal, cutoff)) for crystal in crystals]
        bond, packing = (torch.cat(values).tolist() for values in zip(*shapes, strict=True))
        return cls(
            tuple(crystal.formula for crystal in crystals),
            (min(bond), max(bond)),
            (min(packing), max(packing)),
            max(map(complexity, crystals)),
            sum(not crystal.is_ordered for crystal in crystals),
        )

    def __len__(self) -> int:
        return len(self.formulas)

    def __getstate__(self) -> dict[str, Any]:
        """What travels with every prediction: not the megabyte that follows from the formulas."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """Fraction of each element among the atoms, (119, crystals)."""
        x = np.zeros((len(SYMBOLS), len(self)))
        for row, formula in enumerate(self.formulas):
            for symbol, amount in _AMOUNT.findall(formula):
                x[ATOMIC_NUMBERS[symbol], row] += float(amount or 1)
        return x / x.sum(0)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Crystals that hold each element, (119,)."""
        return (self.fractions > 0).sum(1)

    @cached_property
    def metals_only(self) -> int:
        """Crystals that hold no non-metal."""
        return int((self.fractions[~METALS].sum(0) == 0).sum())

    def applicability(self, crystal: Crystal, left_out: int | None = None) -> Applicability:
        """How new a composition is.

        Args:
            crystal: Which.
            left_out: Its own row, where it is one of the training set: it is compared with the
                others, as a new crystal would be with all.

        Example:
            >>> known = TrainingSet(("NaCl", "KCl", "MgO"), (0.8, 1.1), (0.2, 0.6), 2, 0)
            >>> cell = 6.6 * np.eye(3)
            >>> known.applicability(Crystal(["K", "O"], [[0, 0, 0], [3.3, 3.3, 3.3]], cell))
            Applicability(nearest='KCl', distance=0.5, rarest=1)
        """
        x = composition_vector(crystal.composition)
        held = np.flatnonzero(x)
        common = np.minimum(self.fractions[held], x[held, None]).sum(0)  # [training crystal]
        counts = self.counts[held]
        if left_out is not None:
            common[left_out], counts = -1.0, counts - 1
        nearest = int(common.argmax())
        return Applicability(self.formulas[nearest], float(1 - common[nearest]), int(counts.min()))

    def to_card(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "formulas": " ".join(self.formulas),
            "bond": list(self.bond),
            "packing": list(self.packing),
            "largest_formula_unit": self.largest,
            "mixed": self.mixed,
        }

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> TrainingSet:
        """The inverse of `to_card`."""
        return cls(
            tuple(card["formulas"].split()),
            tuple(card["bond"]),
            tuple(card["packing"]),
            card["largest_formula_unit"],
            card["mixed"],
        )


def complexity(crystal: Crystal) -> float:
    """Atoms in the formula unit, which does not change with the choice of cell."""
    return crystal.n_atoms / crystal.n_formula_units


FEW = 0.05
"""Fraction of the training crystals below which a kind of crystal counts as unknown."""
LARGE = 0.95
"""Fraction of the training crystals of which a smaller error is expected, from which on to warn."""


def unlike_training(
    crystal: Crystal, bond: float, packing: float, known: TrainingSet
) -> Iterator[str]:
    """In plain words, what sets a crystal apart from everything that the model was trained on.

    Elements never seen are not among them: every model tells those.
    """
    x = composition_vector(crystal.composition)
    if not x[~METALS].any() and known.metals_only < FEW * len(known):
        yield (
            "it is made of metals only, as few of the training crystals are "
            f"({known.metals_only} of {len(known)})"
        )
    if not crystal.is_ordered and not known.mixed:
        yield "no training crystal has mixed or partly vacant sites"
    if complexity(crystal) > known.largest:
        yield (
            f"its formula unit has {complexity(crystal):g} atoms, and none of the training "
            f"crystals more than {known.largest:g}"
        )
    yield from _unlike("shortest bond", "the sum of the covalent radii", bond, known.bond)
    yield from _unlike("packing", "the cell's volume", packing, known.packing)


def _unlike(what: str, of: str, value: float, seen: tuple[float, float]) -> Iterator[str]:
    if not seen[0] <= value <= seen[1]:
        yield (
            f"its {what} is {value:.2f} of {of}, and that of the training crystals between "
            f"{seen[0]:.2f} and {seen[1]:.2f}"
        )


def large_error(error: float, rank: float) -> Iterator[str]:
    """That a large error is expected, where it is.

    Args:
        error: Expected, cm⁻¹.
        rank: Fraction of the training crystals of which a smaller one is expected.
    """
    if rank >= LARGE:
        yield (
            f"expected error {error:.3g} cm⁻¹, worse than for {100 * rank:.0f} % of the training "
            "crystals"
        )
