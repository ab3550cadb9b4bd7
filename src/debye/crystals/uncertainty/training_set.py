"""What a model has seen of chemistry, small enough for its card, and how new a crystal is to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.crystals.graph import Graph
from debye.crystals.structure.composition import NON_METALS, composition_vector
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, SYMBOLS, covalent_radius

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
        share = graph.fraction / graph.occupancy[graph.site]
        radius = graph.fraction.new_zeros(graph.n_sites).index_add(
            0, graph.site, share * _RADIUS.to(share)[graph.number]
        )
        reach = radius[graph.center] + radius[graph.other]
        ratio = graph.vector.norm(dim=-1) / reach
        owner = graph.crystal[graph.center]
        bond = ratio.new_full((graph.n_crystals,), torch.inf).scatter_reduce(
            0, owner, ratio, "amin"
        )
        spheres = graph.per_crystal(graph.occupancy * radius**3 * (4 * torch.pi / 3))
        return Shape(bond, spheres / torch.linalg.det(graph.cell).abs())


class Novelty(NamedTuple):
    """How a crystal's composition stands to the training set's."""

    nearest: str
    """The training crystal that shares most of its atoms."""
    distance: float
    """Share of the atoms that would have to be exchanged to have its composition, 0 to 1."""
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
    def of(cls, crystals: Sequence[Crystal], reach: float) -> TrainingSet:
        """The training set of some crystals, their neighbours sought within a reach in Å."""
        shapes = [Shape.of(Graph.of(crystal, reach)) for crystal in crystals]
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

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of each element among the atoms, (119, crystals)."""
        x = np.zeros((len(SYMBOLS), len(self)))
        for row, formula in enumerate(self.formulas):
            for symbol, amount in _AMOUNT.findall(formula):
                x[ATOMIC_NUMBERS[symbol], row] += float(amount or 1)
        return x / x.sum(0)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Crystals that hold each element, (119,)."""
        return (self.shares > 0).sum(1)

    @cached_property
    def metals_only(self) -> int:
        """Crystals that hold no non-metal."""
        return int((self.shares[~METALS].sum(0) == 0).sum())

    def novelty(self, crystal: Crystal, left_out: int | None = None) -> Novelty:
        """How new a composition is.

        Args:
            crystal: Which.
            left_out: Its own row, where it is one of the training set: it is compared with the
                others, as a new crystal would be with all.

        Example:
            >>> known = TrainingSet(("NaCl", "KCl", "MgO"), (0.8, 1.1), (0.2, 0.6), 2, 0)
            >>> cell = 6.6 * np.eye(3)
            >>> known.novelty(Crystal(["K", "O"], [[0, 0, 0], [3.3, 3.3, 3.3]], cell))
            Novelty(nearest='KCl', distance=0.5, rarest=1)
        """
        x = composition_vector(crystal)
        held = np.flatnonzero(x)
        common = np.minimum(self.shares[held], x[held, None]).sum(0)  # [training crystal]
        counts = self.counts[held]
        if left_out is not None:
            common[left_out], counts = -1.0, counts - 1
        nearest = int(common.argmax())
        return Novelty(self.formulas[nearest], float(1 - common[nearest]), int(counts.min()))

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
