"""What a training minimises of force constants: how far predicted ones are from those taught.

Frequencies are what matters, so errors are told in cm⁻¹. An error δD of the mass-weighted matrix
moves a mode by δω = δ(ω²) / 2ω, hence a row of them counts as C² ‖δD_i‖ / 2ω̄ with ω̄ the crystal's
root mean square frequency. All is divided by 40 cm⁻¹ + 0.2 ω̄: a diamond may be farther off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from debye.core.training import check_numbers
from debye.crystals.data.force_constants import SHORT, LatticeLabel
from debye.crystals.graph import Graph
from debye.crystals.lattice.folded import Places, fold, places_of
from debye.crystals.lattice.force_constants import ForceConstants
from debye.units import FORCE_CONSTANT_TO_CM1

ROUND = (15.0 / FORCE_CONSTANT_TO_CM1) ** 2
"""ω² of 15 cm⁻¹, eV/(Å² u), below which the root is bent straight: it has no slope at zero."""
SOFT, SOFTER = 40.0, 0.2
"""cm⁻¹, and a fraction of ω̄, by which errors are divided."""
LOW = 30.0
"""cm⁻¹ at which errors begin to count relative to the frequency."""
STILL = (4.0 / FORCE_CONSTANT_TO_CM1) ** 2
"""ω² of 4 cm⁻¹, eV/(Å² u), below which a sound wave may be off by all of itself."""
HEARD = 2
"""Short wave vectors of a label that are looked at in a step."""
GRUNEISEN = 1.55
"""−d ln ω / d ln V of the universal potential that taught, 1.54 ± 0.37."""


class Taught(NamedTuple):
    """A label as the pairs of one graph need it: n sites, P pairs, S blocks."""

    places: Places
    target: Tensor
    """(S, 3, 3) folded force constants, eV/Å²."""
    row: Tensor
    """(S,) site of each block's row."""
    column: Tensor
    """(S,) site of its column."""
    q: Tensor
    square: Tensor
    weight: float

    def to(self, device: torch.device | str) -> Taught:
        """The same on another device."""
        places = Places(*(place.to(device) for place in self.places))
        names = ("target", "row", "column", "q", "square")
        return self._replace(places=places, **{k: getattr(self, k).to(device) for k in names})

    @classmethod
    def of(cls, label: LatticeLabel, graph: Graph) -> Taught:
        """A label for the pairs of its crystal's graph.

        Args:
            label: What is taught.
            graph: Of the label's crystal alone.
        """
        folded = label.folded
        n, cells = graph.n_sites, folded.values.shape[2]
        pair = graph.one_way()
        first, second = graph.center[pair], graph.other[pair]
        step = graph.vector[pair].double() @ torch.linalg.inv(graph.cell[0].double())
        places = places_of(folded.crystal.fractional, folded.supercell, first, second, step)
        site = torch.arange(n)
        return cls(
            places,
            folded.values.float().flatten(0, 2),
            site.repeat_interleave(n * cells),
            site.repeat_interleave(cells).repeat(n),
            label.q,
            label.square,
            label.weight,
        )


class Lesson(NamedTuple):
    """The labels of a batch: which of its crystals are taught, and what."""

    crystals: Tensor
    """(L,) the crystals with labels."""
    labels: tuple[Taught, ...]
    """Of each of them."""
    stretch: Tensor
    """(B,) by how much the lattice of each crystal of the batch was stretched."""
    heavier: Tensor
    """(B,) by how much its masses were multiplied."""

    @property
    def strength(self) -> Tensor:
        """(B,) factor on what is told of force constants."""
        return self.stretch ** (-6 * GRUNEISEN)

    def to(self, device: torch.device | str) -> Lesson:
        """The same on another device."""
        labels = tuple(label.to(device) for label in self.labels)
        crystals, stretch, heavier = (
            x.to(device) for x in (self.crystals, self.stretch, self.heavier)
        )
        return Lesson(crystals, labels, stretch, heavier)


@dataclass(frozen=True)
class LatticeLoss:
    """Weights of four terms.

    - matrix: error of the rows of the mass-weighted force constants, and half as much again of the
      blocks on the diagonal, cm⁻¹;
    - frequency: mean |ω − ω*| at some of the label's wave vectors, imaginary modes as negative
      numbers, cm⁻¹;
    - low: mean |ω − ω*| / (|ω*| + `LOW`);
    - sound: mean |ω² − ω*²| / (|ω²| + |ω*²| + 2 `STILL`) of the three slowest modes at two of the
      label's short wave vectors, which is their relative error where it is small, and at most 1.
      It is a sum of force constants times squared lengths, and of terms that nearly cancel: without
      a term of its own it stays wrong while all else is learned.

    Attributes:
        matrix: Weight of the first.
        frequency: Of the second.
        low: Of the third.
        sound: Of the fourth.
        q_points: Wave vectors of a label that are looked at in a step.

    Raises:
        InputError: A number is out of range.
    """

    matrix: float = 0.5
    frequency: float = 1.0
    low: float = 0.5
    sound: float = 0.0
    q_points: int = 8

    def __post_init__(self) -> None:
        weights = dict.fromkeys(("matrix", "frequency", "low", "sound"), (0.0, 1e6))
        check_numbers("[lattice]", self, {**weights, "q_points": (HEARD + 1, 1000)})

    def __call__(
        self, found: ForceConstants, lesson: Lesson, *, all_q: bool = False
    ) -> dict[str, Tensor]:
        """Terms, summed over the crystals that are taught and divided by those of the batch.

        Args:
            found: Force constants of a batch; its masses may be scaled.
            lesson: Labels of some of its crystals.
            all_q: Look at all wave vectors of the labels.
        """
        # Labels are of natural masses.
        natural = replace(found, mass=found.mass / lesson.heavier[found.crystal])
        matrix, mean = self._matrix(natural, lesson)
        modes = compared(natural, lesson, None if all_q else self.q_points)
        frequency = torch.stack([each.error.abs().mean() for each in modes])
        low = torch.stack([each.relative.abs().mean() for each in modes])
        sound = torch.stack([each.sound.abs().mean() for each in modes])
        weight = torch.tensor([label.weight for label in lesson.labels]).to(matrix)
        soft = weight / (SOFT + SOFTER * mean)
        return {
            "matrix": self.matrix * (soft * matrix).sum() / found.n_crystals,
            "frequency": self.frequency * (soft * frequency).sum() / found.n_crystals,
            "low": self.low * (weight * low).sum() / found.n_crystals,
            "sound": self.sound * (weight * sound).sum() / found.n_crystals,
        }

    def _matrix(self, found: ForceConstants, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """(L,) error of the matrix, and ω̄ of the label, cm⁻¹."""
        parts = numbered(found, lesson)
        folded = fold(parts.pairs, parts.places, len(parts.target))
        mass = parts.pairs.mass
        weight = (mass[parts.row] * mass[parts.column]).rsqrt()[:, None, None]
        error = ((folded - parts.target) * weight).square().sum((1, 2))
        rows = error.new_zeros(len(mass)).index_add(0, parts.row, error)
        own = parts.target[parts.places.own].diagonal(dim1=1, dim2=2).mean(-1) / mass
        crystal, count = parts.pairs.crystal, len(lesson.labels)
        sites = torch.bincount(crystal, minlength=count)
        # Of a crystal that falls apart the sum is below 0 or next to it, and would weigh it by far.
        mean = (own.new_zeros(count).index_add(0, crystal, own) / sites).abs().sqrt()
        mean = (FORCE_CONSTANT_TO_CM1 * mean).clamp(min=SOFT)
        length = (rows + 1e-12).sqrt() + (error[parts.places.own] + 1e-12).sqrt() / 2
        length = length.new_zeros(count).index_add(0, crystal, length) / sites
        return FORCE_CONSTANT_TO_CM1**2 * length / (2 * mean), mean


class Modes(NamedTuple):
    """Modes of one label and what was found in their place."""

    square: Tensor
    """(Q, 3n) ω², eV/(Å² u), ascending; the short wave vectors last."""
    wanted: Tensor

    @property
    def error(self) -> Tensor:
        """ω − ω*, cm⁻¹."""
        return rooted(self.square) - rooted(self.wanted)

    @property
    def relative(self) -> Tensor:
        """(ω − ω*) / (|ω*| + `LOW`)."""
        return self.error / (rooted(self.wanted).abs() + LOW)

    @property
    def sound(self) -> Tensor:
        """(2, 3) relative errors of sound; see `LatticeLoss`."""
        found, wanted = (square[-HEARD:, :3] for square in self)
        return (found - wanted) / (found.abs() + wanted.abs() + 2 * STILL)


def compared(found: ForceConstants, lesson: Lesson, count: int | None = None) -> list[Modes]:
    """The modes of every label, at some of its wave vectors.

    Args:
        found: Force constants of a batch, of natural masses.
        lesson: Labels of some of its crystals.
        count: How many wave vectors, drawn by torch's generator, `HEARD` of them short; None for
            all.
    """
    number = {int(crystal): k for k, crystal in enumerate(lesson.crystals)}
    modes: dict[int, Modes] = {}
    for crystals, _, part in found.by_size():
        taught = [(at, number[c]) for at, c in enumerate(crystals.tolist()) if c in number]
        if not taught:
            continue
        labels = [lesson.labels[k] for _, k in taught]
        least = min(len(label.q) for label in labels)
        chosen = [_drawn(len(label.q), least, count) for label in labels]
        at = torch.tensor([at for at, _ in taught], device=crystals.device)
        q = found.step.new_zeros(len(crystals), len(chosen[0]), 3)
        q[at] = torch.stack([x.q[c] for x, c in zip(labels, chosen, strict=True)])
        square = torch.linalg.eigvalsh(part.dynamical_matrix(q))[at]
        wanted = torch.stack([x.square[c] for x, c in zip(labels, chosen, strict=True)])
        wanted = wanted * lesson.strength[crystals[at]][:, None, None]
        modes |= {k: Modes(square[n], wanted[n]) for n, (_, k) in enumerate(taught)}
    return [modes[k] for k in range(len(lesson.labels))]


def _drawn(total: int, least: int, count: int | None) -> Tensor:
    """Which of a label's wave vectors to look at, where another label has but ``least``."""
    if count is None:
        return torch.arange(total - least, total)
    short = total - SHORT + torch.randperm(SHORT)[:HEARD]
    rest = torch.randperm(total - SHORT)[: min(count - HEARD, least - SHORT)]
    return torch.cat([rest, short])


def rooted(square: Tensor) -> Tensor:
    """±√|ω²| in cm⁻¹, with a finite slope at zero."""
    root = (square.abs() + ROUND).sqrt() - ROUND**0.5
    return FORCE_CONSTANT_TO_CM1 * square.sign() * root


class Numbered(NamedTuple):
    """The labels of a batch, their crystals and sites numbered through."""

    pairs: ForceConstants
    places: Places
    target: Tensor
    row: Tensor
    column: Tensor


def numbered(found: ForceConstants, lesson: Lesson) -> Numbered:
    """Join labels as their crystals are joined in a batch.

    Args:
        found: Force constants of the batch.
        lesson: Labels of some of its crystals.
    """
    taught = found.crystal.new_full((found.n_crystals,), -1)
    taught[lesson.crystals] = torch.arange(len(lesson.crystals), device=taught.device)
    crystal = taught[found.crystal]
    site = crystal >= 0
    pair = site[found.first]
    new = site.cumsum(0) - 1
    chosen = ForceConstants(
        crystal[site],
        found.mass[site],
        new[found.first[pair]],
        new[found.second[pair]],
        found.step[pair],
        found.values[pair],
        len(lesson.labels),
    )
    blocks = torch.tensor([0, *(len(label.target) for label in lesson.labels)]).cumsum(0).tolist()
    sites = torch.bincount(chosen.crystal, minlength=len(lesson.labels))
    starts = (sites.cumsum(0) - sites).tolist()
    labels = list(zip(lesson.labels, blocks, starts, strict=False))
    factors = lesson.strength[lesson.crystals].tolist()
    return Numbered(
        chosen,
        Places(*(torch.cat([x.places[k] + block for x, block, _ in labels]) for k in range(3))),
        torch.cat([x.target * factor for (x, _, _), factor in zip(labels, factors, strict=True)]),
        torch.cat([x.row + start for x, _, start in labels]),
        torch.cat([x.column + start for x, _, start in labels]),
    )


def rmse(found: ForceConstants, lesson: Lesson) -> Tensor:
    """(L,) root mean square error of frequencies at all wave vectors of the labels, cm⁻¹."""
    return torch.stack([each.error.square().mean().sqrt() for each in compared(found, lesson)])
