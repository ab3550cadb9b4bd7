"""What the values of options stand for, checked before the work begins."""

from __future__ import annotations

from math import floor, inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from debye.cli.options import Goal
from debye.core.files import folder
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.dos_io.measured import Measured
    from debye.crystals.inversion.design import Target
    from debye.crystals.inversion.instrument import Resolution

FIGURES = (".png", ".svg", ".pdf")
"""What a figure's name may end in."""


def parse_range(text: str, what: str, least: float = -inf, most: float = inf) -> list[float]:
    """Numbers of ``start:stop:step`` (the stop included), or of ``a,b,c``.

    Args:
        text: What was given.
        what: Which option; named in the error.
        least: None may be less.
        most: None may be more.

    Raises:
        InputError: It is neither, the step leads away from the stop, or a number is out of range.

    Example:
        >>> parse_range("0:1:0.25", "fractions")
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> parse_range("300", "temperatures")
        [300.0]
    """
    bad = InputError(
        f"cannot understand {what} {text!r}",
        why="it is neither start:stop:step nor numbers with commas between",
        fix="write for example 0:1000:10, or 77,300",
    )
    try:
        numbers = [float(x) for x in text.split(":" if ":" in text else ",")]
    except ValueError:
        raise bad from None
    if not all(isfinite(x) for x in numbers):
        raise bad
    for number in numbers[:2] if ":" in text else numbers:
        check_range(number, what, least, most)
    if ":" not in text:
        return numbers
    if len(numbers) != 3 or numbers[2] <= 0 or numbers[1] < numbers[0]:
        raise bad
    start, stop, step = numbers
    # Half a step in a million of slack, so that 0:1:0.1 reaches 1 in spite of rounding.
    count = floor((stop - start) / step + 1e-6) + 1
    if count > 1_000_000:
        raise bad
    return [round(start + k * step, 12) for k in range(count)]


def check_range(number: float, what: str, least: float = -inf, most: float = inf) -> None:
    """Refuse an option's number that is not finite or out of range."""
    if not (isfinite(number) and least <= number <= most):
        limits = f"{least:g} or above" if most == inf else f"from {least:g} to {most:g}"
        raise InputError(
            f"cannot use {what} {number:g}", why=f"it must be {limits}", fix="give such a number"
        )


def check_one_way(*, resume: bool, overwrite: bool) -> None:
    """Refuse to go on and to begin anew at once."""
    if resume and overwrite:
        raise InputError(
            "cannot use --resume and --overwrite together",
            why="one goes on with what OUTPUT holds, the other begins anew",
            fix="leave one of them out",
        )


def writable(path: Path | None, option: str, suffixes: tuple[str, ...] = ()) -> Path | None:
    """A file that will be written: its name and folder are checked now, before the work.

    Args:
        path: The file, if any.
        option: Which option names it.
        suffixes: What its name may end in; anything if empty.

    Raises:
        InputError: It ends in something else, is a folder, or its folder cannot be written into.
    """
    if path is None:
        return None
    if suffixes and path.suffix.lower() not in suffixes:
        why = f"its name ends in {path.suffix!r}" if path.suffix else "its name has no ending"
        raise InputError(
            f"cannot use {option} {path}", why=why, fix=f"end it in {', '.join(suffixes)}"
        )
    if path.is_dir():
        raise InputError(
            f"cannot use {option} {path}", why="it is a folder", fix="name a file in it"
        )
    folder(path.parent)
    return path


def resolutions_of(text: str, measured: Measured) -> list[Resolution]:
    """The instrument's resolution, or those among which to find it."""
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.rank import WIDTHS

    if text == "fit":
        return [Resolution((width,) if width else ()) for width in WIDTHS]
    return [Resolution.parse(text, measured.unit)]


def window_of(text: str | None, measured: Measured) -> tuple[float, float] | None:
    """A part of the axis, given in the unit of the file, in cm⁻¹."""
    from debye.units import frequency_factor

    if text is None:
        return None
    try:
        low, high = (float(x) for x in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not low < high:
        why = "it is not low:high with low below high"
        raise InputError(f"cannot use the window {text!r}", why=why, fix="write for example 5:80")
    factor = frequency_factor(measured.unit, "cm-1")
    return low * factor, high * factor


def target_of(kind: Goal, value: str, temperature: float) -> Target:
    """What is to be designed for."""
    from debye.crystals.inversion import design as designs

    try:
        numbers = [float(x) for x in value.split(":")]
    except ValueError:
        numbers = []
    wanted = 2 if kind is Goal.GAP else 1
    if len(numbers) != wanted or not all(0 <= x < float("inf") for x in numbers):
        why = "a gap needs low:high in cm⁻¹" if wanted == 2 else "it is no number ≥ 0"
        raise InputError(f"cannot use --value {value!r}", why=why, fix="write 150, or 120:200")
    if kind is Goal.GAP:
        if not numbers[0] < numbers[1]:
            raise InputError(
                f"cannot use --value {value!r}", why="the gap is empty", fix="put the lower first"
            )
        return designs.gap(*numbers)
    return designs.property_target(kind.value, numbers[0], temperature)


def replacements_of(words: list[str]) -> dict[str, list[str]]:
    """Elements that may replace each element, from words such as Sb=As,Bi."""
    found: dict[str, list[str]] = {}
    for word in words:
        gives, equals, takes = word.partition("=")
        options = [t.strip() for t in takes.split(",") if t.strip()]
        if not equals or not options:
            why = "it does not name an element and what may replace it"
            raise InputError(f"cannot use --replace {word!r}", why=why, fix="write Sb=As,Bi")
        found.setdefault(gives.strip(), []).extend(options)
    return found


def json_or_folder(output: Path | None) -> Path | None:
    """A path for one JSON file or for many structures, checked before the work."""
    if output is None or output.suffix == ".json":
        return writable(output, "--output", (".json",))
    return folder(output)
