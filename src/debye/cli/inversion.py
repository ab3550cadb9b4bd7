"""Verbs that go from a spectrum back to a structure: invert rank, refine, design."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debye.cli.common import (
    DONE,
    FIGURES,
    SOME_FAILED,
    check_range,
    complain,
    folder,
    show,
    tell,
    to_json,
    verb,
    warn,
    writable,
)
from debye.cli.inversion_output import (
    design_table,
    draw_design,
    draw_ranking,
    draw_refined,
    give,
    proposal_record,
    ranking_record,
    ranking_table,
    refined_record,
    refined_table,
)
from debye.cli.output import Device, load_predictor
from debye.cli.spectra import ModelFile, Plot, Unit
from debye.errors import Refusal
from debye.files import atomic_write

if TYPE_CHECKING:
    from debye.crystals.inversion.candidates import Candidates
    from debye.crystals.inversion.design import Target
    from debye.crystals.inversion.freedom import Freedom
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.model.predictor import Predictor
    from debye.crystals.spectra.measured import Measured

app = typer.Typer(
    name="invert",
    help="From a spectrum back to a structure: rank candidates, refine one, design one.",
    no_args_is_help=True,
)


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


STRUCTURES = (".cif", ".vasp", ".extxyz")
"""What a refined structure's file may end in."""
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


def register(parent: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    app.command()(verb(rank))
    app.command()(verb(refine))
    app.command()(verb(design))
    parent.add_typer(app)


def rank(
    spectrum: SpectrumFile,
    candidates: Annotated[
        list[str],
        typer.Argument(
            help="Structures: files, folders, globs; or a folder that debye screen wrote.",
            show_default=False,
        ),
    ],
    unit: EnergyUnit = None,
    resolution: ResolutionText = "fit",
    background: UnderIt = Background.LINEAR,
    neutron: Neutron = False,
    window: Window = None,
    top: Annotated[int, typer.Option(help="How many to list.", min=1)] = 10,
    model: ModelFile = None,
    output: Result = None,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    device: Device = "auto",
) -> int:
    """Rank candidates by how likely they make a measured spectrum.

    Scale, background and, unless given, the resolution are fitted to each.
    The probabilities add up to 1: they hold if one of the candidates is right.
    """
    from debye.crystals.inversion.rank import rank as rank_candidates

    place, figure = writable(output, "--output", (".json",)), writable(plot, "--plot", FIGURES)
    measured = _measured(spectrum, unit)
    widths, part = _resolutions(resolution, measured), _window(window, measured)
    found = _candidates(candidates, load_predictor(model, device), neutron=neutron)
    ranking = rank_candidates(
        measured, found, resolutions=widths, background=background.value, window=part
    )
    for note in ranking.notes:
        warn(note)
    told = ranking_record(ranking, spectrum, measured)
    give(to_json(told) if as_json else ranking_table(ranking, top), told, place, needed=not plot)
    if figure:
        draw_ranking(ranking, figure, measured.unit)
    return SOME_FAILED if found.rejected else DONE


def _measured(path: Path, unit: Unit | None) -> Measured:
    from debye.crystals.spectra.measured import read_measured

    measured = read_measured(path, unit.value if unit else None)
    for note in measured.notes:
        warn(f"{path}: {note}")
    return measured


def _resolutions(text: str, measured: Measured) -> list[Resolution]:
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.rank import WIDTHS

    if text == "fit":
        return [Resolution((width,) if width else ()) for width in WIDTHS]
    return [Resolution.parse(text, measured.unit)]


def _window(text: str | None, measured: Measured) -> tuple[float, float] | None:
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
        raise Refusal(f"cannot use the window {text!r}", why=why, fix="write for example 5:80")
    factor = frequency_factor(measured.unit, "cm-1")
    return low * factor, high * factor


def _candidates(names: list[str], predictor: Predictor, *, neutron: bool) -> Candidates:
    from debye.crystals.inversion.candidates import is_screened, predicted, screened
    from debye.crystals.structures.reading import read_structures

    if len(names) == 1 and is_screened(Path(names[0])):
        if neutron:
            why = "a screened folder holds total densities, and the weights are each element's"
            fix = "give the structures themselves, or leave --neutron out"
            raise Refusal("cannot weight a screening as neutrons would", why=why, fix=fix)
        return screened(Path(names[0]), predictor.card["sha256"])
    found = predicted(predictor, read_structures(names), neutron=neutron)
    for item in found.rejected:
        complain(item.refusal)
    if found.rejected:
        tell(f"{len(found.rejected)} candidates left out, {len(found)} compared")
    return found


def refine(
    spectrum: SpectrumFile,
    structure: Annotated[
        Path, typer.Argument(help="The structure to begin with.", show_default=False)
    ],
    free: Annotated[
        list[str] | None,
        typer.Option(
            help="What may change: lattice, positions, or Sb=Bi (how much Bi stands for Sb); "
            "may be given several times.",
            show_default="lattice",
        ),
    ] = None,
    toward: Annotated[
        Path | None,
        typer.Option(help="Free the fraction of an alloy with this second parent instead."),
    ] = None,
    unit: EnergyUnit = None,
    resolution: ResolutionText = "fit",
    background: UnderIt = Background.LINEAR,
    neutron: Neutron = False,
    window: Window = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Trust the predictions; only measured errors count.")
    ] = False,
    samples: Annotated[
        int, typer.Option(help="Draw so many values from the posterior.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    model: ModelFile = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The result as .json, or the structure as .cif, .vasp, .extxyz."),
    ] = None,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Adjust a structure until its predicted spectrum fits a measured one.

    The symmetry is kept. Each value comes with its error, and what the
    spectrum cannot tell is said in words.
    """
    from debye.crystals.inversion.model_error import SHIPPED_ERROR
    from debye.crystals.inversion.refine import refined_over

    place = writable(output, "--output", (".json", *STRUCTURES))
    figure = writable(plot, "--plot", FIGURES)
    measured = _measured(spectrum, unit)
    widths, part = _resolutions(resolution, measured), _window(window, measured)
    freedom, predictor = _freedom(structure, free, toward), load_predictor(model, "cpu")
    found, width = refined_over(
        predictor,
        freedom,
        measured,
        widths,
        window=part,
        background=background.value,
        neutron=neutron,
        error=None if exact else SHIPPED_ERROR,
        samples=samples,
        seed=seed,
    )
    for note in found.notes:
        warn(note)
    told = refined_record(found, width, spectrum, measured)
    show(to_json(told) if as_json else refined_table(found), needed=not (place or plot))
    if place:
        if place.suffix == ".json":
            atomic_write(place, to_json(told, indent=2) + "\n")
        else:
            found.crystal.write(place)
        tell(f"wrote {place}")
    if figure:
        draw_refined(found, figure, measured.unit)


def design(
    structure: Annotated[
        Path, typer.Argument(help="The structure to begin with.", show_default=False)
    ],
    replace: Annotated[
        list[str],
        typer.Option(help="Elements that may replace one of it: Sb=As,Bi; may be repeated."),
    ],
    target: Annotated[Goal, typer.Option(help="What should have the value.", show_default=False)],
    value: Annotated[str, typer.Option(help="The value; for a gap its ends in cm⁻¹, as low:high.")],
    temperature: Annotated[float, typer.Option(help="Of the heat capacity, K.")] = 300.0,
    top: Annotated[int, typer.Option(help="How many to list.", min=1)] = 10,
    model: ModelFile = None,
    output: Annotated[
        Path | None, typer.Option(help="A .json file, or a folder of CIF files.")
    ] = None,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    device: Device = "auto",
) -> None:
    """Find substitutions that bring a property of the spectrum to a value.

    Every combination is predicted, whole and mixed; the fractions of a
    mixture are found by gradients through the network.
    """
    from debye.crystals.inversion.design import design as propose
    from debye.crystals.structures.reading import read_crystal

    place, figure = _json_or_folder(output), writable(plot, "--plot", FIGURES)
    check_range(temperature, "--temperature", least=0)
    goal, pairs = _target(target, value, temperature), _replacements(replace)
    proposals = propose(load_predictor(model, device), read_crystal(structure), pairs, goal)[:top]
    told = {
        "target": goal.name,
        "goal": goal.goal,
        "proposals": [proposal_record(p) for p in proposals],
    }
    needed = not (place or plot)
    show(to_json(told) if as_json else design_table(proposals, goal), needed=needed)
    if place and place.suffix == ".json":
        atomic_write(place, to_json(told, indent=2) + "\n")
        tell(f"wrote {place}")
    elif place:
        for k, proposal in enumerate(proposals, 1):
            proposal.crystal.write(place / f"{k:02d}-{proposal.crystal.formula}.cif")
        tell(f"wrote {len(proposals)} structures to {place}")
    if figure:
        draw_design(proposals, goal, figure)


def _freedom(structure: Path, free: list[str] | None, toward: Path | None) -> Freedom:
    """The structure with what the options free of it."""
    from debye.crystals.inversion.freedom import Freedom
    from debye.crystals.structures.reading import read_crystal

    start = read_crystal(structure)
    if toward is not None:
        freedom = Freedom.between(start, read_crystal(toward))
    else:
        freedom, free = Freedom.of(start), free or ["lattice"]
    for word in dict.fromkeys(free or []):
        if word == "lattice":
            freedom = freedom.with_lattice()
        elif word == "positions":
            freedom = freedom.with_positions()
        elif word.count("=") == 1:
            freedom = freedom.with_fraction(*word.split("="))
        else:
            why = "it is none of lattice, positions, or two elements as in Sb=Bi"
            raise Refusal(f"cannot free {word!r}", why=why, fix="free one of them")
    return freedom


def _target(kind: Goal, value: str, temperature: float) -> Target:
    from debye.crystals.inversion import design as designs

    try:
        numbers = [float(x) for x in value.split(":")]
    except ValueError:
        numbers = []
    wanted = 2 if kind is Goal.GAP else 1
    if len(numbers) != wanted or not all(0 <= x < float("inf") for x in numbers):
        why = "a gap needs low:high in cm-1" if wanted == 2 else "it is no number ≥ 0"
        raise Refusal(f"cannot use --value {value!r}", why=why, fix="write 150, or 120:200")
    if kind is Goal.GAP:
        if not numbers[0] < numbers[1]:
            raise Refusal(
                f"cannot use --value {value!r}", why="the gap is empty", fix="put the lower first"
            )
        return designs.gap(*numbers)
    if kind is Goal.MEAN_FREQUENCY:
        return designs.mean_frequency(numbers[0])
    per_mass = kind is Goal.HEAT_CAPACITY_PER_MASS
    return designs.heat_capacity_at(temperature, numbers[0], per_mass=per_mass)


def _replacements(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        gives, equals, takes = word.partition("=")
        options = [t.strip() for t in takes.split(",") if t.strip()]
        if not equals or not options:
            why = "it does not name an element and what may replace it"
            raise Refusal(f"cannot use --replace {word!r}", why=why, fix="write Sb=As,Bi")
        found.setdefault(gives.strip(), []).extend(options)
    return found


def _json_or_folder(output: Path | None) -> Path | None:
    if output is None or output.suffix == ".json":
        return writable(output, "--output", (".json",))
    return folder(output)
