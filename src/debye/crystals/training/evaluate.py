"""How good a model is on labelled crystals, and the uncertainty that follows from it.

Two views of squared and absolute error are live: *max-1*, both spectra scaled to a maximum of 1
(Chen et al., Adv. Sci. 8, 2004214, 2021), and *true-sum*, the prediction scaled to the sum of
the max-1 label (Mat2Spec, Nat. Commun. 13, 949, 2022). Both are reported, and beside them what
the two cheapest predictors reach.

    evaluation = evaluate("RUN/best.safetensors", "DATA.csv", split="RUN/split.csv")
    evaluation.columns["model"]["mse_max1"]
    calibrate("RUN/best.safetensors", "DATA.csv", "RUN/split.csv")
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.core.checkpoint import amend, fingerprint
from debye.crystals.data.dataset import Labelled, Split, read_labelled
from debye.crystals.data.labels import Collection
from debye.crystals.dos.distances import mae, mse, r_squared, wasserstein
from debye.crystals.dos.quantities import QUANTITIES
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import entropy, heat_capacity, zero_point_energy
from debye.crystals.model.ensemble import upgraded
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import composition_vector
from debye.crystals.structure_io.read import FailedInput
from debye.crystals.uncertainty.calibration import calibrate as fit_calibration
from debye.crystals.uncertainty.calibration import truth_of
from debye.crystals.uncertainty.features import HeadOutputs
from debye.crystals.uncertainty.uncertainty import Uncertainty, coverage_table
from debye.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


R_SQUARED = ("flattened", "per-sample", "per-bin")
ROOM_TEMPERATURE = 300.0
"""K; where heat capacity and entropy are compared."""


@dataclass(frozen=True)
class SpectrumErrors:
    """Errors of each spectrum, (R,) each.

    ``mse`` and ``mae`` are in the max-1 view, ``mse_true_sum`` and ``mae_true_sum`` in the other;
    ``wasserstein`` and ``mean_frequency`` in cm⁻¹, ``mean_frequency_relative`` in parts of it;
    ``heat_capacity`` and ``entropy`` at 300 K in J/mol/K and ``zero_point_energy`` in kJ/mol, all
    three per mole of atoms and absolute.
    """

    mse: Tensor
    mae: Tensor
    mse_true_sum: Tensor
    mae_true_sum: Tensor
    wasserstein: Tensor
    mean_frequency: Tensor
    mean_frequency_relative: Tensor
    heat_capacity: Tensor
    entropy: Tensor
    zero_point_energy: Tensor


def spectrum_errors(predicted: Spectrum, true: Spectrum) -> SpectrumErrors:
    """Errors of predicted spectra, row by row.

    Args:
        predicted: (R, F) in any normalisation.
        true: (R, F) on the same grid.

    Raises:
        InputError: The frequencies of the two differ.
    """
    frequency = (predicted.mean_frequency - true.mean_frequency).abs()

    def apart(quantity: Callable[[Spectrum], Tensor]) -> Tensor:
        per_atom = [quantity(s) / s.n_atoms for s in (predicted, true)]
        return (per_atom[0] - per_atom[1]).abs()

    return SpectrumErrors(
        mse=mse(predicted, true),
        mae=mae(predicted, true),
        mse_true_sum=mse(predicted, true, "sum"),
        mae_true_sum=mae(predicted, true, "sum"),
        wasserstein=wasserstein(predicted, true),
        mean_frequency=frequency,
        mean_frequency_relative=frequency / true.mean_frequency,
        heat_capacity=apart(lambda s: heat_capacity(s, ROOM_TEMPERATURE)),
        entropy=apart(lambda s: entropy(s, ROOM_TEMPERATURE)),
        zero_point_energy=apart(zero_point_energy),
    )


def summary(predicted: Spectrum, true: Spectrum) -> dict[str, float]:
    """Every number of ``debye evaluate``, units in the names; means over the rows.

    Raises:
        InputError: The frequencies of the two differ.
    """
    e = spectrum_errors(predicted, true)
    quartiles = torch.quantile(e.mse, e.mse.new_tensor([0.25, 0.5, 0.75, 1.0])).tolist()
    return {
        "mse_max1": e.mse.mean().item(),
        "mae_max1": e.mae.mean().item(),
        **{
            f"mse_max1_{n}": v for n, v in zip(("q25", "q50", "q75", "max"), quartiles, strict=True)
        },
        "mse_true_sum": e.mse_true_sum.mean().item(),
        "mae_true_sum": e.mae_true_sum.mean().item(),
        **{f"r2_{name}": r_squared(predicted, true, name).item() for name in R_SQUARED},
        "wasserstein_cm-1": e.wasserstein.mean().item(),
        "wasserstein_median_cm-1": e.wasserstein.median().item(),
        "mean_frequency_cm-1_mae": e.mean_frequency.mean().item(),
        "mean_frequency_within_10_percent": (e.mean_frequency_relative < 0.1)
        .double()
        .mean()
        .item(),
        **{
            f"{QUANTITIES[name].column(temperature=ROOM_TEMPERATURE)}_mae": getattr(e, name)
            .mean()
            .item()
            for name in ("heat_capacity", "entropy", "zero_point_energy")
        },
    }


def mean_baseline(train: Collection, crystals: Sequence[Crystal]) -> Spectrum:
    """The mean training spectrum for every crystal.

    The mean of spectra of peak 1 has a lower peak, and the max-1 view scales it up again, which
    costs it: left as it stands it would score a third less in squared error.
    """
    mean = train.spectra.density.mean(0)
    return Spectrum(train.spectra.frequency, mean.expand(len(crystals), -1), normalisation="max")


def nearest_composition_baseline(train: Collection, crystals: Sequence[Crystal]) -> Spectrum:
    """The spectrum of the training crystal nearest in composition, Σ_Z |x_Z − x'_Z|."""
    known = np.stack([composition_vector(c.composition) for c in train.crystals])
    asked = np.stack([composition_vector(c.composition) for c in crystals])
    nearest = [int(np.abs(known - x).sum(-1).argmin()) for x in asked]
    return Spectrum(train.spectra.frequency, train.spectra.density[nearest], normalisation="max")


BASELINES = {
    "training mean": mean_baseline,
    "nearest composition": nearest_composition_baseline,
}
"""The two cheapest predictors, by name."""


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
        columns: The numbers of `summary`, of ``model`` and of each baseline.
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
        model: A `Predictor`, a model file, "fast" or "labels"; None is the shipped ensemble.
        data: Labelled crystals, or where `read_labelled` reads them.
        split: Names of the rows of each subset, or a CSV file of them.
        subset: Which of them to compare; ``valid`` if None.
        device: Where to compute, if the model is a file.

    Raises:
        InputError: The model, the data or the split cannot be used, or no row can be predicted.

    Example:
        >>> from debye.crystals.predict.model_files import probe_crystal
        >>> predictor = Predictor.load("fast")
        >>> own = predictor.predict(probe_crystal()).total
        >>> labels = Spectrum(own.frequency, own.density[None], 2.0).to("max")
        >>> evaluate(predictor, Collection(("salt",), (probe_crystal(),), labels))
        Evaluation(1 row, MSE 0, MAE 0)
    """
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, device)
    predictor = predictor.as_labels()
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
    predictor = Predictor.load(model, device).as_labels()
    labelled = read_labelled(data, split)
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
        cutoff=predictor.model.cutoff,
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
