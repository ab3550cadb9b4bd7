"""A structure with free parameters: what a refinement may change, and how.

Each parameter moves the structure along a straight line: a deformation of the cell, displacements
of the sites in it, and a change of who stands on them.

    cell = cell₀ (1 + Σ p D),   fractional = fractional₀ + Σ p u,   fraction = fraction₀ + Σ p f
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.core.neighbors import pairs_within
from debye.crystals.graph import Graph
from debye.crystals.inversion.instrument import site_weights
from debye.crystals.structure.alloy import interpolate
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, MASSES
from debye.crystals.structure.operations import Symmetry
from debye.crystals.structure.symmetry import operations_of
from debye.errors import InputError

STRAIN, SHIFT, FRACTION = 0.02, 0.1, 12**-0.5
"""Prior widths: of a strain, a displacement in Å and a fraction, whose prior is flat."""
MOST_STRAIN, MOST_SHIFT = 0.08, 0.4
"""How far a parameter may go; the network has seen no strained cells."""
ABSENT = 1e-6
"""Fraction below which a species is not there."""
_AXES = "xyz"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """One line along which a structure may move; 0 is where it begins.

    Args:
        name: In words, with its unit.
        deformation: D, of the cell's Cartesian frame, (3, 3).
        displacement: u, in units of the lattice vectors, (N, 3).
        change: f, of the fraction of each species on a site, (K,).
        width: Standard deviation of its prior.
        low: Least value.
        high: Greatest value.
        offset: What to add for showing, such as the fraction at the beginning.
        flat: Whether the prior is flat between the bounds, not normal about 0.
    """

    name: str
    deformation: Array
    displacement: Array
    change: Array
    width: float
    low: float
    high: float
    offset: float = 0.0
    flat: bool = False


@dataclass(frozen=True)
class FreeParameters:
    """A structure and the parameters that it may be moved by.

    Args:
        cell: Lattice vectors as rows, Å, (3, 3).
        fractional: Positions, (N, 3).
        site: Which site a species occupies, (K,).
        symbols: The species, K of them; one may have a fraction of 0.
        fraction: Of each, (K,).
        parameters: What is free, P of them.
        name: Of the structure.
        notes: What a reader of results should know about it.

    Example:
        >>> cell = 2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
        >>> salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.82, 0, 0]], cell)
        >>> [p.name for p in FreeParameters.of(salt).with_lattice().with_positions().parameters]
        ['strain xx+yy+zz']
    """

    cell: Array
    fractional: Array
    site: tuple[int, ...]
    symbols: tuple[str, ...]
    fraction: Array
    parameters: tuple[Parameter, ...] = ()
    name: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, crystal: Crystal) -> FreeParameters:
        """A structure in which nothing is free yet."""
        entries = [(i, s, x) for i, site in enumerate(crystal.species) for s, x in site.items()]
        site, symbols, fraction = zip(*entries, strict=True)
        label = crystal.source or crystal.name or crystal.formula
        fractions = np.array(fraction)
        moved = (crystal.cell, crystal.fractional, site, symbols, fractions)
        return cls(*moved, name=label, notes=crystal.notes)

    @classmethod
    def between(cls, a: Crystal, b: Crystal, start: float = 0.5) -> FreeParameters:
        """An alloy a₁₋ₓ bₓ of two parents (`interpolate`), with x free from 0 to 1.

        Raises:
            InputError: The parents do not match.
        """
        mean = cls.of(interpolate(a, b, 0.5))
        ends = [interpolate(a, b, x) for x in (0.0, 1.0)]
        fractions = [[end.species[i].get(s, 0.0) for end in ends] for i, s in mean.entries]
        change = np.array([high - low for low, high in fractions])
        step = ends[1].fractional - ends[0].fractional
        cell = (1 - start) * a.cell + start * b.cell
        x = Parameter(
            f"fraction of {b.formula} in {a.formula}",
            np.linalg.inv(cell) @ (b.cell - a.cell),
            step,
            change,
            FRACTION,
            -start,
            1 - start,
            start,
            flat=True,
        )
        return replace(
            mean,
            cell=cell,
            fractional=ends[0].fractional + start * step,
            fraction=np.array([low + start * (high - low) for low, high in fractions]),
            parameters=(x,),
            name=f"{a.formula} to {b.formula}",
        )

    @property
    def entries(self) -> list[tuple[int, str]]:
        """Site and symbol of each species."""
        return list(zip(self.site, self.symbols, strict=True))

    @property
    def symmetry(self) -> Symmetry:
        """The space group, who stands on each site considered.

        Raises:
            ComputationError: No operations are found.
        """
        contents: list[list[tuple[str, float]]] = [[] for _ in self.fractional]
        for (i, symbol), x in zip(self.entries, self.fraction, strict=True):
            contents[i].append((symbol, round(float(x), 6)))
        known = [tuple(content) for content in contents]
        return operations_of([known.index(c) for c in known], self.fractional, self.cell)

    # What may be freed.

    def with_lattice(self, width: float = STRAIN) -> FreeParameters:
        """Free the strains that keep the symmetry: 1 for a cubic crystal, 6 for a triclinic."""
        rotations = [self.cell.T @ W @ np.linalg.inv(self.cell.T) for W in self.symmetry.rotations]
        modes = []
        for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
            unit = np.zeros((3, 3))
            unit[i, j] = unit[j, i] = 1.0
            modes.append(np.mean([R @ unit @ R.T for R in rotations], axis=0).ravel())
        strains = [mode.reshape(3, 3) for mode in reduced_rows(np.array(modes))]
        return self._with(
            Parameter(
                f"strain {_strain_name(D)}",
                D,
                np.zeros_like(self.fractional),
                np.zeros(len(self.site)),
                width,
                -MOST_STRAIN,
                MOST_STRAIN,
            )
            for D in strains
        )

    def with_positions(self, width: float = SHIFT) -> FreeParameters:
        """Free the displacements that keep the symmetry, the site that moves furthest by 1 Å."""
        modes = reduced_rows(_symmetric_displacements(self.fractional, self.cell, self.symmetry))
        parameters = []
        for mode in modes:
            u = mode.reshape(-1, 3)
            lengths = np.linalg.norm(u @ self.cell, axis=1)
            pivot = int(np.flatnonzero(np.abs(mode) > ABSENT)[0])
            label = "/".join(s for i, s in self.entries if i == pivot // 3)
            parameters.append(
                Parameter(
                    f"shift {label}{pivot // 3 + 1} along {'abc'[pivot % 3]} (Å)",
                    np.zeros((3, 3)),
                    u / lengths.max(),
                    np.zeros(len(self.site)),
                    width,
                    -MOST_SHIFT,
                    MOST_SHIFT,
                )
            )
        return self._with(parameters)

    def with_fraction(self, gives: str, takes: str, *, stretch: float = 0.0) -> FreeParameters:
        """Free how much of one species another replaces, on every site where it stands.

        Args:
            gives: The species that is replaced.
            takes: The species that comes in its place; it may be there already, or not yet.
            stretch: By how much a whole replacement lengthens the cell, (l₁ − l₀)/l₀.

        Raises:
            InputError: No site holds the first.
        """
        sites = [i for i, s in self.entries if s == gives]
        if not sites or gives == takes or takes not in ATOMIC_NUMBERS:
            why = f"its species are {', '.join(dict.fromkeys(self.symbols))}"
            fix = "name one of them, and another element, as in Sb=Bi"
            raise InputError(f"cannot replace {gives} by {takes} in {self.name}", why=why, fix=fix)
        entries = self.entries + [(i, takes) for i in sites if (i, takes) not in self.entries]
        known = dict(zip(self.entries, self.fraction, strict=True))
        fraction = np.array([known.get(entry, 0.0) for entry in entries])
        padding = np.zeros(len(entries) - len(self.site))
        change = np.zeros(len(entries))
        totals = [known[i, gives] + known.get((i, takes), 0.0) for i in sites]
        for i, total in zip(sites, totals, strict=True):
            change[entries.index((i, gives))], change[entries.index((i, takes))] = -total, total
        fractions = [known.get((i, takes), 0.0) / t for i, t in zip(sites, totals, strict=True)]
        start = fractions[0]
        if max(fractions) - min(fractions) > ABSENT:
            why = f"it takes {min(fractions):g} to {max(fractions):g} of the sites that it shares"
            fix = "give a structure whose sites are shared alike"
            raise InputError(f"cannot free the fraction of {takes}", why=why, fix=fix)
        widened = [replace(p, change=np.concatenate([p.change, padding])) for p in self.parameters]
        x = Parameter(
            f"fraction of {takes} for {gives}",
            stretch * np.eye(3),
            np.zeros_like(self.fractional),
            change,
            FRACTION,
            -start,
            1 - start,
            start,
            flat=True,
        )
        site, symbols = zip(*entries, strict=True)
        return replace(
            self, site=site, symbols=symbols, fraction=fraction, parameters=(*widened, x)
        )

    def _with(self, parameters: Sequence[Parameter] | object) -> FreeParameters:
        return replace(self, parameters=(*self.parameters, *parameters))  # type: ignore[misc]

    # Where the parameters lead.

    def moved(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cell (3, 3), fractional positions (N, 3) and fractions (K,) at values (P,)."""

        def sum_of(name: str) -> Tensor:
            lines = np.stack([getattr(p, name) for p in self.parameters])
            return torch.einsum("p,p...->...", values, torch.from_numpy(lines).to(values))

        start = [torch.tensor(x).to(values) for x in (self.cell, self.fractional, self.fraction)]
        if not self.parameters:
            return start[0], start[1], start[2]
        stretch = torch.eye(3).to(values) + sum_of("deformation")
        return start[0] @ stretch, start[1] + sum_of("displacement"), start[2] + sum_of("change")

    def graph(self, values: Tensor, cutoff: float) -> Graph:
        """The graph at values (P,), differentiable in them, in their precision.

        Its edges are found anew; one that enters or leaves at the cutoff has no weight there.

        Raises:
            InputError: A site has no neighbour within the cutoff.
        """
        cell, fractional, fraction = self.moved(values)
        positions = fractional @ cell
        pairs = pairs_within(positions.detach().numpy(), cell.detach().numpy(), cutoff)
        if len(np.unique(pairs.center)) < len(positions):
            why = f"a site has no neighbour within {cutoff:g} Å"
            fix = "allow smaller strains, or check the structure"
            raise InputError(f"cannot predict {self.name} as it was moved", why=why, fix=fix)
        center, other = torch.from_numpy(pairs.center), torch.from_numpy(pairs.other)
        shift = torch.from_numpy(pairs.shift).to(values)
        return Graph(
            site=torch.tensor(self.site),
            number=torch.tensor([ATOMIC_NUMBERS[s] for s in self.symbols]),
            mass=torch.tensor([MASSES[s] for s in self.symbols]).to(values),
            fraction=fraction,
            crystal=torch.zeros(len(positions), dtype=torch.long),
            center=center,
            other=other,
            vector=positions[other] - positions[center] + shift @ cell,
            cell=cell.unsqueeze(0),
            n_crystals=1,
        )

    def crystal(self, values: Tensor) -> Crystal:
        """The structure at values (P,)."""
        cell, fractional, fraction = (x.detach().numpy() for x in self.moved(values))
        species: list[dict[str, float]] = [{} for _ in fractional]
        for (i, symbol), x in zip(self.entries, fraction.tolist(), strict=True):
            if x > ABSENT:
                species[i][symbol] = min(x, 1.0)
        return Crystal(species, fractional @ cell, cell, source=self.name, notes=self.notes)

    def weights(self, *, neutron: bool) -> Tensor:
        """Weight of each species in the measured density, (K,).

        Raises:
            InputError: An element has no tabulated cross-section.
        """
        return site_weights(self.symbols, neutron=neutron)


def reduced_rows(rows: Array, tolerance: float = 1e-6) -> Array:
    """A basis of the space of some rows, in reduced echelon form, so that it reads easily.

    Example:
        >>> reduced_rows(np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 3.0]]))
        array([[1., 1., 0.],
               [0., 0., 1.]])
    """
    A, rank = rows.copy(), 0
    for column in range(A.shape[1]):
        if rank == len(A):
            break
        pivot = rank + int(np.abs(A[rank:, column]).argmax())
        if abs(A[pivot, column]) < tolerance:
            continue
        A[[rank, pivot]] = A[[pivot, rank]]
        A[rank] /= A[rank, column]
        others = np.arange(len(A)) != rank
        A[others] -= np.outer(A[others, column], A[rank])
        rank += 1
    return np.where(np.abs(A[:rank]) < tolerance, 0.0, A[:rank])


def _symmetric_displacements(fractional: Array, cell: Array, by: Symmetry) -> Array:
    """Projector on displacements that every operation keeps, less the common shift, (3N, 3N)."""
    n = len(fractional)
    P = np.zeros((n, 3, n, 3))
    for W, t in zip(by.rotations, by.shifts, strict=True):
        apart = (fractional @ W.T + t)[:, None] - fractional  # [from, onto]
        apart -= np.round(apart)
        onto = np.linalg.norm(apart @ cell, axis=-1).argmin(1)
        for i, j in enumerate(onto):
            P[j, :, i, :] += W / len(by.shifts)
    P -= P.mean(axis=0, keepdims=True)
    return P.reshape(3 * n, 3 * n).T


def _strain_name(D: Array) -> str:
    """Such as ``xx+yy``; the parts of one mode with their signs."""
    parts = [(f"{_AXES[i]}{_AXES[j]}", D[i, j]) for i in range(3) for j in range(i, 3)]
    terms = [(name, c) for name, c in parts if abs(c) > ABSENT]
    text = "".join(
        ("+" if c > 0 else "−") + ("" if abs(abs(c) - 1) < 1e-3 else f"{abs(c):.2g} ") + name
        for name, c in terms
    )
    return text.removeprefix("+")
