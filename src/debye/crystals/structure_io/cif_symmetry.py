"""What a CIF says of its symmetry: its operations, Hall and Hermann–Mauguin symbol, number, code.

Where they agree there is one meaning. Where they do not, or leave the setting open, there
are several, of which the atoms and what the file says of them decide; what contradicts what is
told in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.operations import IDENTITY, Symmetry, symmetry_of
from debye.crystals.structure.settings import settings
from debye.crystals.structure.symmetry import group_number
from debye.crystals.structure.validate import structure_error
from debye.crystals.structure_io.cif_block import Block
from debye.errors import InputError

_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_xyz")
_CENTRINGS = ("_space_group_symop_magn_centering_xyz",)
_MODULATED = ("_space_group_symop_magn_ssg_operation_algebraic",
              "_space_group_symop_ssg_operation_algebraic",
              "_space_group_symop_ssg_operation_xyz")  # fmt: skip
_MODULATED_CENTRINGS = ("_space_group_symop_magn_ssg_centering_algebraic",)
_HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_HERMANN_MAUGUIN = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M",
                    "_space_group_name_H-M", "_space_group_name_H-M_full",
                    "_space_group_name_H-M_ref")  # fmt: skip
_NUMBER = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_CODE = ("_space_group_IT_coordinate_system_code",)
_MAGNETIC_NAME = ("_space_group_magn_name_BNS", "_space_group_magn_number_BNS",
                  "_space_group_magn_name_OG", "_space_group_magn_number_OG")  # fmt: skip


class Meaning(NamedTuple):
    """One thing that a file's symmetry may mean.

    Args:
        symmetry: Its operations.
        note: What is to be said if it is the one.
        is_listed: Whether it is what the file lists, not what its symbol means.
    """

    symmetry: Symmetry
    note: str = ""
    is_listed: bool = False


def meanings(
    block: Block, cell: NDArray[np.float64], source: str, notes: list[str]
) -> list[Meaning]:
    """What a block's symmetry may mean, the likeliest first.

    Args:
        block: The block.
        cell: Lattice vectors as rows, Å.
        source: What to call it in errors.
        notes: What is to be said whichever it is, is added to them.

    Raises:
        InputError: An operation cannot be read, or the space group is unknown and none is listed.
    """
    listed = _listed(block, source, notes)
    symbol, number, code, hall = (
        block.value(*tags) for tags in (_HERMANN_MAUGUIN, _NUMBER, _CODE, _HALL)
    )
    named = settings(symbol, number, code, cell, notes)
    if hall:
        named = _by_hall(hall, named, notes)
    if listed is not None and block.column(*_MAGNETIC):
        return [Meaning(listed, is_listed=True)]  # a symbol beside them is of the parent
    if listed is not None:
        found = _compared(listed, named, cell, is_set=bool(symbol or code or hall))
    elif named:
        found = [Meaning(symmetry) for symmetry in named]
    elif symbol or number:
        raise structure_error(
            source,
            f"unknown space group {symbol or number!r}, and no list of operations",
            "give _space_group_symop_operation_xyz, or a symbol like 'F d -3 m :2'",
        )
    else:
        magnetic = block.value(*_MAGNETIC_NAME)
        notes.append(
            f"the operations of its magnetic space group {magnetic} are not listed: read as P 1"
            if magnetic
            else "no symmetry is given: read as P 1, every atom listed"
        )
        found = [Meaning(IDENTITY, is_listed=True)]
    if named and not (symbol or code or hall or found[0].is_listed):
        notes.append(
            "only the number of its space group is given: its standard setting,"
            f" {named[0].name}, is assumed"
        )
    if not any(meaning.symmetry.fits(cell) for meaning in found):
        notes.append("its symmetry does not fit its cell: check the cell and the space group")
    return found


# What is listed.


def _listed(block: Block, source: str, notes: list[str]) -> Symmetry | None:
    """The operations that a block lists, centrings of magnetic ones included; None without."""
    modulated, magnetic = block.column(*_MODULATED), block.column(*_MAGNETIC)
    average = [] if magnetic else block.column(*_OPERATIONS)
    texts = magnetic or average or modulated
    if modulated or block.number("_cell_modulation_dimension") > 0:
        notes.append("it is a modulated structure: its average structure is read")
    texts = [text for text in texts if text]
    if not texts:
        return None
    centrings = block.column(*(_CENTRINGS if magnetic else _MODULATED_CENTRINGS))
    try:
        operations = symmetry_of("its operations", texts)
        if centrings and not average:
            operations = symmetry_of("", filter(None, centrings)).after(operations)
        return Symmetry("its operations", operations.rotations, operations.shifts).distinct
    except InputError as error:
        raise structure_error(source, f"{error.what} ({error.why})", error.fix) from error


def _by_hall(hall: str, named: list[Symmetry], notes: list[str]) -> list[Symmetry]:
    """The settings named, or the one that a Hall symbol means, which leaves nothing open."""
    import gemmi

    try:
        operations = gemmi.symops_from_hall(hall)
        table = np.array([operation.float_seitz() for operation in operations])
    except (RuntimeError, ValueError):
        notes.append(f"its Hall symbol {hall!r} cannot be read: passed over")
        return named
    exact = Symmetry(f"Hall symbol {hall}", table[:, :3, :3], table[:, :3, 3])
    same = [symmetry for symmetry in named if symmetry.same_as(exact)]
    if same or not named or group_number(exact) == group_number(named[0]):
        return same or [exact]
    notes.append(f"its Hall symbol {hall} is of another space group than {named[0].name}")
    return [exact, *named]


# What is listed against what is named.


def _compared(
    listed: Symmetry, named: Sequence[Symmetry], cell: NDArray[np.float64], *, is_set: bool
) -> list[Meaning]:
    """What a list of operations may mean beside the settings that are named.

    ``is_set`` says whether more is named than a number, which is that of every setting.
    """
    as_listed = Meaning(listed, is_listed=True)
    if any(symmetry.same_as(listed) for symmetry in named):
        return [as_listed]
    fitting, n = [symmetry for symmetry in named if symmetry.fits(cell)], len(listed.shifts)
    if wider := [symmetry for symmetry in fitting if listed.part_of(symmetry)]:
        why = f"it lists {n} of the {len(wider[0].shifts)} operations of {wider[0].name}"
        return _either(why, wider, as_listed, "read with all", "read as listed")
    if fitting and not listed.fits(cell):
        why = f"its operations do not fit its cell, those of {fitting[0].name} do"
        return [Meaning(symmetry, f"{why}: read with them") for symmetry in fitting]
    if not listed.is_group:
        why, whole = f"its {n} operations form no group", listed.generated()
        added = [whole] if whole else []
        found = _either(why, added, as_listed, "those that they generate are added", "check them")
        return [*found, *_either(f"{why}: read with those of its symbol", fitting, None)]
    return _of_another(as_listed, fitting, is_set=is_set) if fitting else [as_listed]


def _of_another(listed: Meaning, named: Sequence[Symmetry], *, is_set: bool) -> list[Meaning]:
    """Meanings of operations that are a group, but not the one that is named, or set otherwise."""
    number, wanted = group_number(listed.symmetry), group_number(named[0])
    if number is None or wanted is None or (number == wanted and not is_set):
        return [listed]
    taken = "read with the operations"
    if number == wanted:
        why = f"its operations are those of another setting than {named[0].name}"
        return _either(why, [], listed, if_listed=taken)
    why = f"its operations are those of space group {number}, not of {named[0].name} ({wanted})"
    alternatives = _either(why, named, None, "read with the latter")
    return [*_either(why, [], listed, if_listed=taken), *alternatives]


def _either(
    why: str,
    named: Sequence[Symmetry],
    listed: Meaning | None,
    if_named: str = "",
    if_listed: str = "",
) -> list[Meaning]:
    """Meanings that say what contradicts what, and which of both is taken."""
    found = [Meaning(s, f"{why}: {if_named}" if if_named else why) for s in named]
    return found if listed is None else [*found, listed._replace(note=f"{why}: {if_listed}")]
