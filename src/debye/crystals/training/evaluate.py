"""How good a model is on labelled crystals, and the uncertainty that follows from it.

evaluation = evaluate("RUN/best.safetensors", "DATA.csv", split="RUN/split.csv")
evaluation.columns["model"]["mse_max1"]
calibrate("RUN/best.safetensors", "DATA.csv", "RUN/split.csv")
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from debye.core.checkpoint import amend, fingerprint
from debye.crystals.data.labels import Collection
from debye.crystals.data.split import Labelled, Split, read_labelled
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.model.ensemble import upgraded
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure_io.read import FailedInput
from debye.crystals.training.metrics import BASELINES, SpectrumErrors, spectrum_errors, summary
from debye.crystals.uncertainty.calibration import calibrate as fit_calibration
from debye.crystals.uncertainty.calibration import truth_of
from debye.crystals.uncertainty.features import HeadOutputs
from debye.crystals.uncertainty.uncertainty import Uncertainty, coverage_table
from debye.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Model = Predictor | str | os.PathLike[str] | None
Data = Labelled | Collection | str | os.PathLike[str]

SEEN = (
    "every row this model was made from has trained some of its members; on those rows its errors "
    "come out too small; the cross-validation that made it has true ones"
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predicted spectra beside labelled ones.

    Args:
        rows: The labelled crystals that could be predicted.
        predicted: A spectrum for each of them, (R, F).
        columns: The numbers of `metrics.summary`, of ``model`` and of each baseline.
        coverage: How often intervals of each level hold, by quantity; empty if the model is not
            calibrated.
        failed: Rows that could not be read or predicted, and why.
        notes: What to know before believing the numbers.
    """

    rows: Collection
    predicted: Spectrum
    columns: Mapping[str, Mapping[str, float]]
    coverage: Mapping[str, Mapping[str, float]]
    failed: tuple[FailedInput, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        of_model = self.columns["model"]
        count = f"{len(self.rows)} row{'s'[: len(self.rows) != 1]}"
        errors = f"MSE {of_model['mse_max1']:.4g}, MAE {of_model['mae_max1']:.4g}"
        return f"Evaluation({count}, {errors})"

    @cached_property
    def errors(self) -> SpectrumErrors:
        """Of each row.

        Raises:
            InputError: The model's frequencies are not those of the labels.
        """
        return spectrum_errors(self.predicted, self.rows.spectra)

    def to_frame(self) -> pd.DataFrame:
        """The columns as a pandas table, a row for each number.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError(
                "cannot make a table", why="pandas is not installed", fix="pip install pandas"
            ) from error
        return pd.DataFrame(self.columns)

    def predictions_csv(self) -> str:
        """One row a crystal: its name and the predicted spectrum in the max-1 view."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["mp_id", *(f"{x:g}" for x in self.predicted.frequency.tolist())])
        densities = self.predicted.to("max").density.tolist()
        for name, density in zip(self.rows.names, densities, strict=True):
            writer.writerow([name, *(f"{x:.6g}" for x in density)])
        return text.getvalue()


def evaluate(
    model: Model,
    data: Data,
    *,
    split: Split | str | os.PathLike[str] | None = None,
    subset: str | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Compare predicted with labelled spectra, beside two baselines.

    The baselines are the mean training spectrum, and the spectrum of the training crystal nearest
    in composition; without a split there are none, and every row counts.

    Args:
        model: A `Predictor`, a model file or "fast"; None is the shipped ensemble.
        data: Labelled crystals, or where `read_labelled` reads them.
        split: Names of the rows of each subset, or a CSV file of them.
        subset: Which of them to compare; ``valid`` if None.
        device: Where to compute, if the model is a file.

    Raises:
        InputError: The model, the data or the split cannot be used, or no row can be predicted.

    Example:
        >>> from debye.crystals.predict.predictor import probe_crystal
        >>> predictor = Predictor.load("fast")
        >>> own = predictor.predict(probe_crystal()).total
        >>> labels = Spectrum(own.frequency, own.density[None], 2.0).to("max")
        >>> evaluate(predictor, Collection(("salt",), (probe_crystal(),), labels))
        Evaluation(1 row, MSE 0, MAE 0)
    """
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, device)
    labelled = read_labelled(data, split)
    if subset and not labelled.split:
        raise InputError(
            f"there is no subset {subset!r}", why="no split was given", fix="add --split, a CSV"
        )
    part = subset or "valid"
    rows = labelled.subset(part) if labelled.split else labelled.rows
    found, rows, failed = _predict(predictor, rows)
    predicted = _spectra(found)
    columns = {"model": summary(predicted, rows.spectra)}
    if labelled.split.get("train") and part != "train":
        train = labelled.subset("train")
        for name, baseline in BASELINES.items():
            columns[name] = summary(baseline(train, rows.crystals), rows.spectra)
    seen = predictor.card.get("data", {}).get("valid_rows") == 0
    return Evaluation(
        rows,
        predicted,
        columns,
        _coverage(found, rows),
        (*labelled.failed, *failed),
        (SEEN,) if seen else (),
    )


class Calibrated(NamedTuple):
    """What `calibrate` did."""

    path: Path
    """The model file that now holds the calibration."""
    rows: Collection
    """What it was calibrated on."""
    failed: tuple[FailedInput, ...]
    """Rows that could not be read or predicted, and why."""


def calibrate(
    model: str | os.PathLike[str],
    data: Data,
    split: Split | str | os.PathLike[str] | None,
    *,
    subset: str = "valid",
    output: str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> Calibrated:
    """Give a model an uncertainty, from its errors on rows that it has not seen.

    The calibration is written into the model's file: from then on its predictions come with
    intervals, an expected error, and warnings where a crystal is unlike the training set.

    Args:
        model: A model file.
        data: Labelled crystals, or where `read_labelled` reads them.
        split: Which rows the model was trained on (``train``) and which not; if the data bring it
            with them, None.
        subset: Rows of the split that the model was not trained on.
        output: Model file to write; the model's own if None.
        device: Where to compute.

    Raises:
        InputError: The model, the data or the split cannot be used, or there are too few rows.
        ComputationError: The disk is full or failed while writing.
    """
    predictor, labelled = Predictor.load(model, device), read_labelled(data, split)
    if not labelled.split:
        raise InputError(
            "cannot calibrate without a split",
            why="rows that the model was trained on say nothing of its errors on others",
            fix="give --split with the split.csv of the training",
        )
    found, rows, failed = _predict(predictor, labelled.subset(subset))
    calibration = fit_calibration(
        HeadOutputs(
            torch.stack([p.head_outputs for p in found]),
            predictor.model.kinds,
            tuple(predictor.model.answers),
        ),
        rows,
        cutoff=predictor.model.r_max,
        training=labelled.subset("train"),
    )
    card = {"calibration": calibration.to_card(fingerprint(predictor.model))}
    target = Path(output or model)
    amend(model, target, card, upgraded)
    return Calibrated(target, rows, (*labelled.failed, *failed))


def _predict(
    predictor: Predictor, rows: Collection
) -> tuple[list[Prediction], Collection, list[FailedInput]]:
    """Predictions of the rows, and the rows without those that cannot be predicted."""
    predictions: dict[str, Prediction] = {}
    failed: list[FailedInput] = []
    for name, item in zip(rows.names, predictor(rows.crystals), strict=True):
        if isinstance(item, Prediction):
            predictions[name] = item
        else:
            failed.append(item)
    if not predictions:
        raise InputError(
            "there is nothing to compare",
            why="no row could be predicted" + (f": {failed[0].error}" if failed else ""),
            fix="check the structures",
        )
    return list(predictions.values()), rows.take(predictions), failed


def _spectra(predictions: Sequence[Prediction]) -> Spectrum:
    totals = [prediction.total for prediction in predictions]
    density, atoms = (
        torch.stack(x) for x in zip(*((t.density, t.n_atoms) for t in totals), strict=True)
    )
    return Spectrum(totals[0].frequency, density, atoms)


def _coverage(predictions: Sequence[Prediction], rows: Collection) -> dict[str, dict[str, float]]:
    each = [p.uncertainty for p in predictions if p.uncertainty is not None]
    return coverage_table(Uncertainty.stack(each), truth_of(rows.spectra)) if each else {}
