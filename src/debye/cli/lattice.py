"""The verb of lattice dynamics: bands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import (
    FIGURES,
    check_range,
    folder,
    progress_bar,
    show,
    tell,
    to_json,
    verb,
    warn,
    writable,
)
from debye.cli.output import Device, load_predictor
from debye.cli.spectra import Json, ModelFile, Plot, Unit
from debye.core.files import atomic_write
from debye.errors import DebyeError, InputError

if TYPE_CHECKING:
    from debye.crystals.lattice.bands import Bands
    from debye.crystals.structure.crystal import Crystal


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    app.command()(verb(bands))


def bands(
    file: Annotated[
        str, typer.Argument(help="A structure, in any format of `debye dos`.", show_default=False)
    ],
    path: Annotated[
        str,
        typer.Option(help="auto for the standard path; or labels, | for a jump: 'G X W | L G'."),
    ] = "auto",
    points: Annotated[int, typer.Option(help="Points along the path, about.")] = 300,
    velocities: Annotated[
        bool, typer.Option("--velocities", help="Group velocities, sound, elastic constants.")
    ] = False,
    model: ModelFile = None,
    unit: Annotated[Unit, typer.Option(help="Unit of frequency.")] = Unit.WAVENUMBER,
    output: Annotated[
        Path | None,
        typer.Option(
            help="A folder: bands.csv, bands.json, dos.csv, band.yaml and phonopy_params.yaml."
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
    device: Device = "auto",
) -> None:
    """Predict the phonon bands of a crystal along a path through its Brillouin zone.

    The bands are those of the primitive cell. Prints the frequencies at
    the path's labelled points; with --json prints a record of all.
    """
    check_range(points, "--points", least=2, most=1_000_000)
    output, figure = folder(output) if output else None, writable(plot, "--plot", FIGURES)
    found = _found(file, path, points, model, device, velocities=velocities)
    for note in found.notes:
        warn(note)
    record = _record(found, unit.value)
    if as_json:
        show(to_json(record), needed=not (output or figure))
    else:
        show(_table(found, unit.value), needed=not (output or figure))
    if output:
        _write(output, found, record, unit.value)
    if figure:
        _draw(figure, found, unit.value)


def _found(
    file: str, path: str, points: int, model: Path | None, device: str, *, velocities: bool
) -> Bands:
    """Read, predict, solve."""
    from debye.crystals.lattice.bands import predicted_bands

    crystal = _single(file)
    predictor = load_predictor(model, device)
    warnings = predictor.predict(crystal).warnings
    with progress_bar() as bar:
        task = bar.add_task("wave vectors", total=None)

        def show_progress(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        return predicted_bands(
            crystal,
            predictor.force_constants,
            path,
            points,
            velocities=velocities,
            warnings=warnings,
            progress=show_progress,
        )


def _single(file: str) -> Crystal:
    """The one structure of a file."""
    from debye.crystals.structure_io.read import FailedInput, read_structures

    first, *more = islice(read_structures([file]), 2)
    if isinstance(first, FailedInput):
        raise first.error
    if more:
        why = "it holds several structures, and a band structure is of one"
        raise InputError(
            f"cannot draw the bands of {file}", why=why, fix="give a file that holds one"
        )
    return first


def _record(bands: Bands, unit: str) -> dict[str, Any]:
    from debye.crystals.lattice.bands import bands_record

    record = bands_record(bands, unit)
    if bands.velocity is not None:
        record.update(_elastic(bands))
    return record


def _elastic(bands: Bands) -> dict[str, Any]:
    """Elastic hints, and how far they can be trusted."""
    import torch

    from debye.crystals.lattice.elastic import debye_temperature, elastic_constants, rotational_cost

    crystal, force_constants = bands.crystal, bands.force_constants
    cost = rotational_cost(force_constants, torch.tensor(crystal.cell))
    return {
        "elastic_constants_GPa": elastic_constants(crystal, force_constants).tolist(),
        "debye_temperature_of_sound_K": debye_temperature(crystal, force_constants),
        "rotational_cost_forces": cost.forces,
        "rotational_cost_stress": cost.stress,
    }


def _table(bands: Bands, unit: str) -> str:
    """Frequencies at each labelled point, once."""
    from debye.units import frequency_factor

    factor = frequency_factor("cm-1", unit)
    labels = dict.fromkeys(label for label in bands.path.labels if label)
    lines = [f"# {bands.crystal.formula}  {bands.crystal.source}", f"point  frequencies in {unit}"]
    for label in labels:
        numbers = "".join(f"{x:9.2f}" for x in _rounded(bands.at(label) * factor, 2))
        lines.append(f"{label:<5}{numbers}")
    if bands.velocity is not None:
        lines += _elastic_lines(_elastic(bands))
    return "\n".join(lines)


def _elastic_lines(elastic: dict[str, Any]) -> list[str]:
    rows = [
        "".join(f"{x:8.1f}" for x in _rounded(row, 1)) for row in elastic["elastic_constants_GPa"]
    ]
    return [
        "elastic constants in GPa, order xx yy zz yz xz xy",
        *rows,
        f"Debye temperature of sound: {elastic['debye_temperature_of_sound_K']:.0f} K",
        "a rotation of the whole costs (0 is right): "
        f"{elastic['rotational_cost_forces']:.2g} of the forces, "
        f"{elastic['rotational_cost_stress']:.2g} of the stress",
    ]


def _rounded(numbers: Iterable[float], digits: int) -> Iterator[float]:
    """Numbers to be shown, without a minus before zero."""
    return (round(float(x), digits) + 0.0 for x in numbers)


def _write(output: Path, bands: Bands, record: dict[str, Any], unit: str) -> None:
    from debye.crystals.lattice.bands import band_yaml, bands_csv
    from debye.crystals.lattice.phonopy import write_phonopy

    atomic_write(output / "bands.csv", bands_csv(bands, unit))
    atomic_write(output / "bands.json", to_json(record) + "\n")
    atomic_write(output / "band.yaml", band_yaml(bands))
    bands.sites.sum().write(output / "dos.csv", unit=unit)
    try:
        write_phonopy(output / "phonopy_params.yaml", bands.crystal, bands.force_constants)
    except DebyeError as error:  # the rest stands: phonopy is optional, and knows no mixed sites
        warn(f"phonopy_params.yaml is not written: {error.what}; {error.why}; {error.fix}")
    tell(f"wrote the bands to {output}")


def _draw(figure: Path, bands: Bands, unit: str) -> None:
    from debye.crystals.lattice.dos import by_element
    from debye.plot import save
    from debye.plot.bands import bands_figure

    crystal, sites = bands.crystal, bands.sites
    parts = by_element(crystal, sites) if len(crystal.elements) > 1 else None
    save(bands_figure(bands, sites.sum(), parts, unit=unit, notes=bands.notes), figure)
    tell(f"drew {figure}")
