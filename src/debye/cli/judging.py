"""The verb that judges: evaluate."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    writable,
)
from debye.cli.labelled import Data, SplitFile, read_labelled
from debye.cli.output import Device, load_predictor
from debye.errors import Refusal
from debye.files import atomic_write

if TYPE_CHECKING:
    from debye.crystals.learning.collection import Collection
    from debye.crystals.model.predictor import Predictor
    from debye.crystals.spectra.spectrum import Spectrum


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command."""
    app.command()(verb(evaluate))


def evaluate(
    data: Data,
    split: SplitFile = None,
    subset: Annotated[
        str | None,
        typer.Option(help="Which part of the split to judge on.", show_default="valid"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file; the shipped one by default.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="CSV of the predicted spectra, max-1 view.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Quartile gallery: a PNG, SVG or PDF file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers as JSON.")] = False,
    device: Device = "auto",
) -> int:
    """Compare predicted with labelled spectra, beside two baselines.

    The baselines are the mean training spectrum, and the spectrum of the
    training crystal nearest in composition. Without --split every row is
    judged, and there are none for want of training rows.
    """
    from debye.crystals.learning import metrics
    from debye.crystals.learning.split import subset as rows_of

    if subset and not split:
        raise Refusal(
            f"there is no subset {subset!r}", why="no split was given", fix="add --split, a CSV"
        )
    part = subset or "valid"
    table, figure = writable(predictions, "--predictions"), writable(plot, "--plot", FIGURES)
    predictor = load_predictor(model, device)
    collection, rejected, parts = read_labelled(data, split)
    rows = rows_of(collection, parts, part) if split else collection
    predicted, rows, failed = _predict(predictor, rows)
    if table:
        atomic_write(table, _predictions_csv(rows, predicted))
        tell(f"wrote {len(rows)} rows to {table}")
    columns = {"model": metrics.summary(predicted, rows.spectra)}
    if parts.get("train") and part != "train":
        train_rows = rows_of(collection, parts, "train")
        for name, baseline in metrics.BASELINES.items():
            columns[name] = metrics.summary(baseline(train_rows, rows.crystals), rows.spectra)
    show(
        to_json({"rows": len(rows), **columns}, indent=2)
        if as_json
        else _table(columns, len(rows)),
        needed=not figure,
    )
    if figure:
        _draw_gallery(rows, predicted, figure)
    return SOME_FAILED if rejected or failed else DONE


def _predict(predictor: Predictor, rows: Collection) -> tuple[Spectrum, Collection, int]:
    """Predicted spectra of the rows, and the rows without those that cannot be predicted."""
    import torch

    from debye.crystals.model.predictor import Prediction
    from debye.crystals.spectra.spectrum import Spectrum

    kept, densities, atoms, failed = [], [], [], 0
    for name, item in zip(rows.names, predictor(rows.crystals), strict=True):
        if isinstance(item, Prediction):
            kept.append(name)
            densities.append(item.total.density)
            atoms.append(item.total.n_atoms)
        else:
            failed += 1
            complain(item.refusal)
    if not kept:
        raise Refusal(
            "nothing to judge", why="no row could be predicted", fix="see the errors above"
        )
    spectra = Spectrum(rows.spectra.frequency, torch.stack(densities), torch.stack(atoms))
    return spectra, rows.take(kept), failed


def _predictions_csv(rows: Collection, predicted: Spectrum) -> str:
    """One row a crystal: its name and the spectrum in the max-1 view."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["mp_id", *(f"{x:g}" for x in predicted.frequency.tolist())])
    for name, density in zip(rows.names, predicted.to("max").density.tolist(), strict=True):
        writer.writerow([name, *(f"{x:.6g}" for x in density)])
    return text.getvalue()


def _table(columns: dict[str, dict[str, float]], rows: int) -> str:
    names = list(next(iter(columns.values())))
    lines = [f"{f'{rows} rows':<42}" + "".join(f"{title:>22}" for title in columns)]
    for name in names:
        values = "".join(f"{column[name]:>22.5g}" for column in columns.values())
        lines.append(f"{name:<42}{values}")
    return "\n".join(lines)


def _draw_gallery(rows: Collection, predicted: Spectrum, path: Path) -> None:
    from debye.crystals.learning.metrics import spectrum_errors
    from debye.plot import save
    from debye.plot.crystals import quartile_gallery

    errors = spectrum_errors(predicted, rows.spectra).mse
    labels = [crystal.formula for crystal in rows.crystals]
    save(quartile_gallery(rows.spectra, predicted, errors, labels), path)
    tell(f"drew {path}")
