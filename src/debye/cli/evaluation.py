"""Verbs that compare with labels: evaluate, calibrate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from debye.cli import options as opt
from debye.cli.console import DONE, SOME_FAILED, complain, plural, show, tell, to_json
from debye.cli.inputs import FIGURES, load_predictor, read_labelled, writable
from debye.cli.output import draw
from debye.core.files import atomic_write
from debye.core.records import SCHEMA
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.training.evaluate import Evaluation


def evaluate(
    data: opt.Data,
    split: opt.SplitFile = None,
    subset: opt.Subset = None,
    model: opt.ModelFile = None,
    predictions: opt.Predictions = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> int:
    """Compare predicted with labelled spectra, beside two baselines.

    If the model is calibrated, it also says how often its intervals hold.
    The baselines are the mean training spectrum, and the spectrum of the
    training crystal nearest in composition. Without --split every row is
    compared, and there are none for lack of training rows. The figure shows
    examples from each quartile of the errors.
    """
    from debye.crystals.training.evaluate import evaluate as evaluated

    table, figure = writable(predictions, "--predictions"), writable(plot, "--plot", FIGURES)
    predictor = load_predictor(model, device)
    labelled = read_labelled(data, split)
    found = evaluated(predictor, labelled, subset=subset)
    for note in found.notes:
        tell(f"note: {note}")
    for row in found.failed[len(labelled.failed) :]:
        complain(row.error)
    if table:
        atomic_write(table, found.predictions_csv())
        tell(f"wrote {plural(len(found.rows), 'row')} to {table}")
    show(_json(found) if as_json else _text(found), needed=not figure)
    if figure:
        _draw_gallery(found, figure)
    return SOME_FAILED if found.failed else DONE


def calibrate(
    data: opt.Data,
    split: opt.SplitFile = None,
    output: opt.OptionalOutput = None,
    subset: opt.Subset = None,
    model: opt.ModelFile = None,
    device: opt.Device = "auto",
) -> int:
    """Give a model an uncertainty, from its errors on rows that it has not seen.

    The split says which rows it was trained on (train), and which it was not.
    The calibration is written into the model's file, or into a copy of it,
    OUTPUT: from then on its predictions come with intervals, an expected
    error, and warnings where a crystal is unlike the training set.
    """
    from debye.core.device import pick_device
    from debye.crystals.training.evaluate import calibrate as calibrated

    if model is None:
        raise InputError(
            "cannot calibrate without a model",
            why="the calibration is written into its file",
            fix="name the file with --model",
        )
    writable(output or model, "--output", (".safetensors",))
    labelled = read_labelled(data, split)
    here = pick_device(device)
    done = calibrated(model, labelled, None, subset=subset or "valid", output=output, device=here)
    for row in done.failed[len(labelled.failed) :]:
        complain(row.error)
    tell(f"calibrated on {plural(len(done.rows), 'row')}; wrote {done.path}")
    return SOME_FAILED if done.failed else DONE


def _json(found: Evaluation) -> str:
    held = {"coverage": found.coverage} if found.coverage else {}
    return to_json({"schema": SCHEMA, "rows": len(found.rows), **found.columns, **held}, indent=2)


def _text(found: Evaluation) -> str:
    return _table(found.columns, len(found.rows)) + _coverage_text(found.coverage)


def _coverage_text(coverage: Mapping[str, Mapping[str, float]]) -> str:
    """How often the intervals hold, below the table of errors."""
    if not coverage:
        return ""
    levels = [key for key in next(iter(coverage.values())) if not key.startswith("width")]
    titles = "".join(f"{level:>10}" for level in levels)
    lines = ["", f"{'inside the intervals of the level':<42}{titles}{'mean width at 90 %':>22}"]
    for name, row in coverage.items():
        fractions = "".join(f"{100 * row[level]:>8.1f} %" for level in levels)
        lines.append(f"{name:<42}{fractions}{row['width 90 %']:>22.4g}")
    return "\n".join(["", *lines])


def _table(columns: Mapping[str, Mapping[str, float]], rows: int) -> str:
    names = list(next(iter(columns.values())))
    lines = [f"{f'{rows} rows':<42}" + "".join(f"{title:>22}" for title in columns)]
    for name in names:
        values = "".join(f"{column[name]:>22.5g}" for column in columns.values())
        lines.append(f"{name:<42}{values}")
    return "\n".join(lines)


def _draw_gallery(found: Evaluation, path: Path) -> None:
    from debye.plot.crystals import quartile_gallery

    labels = [crystal.formula for crystal in found.rows.crystals]
    draw(quartile_gallery(found.rows.spectra, found.predicted, found.errors.mse, labels), path)
