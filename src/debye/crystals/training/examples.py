"""What a network is shown: graphs, with a spectrum, force constants or both to learn of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from debye.crystals.data.force_constants import LatticeLabel
from debye.crystals.data.labels import Collection
from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import FailedInput
from debye.crystals.training.lattice_loss import Lesson, Taught
from debye.errors import DebyeError, InputError


class LabelledGraph(NamedTuple):
    """A batch of B crystals and what is known of them."""

    graph: Graph
    target: Tensor
    """(B, F) spectra in the max-1 view; NaN where there is none."""
    lesson: Lesson | None = None
    """Force constants of some of them."""

    def to(self, device: torch.device | str) -> LabelledGraph:
        """The same on another device."""
        lesson = self.lesson and self.lesson.to(device)
        return LabelledGraph(self.graph.to(device), self.target.to(device), lesson)


@dataclass(frozen=True, eq=False)
class Examples:
    """Crystals with graphs, and their labels.

    Attributes:
        rows: Those that have a spectrum; the first of all.
        graphs: Of all.
        target: (N, F) spectra in the max-1 view, NaN where there is none.
        taught: The force constants of each, None where there are none.
        others: Formulas of those that have none, each once.
        failed: Those left out, for lack of neighbours.
        checksum: Of names, structures and labels.
    """

    rows: Collection
    graphs: tuple[Graph, ...]
    target: Tensor
    taught: tuple[Taught | None, ...]
    others: tuple[str, ...]
    failed: tuple[FailedInput, ...]
    checksum: str

    def __len__(self) -> int:
        return len(self.graphs)

    @classmethod
    def of(
        cls, rows: Collection, cutoff: float, labels: Mapping[str, LatticeLabel] | None = None
    ) -> Examples:
        """The rows, and the crystals that have force constants alone.

        Args:
            rows: Crystals with spectra.
            cutoff: Longest edge, Å.
            labels: Force constants by name, of rows or of others.

        Raises:
            InputError: No crystal is left.
        """
        labels = labels or {}
        kept, graphs, failed = connected(rows, cutoff)
        known = set(rows.names)
        others = {n: x.folded.crystal for n, x in sorted(labels.items()) if n not in known}
        more, lonely = _graphs(others.items(), cutoff)
        every = {**dict(zip(kept.names, graphs, strict=True)), **more}
        none = torch.full((len(more), kept.spectra.density.shape[1]), torch.nan)
        taught = [Taught.of(labels[n], g) if n in labels else None for n, g in every.items()]
        return cls(
            kept,
            tuple(every.values()),
            torch.cat([kept.spectra.density, none]),
            tuple(taught),
            tuple(sorted({others[name].formula for name in more})),
            (*failed, *lonely),
            fingerprint(kept, {n: x for n, x in labels.items() if n in every}),
        )

    def batch(self, index: Sequence[int]) -> LabelledGraph:
        """Some of them together."""
        graph = Graph.batch([self.graphs[i] for i in index])
        taught = [(k, x) for k, i in enumerate(index) if (x := self.taught[i]) is not None]
        lesson, ones = None, torch.ones(len(index))
        if taught:
            at, labels = zip(*taught, strict=True)
            lesson = Lesson(torch.tensor(at), tuple(labels), ones, ones)
        return LabelledGraph(graph, self.target[list(index)], lesson)


def connected(rows: Collection, cutoff: float) -> tuple[Collection, list[Graph], list[FailedInput]]:
    """The rows that have a graph, their graphs, and the other rows.

    Args:
        rows: Labelled crystals.
        cutoff: Of the edges, Å.

    Raises:
        InputError: No row has one.
    """
    graphs, failed = _graphs(zip(rows.names, rows.crystals, strict=True), cutoff)
    if not graphs:
        raise InputError(
            "no row is left to train or validate on",
            why="each has a site without a neighbour within the cutoff",
            fix="raise r_max, or check the cells and the length unit",
        )
    return rows.take(graphs) if failed else rows, list(graphs.values()), failed


def _graphs(
    crystals: Iterable[tuple[str, Crystal]], cutoff: float
) -> tuple[dict[str, Graph], list[FailedInput]]:
    graphs, failed = {}, []
    for name, crystal in crystals:
        try:
            graphs[name] = Graph.of(crystal, cutoff)
        except DebyeError as error:
            failed.append(FailedInput(name, error))
    return graphs, failed


def fingerprint(rows: Collection, labels: Mapping[str, LatticeLabel]) -> str:
    """Number of rows and a checksum of names, structures, spectra and force constants.

    Args:
        rows: Crystals with spectra.
        labels: Force constants by name.
    """
    total = hashlib.sha256(rows.spectra.density.numpy().tobytes())
    for name, crystal in zip(rows.names, rows.crystals, strict=True):
        total.update(_of_crystal(name, crystal))
    for name, label in sorted(labels.items()):
        total.update(_of_crystal(name, label.folded.crystal))
        total.update(label.folded.values.numpy().tobytes())
    taught = f" and {len(labels)} force constants" if labels else ""
    return f"{len(rows)} rows{taught}, checksum {total.hexdigest()[:12]}"


def _of_crystal(name: str, crystal: Crystal) -> bytes:
    species = f"{name}{[dict(site) for site in crystal.species]}".encode()
    return species + crystal.positions.tobytes() + crystal.cell.tobytes()
