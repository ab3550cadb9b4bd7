"""Verbs that go from a spectrum back to a structure: invert rank, refine, design."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import (
    DONE,
    FIGURES,
    SOME_FAILED,
    complain,
    show,
    tell,
    to_json,
    verb,
    warn,
    writable,
)
from debye.cli.output import Device, load_predictor
from debye.cli.spectra import ModelFile, Plot, Unit
from debye.errors import Refusal
from debye.files import atomic_write

if TYPE_CHECKING:
    from debye.crystals.inversion.candidates import Candidates
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.rank import Ranking
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
    told = _ranking_record(ranking, spectrum, measured)
    _give(to_json(told) if as_json else _ranking_table(ranking, top), told, place, needed=not plot)
    if figure:
        _draw_ranking(ranking, figure, measured.unit)
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


def _give(text: str, told: dict[str, Any], place: Path | None, *, needed: bool) -> None:
    show(text, needed=needed and not place)
    if place:
        atomic_write(place, to_json(told, indent=2) + "\n")
        tell(f"wrote {place}")


def _ranking_record(ranking: Ranking, path: Path, measured: Measured) -> dict[str, Any]:
    fits, candidates = ranking.fits, ranking.candidates
    area = ranking.observed.area
    return {
        "spectrum": str(path),
        "unit": measured.unit,
        "points": len(ranking.observed.frequency),
        "notes": [*measured.notes, *ranking.notes],
        "candidates": [
            {
                "formula": candidates.labels[i],
                "source": candidates.sources[i],
                "probability": float(ranking.probability[k]),
                "log_likelihood": float(fits.log_likelihood[k]),
                "misfit": float(fits.misfit[k]),
                "scale": float(fits.coefficients[k, 0]) * area,
                "scale_error": float(fits.covariance[k, 0, 0].sqrt()) * area,
                "background_share": [float(b) for b in fits.coefficients[k, 1:]],
                "resolution_cm-1": list(ranking.resolution[k].coefficients),
                "warnings": list(candidates.warnings[i]),
            }
            for k, i in enumerate(ranking.order)
        ],
    }


def _ranking_table(ranking: Ranking, top: int) -> str:
    candidates = ranking.candidates
    lines = [f"{'':>4} {'formula':<22} {'probability':>11} {'misfit':>7} {'scale':>15}  source"]
    for k, i in enumerate(ranking.order[:top]):
        scale, error = ranking.fits.coefficients[k, 0], ranking.fits.covariance[k, 0, 0].sqrt()
        mark = " !" if candidates.warnings[i] else ""
        lines.append(
            f"{k + 1:>4} {candidates.labels[i]:<22} {float(ranking.probability[k]):>11.4f} "
            f"{float(ranking.fits.misfit[k]):>7.2f} {float(scale):>7.3f} ±{float(error):>6.3f}  "
            f"{candidates.sources[i]}{mark}"
        )
    if (more := len(candidates) - top) > 0:
        rest = float(ranking.probability[top:].sum())
        lines.append(f"     and {more} more, together {rest:.4f}")
    return "\n".join(lines)


def _draw_ranking(ranking: Ranking, path: Path, unit: str) -> None:
    from debye.plot import save
    from debye.plot.inversion import ranking_figure

    save(ranking_figure(ranking, unit=unit), path)
    tell(f"drew {path}")
