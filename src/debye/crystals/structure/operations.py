"""Symmetry operations on fractional coordinates: their texts, whether they form a group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.errors import InputError

MOST_OPERATIONS = 1536
"""Different operations of a list; a space group has at most 192, in a supercell some more."""
LARGEST_GROUP = 384
"""Operations at which the search for the group that some generate is given up."""
LONGEST_NUMBER = 24
"""Characters of one number of an operation."""

_TERM = re.compile(r"([-+]?)(\d+(?:\.\d*)?(?:/\d+)?|\.\d+)?\*?([xyz]?)")
_STEPS = 720
"""Into which a lattice vector is divided to compare shifts: every 1/n up to 6, and 1/8 to 1/24."""


class Symmetry(NamedTuple):
    """Operations of one space group on fractional coordinates: x' = rotation x + shift."""

    name: str
    rotations: NDArray[np.float64]  # [operation, 3, 3]
    shifts: NDArray[np.float64]  # [operation, 3]

    def fits(self, cell: NDArray[np.float64]) -> bool:
        """Whether the operations leave lengths and angles of the cell as they are, to 2 %."""
        metric = cell @ cell.T
        turned = np.swapaxes(self.rotations, 1, 2) @ metric @ self.rotations
        return bool(np.abs(turned - metric).max() < 0.04 * metric.max())

    @property
    def codes(self) -> NDArray[np.int64]:
        """A number for each operation, the same where they differ by lattice vectors, (N,)."""
        rotations = np.clip(np.rint(2 * self.rotations), -4, 4).astype(np.int64) + 4
        shifts = np.rint(self.shifts * _STEPS).astype(np.int64) % _STEPS
        code = rotations.reshape(-1, 9) @ 9 ** np.arange(9)
        return code * _STEPS**3 + shifts @ _STEPS ** np.arange(3)

    @property
    def distinct(self) -> Symmetry:
        """The same operations, each once, in order."""
        kept = np.sort(np.unique(self.codes, return_index=True)[1])
        return Symmetry(self.name, self.rotations[kept], self.shifts[kept])

    def same_as(self, other: Symmetry) -> bool:
        """Whether both hold the same operations, in any order."""
        return set(self.codes.tolist()) == set(other.codes.tolist())

    def part_of(self, other: Symmetry) -> bool:
        """Whether the other holds all operations of this one."""
        return set(self.codes.tolist()) <= set(other.codes.tolist())

    def after(self, other: Symmetry) -> Symmetry:
        """Each operation of this applied after each of the other: R R' x + R t' + t."""
        rotations = np.einsum("aij,bjk->abik", self.rotations, other.rotations)
        shifts = np.einsum("aij,bj->abi", self.rotations, other.shifts) + self.shifts[:, None]
        return Symmetry(self.name, rotations.reshape(-1, 3, 3), shifts.reshape(-1, 3))

    @property
    def is_group(self) -> bool:
        """Whether every product of two operations is one of them, lattice vectors apart."""
        every = slice(None, None, len(self.shifts) // LARGEST_GROUP + 1)  # some say it of very many
        some = Symmetry(self.name, self.rotations[every], self.shifts[every])
        return self.after(some).part_of(self)

    def generated(self) -> Symmetry | None:
        """The group that the operations generate; None where it is none of a crystal."""
        group = self.distinct
        while len(group.shifts) <= LARGEST_GROUP:
            larger = group.after(group)
            larger = Symmetry(
                self.name,
                np.concatenate([group.rotations, larger.rotations]),
                np.concatenate([group.shifts, larger.shifts]),
            ).distinct
            if len(larger.shifts) == len(group.shifts):
                return group
            group = larger
        return None


IDENTITY = Symmetry("P 1", np.eye(3)[None], np.zeros((1, 3)))


def symmetry_of(name: str, triplets: Iterable[str]) -> Symmetry:
    """The operations of texts like ``-x,y+1/2,-z``, each once.

    A fourth part, the time reversal of a magnetic operation, moves no atom and is passed over;
    ``x1,x2,x3,x4`` of a modulated structure are those of its average.

    Raises:
        InputError: A text is none, or there are more than `MOST_OPERATIONS` different ones.

    Example:
        >>> symmetry_of("P 21", ["x,y,z", "-x,1/2+y,-z", "X, Y, Z"]).shifts
        array([[0. , 0. , 0. ], [0. , 0.5, 0. ]])
    """
    distinct = dict.fromkeys(triplets)
    if len(distinct) > 100 * MOST_OPERATIONS:  # before each is read: the same may be spelt anew
        raise _unreadable(f"{len(distinct)} different texts")
    tables = np.array([_seitz(text) for text in distinct])
    found = Symmetry(name, tables[:, :, :3], tables[:, :, 3]).distinct
    if len(found.shifts) > MOST_OPERATIONS:
        raise _unreadable(f"{len(found.shifts)} different operations; no crystal has so many")
    return found


def _seitz(text: str) -> list[list[float]]:
    """Rotation and shift of one operation, (3, 4)."""
    plain = re.sub(r"\s", "", text).lower()
    plain = re.sub(r"x([1-9])", lambda m: "xyz"[int(m[1]) - 1] if m[1] in "123" else "?", plain)
    parts = plain.split(",")
    if len(parts) < 3:
        raise _unreadable(f"{text[:60]!r} has {len(parts)} parts, not three")
    return [_row(part, text) for part in parts[:3]]


def _row(part: str, text: str) -> list[float]:
    row, end = [0.0, 0.0, 0.0, 0.0], 0
    while end < len(part):
        term = _TERM.match(part, end)
        if not term or not (term[2] or term[3]) or (end and not term[1]):
            raise _unreadable(f"{text[:60]!r} is none")
        number, end = _fraction(term[2]) if term[2] else 1.0, term.end()
        if not term[3] and part[end : end + 1] == "/":  # 0.5/2 is none
            raise _unreadable(f"{text[:60]!r} is none")
        row["xyz".index(term[3]) if term[3] else 3] += -number if term[1] == "-" else number
    if not any(row[:3]):
        raise _unreadable(f"{text[:60]!r} lacks a coordinate")
    return row


def _unreadable(why: str) -> InputError:
    return InputError(
        "a symmetry operation cannot be read", why=why, fix="write operations like -x,y+1/2,-z"
    )


def _fraction(text: str) -> float:
    """A number such as 1/3, or 0.3333 that means it: to 24ths, to which all space groups keep."""
    if len(text) > LONGEST_NUMBER:
        raise _unreadable(f"{text[:LONGEST_NUMBER]!r}… is too long a number")
    if "/" in text:
        above, below = text.split("/")
        if not float(below):
            raise _unreadable(f"{text!r} is no number")
        return float(above) / float(below)
    number = float(text)
    near = round(number * 24) / 24
    return near if abs(number - near) < 0.004 else float(Fraction(number).limit_denominator(48))
