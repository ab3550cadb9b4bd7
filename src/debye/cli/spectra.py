"""Verbs that predict: dos, thermo, alloy, demo, model."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import DONE, folder, parse_range, tell, verb, warn
from debye.cli.output import Output, Predictions, Table, load_predictor
from debye.files import atomic_write

if TYPE_CHECKING:
    from debye.crystals.predictor import Prediction
    from debye.crystals.spectrum import Spectrum


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
    Path | None, typer.Option("--model", help="Model file; the shipped one by default.")
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, xpu or mps.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON record per structure on stdout.")]
Plot = Annotated[
    Path | None, typer.Option(help="Figure to draw: a PNG, SVG or PDF file.", show_default=False)
]


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
    output: Annotated[
        Path | None,
        typer.Option(
            help="A folder of CSV files; or a file: .jsonl, or for one structure .csv, .json, .dat."
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
    device: Device = "auto",
) -> int:
    """Predict the phonon density of states of crystals.

    Prints a line for each structure: mean frequency, heat capacity, zero-point energy. With
    --json prints a record for each, spectrum included.
    """
    from debye.crystals.records import record, split, table_header, table_row

    place = Output(output, single=(".csv", ".json", ".dat"))
    predictions = Predictions(files, model, device)
    table = Table(table_header(temperature, unit.value), silent=as_json)
    kept: list[Prediction] = []

    def told(prediction: Prediction) -> dict[str, Any]:
        return record(prediction, unit=unit.value, partial=partial.value, temperature=temperature)

    with place:
        for prediction in predictions:
            if as_json:
                typer.echo(json.dumps(told(prediction)))
            table.row(table_row(prediction, temperature, unit.value))
            spectrum = split(prediction, partial.value) or prediction.total
            place.add(
                prediction.crystal,
                lambda path, s=spectrum: s.write(path, unit=unit.value),
                lambda p=prediction: told(p),
            )
            if plot:
                kept.append(prediction)
    if plot and kept:
        _draw_spectra(kept, plot, unit.value)
    return predictions.exit_code


def thermo(
    files: Files,
    temperatures: Annotated[
        str, typer.Option(help="K, as start:stop:step or with commas between.")
    ] = "0:1000:10",
    basis: Annotated[Basis, typer.Option(help="What the amounts are per.")] = Basis.ATOM,
    model: ModelFile = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A folder of CSV files; or a file: .jsonl, or for one structure .csv."),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
    device: Device = "auto",
) -> int:
    """Predict heat capacity, entropy and energies over a range of temperatures."""
    from debye.crystals.thermo_table import thermodynamics

    kelvin = parse_range(temperatures, "--temperatures")
    place = Output(output, single=(".csv",))
    predictions = Predictions(files, model, device)
    kept: list[Prediction] = []
    with place:
        for prediction in predictions:
            crystal = prediction.crystal
            functions = thermodynamics(
                prediction.total,
                kelvin,
                basis=basis.value,
                formula_units=crystal.n_formula_units,
                mass=crystal.mass,
            )
            told = {"source": crystal.source, "formula": crystal.formula, **functions.to_dict()}
            told["warnings"] = list(prediction.warnings)
            text = functions.to_csv()
            if as_json:
                typer.echo(json.dumps(told))
            elif output is None:
                typer.echo(f"# {crystal.formula} {crystal.source}\n{text.rstrip()}")
            place.add(
                crystal, lambda path, t=text: atomic_write(path, t), lambda record=told: record
            )
            if plot:
                kept.append(prediction)
    if plot and kept:
        _draw_heat_capacities(kept, kelvin, plot)
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
) -> int:
    """Predict the spectra of the alloys between two parents, lattice and sites interpolated."""
    from debye.crystals.alloy import interpolate
    from debye.crystals.crystal import Crystal
    from debye.crystals.records import record, table_header, table_row
    from debye.crystals.spectrum import Spectrum

    shares = parse_range(fractions, "--fractions")
    parents = Crystal.read(a), Crystal.read(b)
    beside = Spectrum.read(reference, n_atoms=1.0) if reference else None
    place = Output(output)
    predictor = load_predictor(model, device)
    table = Table(f"{'x':>6}  {table_header(300.0, 'cm-1')}", silent=as_json)
    predictions = []
    with place:
        for x in shares:
            prediction = predictor.predict(interpolate(*parents, x))
            predictions.append(prediction)
            told = {"fraction": x, **record(prediction)}
            if as_json:
                typer.echo(json.dumps(told))
            table.row(f"{x:>6.3f}  {table_row(prediction, 300.0, 'cm-1')}")
            place.add(prediction.crystal, prediction.total.write, lambda record=told: record)
    for message in dict.fromkeys(m for p in predictions for m in p.warnings):
        warn(message)
    if plot:
        _draw_alloy(predictions, shares, plot, beside, reference_fraction)
    return DONE


def demo(
    output: Annotated[Path, typer.Option(help="Folder for figures and files.")] = Path(
        "debye-demo"
    ),
) -> int:
    """Predict the structures that come with debye and draw what can be had from them."""
    from debye.demo import FOLDER

    files = [str(FOLDER)]
    place = folder(output)
    typer.echo(f"$ debye dos {FOLDER.name} --output {place} --plot {place / 'spectra.png'}")
    code = dos(files, partial=Partial.ELEMENT, output=place / "spectra", plot=place / "spectra.png")
    return code


def model(
    file: Annotated[
        Path | None, typer.Argument(help="Model file; the shipped one by default.")
    ] = None,
) -> None:
    """Print the card of a model: data, elements, settings, metrics, licence."""
    from debye.checkpoint import read_card
    from debye.crystals.predictor import SHIPPED

    typer.echo(json.dumps(read_card(file or SHIPPED), indent=2, ensure_ascii=False))


def _draw_spectra(predictions: list[Prediction], path: Path, unit: str) -> None:
    """A page for one structure, small multiples for several."""
    from debye.plot import save
    from debye.plot.crystals import overview_figure, prediction_figure

    if len(predictions) == 1:
        save(prediction_figure(predictions[0], unit=unit), path)
    else:
        save(overview_figure(predictions, unit=unit), path)
    tell(f"drew {path}")
