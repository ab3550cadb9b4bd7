"""Verbs that learn and judge: train, evaluate."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import (
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    complain,
    folder,
    graceful_stop,
    progress_bar,
    tell,
    verb,
)
from debye.cli.output import load_predictor
from debye.errors import Refusal
from debye.files import atomic_write

if TYPE_CHECKING:
    from debye.crystals.dataset import Collection, Split
    from debye.crystals.predictor import Predictor
    from debye.crystals.spectrum import Spectrum
    from debye.crystals.training import Settings, TrainingRun


Data = Annotated[
    Path,
    typer.Argument(
        help="Labelled crystals: a CSV (mp_id, structure, phfreq, phdos) or phonopy folders.",
        show_default=False,
    ),
]
SplitFile = Annotated[
    Path | None, typer.Option("--split", help="CSV of mp_id and split (train, valid, test).")
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, xpu or mps.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    app.command()(verb(train))
    app.command()(verb(evaluate))


def train(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    split: SplitFile = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML with the tables [network], [recipe], [loss].")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Overrides the config.")] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides the config.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run.")] = False,
    deterministic: Annotated[
        bool, typer.Option(help="Insist on algorithms that repeat to the last bit.")
    ] = True,
    device: Device = "auto",
) -> int:
    """Train the network on labelled crystals.

    The run's folder holds the best model, the last checkpoint, metrics.csv, the split and the
    learning curve. Ctrl-C leaves a checkpoint to --resume from.
    """
    import torch

    from debye.crystals.dataset import element_balanced_split, subset, write_split
    from debye.crystals.training import TrainingRun
    from debye.devices import pick_device

    torch.use_deterministic_algorithms(deterministic)
    settings = _settings(config, {"epochs": epochs, "seed": seed})
    collection, rejected = _read(data)
    known = split or (output / "split.csv" if resume else None)
    parts = _read_split(known) if known else element_balanced_split(collection)
    run = TrainingRun(
        subset(collection, parts, "train"),
        subset(collection, parts, "valid"),
        folder(output),
        settings,
        data={"source": data.name, "split": split.name if split else "element-balanced"},
        resume=resume,
        device=pick_device(device),
    )
    write_split(output / "split.csv", parts)
    with graceful_stop() as stop:
        _follow(run, stop)
        stopped = stop()
    if run.history:
        _draw_learning_curve(run, output / "learning-curve.png")
        best = run.best
        typer.echo(
            f"best epoch {best.epoch}: validation MSE {best.valid_mse:.5f}, "
            f"MAE {best.valid_mae:.5f}, Wasserstein {best.valid_wasserstein:.2f} cm-1"
        )
        typer.echo(str(output / "best.safetensors"))
    if stopped:
        tell(f"stopped at step {run.training.step}; go on with --resume")
        return INTERRUPTED
    return SOME_FAILED if rejected else DONE


def _settings(config: Path | None, overrides: dict[str, Any]) -> Settings:
    """The config file's settings with the flags laid over them."""
    from debye.crystals.training import Settings

    tables = _toml(config) if config else {}
    given = {key: value for key, value in overrides.items() if value is not None}
    recipe = tables.get("recipe", {})
    if isinstance(recipe, dict):
        tables["recipe"] = {**recipe, **given}
    return Settings.from_tables(tables)


def _toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(
            f"cannot read the config {path}", why=str(error), fix="give a TOML file"
        ) from error


def _read(data: Path) -> tuple[Collection, list[Any]]:
    """The usable rows; the others are told on stderr."""
    from debye.crystals.dataset import read_collection

    collection, rejected = read_collection(data)
    for row in rejected:
        complain(row.refusal)
    if rejected:
        tell(f"{len(rejected)} rows left out, {len(collection)} used")
    return collection, rejected


def _read_split(path: Path) -> Split:
    from debye.crystals.dataset import read_split

    return read_split(path)


def _follow(run: TrainingRun, stop: Any) -> None:  # noqa: ANN401 - a function without arguments
    """Show the losses and the time left; where stderr is no terminal, a line an epoch."""
    total = run.training.recipe.epochs * run.steps_per_epoch
    with progress_bar() as bar:
        task = bar.add_task("training", total=total, completed=run.training.step)
        for step in run.steps(stop):
            bar.update(task, completed=step.step)
            if step.rewound:
                tell(f"step {step.step}: the loss was {step.loss:g}; went back to the last epoch")
            if step.ends_epoch:
                epoch = run.history[-1]
                line = (
                    f"epoch {epoch.epoch}/{run.training.recipe.epochs}  "
                    f"train {epoch.train_loss:.4f}  valid {epoch.valid_loss:.4f}  "
                    f"MSE {epoch.valid_mse:.5f}  MAE {epoch.valid_mae:.5f}"
                )
                bar.update(task, description=line)
                if bar.disable:
                    tell(line)


def _draw_learning_curve(run: TrainingRun, path: Path) -> None:
    from debye.plot import save
    from debye.plot.crystals import learning_curve_figure

    save(learning_curve_figure(run.history), path)


def evaluate(
    data: Data,
    split: SplitFile = None,
    subset: Annotated[str, typer.Option(help="Which part of the split to judge on.")] = "valid",
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

    Without --split every row is judged, and there are no baselines for want of training rows.
    """
    from debye.crystals import metrics
    from debye.crystals.dataset import subset as rows_of

    predictor = load_predictor(model, device)
    collection, rejected = _read(data)
    parts = _read_split(split) if split else {}
    rows = rows_of(collection, parts, subset) if parts else collection
    predicted, rows, failed = _predict(predictor, rows)
    if predictions:
        atomic_write(predictions, _predictions_csv(rows, predicted))
    columns = {"model": metrics.summary(predicted, rows.spectra)}
    if parts.get("train") and subset != "train":
        train_rows = rows_of(collection, parts, "train")
        for name, baseline in metrics.BASELINES.items():
            columns[name] = metrics.summary(baseline(train_rows, rows.crystals), rows.spectra)
    if as_json:
        typer.echo(json.dumps({"rows": len(rows), **columns}, indent=2))
    else:
        typer.echo(_table(columns, len(rows)))
    if plot:
        _draw_gallery(rows, predicted, plot)
    return SOME_FAILED if rejected or failed else DONE


def _predict(predictor: Predictor, rows: Collection) -> tuple[Spectrum, Collection, int]:
    """Predicted spectra of the rows, and the rows without those that cannot be predicted."""
    import torch

    from debye.crystals.predictor import Prediction
    from debye.crystals.spectrum import Spectrum

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
    from debye.crystals.metrics import spectrum_errors
    from debye.plot import save
    from debye.plot.crystals import quartile_gallery

    errors = spectrum_errors(predicted, rows.spectra).mse
    labels = [crystal.formula for crystal in rows.crystals]
    save(quartile_gallery(rows.spectra, predicted, errors, labels), path)
    tell(f"drew {path}")
