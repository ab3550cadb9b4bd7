"""The verb of lattice dynamics: bands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from debye.cli import lattice_options as ol
from debye.cli import options as opt
from debye.cli.console import progress_bar, show, tell, to_json, warn
from debye.cli.inputs import FIGURES, check_range, load_predictor, read_one_or_harmonic, writable
from debye.cli.output import draw
from debye.core.files import atomic_write, folder
from debye.errors import DebyeError

if TYPE_CHECKING:
    from debye.crystals.lattice.bands import Bands
    from debye.crystals.lattice.elastic import Elasticity

WITH_EIGENVECTORS = 12
"""Sites up to which band.yaml holds eigenvectors: with 300 points, 20 MB."""
LONG = 60.0
"""Seconds from which on a time to wait is told."""


def bands(
    file: opt.Structure,
    path: ol.BandPath = "auto",
    points: ol.Points = 300,
    velocities: ol.Velocities = False,
    born: ol.Born = None,
    lattice: ol.LatticeName = ol.Lattice.GIVEN,
    model: opt.ModelFile = None,
    unit: opt.UnitName = opt.Unit.WAVENUMBER,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> None:
    """Predict the phonon bands of a crystal along a path through its Brillouin zone.

    The bands are those of the primitive cell. Prints the frequencies at
    the path's labelled points; with --json prints a record of all.

    OUTPUT is a folder: bands.csv, bands.json, dos.csv, band.yaml and
    phonopy_params.yaml are written into it.
    """
    from debye.crystals.lattice.bands import bands_record

    check_range(points, "--points", least=2, most=1_000_000)
    target, figure = folder(output) if output else None, writable(plot, "--plot", FIGURES)
    found = _found(
        file, path, points, model, device, lattice.value, velocities=velocities, born=born
    )
    for note in found.notes:
        warn(note)
    record = bands_record(found, unit.value)
    text = to_json(record) if as_json else _table(found, unit.value)
    show(text, needed=not (target or figure))
    if target:
        _write(target, found, record, unit.value)
    if figure:
        _draw(figure, found, unit.value)


def _found(
    file: str,
    path: str,
    points: int,
    model: Path | None,
    device: str,
    lattice: str,
    *,
    velocities: bool,
    born: Path | None,
) -> Bands:
    """Read, predict, solve."""
    crystal = read_one_or_harmonic(file)
    predictor = load_predictor(model, device).on(lattice)
    with progress_bar() as bar:
        task, began, first = bar.add_task("wave vectors", total=None), monotonic(), True

        def show_progress(done: int, of: int) -> None:
            nonlocal first
            bar.update(task, completed=done, total=of)
            left = (monotonic() - began) * (of - done) / max(done, 1)
            if first and left > LONG:
                tell(f"about {left / 60:.0f} min to go, for {of} wave vectors")
            first = False

        return predictor.bands(
            crystal, path, points, velocities=velocities, born=born, progress=show_progress
        )


def _table(bands: Bands, unit: str) -> str:
    """Frequencies at each labelled point, once."""
    from debye.crystals.dos.quantities import UNIT_TEXT
    from debye.units import frequency_factor

    factor = frequency_factor("cm-1", unit)
    labels = dict.fromkeys(label for label in bands.path.labels if label)
    lines = [
        f"# {bands.crystal.formula}  {bands.crystal.source}",
        f"point  frequencies in {UNIT_TEXT.get(unit, unit)}",
    ]
    for label in labels:
        numbers = "".join(f"{x:9.2f}" for x in _rounded(bands.at(label) * factor, 2))
        lines.append(f"{label:<5}{numbers}")
    if bands.velocity is not None:
        lines += _elastic_lines(bands.elasticity)
    return "\n".join(lines)


def _elastic_lines(elasticity: Elasticity) -> list[str]:
    """Elastic constants, and what they are worth."""
    cost, turning = elasticity.cost, elasticity.turning.tolist()
    couplings = (turning[0][1], turning[0][2], turning[1][2])
    below = " ".join(f"{x:.1f}" for x in _rounded(couplings, 1))
    return [
        "elastic constants in GPa, order xx yy zz yz xz xy; – is not known",
        *map(_elastic_row, elasticity.constants.tolist(), elasticity.known.tolist()),
        *_apart(elasticity),
        f"Debye temperature of sound: {elasticity.debye_temperature:.0f} K",
        f"a turn of the whole costs (0 is right): {cost.forces:.1g} of the forces, "
        f"{cost.stress:.1g} of the stress, {cost.energy:.1g} of the energy",
        f"for the turn's energy, C12 C13 C23 lie {below} GPa below those of central forces",
    ]


def _elastic_row(row: list[float], known: list[bool]) -> str:
    numbers = zip(_rounded(row, 1), known, strict=True)
    return "".join(f"{x:8.1f}" if k else f"{'–':>8}" for x, k in numbers)


def _apart(elasticity: Elasticity) -> Iterator[str]:
    """How far the members of an ensemble lie apart."""
    if elasticity.range is not None:
        low, high = elasticity.range
        yield f"members lie up to {(high - low).max():.1f} GPa apart in one constant"


def _rounded(numbers: Iterable[float], digits: int) -> Iterator[float]:
    """Numbers to be shown, without a minus before zero."""
    return (round(float(x), digits) + 0.0 for x in numbers)


def _write(target: Path, bands: Bands, record: dict[str, Any], unit: str) -> None:
    from debye.crystals.lattice.bands import band_yaml, bands_csv
    from debye.crystals.lattice.phonopy import write_phonopy

    atomic_write(target / "bands.csv", bands_csv(bands, unit))
    atomic_write(target / "bands.json", to_json(record) + "\n")
    small = bands.crystal.n_sites <= WITH_EIGENVECTORS
    atomic_write(target / "band.yaml", band_yaml(bands, eigenvectors=small))
    bands.sites.sum().write(target / "dos.csv", unit=unit)
    try:
        write_phonopy(target / "phonopy_params.yaml", bands.crystal, bands.force_constants)
    except DebyeError as error:  # the rest stands: phonopy is optional, and knows no mixed sites
        warn(f"phonopy_params.yaml is not written: {error.what}; {error.why}; {error.fix}")
    tell(f"wrote the bands to {target}")


def _draw(figure: Path, bands: Bands, unit: str) -> None:
    from debye.crystals.lattice.dos import by_element
    from debye.plot.bands import bands_figure

    crystal, sites = bands.crystal, bands.sites
    parts = by_element(crystal, sites) if len(crystal.elements) > 1 else None
    draw(bands_figure(bands, sites.sum(), parts, unit=unit, notes=bands.notes), figure)
