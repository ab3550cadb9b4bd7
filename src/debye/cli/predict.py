"""Verbs that predict: dos, thermo, alloy, demo, model."""

from __future__ import annotations

import re
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli import lattice_options as ol
from debye.cli import options as opt
from debye.cli.console import show, tell, to_json, warn, warnings_once
from debye.cli.inputs import (
    FIGURES,
    check_range,
    load_predictor,
    parse_range,
    read_one,
    read_reference,
    writable,
)
from debye.cli.output import Output, Predictions, Printer, draw
from debye.core.files import atomic_write, folder

if TYPE_CHECKING:
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.dos.thermo_table import Thermodynamics
    from debye.crystals.predict.prediction import Prediction

PLOT = ("--plot", FIGURES)


def dos(
    files: opt.Files,
    born: ol.Born = None,
    smooth: ol.Smooth = False,
    grid: ol.Grid = None,
    end: ol.Max = None,
    lattice: ol.LatticeName = ol.Lattice.GIVEN,
    model: opt.ModelFile = None,
    unit: opt.UnitName = opt.Unit.WAVENUMBER,
    partial: opt.PartialName = opt.Partial.NONE,
    temperature: opt.Temperature = 300.0,
    level: opt.Level = 0.9,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    reference: opt.Reference = None,
    sideways: opt.Sideways = False,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> int:
    """Predict the phonon density of states of crystals.

    Prints a line for each structure: mean frequency, heat capacity,
    zero-point energy, and, if the model is calibrated, the half-widths of
    their intervals and the error of the spectrum to expect.
    With --json prints a record for each, with its spectrum. Where there is a
    warning the line ends in an exclamation mark.

    OUTPUT is a folder of CSV files; or a file: .jsonl, or for one structure
    .csv, .json, .dat.
    """
    from debye.crystals.predict.record import record, table_header, table_row

    check_range(temperature, "--temperature", least=0)
    for value, name in ((grid, "--grid"), (end, "--max")):
        check_range(1.0 if value is None else value, name, least=0.1, most=1e5)
    check_range(level, "--level", least=0.5, most=0.99)
    files_out, figure = Output(output, single=(".csv", ".json", ".dat")), writable(plot, *PLOT)
    beside = read_reference(reference, plot)
    axis = (grid, end)
    if axis == ol.PUBLISHED:
        smooth, axis = True, (None, None)
    predictions = Predictions(files, model, device, born, smooth=smooth, lattice=lattice.value)
    shown = level if predictions.calibrated else None
    header = table_header(temperature, unit.value, shown)
    printer = Printer(header, as_json=as_json, needed=not (output or plot))
    kept: list[Prediction] = []
    with files_out:
        for prediction in predictions:
            drawn = prediction if axis == (None, None) else prediction.on_axis(*axis)
            made = partial_of(
                record,
                prediction,
                unit=unit.value,
                partial=partial.value,
                temperature=temperature,
                level=level,
                shown=drawn,
            )
            printer.add(partial_of(table_row, prediction, temperature, unit.value, shown), made)
            files_out.add(
                drawn.crystal,
                partial_of(_write_spectrum, drawn, partial.value, unit.value, level),
                made,
            )
            if figure:
                kept.append(drawn)
    if figure and kept:
        _draw_spectra(kept, figure, unit.value, beside, sideways=sideways, level=level)
    return predictions.exit_code


def thermo(
    files: opt.Files,
    temperatures: opt.Temperatures = "0:1000:10",
    basis: opt.BasisName = opt.Basis.ATOM,
    level: opt.Level = 0.9,
    born: ol.Born = None,
    smooth: ol.Smooth = False,
    lattice: ol.LatticeName = ol.Lattice.GIVEN,
    model: opt.ModelFile = None,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> int:
    """Predict heat capacity, entropy and energies over a range of temperatures.

    If the model is calibrated, the heat capacity and the entropy have columns
    for the lower and upper ends of their intervals.

    OUTPUT is a folder of CSV files; or a file: .jsonl, or for one structure
    .csv.
    """
    from debye.crystals.predict.record import thermo_record

    kelvin = parse_range(temperatures, "--temperatures", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    files_out, figure = Output(output, single=(".csv",)), writable(plot, *PLOT)
    predictions = Predictions(files, model, device, born, smooth=smooth, lattice=lattice.value)
    drawn: list[tuple[str, Thermodynamics]] = []
    with files_out:
        for prediction in predictions:
            crystal = prediction.crystal
            table = prediction.thermo(kelvin, basis=basis.value, level=level)
            record = thermo_record(prediction, table, level)
            if as_json:
                show(to_json(record), needed=not (output or plot))
            elif output is None:
                text = f"# {crystal.formula}  {crystal.source}\n{table.to_csv().rstrip()}"
                show(text, needed=not plot)
            write = partial_of(_write_text, table.to_csv())
            files_out.add(crystal, write, partial_of(dict, record))
            if figure:
                drawn.append((crystal.formula, table))
    if figure and drawn:
        _draw_thermodynamics(drawn, figure, level)
    return predictions.exit_code


def alloy(
    a: opt.Structure,
    b: opt.SecondStructure,
    fractions: opt.Fractions = "0:1:0.1",
    reference: opt.Reference = None,
    reference_fraction: opt.ReferenceFraction = 0.5,
    level: opt.Level = 0.9,
    model: opt.ModelFile = None,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> None:
    """Predict the spectra of the alloys between two parents, lattice and sites interpolated.

    OUTPUT is a folder of CSV files, or a .jsonl file.
    """
    from debye.crystals.predict.record import table_header
    from debye.crystals.structure.alloy import interpolate

    steps = parse_range(fractions, "--fractions", least=0, most=1)
    check_range(reference_fraction, "--reference-fraction", least=0, most=1)
    check_range(level, "--level", least=0.5, most=0.99)
    files_out, figure = Output(output), writable(plot, *PLOT)
    beside = read_reference(reference, plot)
    parents = read_one(a), read_one(b)
    predictor = load_predictor(model, device)
    shown = level if predictor.calibration else None
    header = "     x  " + table_header(300.0, "cm-1", shown).replace("\n", "\n" + " " * 8)
    printer = Printer(header, as_json=as_json, needed=not (output or plot))
    predictions = []
    with files_out:
        for x in steps:
            prediction = predictor.predict(interpolate(*parents, x))
            made = partial_of(_of_fraction, x, prediction, level)
            printer.add(partial_of(_alloy_row, x, prediction, shown), made)
            write = partial_of(prediction.total.write, band=prediction.band(level))
            files_out.add(prediction.crystal, write, made)
            predictions.append(prediction)
    for message in dict.fromkeys(m for p in predictions for m in p.warnings):
        warn(message)
    if figure:
        _draw_alloy(predictions, steps, figure, beside, reference_fraction)


def _of_fraction(x: float, prediction: Prediction, level: float) -> dict[str, Any]:
    from debye.crystals.predict.record import record

    found = record(prediction, level=level)
    return {"schema": found.pop("schema"), "fraction": x, **found}


def _alloy_row(x: float, prediction: Prediction, level: float | None) -> str:
    from debye.crystals.predict.record import table_row

    return f"{x:>6.3f}  {table_row(prediction, 300.0, 'cm-1', level)}"


def demo(output: opt.Output = Path("debye-demo")) -> int:
    """Predict the structures that come with debye, and draw what can be had from them.

    OUTPUT is the folder for figures and files.
    """
    made, structures = folder(output), Path(__file__).parents[1] / "data" / "demo"
    with warnings_once():
        show(f"$ debye dos {structures.name} --partial element --output … --plot …")
        code = dos(
            [str(structures)],
            partial=opt.Partial.ELEMENT,
            output=made / "spectra",
            plot=made / "spectra.png",
        )
        rutile = str(structures / "rutile.cif")
        verbs = (
            "debye dos rutile.cif --output … --plot …; debye thermo rutile.cif --output … --plot …"
        )
        show(f"\n$ {verbs}")
        dos([rutile], plot=made / "rutile.png", output=made / "rutile.json")
        thermo([rutile], plot=made / "rutile-thermo.png", output=made / "rutile-thermo.csv")
        show("\n$ debye alloy mg3sb2.cif mg3bi2.cif --output … --plot …")
        alloy(
            str(structures / "mg3sb2.cif"),
            str(structures / "mg3bi2.cif"),
            output=made / "alloy.jsonl",
            plot=made / "alloy.png",
        )
    tell(f"\nfigures and files are in {made}")
    return code


def model(file: opt.ModelArgument = None) -> None:
    """Print the card of a model: data, elements, settings, metrics, licence.

    Of the calibration of its uncertainty, only what a reader understands.
    """
    from debye.core.checkpoint import read_card
    from debye.crystals.predict.model_files import model_path

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
    from debye.crystals.predict.record import split

    spectrum = split(prediction, partial) or prediction.total
    return spectrum.write(path, unit=unit, band=prediction.band(level))


def _write_text(text: str, path: Path) -> None:
    atomic_write(path, text)


def _draw_spectra(
    predictions: list[Prediction],
    path: Path,
    unit: str,
    reference: Spectrum | None,
    *,
    sideways: bool,
    level: float,
) -> None:
    """A page for one structure, small multiples for several."""
    from debye.plot.crystals import overview_figure, prediction_figure, sideways_figure

    if len(predictions) == 1:
        alone = sideways_figure if sideways else prediction_figure
        figure = alone(predictions[0], unit=unit, reference=reference, level=level)
    else:
        if reference or sideways:
            warn("--reference and --sideways are for a single structure only; there are several")
        figure = overview_figure(predictions, unit=unit, level=level)
    draw(figure, path)


def _draw_thermodynamics(
    tables: list[tuple[str, Thermodynamics]], path: Path, level: float
) -> None:
    """A page for each structure."""
    from debye.plot.crystals import thermodynamics_figure

    for n, (formula, table) in enumerate(tables):
        target = path if len(tables) == 1 else path.with_stem(f"{path.stem}-{n + 1}")
        name = f"{100 * level:g} % interval"
        draw(thermodynamics_figure(table, formula, band_name=name), target)


def _draw_alloy(
    predictions: list[Prediction],
    fractions: list[float],
    path: Path,
    reference: Spectrum | None,
    reference_fraction: float,
) -> None:
    """A waterfall of the spectra of an alloy."""
    import torch

    from debye.crystals.dos.spectrum import Spectrum
    from debye.plot.crystals import waterfall_figure

    axis = torch.cat([p.total.frequency for p in predictions]).unique()
    totals = [p.total.resample(axis) for p in predictions]
    spectra = Spectrum(
        axis,
        torch.stack([total.density for total in totals]),
        torch.stack([total.n_atoms for total in totals]),
    )
    ends = predictions[0].crystal.formula, predictions[-1].crystal.formula
    figure = waterfall_figure(
        spectra,
        fractions,
        "Fraction x",
        title=f"{ends[0]} to {ends[1]}",
        reference=reference,
        reference_at=reference_fraction if reference else None,
    )
    draw(figure, path)
