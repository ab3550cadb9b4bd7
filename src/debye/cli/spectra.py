"""Verbs that predict: dos, thermo, alloy, demo, model."""

from __future__ import annotations

import re
from enum import Enum
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import (
    FIGURES,
    check_range,
    folder,
    parse_range,
    show,
    tell,
    to_json,
    verb,
    warn,
    writable,
)
from debye.cli.figures import draw_alloy, draw_spectra, draw_thermodynamics
from debye.cli.output import Device, Output, Predictions, Printer, load_predictor
from debye.core.files import atomic_write
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.dos.thermo_table import Thermodynamics
    from debye.crystals.predict.prediction import Prediction


class Unit(str, Enum):
    """Units of frequency that can be asked for."""

    WAVENUMBER = "cm-1"
    TERAHERTZ = "THz"
    MILLIELECTRONVOLT = "meV"


class Partial(str, Enum):
    """How finely the density of states is split."""

    NONE = "none"
    ELEMENT = "element"
    SITE = "site"


class Basis(str, Enum):
    """What thermodynamic quantities are per."""

    ATOM = "per-atom"
    FORMULA_UNIT = "per-formula-unit"
    CELL = "per-mole-of-cells"
    KILOGRAM = "per-kg"


Files = Annotated[
    list[str],
    typer.Argument(
        help="Structures: CIF, POSCAR, (ext)xyz, ASE database, pymatgen JSON; folders, globs.",
        show_default=False,
    ),
]
ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Model file, or fast; the shipped ensemble by default.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON record per structure on stdout.")]
Plot = Annotated[
    Path | None, typer.Option(help="Figure to draw: a PNG, SVG or PDF file.", show_default=False)
]
Level = Annotated[
    float, typer.Option(help="How often the truth lies in the intervals, 0.5 to 0.99.")
]
PLOT = ("--plot", FIGURES)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    app.command()(verb(dos))
    app.command()(verb(thermo))
    app.command()(verb(alloy))
    app.command()(verb(demo))
    app.command()(verb(model))


def dos(
    files: Files,
    model: ModelFile = None,
    unit: Annotated[Unit, typer.Option(help="Unit of frequency.")] = Unit.WAVENUMBER,
    partial: Annotated[Partial, typer.Option(help="Split the states.")] = Partial.NONE,
    temperature: Annotated[float, typer.Option(help="For heat capacity and entropy, K.")] = 300.0,
    level: Level = 0.9,
    output: Annotated[
        Path | None,
        typer.Option(
            help="A folder of CSV files; or a file: .jsonl, or for one structure .csv, .json, .dat."
        ),
    ] = None,
    plot: Plot = None,
    reference: Annotated[
        Path | None, typer.Option(help="A spectrum to draw over that of a single structure.")
    ] = None,
    sideways: Annotated[
        bool, typer.Option("--sideways", help="Draw it upright, as beside a band structure.")
    ] = False,
    as_json: Json = False,
    device: Device = "auto",
) -> int:
    """Predict the phonon density of states of crystals.

    Prints a line for each structure: mean frequency, heat capacity,
    zero-point energy, and, if the model is calibrated, what the truth differs
    by at most in 90 % of the cases, and the error of the spectrum to expect.
    With --json prints a record for each, with its spectrum. Where there is a
    warning the line ends in an exclamation mark.
    """
    from debye.crystals.predict.records import record, table_header, table_row

    check_range(temperature, "--temperature", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    place, figure = Output(output, single=(".csv", ".json", ".dat")), writable(plot, *PLOT)
    beside = _reference(reference, plot)
    predictions = Predictions(files, model, device)
    shown = level if predictions.calibrated else None
    header = table_header(temperature, unit.value, shown)
    printer = Printer(header, as_json=as_json, needed=not (output or plot))
    kept: list[Prediction] = []
    with place:
        for prediction in predictions:
            told = partial_of(
                record,
                prediction,
                unit=unit.value,
                partial=partial.value,
                temperature=temperature,
                level=level,
            )
            printer.add(partial_of(table_row, prediction, temperature, unit.value, shown), told)
            place.add(
                prediction.crystal,
                partial_of(_write_spectrum, prediction, partial.value, unit.value, level),
                told,
            )
            if figure:
                kept.append(prediction)
    if figure and kept:
        draw_spectra(kept, figure, unit.value, beside, sideways=sideways, level=level)
    return predictions.exit_code


def thermo(
    files: Files,
    temperatures: Annotated[
        str, typer.Option(help="K, as start:stop:step or with commas between.")
    ] = "0:1000:10",
    basis: Annotated[Basis, typer.Option(help="What the amounts are per.")] = Basis.ATOM,
    level: Level = 0.9,
    model: ModelFile = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A folder of CSV files; or a file: .jsonl, or for one structure .csv."),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
    device: Device = "auto",
) -> int:
    """Predict heat capacity, entropy and energies over a range of temperatures.

    If the model is calibrated, the heat capacity and the entropy have columns
    for the lower and upper ends of their intervals.
    """
    kelvin = parse_range(temperatures, "--temperatures", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    place, figure = Output(output, single=(".csv",)), writable(plot, *PLOT)
    predictions = Predictions(files, model, device)
    drawn: list[tuple[str, Thermodynamics]] = []
    with place:
        for prediction in predictions:
            crystal, table = prediction.crystal, _thermodynamics(prediction, kelvin, basis, level)
            told = {
                "source": crystal.source,
                "formula": crystal.formula,
                "elements_unseen": list(prediction.elements_unseen),
                "warnings": list(prediction.warnings),
                **table.to_dict(),
            }
            if as_json:
                show(to_json(told), needed=not (output or plot))
            elif output is None:
                text = f"# {crystal.formula}  {crystal.source}\n{table.to_csv().rstrip()}"
                show(text, needed=not plot)
            place.add(crystal, partial_of(_write_text, table.to_csv()), partial_of(dict, told))
            if figure:
                drawn.append((crystal.formula, table))
    if figure and drawn:
        draw_thermodynamics(drawn, figure)
    return predictions.exit_code


def alloy(
    a: Annotated[Path, typer.Argument(help="The parent at fraction 0.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="The parent at fraction 1.", show_default=False)],
    fractions: Annotated[
        str, typer.Option(help="Shares of B, as start:stop:step or with commas between.")
    ] = "0:1:0.1",
    reference: Annotated[
        Path | None, typer.Option(help="A calculated or measured spectrum to draw beside.")
    ] = None,
    reference_fraction: Annotated[
        float, typer.Option(help="The share of B that the reference belongs to.")
    ] = 0.5,
    model: ModelFile = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder of CSV files, or a .jsonl file.")
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
    device: Device = "auto",
) -> None:
    """Predict the spectra of the alloys between two parents, lattice and sites interpolated."""
    from debye.crystals.predict.records import table_header
    from debye.crystals.structure.alloy import interpolate
    from debye.crystals.structure_io.read import read_crystal

    shares = parse_range(fractions, "--fractions", least=0, most=1)
    check_range(reference_fraction, "--reference-fraction", least=0, most=1)
    place, figure = Output(output), writable(plot, *PLOT)
    beside = _reference(reference, plot)
    parents = read_crystal(a), read_crystal(b)
    predictor = load_predictor(model, device)
    shown = 0.9 if predictor.calibration else None
    header = "     x  " + table_header(300.0, "cm-1", shown).replace("\n", "\n" + " " * 8)
    printer = Printer(header, as_json=as_json, needed=not (output or plot))
    predictions = []
    with place:
        for x in shares:
            prediction = predictor.predict(interpolate(*parents, x))
            told = partial_of(_of_fraction, x, prediction)
            printer.add(partial_of(_alloy_row, x, prediction, shown), told)
            place.add(
                prediction.crystal,
                partial_of(prediction.total.write, band=prediction.band()),
                told,
            )
            predictions.append(prediction)
    for message in dict.fromkeys(m for p in predictions for m in p.warnings):
        warn(message)
    if figure:
        draw_alloy(predictions, shares, figure, beside, reference_fraction)


def _of_fraction(x: float, prediction: Prediction) -> dict[str, Any]:
    from debye.crystals.predict.records import record

    return {"fraction": x, **record(prediction)}


def _alloy_row(x: float, prediction: Prediction, level: float | None) -> str:
    from debye.crystals.predict.records import table_row

    return f"{x:>6.3f}  {table_row(prediction, 300.0, 'cm-1', level)}"


def demo(
    output: Annotated[Path, typer.Option(help="Folder for figures and files.")] = Path(
        "debye-demo"
    ),
) -> int:
    """Predict the structures that come with debye, and draw what can be had from them."""
    place, structures = folder(output), Path(__file__).parents[1] / "data" / "demo"
    show(f"$ debye dos {structures.name} --partial element --output … --plot …")
    code = dos(
        [str(structures)],
        partial=Partial.ELEMENT,
        output=place / "spectra",
        plot=place / "spectra.png",
    )
    quartz = str(structures / "quartz.cif")
    show(
        "\n$ debye dos quartz.cif --output … --plot …; debye thermo quartz.cif --output … --plot …"
    )
    dos([quartz], plot=place / "quartz.png", output=place / "quartz.json")
    thermo([quartz], plot=place / "quartz-thermo.png", output=place / "quartz-thermo.csv")
    show("\n$ debye alloy mg3sb2.cif mg3bi2.cif --output … --plot …")
    alloy(
        structures / "mg3sb2.cif",
        structures / "mg3bi2.cif",
        output=place / "alloy.jsonl",
        plot=place / "alloy.png",
    )
    tell(f"\nfigures and files are in {place}")
    return code


def model(
    file: Annotated[
        Path | None,
        typer.Argument(help="Model file, or fast; the shipped ensemble by default."),
    ] = None,
) -> None:
    """Print the card of a model: data, elements, settings, metrics, licence.

    Of the calibration of its uncertainty, only what a reader understands.
    """
    from debye.core.checkpoint import read_card
    from debye.crystals.predict.predictor import model_path

    card = read_card(model_path(file))
    if "calibration" in card:
        short = ("rows", "kinds", "coverage", "expected_error")
        card["calibration"] = {k: v for k, v in card["calibration"].items() if k in short}
    text = to_json(card, indent=2)
    # A list of plain values on one line: a grid of 51 frequencies is no page of its own.
    show(re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text))


def _write_spectrum(
    prediction: Prediction, partial: str, unit: str, level: float, path: Path
) -> Path:
    from debye.crystals.predict.records import split

    spectrum = split(prediction, partial) or prediction.total
    return spectrum.write(path, unit=unit, band=prediction.band(level))


def _reference(path: Path | None, plot: Path | None) -> Spectrum | None:
    """A spectrum to draw beside a prediction, from a file of spectra or of labelled data."""
    from debye.crystals.data.dataset import read_label
    from debye.crystals.dos.spectrum import Spectrum

    if path is None:
        return None
    if plot is None:
        raise InputError(
            "--reference would not be seen", why="it is drawn in the figure", fix="add --plot"
        )
    return read_label(path) or Spectrum.read(path)


def _thermodynamics(
    prediction: Prediction, kelvin: list[float], basis: Basis, level: float
) -> Thermodynamics:
    from debye.crystals.dos.thermo_table import thermodynamics

    sure = prediction.uncertainty
    names = ("heat_capacity", "entropy")
    return thermodynamics(
        prediction.total,
        kelvin,
        basis=basis.value,
        formula_units=prediction.crystal.n_formula_units,
        mass=prediction.crystal.mass,
        bounds={n: sure.interval(n, kelvin, level=level) for n in names} if sure else None,
    )


def _write_text(text: str, path: Path) -> None:
    atomic_write(path, text)
