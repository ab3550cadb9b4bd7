"""The figures that the verbs write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli.common import tell, warn

if TYPE_CHECKING:
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.dos.thermo_table import Thermodynamics
    from debye.crystals.predict.prediction import Prediction
    from debye.crystals.screening.rank import Query


def draw_spectra(
    predictions: list[Prediction],
    path: Path,
    unit: str,
    reference: Spectrum | None,
    *,
    sideways: bool,
    level: float,
) -> None:
    """A page for one structure, small multiples for several."""
    from debye.plot import save
    from debye.plot.crystals import dos_figure, overview_figure, prediction_figure

    if len(predictions) == 1 and sideways:
        only = predictions[0]
        figure = dos_figure(
            only.total,
            only.elements,
            title=only.crystal.formula,
            unit=unit,
            sideways=True,
            reference=reference,
            band=only.band(level),
        )
    elif len(predictions) == 1:
        figure = prediction_figure(predictions[0], unit=unit, reference=reference, level=level)
    else:
        if reference or sideways:
            warn("--reference and --sideways are for a single structure only; there are several")
        figure = overview_figure(predictions, unit=unit, level=level)
    save(figure, path)
    tell(f"drew {path}")


def draw_thermodynamics(tables: list[tuple[str, Thermodynamics]], path: Path) -> None:
    """A page for each structure."""
    from debye.plot import save
    from debye.plot.crystals import thermodynamics_figure

    for n, (formula, table) in enumerate(tables):
        target = path if len(tables) == 1 else path.with_stem(f"{path.stem}-{n + 1}")
        save(thermodynamics_figure(table, formula), target)
        tell(f"drew {target}")


def draw_alloy(
    predictions: list[Prediction],
    shares: list[float],
    path: Path,
    reference: Spectrum | None,
    reference_fraction: float,
) -> None:
    """A waterfall of the spectra of an alloy."""
    import torch

    from debye.crystals.dos.spectrum import Spectrum
    from debye.plot import save
    from debye.plot.crystals import waterfall_figure

    spectra = Spectrum(
        predictions[0].total.frequency,
        torch.stack([p.total.density for p in predictions]),
        torch.stack([p.total.n_atoms for p in predictions]),
    )
    ends = predictions[0].crystal.formula, predictions[-1].crystal.formula
    figure = waterfall_figure(
        spectra,
        shares,
        "Fraction x",
        title=f"{ends[0]} to {ends[1]}",
        reference=reference,
        reference_at=reference_fraction if reference else None,
    )
    save(figure, path)
    tell(f"drew {path}")


def draw_screening(query: Query, best: list[dict[str, Any]], path: Path) -> None:
    """What was screened, and the best of it."""
    from debye.crystals.predict.rows import QUANTITIES
    from debye.crystals.screening.rank import values
    from debye.plot import save
    from debye.plot.screening import screening_figure

    quantity = QUANTITIES[query.target]
    at = f" at {query.temperature:g} K" if quantity.thermal else ""
    figure = screening_figure(
        *values(query),
        label=f"{quantity.symbol}{at} ({quantity.unit})",
        best=[(row["formula"], row["mass_per_atom_u"], row[query.column]) for row in best],
        classical=query.target == "heat-capacity-per-mass",
        lowest=query.lowest,
    )
    save(figure, path)
    tell(f"drew {path}")
