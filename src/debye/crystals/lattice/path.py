"""QPath: the wave vectors of a band structure, segment by segment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.crystals.lattice.brillouin import Points, Runs, parse_path, special_points
from debye.errors import Refusal


@dataclass(frozen=True, eq=False)
class QPath:
    """Straight segments between labelled points; a point shared by two segments stands twice."""

    q: Tensor
    """(Q, 3) wave vectors in units of the reciprocal lattice vectors."""
    wave_vector: Tensor
    """(Q, 3) the same in Cartesian coordinates, Å⁻¹, 2π included."""
    lengths: tuple[int, ...]
    """Points of each segment; they sum to Q."""
    ends: tuple[tuple[str, str], ...]
    """Labels of both ends of each segment."""

    @classmethod
    def of(cls, cell: NDArray[np.float64], path: str = "auto", points: int = 300) -> QPath:
        """The path of a lattice.

        Args:
            cell: Lattice vectors as rows, Å, of a primitive cell.
            path: ``auto`` for the standard path, or labels such as ``G X W | L G``.
            points: About how many, shared out by length; each segment has at least two.

        Raises:
            Refusal: The lattice has no such point, or the points are too few.

        Example:
            >>> path = QPath.of(2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), "G X W", 30)
            >>> path.ends, path.q[-1].tolist()
            ((('G', 'X'), ('X', 'W')), [0.5, 0.25, 0.75])
        """
        known, runs = special_points(cell)
        if path != "auto":
            runs = parse_path(path, known)
        if points < 2:
            raise Refusal(
                f"cannot draw bands through {points} points",
                why="a segment has two ends",
                fix="ask for 2 or more",
            )
        return _along(cell, known, runs, points)

    @cached_property
    def segment(self) -> Tensor:
        """(Q,) which segment a point belongs to."""
        return torch.repeat_interleave(torch.tensor(self.lengths))

    @cached_property
    def distance(self) -> Tensor:
        """(Q,) way along the path, Å⁻¹; a jump takes no way."""
        steps = (self.wave_vector[1:] - self.wave_vector[:-1]).norm(dim=-1)
        within = self.segment[1:] == self.segment[:-1]
        return torch.cat([steps.new_zeros(1), (steps * within).cumsum(0)])

    @cached_property
    def direction(self) -> Tensor:
        """(Q, 3) Cartesian unit vector of the segment of each point."""
        rows = []
        for part in self.wave_vector.split(self.lengths):
            ahead = part[-1] - part[0]
            rows.append((ahead / ahead.norm()).expand(len(part), 3))
        return torch.cat(rows)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A label for each point, empty between the ends of segments."""
        names = [""] * len(self.q)
        start = 0
        for (first, last), count in zip(self.ends, self.lengths, strict=True):
            names[start], names[start + count - 1] = first, last
            start += count
        return tuple(names)

    @cached_property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Distance and label of each end; where the path jumps, both labels: ``U|K``."""
        found: dict[float, list[str]] = {}
        for distance, label in zip(self.distance.tolist(), self.labels, strict=True):
            if label and label not in (names := found.setdefault(round(distance, 9), [])):
                names.append(label)
        return tuple((distance, "|".join(names)) for distance, names in found.items())


def _along(cell: NDArray[np.float64], known: Points, runs: Runs, points: int) -> QPath:
    """Share points out to segments by their lengths."""
    reciprocal = 2 * pi * np.linalg.inv(cell).T
    ends = [pair for run in runs for pair in pairwise(run)]
    way = np.array([np.linalg.norm((known[b] - known[a]) @ reciprocal) for a, b in ends])
    if not way.all():
        label = ends[int(way.argmin())][0]
        why = f"two of its points in a row are both {label}"
        raise Refusal("cannot draw bands along this path", why=why, fix="name each point once")
    counts = np.maximum(2, np.round(points * way / way.sum()).astype(int))
    q = np.concatenate(
        [np.linspace(known[a], known[b], count) for (a, b), count in zip(ends, counts, strict=True)]
    )
    return QPath(
        torch.from_numpy(q),
        torch.from_numpy(q @ reciprocal),
        tuple(counts.tolist()),
        tuple(ends),
    )
