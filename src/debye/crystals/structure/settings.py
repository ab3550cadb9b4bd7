"""Space groups by name: the settings that a symbol, a number and a code may mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.operations import Symmetry

if TYPE_CHECKING:
    import gemmi

_MARKS = {
    "S": ":1", "Z": ":2", "O1": ":1", "O2": ":2", "1": ":1", "2": ":2",
    "H": ":H", "HR": ":H", "R": ":R", "RS": ":R",
}  # fmt: skip
"""How databases mark the origin or the axes behind a symbol: the ICSD by S, Z, H, R."""


def settings(
    symbol: str, number: str, code: str, cell: NDArray[np.float64], notes: list[str]
) -> list[Symmetry]:
    """Settings that a symbol, a number and a code may mean in a cell, the usual one first.

    Args:
        symbol: Hermann–Mauguin, as files have it.
        number: Of the International Tables.
        code: Of origin and axes, as ``_space_group_IT_coordinate_system_code``: ``2``, ``h``,
            ``-b1``, ``cab``.
        cell: Lattice vectors as rows; settings that do not fit it are put last.
        notes: What contradicts what is added to them.

    Returns:
        More than one where the file leaves it open; none where symbol and number are empty or
        unknown.

    Example:
        >>> found = settings("F d -3 m", "", "", 5.43 * np.eye(3), [])
        >>> [setting.name for setting in found]
        ['F d -3 m:2', 'F d -3 m:1']
        >>> settings("", "227", "1", 5.43 * np.eye(3), [])[0].name
        'F d -3 m:1'
    """
    import gemmi

    table = list(gemmi.spacegroup_table())
    named, explicit = _by_symbol(symbol)
    stated = int(number) if number.isdecimal() and len(number) < 4 else 0
    of_number = [g for g in table if g.number == stated]
    if named and stated and named.number != stated:
        notes.append(
            f"its symbol {named.hm} is that of space group {named.number}, its number says"
            f" {stated}: read by the symbol"
        )
    if symbol and not named and of_number:
        notes.append(f"its space-group symbol {symbol!r} is unknown: read by its number {stated}")
    if not named and of_number:
        of_number.sort(key=lambda g: not g.is_reference_setting())
        groups = [g for g in of_number if g.hm == of_number[0].hm]
    elif named:
        groups = [g for g in table if g.hm == named.hm and (not explicit or g.ext == named.ext)]
    else:
        return []
    among = [g for g in table if g.number == groups[0].number]
    coded = _by_code(code, groups, among if not named else groups, notes)
    return _fitting(coded or groups, among, cell, notes)


def _fitting(
    groups: Sequence[gemmi.SpaceGroup],
    among: Sequence[gemmi.SpaceGroup],
    cell: NDArray[np.float64],
    notes: list[str],
) -> list[Symmetry]:
    """The groups that fit a cell; else other settings that do; else the groups."""
    wanted = [g for g in groups if setting(g).fits(cell)]
    others = [] if wanted else [g for g in among if setting(g).fits(cell)]
    if others:
        notes.append(
            f"its cell does not fit {groups[0].xhm()}, but another setting of the same space"
            " group: read in that"
        )
    chosen = wanted or others or list(groups)
    return [setting(g) for g in sorted(chosen, key=lambda g: not g.is_reference_setting())]


def setting(group: gemmi.SpaceGroup) -> Symmetry:
    """The operations of one setting."""
    table = np.array([operation.float_seitz() for operation in group.operations()])
    return Symmetry(group.xhm(), table[:, :3, :3], table[:, :3, 3])


def _by_symbol(symbol: str) -> tuple[gemmi.SpaceGroup | None, bool]:
    """The group of a symbol, and whether the symbol itself tells origin and axes."""
    import gemmi

    text = re.sub(r"\(\d+\)$|_", "", symbol.strip()).strip()  # P2_1/c; F m -3 m (225)
    text = re.sub(r"\((\d)\)", r"\1", text)  # P2(1)/c
    if not text or text.isdecimal():
        return None, False
    marked = re.fullmatch(r"(.*?)(?:\s*:\s*|\s+|(?=[SZHR]$))(S|Z|O1|O2|HR|H|R|RS|[12])", text, re.I)
    for words in [(marked[1], _MARKS[marked[2].upper()])] if marked else []:
        found = gemmi.find_spacegroup_by_name("".join(words)) or gemmi.find_spacegroup_by_name(
            _short(words[0]) + words[1]
        )
        if found and found.ext == words[1][1]:
            return found, True
        if ":" in text and (found := gemmi.find_spacegroup_by_name(words[0])):
            return found, False  # an origin of a group that has but one
    found = gemmi.find_spacegroup_by_name(text) or gemmi.find_spacegroup_by_name(_short(text))
    return found, False


def _short(symbol: str) -> str:
    """The short symbol of a full one: ``F m -3 m`` of ``F 4/m -3 2/m``."""
    import gemmi

    axis = re.compile(r"\b[2346][1-5]?/(?=[mabcden])")
    parts = symbol.split()
    first = axis.sub("", " ".join(parts[2:]))  # of one main axis, which the short symbol keeps
    for short in (" ".join([*parts[:2], first]), axis.sub("", symbol)):
        if gemmi.find_spacegroup_by_name(short):
            return short
    return ""


def _codes(group: gemmi.SpaceGroup) -> set[str]:
    """The codes of origin and axes that mean a setting."""
    origin, axes = group.ext.lower().strip("\0 "), group.qualifier or "abc"
    unnumbered = len(axes.strip("-")) == 1  # b, where the International Tables have b1
    return {origin + axes, origin or axes, axes + "1" if unnumbered else origin + axes}


def _by_code(
    code: str,
    groups: Sequence[gemmi.SpaceGroup],
    among: Sequence[gemmi.SpaceGroup],
    notes: list[str],
) -> list[gemmi.SpaceGroup]:
    """The settings that a code names: of the groups, or of all with their number."""
    wanted = code.strip().lower()
    if not wanted:
        return []
    found = [g for g in groups if wanted in _codes(g)] or [g for g in among if wanted in _codes(g)]
    open_ = len({g.ext for g in groups}) > 1
    if not found and (open_ or not wanted.isdecimal()):  # 1 where there is but one says nothing
        notes.append(f"its coordinate system code {code!r} names no setting of {groups[0].hm}")
    return found
