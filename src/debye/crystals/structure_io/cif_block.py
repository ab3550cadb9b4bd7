"""A block of a CIF as columns by name, in which both spellings of the dictionaries are one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from debye.crystals.structure.validate import structure_error


class Block(NamedTuple):
    """The items of a data block, each a column: one value, or as many as its loop has rows.

    Args:
        name: Of the block.
        columns: Values as written, by tag: in small letters, with an underscore where the
            dictionaries of CIF 2 have a full stop (``_cell.length_a``).
    """

    name: str
    columns: Mapping[str, Sequence[str]]

    def column(self, *tags: str) -> list[str]:
        """The strings of the first tag that is there; empty for ``?`` and ``.``."""
        from gemmi.cif import as_string, is_null

        found = next((self.columns[t] for t in map(str.lower, tags) if t in self.columns), [])
        return ["" if is_null(value) else as_string(value).strip() for value in found]

    def value(self, *tags: str) -> str:
        """The first value of the first tag that has one; empty where none has."""
        return next((value for tag in tags for value in self.column(tag) if value), "")

    def number(self, *tags: str) -> float:
        """The same as a number, without its uncertainty; NaN where there is none."""
        from gemmi.cif import as_number

        return float(as_number(self.value(*tags) or "?"))


def blocks_of(text: str) -> Sequence[Block | str]:
    """The blocks with a structure; text for one that does not parse, so that others still do.

    Blocks without atoms among others that have them (references, texts) are passed over.
    """
    try:
        blocks = list(_parsed(text))
    except (RuntimeError, ValueError):  # one bad block, or two of one name: each on its own
        pieces = re.findall(r"(?ims)^data_.*?(?=^data_|\Z)", text)
        atoms = re.compile(r"_atom_site[_.]fract_x", re.I)
        return [piece for piece in pieces if atoms.search(piece)] or pieces[:1]
    return [block for block in blocks if "_atom_site_fract_x" in block.columns] or blocks[:1]


def block_of(text: str, source: str) -> Block:
    """The one block of a text.

    Raises:
        InputError: It does not parse.
    """
    try:
        return next(_parsed(text))
    except (RuntimeError, ValueError, StopIteration) as error:
        why = str(error).replace("string:", "line ", 1).split("\n")[0]
        raise structure_error(
            source, f"not a valid CIF ({why})", "repair or export it again"
        ) from error


def _parsed(text: str) -> Iterator[Block]:
    from gemmi import cif

    for block in cif.read_string(text):
        columns: dict[str, Sequence[str]] = {}
        for item in block:
            if item.pair is not None:
                tag, value = cast("Sequence[str]", item.pair)
                columns.setdefault(_plain(tag), [value])
            elif item.loop is not None:
                values, tags = item.loop.values, item.loop.tags
                for i, tag in enumerate(tags):
                    columns.setdefault(_plain(tag), values[i :: len(tags)])
        yield Block(block.name, columns)


def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")
