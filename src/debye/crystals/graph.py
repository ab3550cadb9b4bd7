"""Graph: a batch of crystals as nodes and edges.

    Crystal, Crystal, … → Graph → network

Crystals are ragged, so a batch is a concatenation with an index, never a padded block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from debye.core.neighbors import expected_pairs, pairs_within, sum_onto
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, MASSES, SYMBOLS
from debye.errors import InputError

NATURAL_MASS = torch.tensor([0.0, *(MASSES[symbol] for symbol in SYMBOLS[1:])])
"""Mean mass of the isotopes of each element, u, by atomic number."""

MOST_EDGES = 1_500_000
"""Of one crystal: those of 60,000 atoms, for which a network takes 1 GB."""
FEW_SITES = 250
"""So many cannot have more edges, half an ångström apart as they are at least."""


@dataclass(frozen=True)
class Graph:
    """A batch of crystals: N sites, K species on them, E edges between them, B crystals.

    A mixed site has several rows in ``site``, ``number``, ``mass`` and ``fraction``.
    """

    site: Tensor
    """(K,) which site a species occupies."""
    number: Tensor
    """(K,) its atomic number."""
    mass: Tensor
    """(K,) its mass, u."""
    fraction: Tensor
    """(K,) its occupancy of the site."""
    crystal: Tensor
    """(N,) which crystal a site belongs to."""
    center: Tensor
    """(E,) the site an edge starts from; sorted."""
    other: Tensor
    """(E,) the site it leads to."""
    vector: Tensor
    """(E, 3) from center to other, Å."""
    cell: Tensor
    """(B, 3, 3) lattice vectors in rows, Å."""
    n_crystals: int

    @property
    def n_sites(self) -> int:
        """Number of sites N of all crystals."""
        return len(self.crystal)

    @property
    def occupancy(self) -> Tensor:
        """(N,) how many atoms a site holds: 1, or less where there are vacancies."""
        return sum_onto(self.site, self.fraction, self.n_sites)

    @property
    def n_atoms(self) -> Tensor:
        """(B,) atoms in each crystal, occupancies counted."""
        return self.per_crystal(self.occupancy)

    @property
    def site_mass(self) -> Tensor:
        """(N,) mean mass of the atoms on a site, u."""
        return sum_onto(self.site, self.fraction * self.mass, self.n_sites) / self.occupancy

    def of_natural_mass(self) -> Graph:
        """The same crystals made of the natural mixtures of isotopes."""
        return replace(self, mass=NATURAL_MASS.to(self.mass)[self.number])

    def within(self, cutoff: float) -> Graph:
        """The same crystals with those edges alone that are shorter than a cutoff, Å."""
        near = self.vector.square().sum(-1) < cutoff**2
        if near.all():
            return self
        shorter = {k: getattr(self, k)[near] for k in ("center", "other", "vector")}
        return replace(self, **shorter)

    def one_way(self) -> Tensor:
        """(E,) True for one of the two edges of every pair."""
        # A site's images come in pairs ±R; no lattice vector is normal to an irrational direction.
        ahead = self.vector @ self.vector.new_tensor([1.0, 0.7548777, 0.5698403]) > 0
        return torch.where(self.center == self.other, ahead, self.center < self.other)

    def per_crystal(self, values: Tensor) -> Tensor:
        """Sum a quantity of the sites (N, …) over each crystal: (B, …)."""
        return sum_onto(self.crystal, values, self.n_crystals)

    def totals(self, head_outputs: Tensor) -> Tensor:
        """Densities of full sites (…, N, F) summed over each crystal's atoms: (…, B, F)."""
        sites = self.occupancy.unsqueeze(-1) * head_outputs
        return self.per_crystal(sites.movedim(-2, 0)).movedim(0, -2)

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)[:-1]}
        return replace(self, **moved)

    @staticmethod
    def of(crystal: Crystal, cutoff: float) -> Graph:
        """The graph of one crystal, with an edge to every site and image within the cutoff.

        Args:
            crystal: What to turn into a graph.
            cutoff: Cutoff distance, Å.

        Raises:
            InputError: A site has no neighbour within the cutoff, so nothing holds it; or there
                are too many edges.

        Example:
            >>> from debye.crystals.structure.crystal import Crystal
            >>> cell = 2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
            >>> salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.82, 0, 0]], cell)
            >>> len(Graph.of(salt, cutoff=3.0).center)
            12
        """
        if crystal.n_sites > FEW_SITES:
            _check_edges(crystal, cutoff)
        pairs = pairs_within(crystal.positions, crystal.cell, cutoff)
        alone = np.setdiff1d(np.arange(len(crystal.species)), pairs.center)
        if len(alone):
            raise InputError(
                f"cannot predict {_label(crystal)}: site {alone[0]} has no neighbour",
                why=f"nothing lies within {cutoff:g} Å of it",
                fix="check the cell and the length unit; isolated atoms have no phonons",
            )
        species = [(i, s, f) for i, site in enumerate(crystal.species) for s, f in site.items()]
        site, symbol, fraction = zip(*species, strict=True)
        return Graph(
            site=torch.tensor(site),
            number=torch.tensor([ATOMIC_NUMBERS[s] for s in symbol]),
            mass=torch.tensor([MASSES[s] for s in symbol], dtype=torch.float32),
            fraction=torch.tensor(fraction, dtype=torch.float32),
            crystal=torch.zeros(len(crystal.species), dtype=torch.long),
            center=torch.from_numpy(pairs.center),
            other=torch.from_numpy(pairs.other),
            vector=torch.from_numpy(pairs.vector).float(),
            cell=torch.tensor(crystal.cell, dtype=torch.float32).unsqueeze(0),
            n_crystals=1,
        )

    @staticmethod
    def batch(graphs: Sequence[Graph]) -> Graph:
        """Many graphs as one; their crystals keep the order."""

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(g, name) for g in graphs])

        def shifted(name: str, sizes: Iterable[int]) -> Tensor:
            starts = np.cumsum([0, *sizes])
            return torch.cat(
                [getattr(g, name) + int(s) for g, s in zip(graphs, starts, strict=False)]
            )

        sizes = [g.n_sites for g in graphs]
        return Graph(
            site=shifted("site", sizes),
            number=joined("number"),
            mass=joined("mass"),
            fraction=joined("fraction"),
            crystal=shifted("crystal", [g.n_crystals for g in graphs]),
            center=shifted("center", sizes),
            other=shifted("other", sizes),
            vector=joined("vector"),
            cell=joined("cell"),
            n_crystals=sum(g.n_crystals for g in graphs),
        )


def _label(crystal: Crystal) -> str:
    return crystal.source or crystal.name or crystal.formula


def _check_edges(crystal: Crystal, cutoff: float) -> None:
    expected = crystal.n_sites**2 * 4 / 3 * np.pi * cutoff**3 / crystal.volume  # were they even
    if expected <= MOST_EDGES:
        expected = expected_pairs(crystal.positions, crystal.cell, cutoff)
    if expected > MOST_EDGES:
        raise InputError(
            f"cannot predict {_label(crystal)}: it has {crystal.n_sites} sites",
            why=f"about {expected:.2g} pairs of them lie within {cutoff:g} Å of each other, and"
            f" at most {MOST_EDGES} fit into memory",
            fix="give the primitive cell, or a part of it",
        )
