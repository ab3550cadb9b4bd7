"""Columns of numbers in a text, as instruments, programs and spreadsheets write them.

Numbers may have decimal commas and Fortran's exponents; between them stand blanks, tabs, semicolons
or commas. A line that looks like a row of numbers and cannot be read as one is refused, wherever
it stands: it is never taken for a header.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from debye.core.numbers import number_of
from debye.errors import InputError

MOST_POINTS = 20_000
"""Rows of a measured spectrum; more are no spectrum, or should be rebinned."""

_COMMENT = re.compile(r"\s*(?:%|!|//)")
_ROW = re.compile(
    r"(?:[-+−.,;\s\d\"*]|(?<=[\d.])[deq](?=[-+\d]|\s\d)|(?<![a-z])(?:nan|inf)(?![a-z]))+", re.I
)
_DECIMAL_COMMA = re.compile(r"[-+−]?\d+,\d*(?:[dDeE][-+]?\d+)?")
_INDEX = re.compile(r"|#|i|n|nr\.?|no\.?|id|index|point|pt\.?|row|bin|channel|unnamed.*", re.I)
_ENERGY = re.compile(r"energy|transfer|frequency|wave\s*number|mev|thz|cm\^?-1|cm⁻¹", re.I)
_INTENSITY = re.compile(r"intens.*|counts?|signal|p?dos|y|s|s\(.*", re.I)
_WIDTHS = re.compile(r"d[xeq].*|width.*", re.I)
_SURE = 5
"""Rows from which the steps of a column tell what it is."""


class Table(NamedTuple):
    """A table of numbers and what stands before it.

    Args:
        header: Lines that are no numbers.
        names: Of the columns, where the last line of the header has one for each; else empty.
        rows: Numbers, each row as long as the others.
        notes: What a reader of results should know about it.
    """

    header: str
    names: tuple[str, ...]
    rows: list[list[float]]
    notes: tuple[str, ...] = ()


_Line = tuple[int, str]
"""Where a line stands, and its text."""


def table_of(text: str) -> Table:
    r"""The one table of a text.

    Raises:
        InputError: There is none, it is ragged or cut by a text, it could be several, or its
            commas could be decimal or not.

    Example:
        >>> table_of("E (meV);S\n1,5;2D1\n3,0;2D1").rows
        [[1.5, 20.0], [3.0, 20.0]]
        >>> table_of("# X , Y , E\n1\n1.5 , 20 , 4\n3.0 , 20 , 4").names
        ('X', 'Y', 'E')
    """
    header, lines = _divided(text)
    split = _splitter([content for _, content in lines])
    cells = _one_block([(number, split(content)) for number, content in lines])
    rows = [_numbers(number, row) for number, row in cells]
    for (number, _), row in zip(cells, rows, strict=True):
        if len(row) != len(rows[0]) or len(row) < 2:
            why = f"line {number} has {len(row)} columns"
            fix = "give energy, intensity and, if known, error on every line"
            raise InputError("the table is ragged or has no intensity", why=why, fix=fix)
    if not 2 <= len(rows) <= MOST_POINTS:
        why = f"it holds {len(rows)} lines of numbers"
        fix = f"give 2 to {MOST_POINTS} points; rebin a longer one"
        raise InputError("there is no spectrum in it", why=why, fix=fix)
    _check_commas([content for _, content in lines], rows)
    table = Table("\n".join(header), _names(header, len(rows[0])), rows)
    return _in_order(_without_index(table))


def _divided(text: str) -> tuple[list[str], list[_Line]]:
    """The lines of the header, and those of numbers."""
    header: list[str] = []
    lines: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        content, _, comment = line.partition("#")
        content = "" if _COMMENT.match(content) else content.strip()
        if not content.strip(",;"):
            header.append(comment or line.strip().lstrip("%!/"))
        elif _ROW.fullmatch(content) and re.search(r"\d", content):
            lines.append((number, content))
        elif any(len(re.split(r"[,;\s]+", content)) > 1 for _, content in lines):
            why = f"line {number}: {content[:40]!r} is no row of numbers"
            fix = "repair the line, or give the part with the spectrum alone"
            raise InputError("it is not a table of numbers", why=why, fix=fix)
        else:  # a count or a date before a line of text
            _check_heading(number, content)
            header += [*(content for _, content in lines), line]
            lines = []
    return header, lines


def _check_heading(number: int, content: str) -> None:
    """Refuse a row of numbers with a text in it, which is no header.

    Raises:
        InputError: It begins with two numbers.
    """
    first, second, *_ = [*re.split(r"[,;\s]+", content), "", ""]
    if _ROW.fullmatch(first) and _ROW.fullmatch(second):
        why = f"line {number}: {content[:40]!r} is no row of numbers"
        raise InputError(
            "it is not a table of numbers", why=why, fix="repair the line, or put # before it"
        )


# What stands between the numbers.


def _splitter(lines: Sequence[str]) -> Callable[[str], list[str]]:
    """What divides the lines into cells, decimal commas turned into points."""
    separators = [s for s in (";", "\t") if any(s in line for line in lines)]
    if any('"' in line for line in lines):
        between = separators[0] if separators else ","
        return lambda line: [_pointed(c) for c in next(csv.reader([line], delimiter=between))]
    words = [word for line in lines for word in line.split() if "," in word]
    decimal = all(map(_DECIMAL_COMMA.fullmatch, words)) and not all(w.endswith(",") for w in words)
    several = all(len(line.split()) > 1 for line in lines)
    if words and (separators or (decimal and several)):
        return partial(_pointed_cells, separator=separators[0] if separators else " ")
    return lambda line: re.split(r"[,;\s]+", line.strip(",; "))


def _pointed_cells(line: str, separator: str) -> list[str]:
    cells = re.split(rf"\s*{separator}\s*" if separator == ";" else r"\s+", line.strip("; "))
    return [_pointed(cell) for cell in cells]


def _pointed(cell: str) -> str:
    """A number with a decimal point for its comma; one that groups thousands is refused."""
    cell = cell.strip()
    if cell.count(",") > 1 or ("," in cell and "." in cell):
        raise InputError(
            "its commas are not clear",
            why=f"{cell!r} has a comma that groups thousands, or divides two numbers",
            fix="write plain numbers, with a decimal point, and blanks between them",
        )
    return cell.replace(",", ".")


def _check_commas(lines: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """Refuse whole numbers whose commas could be decimal: ``1,5,20``, ``1,5,0,20``, ``1,5, 20``.

    Raises:
        InputError: Some commas have a blank behind them and some have none; or with commas alone
            there are four columns, or three of which the first has no even steps or the second
            hardly changes.
    """
    mixed = any("." not in s and re.search(r"\d,\d", s) and re.search(r",\s", s) for s in lines)
    alone = all(re.fullmatch(r"[-+\d,]+", line) for line in lines)
    first, second = [row[0] for row in rows], {row[1] for row in rows}
    uneven = len({b - a for a, b in pairwise(first)}) > 1
    constant = len(rows) >= _SURE and len(second) <= 2
    width = len(rows[0]) if alone else 0
    if mixed or width > 3 or (width == 3 and (uneven or constant)):
        raise InputError(
            "its commas are not clear",
            why="they could be decimal commas: 1,5,20 could mean 1.5 and 20",
            fix="write decimal points, or semicolons or blanks between the columns",
        )


# What the rows are.


def _one_block(cells: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """The rows without the number of their spectrum, or of points, that stands before them.

    Raises:
        InputError: Several spectra stand one below the other.
    """
    marks = [i for i, (_, row) in enumerate(cells) if len(row) == 1 and row[0].isdigit()]
    if not marks or len(marks) == len(cells):
        return cells
    if marks != list(range(len(marks))):  # one behind a row begins the next
        listed = ", ".join(cells[i][1][0] for i in marks[:10])
        raise InputError(
            "there are several spectra in it",
            why=f"lines with one number ({listed}) begin each of them",
            fix="give a file with one of them",
        )
    return cells[len(marks) :]


def _numbers(line: int, cells: Sequence[str]) -> list[float]:
    try:
        return [number_of(cell) for cell in cells]
    except ValueError as error:
        fix = "repair the line, or give the part with the spectrum alone"
        raise InputError(
            "it is not a table of numbers", why=f"line {line}: {error}", fix=fix
        ) from error


def _names(header: Sequence[str], width: int) -> tuple[str, ...]:
    """The names of the columns, if the last line of the header has one for each."""
    last = next((line.rstrip() for line in reversed(header) if line.strip()), "")
    for form in (r"\s*[,;\t]\s*", r"\s{2,}", r"\s+"):
        text = last if "," in form else last.strip()
        names = [name.strip(' "') for name in re.split(form, text)]
        if len(names) == width:
            return tuple(names)
    return ()


def _without_index(table: Table) -> Table:
    """The table without a first column that only counts, and without widths behind three."""
    width, first = len(table.rows[0]), [row[0] for row in table.rows]
    if width == 4 and table.names and _WIDTHS.fullmatch(table.names[3]):
        rows = [row[:3] for row in table.rows]
        note = f"its column {table.names[3]!r} is not used"
        return Table(table.header, table.names[:3], rows, (note,))
    counts = first[0] in (0, 1) and all(b - a == 1 for a, b in pairwise(first))
    named = bool(table.names) and _INDEX.fullmatch(table.names[0]) is not None
    if not counts or (width == 2 and not named) or not (named or _holds_energy(table.rows, width)):
        return table
    if width == 2:
        why = f"its first column, {table.names[0]!r}, only counts the rows"
        raise InputError("it has no energies", why=why, fix="put the energies before the numbers")
    rows = [row[1:] for row in table.rows]
    return Table(table.header, table.names[1:], rows, ("its first column only counts: left out",))


def _holds_energy(rows: Sequence[Sequence[float]], width: int) -> bool:
    """Whether the second column can only be the energies: in even steps, or one of four."""
    steps = [b[1] - a[1] for a, b in pairwise(rows)]
    if len(rows) < _SURE or min(steps) <= 0:
        return False
    return width > 3 or (width == 3 and max(steps) - min(steps) < 0.02 * max(steps))


def _in_order(table: Table) -> Table:
    """The table, if its header does not say that the energies stand elsewhere.

    Raises:
        InputError: It does.
    """
    names = table.names
    if len(names) > 1 and _INTENSITY.fullmatch(names[0]) and _ENERGY.search(names[1]):
        why = f"its header says that {names[0]!r} stands before {names[1]!r}"
        fix = "give energy, intensity and, if known, error, in this order"
        raise InputError("its columns are in another order", why=why, fix=fix)
    return table
