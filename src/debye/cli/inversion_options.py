"""What the verbs of inversion are told: their options, and the objects these stand for."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debye.cli.common import complain, folder, tell, warn, writable
from debye.cli.spectra import Unit
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.dos_io.measured import Measured
    from debye.crystals.inversion.design import Target
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.parameters import FreeParameters
    from debye.crystals.inversion.rank import Candidates
    from debye.crystals.predict.predictor import Predictor


class Background(str, Enum):
    """What lies under a measured spectrum."""

    NONE = "none"
    CONSTANT = "constant"
    LINEAR = "linear"


class Goal(str, Enum):
    """What can be designed for."""

    MEAN_FREQUENCY = "mean-frequency"
    HEAT_CAPACITY = "heat-capacity-per-atom"
    HEAT_CAPACITY_PER_MASS = "heat-capacity-per-mass"
    GAP = "gap"


SpectrumFile = Annotated[
    Path,
    typer.Argument(
        help="Measured spectrum: columns energy, intensity and, if known, error.",
        show_default=False,
    ),
]
EnergyUnit = Annotated[
    Unit | None, typer.Option(help="Unit of its energies.", show_default="from its header")
]
ResolutionText = Annotated[
    str,
    typer.Option(
        help="Standard deviation of the energy: 1.5, a share 2%, a polynomial 1,0.02; or fit."
    ),
]
UnderIt = Annotated[Background, typer.Option(help="Background that is fitted.")]
Neutron = Annotated[
    bool, typer.Option("--neutron", help="Weight each atom by its cross-section over its mass.")
]
Window = Annotated[
    str | None,
    typer.Option(help="Part of the axis to compare, as low:high.", show_default="all of it"),
]
Result = Annotated[Path | None, typer.Option("--output", help="Write the result to a .json file.")]


def measured_of(path: Path, unit: Unit | None) -> Measured:
    """The measured spectrum of a file; what is odd about it is told."""
    from debye.crystals.dos_io.files import read_measured

    measured = read_measured(path, unit.value if unit else None)
    for note in measured.notes:
        warn(f"{path}: {note}")
    return measured


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


def candidates_of(names: list[str], predictor: Predictor, *, neutron: bool) -> Candidates:
    """The candidates of files or of a screening; those that failed are told."""
    from debye.crystals.inversion.rank import is_screened, predicted, screened
    from debye.crystals.structure_io.read import read_structures

    if len(names) == 1 and is_screened(Path(names[0])):
        if neutron:
            why = "a screened folder holds total densities, and the weights are each element's"
            fix = "give the structures themselves, or leave --neutron out"
            raise InputError("cannot weight a screening as neutrons would", why=why, fix=fix)
        return screened(Path(names[0]), predictor.card["sha256"], predictor.calibration)
    found = predicted(predictor, read_structures(names), neutron=neutron)
    for item in found.failed:
        complain(item.error)
    if found.failed:
        tell(f"{len(found.failed)} candidates left out, {len(found)} compared")
    return found


def free_parameters_of(
    structure: Path, free: list[str] | None, toward: Path | None
) -> FreeParameters:
    """The structure with what the options free of it."""
    from debye.crystals.inversion.parameters import FreeParameters
    from debye.crystals.structure_io.read import read_crystal

    start = read_crystal(structure)
    if toward is not None:
        free_parameters = FreeParameters.between(start, read_crystal(toward))
    else:
        free_parameters, free = FreeParameters.of(start), free or ["lattice"]
    for word in dict.fromkeys(free or []):
        if word == "lattice":
            free_parameters = free_parameters.with_lattice()
        elif word == "positions":
            free_parameters = free_parameters.with_positions()
        elif word.count("=") == 1:
            free_parameters = free_parameters.with_fraction(*word.split("="))
        else:
            why = "it is none of lattice, positions, or two elements as in Sb=Bi"
            raise InputError(f"cannot free {word!r}", why=why, fix="free one of them")
    return free_parameters


def target_of(kind: Goal, value: str, temperature: float) -> Target:
    """What is to be designed for."""
    from debye.crystals.inversion import design as designs

    try:
        numbers = [float(x) for x in value.split(":")]
    except ValueError:
        numbers = []
    wanted = 2 if kind is Goal.GAP else 1
    if len(numbers) != wanted or not all(0 <= x < float("inf") for x in numbers):
        why = "a gap needs low:high in cm-1" if wanted == 2 else "it is no number ≥ 0"
        raise InputError(f"cannot use --value {value!r}", why=why, fix="write 150, or 120:200")
    if kind is Goal.GAP:
        if not numbers[0] < numbers[1]:
            raise InputError(
                f"cannot use --value {value!r}", why="the gap is empty", fix="put the lower first"
            )
        return designs.gap(*numbers)
    if kind is Goal.MEAN_FREQUENCY:
        return designs.mean_frequency(numbers[0])
    per_mass = kind is Goal.HEAT_CAPACITY_PER_MASS
    return designs.heat_capacity_at(temperature, numbers[0], per_mass=per_mass)


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
    """A place for one JSON file or for many structures, checked before the work."""
    if output is None or output.suffix == ".json":
        return writable(output, "--output", (".json",))
    return folder(output)
