"""CIF: the text read by gemmi, the symmetry applied and shared sites put together here.

gemmi was chosen over ASE's reader by measurement: ASE turns atoms on rounded special positions
(0.333 for 1/3) into several, leaves ``.`` as an occupancy, and rejects ``F d -3 m :1``; gemmi reads
these and imports in 20 ms, ASE's reader in 350. What a file says twice is held against each other:
operations against symbol and number, and the atoms against formula, multiplicities and density.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import Site, group_number, merged, operations_of, orbits
from debye.crystals.structure.validate import (
    CLOSEST,
    TOLERANCE,
    check_volume,
    close_pairs,
    structure_error,
)
from debye.crystals.structure_io.cif_block import Block, block_of, blocks_of
from debye.crystals.structure_io.cif_content import (
    Stated,
    disagreements,
    stated_content,
    volume_note,
)
from debye.crystals.structure_io.cif_sites import Listed, listed_atoms
from debye.crystals.structure_io.cif_symmetry import Meaning, meanings
from debye.errors import ComputationError

MOST_IMAGES = 200_000
"""Listed atoms times operations."""
FEWEST_TO_SHOW = 3
"""Listed atoms from which their own symmetry says whether they are all there are."""
CELL_PARAMETERS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def cif_blocks(text: str, label: str) -> Iterator[tuple[str, Callable[[], Crystal]]]:
    """The structures of a CIF text, as where each stands and how to make it.

    Blocks without atoms or cell among others that have them (references, texts) are passed over.

    Args:
        text: The whole file.
        label: What to call the file in errors.

    Yields:
        ``(source, make)``; ``make()`` returns the Crystal or refuses.

    Raises:
        InputError: The text has no data block.
    """
    blocks = blocks_of(text)
    if not blocks:
        raise structure_error(label, "no data_ block: it is no CIF, or empty", "give a CIF file")
    several = len(blocks) > 1
    for i, block in enumerate(blocks):
        source = f"{label}[{i}]" if several else label
        yield source, partial(_crystal, block, source)


def _crystal(given: Block | str, source: str) -> Crystal:
    block = block_of(given, source) if isinstance(given, str) else given
    cell = _cell(block, source)
    check_volume(cell, 1, source)  # before the images of its atoms are gone through
    _check_images(len(block.columns.get("_atom_site_fract_x", ())), 1, source)
    notes: list[str] = []
    stated = stated_content(block)
    listed = listed_atoms(block, stated.formula, cell, source, notes)
    notes.extend(volume_note(cell, stated))
    found = meanings(block, cell, source, notes)
    _check_images(len(listed.sites), max(len(m.symmetry.shifts) for m in found), source)
    content = _chosen([_content(meaning, listed, cell, stated) for meaning in found], cell, notes)
    return Crystal(content.sites, content.fractional @ cell, cell, block.name, source, notes)


def _cell(block: Block, source: str) -> NDArray[np.float64]:
    """Lattice vectors as rows: a along x, b in the xy plane."""
    numbers = [block.number(f"_cell_{name}") for name in CELL_PARAMETERS]
    for name, number in zip(CELL_PARAMETERS, numbers, strict=True):
        if not 0 < number < (180 if "angle" in name else np.inf):
            given = "".join(block.columns.get(f"_cell_{name}", [])[:1])
            why = f"_cell_{name} is {given}" if given else f"no cell: _cell_{name} is missing"
            raise structure_error(source, why, "give all six cell parameters, in Å and degrees")
    a, b, c = numbers[:3]
    alpha, beta, gamma = np.cos(np.deg2rad(numbers[3:]))
    sine = np.sqrt(1 - gamma**2)
    along = (alpha - beta * gamma) / sine
    square = 1 - beta**2 - along**2
    if not square > 0:
        why = "its cell angles cannot meet: the volume would be zero"
        raise structure_error(source, why, "correct _cell_angle_alpha, _beta and _gamma")
    return np.array(
        [[a, 0, 0], [b * gamma, b * sine, 0], [c * beta, c * along, c * np.sqrt(square)]]
    )


def _check_images(atoms: int, operations: int, source: str) -> None:
    if atoms * operations > MOST_IMAGES:
        why = f"{atoms} atoms under {operations} operations are more than {MOST_IMAGES}"
        raise structure_error(source, why, "give a smaller cell of the crystal")


# The content of the cell under each meaning of its symmetry.


class _Content(NamedTuple):
    meaning: Meaning
    sites: list[Site]
    fractional: NDArray[np.float64]
    remarks: list[str]
    wrong: list[str]  # of what the file says of its content
    overlaps: bool
    is_split: bool
    is_whole: bool  # whether the atoms listed are all there are

    @property
    def badness(self) -> tuple[bool, int, bool]:
        """The smaller, the likelier."""
        return self.overlaps, len(self.wrong), self.is_split


def _content(
    meaning: Meaning, listed: Listed, cell: NDArray[np.float64], stated: Stated
) -> _Content:
    remarks: list[str] = []
    symmetry = meaning.symmetry
    species, positions, counts = orbits(listed.sites, listed.fractional, cell, symmetry)
    sites, fractional = merged(species, positions, cell, remarks)
    wrong = disagreements(sites, counts, len(symmetry.shifts), cell, listed, stated)
    overlaps = bool(close_pairs(fractional @ cell, cell, CLOSEST))
    overlaps |= any(sum(site.values()) > 1 + TOLERANCE for site in sites)
    split = any("split" in remark for remark in remarks)
    whole = len(sites) <= len(listed.sites)
    return _Content(meaning, sites, fractional, remarks, wrong, overlaps, split, whole)


def _chosen(contents: Sequence[_Content], cell: NDArray[np.float64], notes: list[str]) -> _Content:
    """The likeliest content, and what is to be said of it."""
    least = min(content.badness for content in contents)
    likely = [content for content in contents if content.badness == least]
    named = [content for content in likely if not content.meaning.is_listed]
    # Atoms that a symmetry only repeats were all listed.
    best = next((content for content in named if content.is_whole), likely[0])
    if not best.is_whole and likely[-1].meaning.is_listed and _shows(likely[-1], best, cell):
        best = likely[-1]
    if len(named) > 1 and not best.meaning.is_listed and (best.wrong or not best.is_whole):
        name = best.meaning.symmetry.name
        notes.append(f"the setting of its space group is left open: read as {name}")
    notes.extend([*filter(None, [best.meaning.note]), *best.remarks, *best.wrong])
    return best


def _shows(listing: _Content, named: _Content, cell: NDArray[np.float64]) -> bool:
    """Whether the atoms listed have the symmetry that is named, about whatever origin.

    Two atoms have nearly always more symmetry than the crystal that they are a part of.
    """
    if len(listing.sites) < FEWEST_TO_SHOW:
        return False
    known: dict[frozenset[tuple[str, float]], int] = {}
    kinds = [known.setdefault(frozenset(site.items()), len(known)) for site in listing.sites]
    try:
        found = operations_of(kinds, listing.fractional, cell)
    except ComputationError:
        return False
    return group_number(found) == group_number(named.meaning.symmetry)
