"""Verbs that judge a model: evaluate, calibrate."""

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
from debye.core.files import atomic_write
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.data.labels import Collection
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.predict.predictor import Prediction, Predictor


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command."""
    app.command()(verb(evaluate))
    app.command()(verb(calibrate))


def evaluate(
    data: Data,
    split: SplitFile = None,
    subset: Annotated[
        str | None,
        typer.Option(help="Which part of the split to judge on.", show_default="valid"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file, or fast; the shipped ensemble by default.")
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

    If the model is calibrated, it is also told how often its intervals hold.
    The baselines are the mean training spectrum, and the spectrum of the
    training crystal nearest in composition. Without --split every row is
    judged, and there are none for want of training rows.
    """
    from debye.crystals.data.split import subset as rows_of
    from debye.crystals.training import metrics

    if subset and not split:
        raise InputError(
            f"there is no subset {subset!r}", why="no split was given", fix="add --split, a CSV"
        )
    part = subset or "valid"
    table, figure = writable(predictions, "--predictions"), writable(plot, "--plot", FIGURES)
    predictor = load_predictor(model, device)
    if predictor.card.get("data", {}).get("valid_rows") == 0:
        tell(
            "note: every row this model was made from has trained some of its members; on those "
            "rows its errors come out too small; the cross-validation that made it has true ones"
        )
    collection, left_out, parts = read_labelled(data, split)
    rows = rows_of(collection, parts, part) if split else collection
    found, rows, failed = _predict(predictor, rows)
    predicted = _spectra(found)
    if table:
        atomic_write(table, _predictions_csv(rows, predicted))
        tell(f"wrote {len(rows)} rows to {table}")
    columns = {"model": metrics.summary(predicted, rows.spectra)}
    if parts.get("train") and part != "train":
        train_rows = rows_of(collection, parts, "train")
        for name, baseline in metrics.BASELINES.items():
            columns[name] = metrics.summary(baseline(train_rows, rows.crystals), rows.spectra)
    coverage = _coverage(found, rows) if predictor.calibration else {}
    if as_json:
        held = {"coverage": coverage} if coverage else {}
        text = to_json({"rows": len(rows), **columns, **held}, indent=2)
    else:
        text = _table(columns, len(rows)) + _coverage_text(coverage)
    show(text, needed=not figure)
    if figure:
        _draw_gallery(rows, predicted, figure)
    return SOME_FAILED if left_out or failed else DONE


def calibrate(
    data: Data,
    split: SplitFile = None,
    output: Annotated[
        Path | None, typer.Option(help="Model file to write; the model's own by default.")
    ] = None,
    subset: Annotated[
        str, typer.Option(help="Rows of the split that the model was not trained on.")
    ] = "valid",
    model: Annotated[Path, typer.Option(help="Model file.", show_default=False)] = Path(),
    device: Device = "auto",
) -> int:
    """Give a model an uncertainty, from its errors on rows that it has not seen.

    The split says which rows it was trained on (train), and which it was not.
    The calibration is written into the model's file: from then on its
    predictions come with intervals, an expected error, and warnings where a
    crystal is unlike the training set.
    """
    import torch

    from debye.core.checkpoint import amend, fingerprint
    from debye.crystals.data.split import subset as rows_of
    from debye.crystals.model.upgrade import upgraded
    from debye.crystals.uncertainty.calibration import calibrate as fitted
    from debye.crystals.uncertainty.features import HeadOutputs

    if split is None:
        raise InputError(
            "cannot calibrate without a split",
            why="rows that the model was trained on say nothing of its errors on others",
            fix="give --split with the split.csv of the training",
        )
    target = output or model
    writable(target, "--output", (".safetensors",))
    predictor = load_predictor(model, device)
    collection, left_out, parts = read_labelled(data, split)
    found, rows, failed = _predict(predictor, rows_of(collection, parts, subset))
    calibration = fitted(
        HeadOutputs(
            torch.stack([p.head_outputs for p in found]),
            predictor.model.kinds,
            tuple(predictor.model.answers),
        ),
        rows,
        cutoff=predictor.model.r_max,
        training=rows_of(collection, parts, "train"),
    )
    amend(
        model,
        target,
        {"calibration": calibration.to_card(fingerprint(predictor.model))},
        upgraded,
    )
    tell(f"calibrated on {len(rows)} rows; wrote {target}")
    return SOME_FAILED if left_out or failed else DONE


def _predict(predictor: Predictor, rows: Collection) -> tuple[list[Prediction], Collection, int]:
    """Predictions of the rows, and the rows without those that cannot be predicted."""
    from debye.crystals.predict.predictor import Prediction

    kept, found, failed = [], [], 0
    for name, item in zip(rows.names, predictor(rows.crystals), strict=True):
        if isinstance(item, Prediction):
            kept.append(name)
            found.append(item)
        else:
            failed += 1
            complain(item.error)
    if not kept:
        raise InputError(
            "nothing to judge", why="no row could be predicted", fix="see the errors above"
        )
    return found, rows.take(kept), failed


def _spectra(predictions: list[Prediction]) -> Spectrum:
    import torch

    from debye.crystals.dos.spectrum import Spectrum

    totals = [prediction.total for prediction in predictions]
    density, atoms = (
        torch.stack(x) for x in zip(*((t.density, t.n_atoms) for t in totals), strict=True)
    )
    return Spectrum(totals[0].frequency, density, atoms)


def _coverage(predictions: list[Prediction], rows: Collection) -> dict[str, dict[str, float]]:
    from debye.crystals.uncertainty.calibration import truth_of
    from debye.crystals.uncertainty.coverage import coverage_table
    from debye.crystals.uncertainty.uncertainty import Uncertainty

    each = [p.uncertainty for p in predictions if p.uncertainty is not None]
    return coverage_table(Uncertainty.stack(each), truth_of(rows.spectra)) if each else {}


def _coverage_text(coverage: dict[str, dict[str, float]]) -> str:
    """How often the intervals hold, below the table of errors."""
    if not coverage:
        return ""
    levels = [key for key in next(iter(coverage.values())) if not key.startswith("width")]
    titles = "".join(f"{level:>10}" for level in levels)
    lines = ["", f"{'inside the intervals of the level':<42}{titles}{'mean width at 90 %':>22}"]
    for name, row in coverage.items():
        shares = "".join(f"{100 * row[level]:>8.1f} %" for level in levels)
        lines.append(f"{name:<42}{shares}{row['width 90 %']:>22.4g}")
    return "\n".join(["", *lines])


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
    from debye.crystals.training.metrics import spectrum_errors
    from debye.plot import save
    from debye.plot.crystals import quartile_gallery

    errors = spectrum_errors(predicted, rows.spectra).mse
    labels = [crystal.formula for crystal in rows.crystals]
    save(quartile_gallery(rows.spectra, predicted, errors, labels), path)
    tell(f"drew {path}")
