"""Verbs that train, and that compare with labels: train, ensemble, evaluate, calibrate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli import options as opt
from debye.cli.console import (
    DONE,
    SOME_FAILED,
    complain,
    interrupted,
    plural,
    progress_bar,
    show,
    tell,
    to_json,
)
from debye.cli.inputs import (
    FIGURES,
    check_one_way,
    complain_of,
    load_predictor,
    read_labelled,
    writable,
)
from debye.cli.output import draw
from debye.cli.paths import read_path
from debye.cli.stopping import graceful_stop
from debye.core.files import atomic_write, folder, read_toml
from debye.core.records import SCHEMA
from debye.errors import ComputationError, InputError

if TYPE_CHECKING:
    from debye.core.distributed import ProcessGroup
    from debye.crystals.data.dataset import Split
    from debye.crystals.data.force_constants import LatticeLabel
    from debye.crystals.structure_io.read import FailedInput
    from debye.crystals.training.config import Settings
    from debye.crystals.training.evaluate import Evaluation
    from debye.crystals.training.run import TrainingRun

Lattices = Annotated[
    Path | None,
    typer.Option(
        "--force-constants",
        callback=read_path,
        help="Folder of force constants to teach too: NAME.npz with numbers, cell, positions, "
        "supercell and fc.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the data, instead of the config's.")
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic/--no-deterministic",
        help="Insist on algorithms that repeat to the last bit.",
    ),
]
Folds = Annotated[int, typer.Option("--folds", help="Parts of the rows, each left out in turn.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Trainings at a time.")]


def train(
    data: opt.Data,
    output: opt.Output,
    split: opt.SplitFile = None,
    config: opt.Config = None,
    force_constants: Lattices = None,
    epochs: Epochs = None,
    seed: opt.OptionalSeed = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    deterministic: Deterministic = True,
    device: opt.Device = "auto",
) -> int:
    """Train the network on labelled crystals.

    DATA is a CSV with the columns mp_id, structure (a dictionary of numbers,
    positions and cell), phfreq and phdos (51 points from 0 to 1000 cm⁻¹), or
    a folder of phonopy calculations. Without --split it is split 80:10:10 so
    that each element is spread out evenly.

    Force constants of the rows, and of other crystals, are taught along with
    the spectra where the network has such a head: --force-constants names a
    folder of NAME.npz (numbers, cell, positions, supercell, and fc in phonopy's
    compact order; elastic constants too, where they are known). Of a formula
    that is validated or tested on, nothing else is taught.

    The config is TOML: batch_size; a table network with heads, channels,
    layers, l_max, r_max, r_pairs, l_pairs, envelope, positive, basis, hidden,
    dropout; a table recipe with epochs, peak_rate, warmup, weight_decay, clip,
    average, spike, rewinds, seed, optimizer; a table loss with kl, cdf, mse; a
    table lattice with matrix, frequency, low, sound, q_points; tables isotopes
    and strain with fraction, spread; a table data with what the model's card
    shall say. --epochs and --seed stand above the config.

    OUTPUT is the folder of the run. It holds the best model
    (best.safetensors), the last checkpoint (last.safetensors), metrics.csv,
    split.csv and learning-curve.png.

    Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on where
    it stopped (after a crash, where the last epoch ended); --resume alone does
    with the settings the run has. A folder that holds another run is refused,
    unless --overwrite begins anew.

    Started by torchrun, mpiexec or srun, the processes divide the crystals of
    each step among themselves, and each takes a device of its own.
    """
    import torch

    from debye.core.distributed import process_group
    from debye.crystals.training.run import check_same, holds_run

    check_one_way(resume=resume, overwrite=overwrite)
    with process_group(device) as processes:
        going_on = resume or (not overwrite and holds_run(output))
        settings = _settings(config, {"epochs": epochs, "seed": seed}, output if resume else None)
        if going_on and not resume:
            check_same(output, settings)
        # Accelerators lack some such algorithms: there it is a warning.
        torch.use_deterministic_algorithms(deterministic, warn_only=processes.device != "cpu")
        run, failed = _prepare(
            settings,
            data,
            split,
            force_constants,
            output,
            processes,
            resume=going_on,
            overwrite=overwrite,
        )
        try:
            with graceful_stop() as stop:
                _follow(run, stop)
        finally:
            if run.history and processes.first:
                _draw_training_curve(run, output / "learning-curve.png")
        _conclude(run)
        if not run.finished:
            tell(f"stopped at step {run.training.step}")
            return interrupted()
        return SOME_FAILED if failed else DONE


def _prepare(
    settings: Settings,
    data: Path,
    split: Path | None,
    force_constants: Path | None,
    output: Path,
    processes: ProcessGroup,
    *,
    resume: bool,
    overwrite: bool,
) -> tuple[TrainingRun, int]:
    """The run before its next step, described on stderr, and how many rows it lacks."""
    from debye.crystals.data.dataset import element_balanced_split, subset
    from debye.crystals.data.force_constants import read_force_constants
    from debye.crystals.training.run import SPLIT, TrainingRun

    collection, parts, failed = read_labelled(data, split or (output / SPLIT if resume else None))
    parts = parts or element_balanced_split(collection)
    labels: dict[str, LatticeLabel] = {}
    unread: list[FailedInput] = []
    if force_constants:
        labels, unread = read_force_constants(
            force_constants, collection, train=parts["train"], valid=parts["valid"]
        )
        complain_of(unread, len(labels))
    run = TrainingRun(
        subset(collection, parts, "train"),
        subset(collection, parts, "valid"),
        folder(output) if processes.first else output,
        settings,
        labels=labels,
        data={"source": data.resolve().name, "split": split.name if split else "element-balanced"},
        split=parts,
        resume=resume,
        overwrite=overwrite,
        device=processes.device,
        group=processes,
    )
    complain_of(run.failed, len(run.rows) + len(run.valid))
    _describe(run, data, parts)
    return run, len(failed) + len(run.failed) + len(unread)


def _describe(run: TrainingRun, data: Path, parts: Split) -> None:
    """What is trained on what, on stderr."""
    settings, count = run.settings, sum(p.numel() for p in run.training.model.parameters())
    network = {**_arguments(run), "parameters": count}
    counts = ", ".join(f"{len(names)} {part}" for part, names in parts.items())
    tell(f"data     {data}: {counts}; {len(run.rows.elements)} elements in train")
    if taught := sum(label is not None for label in run.examples.taught):
        alone = len(run.examples) - len(run.rows)
        tell(f"taught   force constants of {plural(taught, 'crystal')}, {alone} of them no row")
    if run.group.size > 1:
        count = run.group.size
        tell(f"workers  {count} processes divide the {run.crystals_per_step} crystals of a step")
    for name, table in (
        ("network", network),
        ("recipe", {**asdict(settings.recipe), "batch_size": settings.batch_size}),
        ("loss", asdict(settings.loss)),
        ("lattice", asdict(settings.lattice)),
        ("isotopes", asdict(settings.isotopes)),
        ("strain", asdict(settings.strain)),
    ):
        tell(f"{name:<8} " + ", ".join(f"{key} {value}" for key, value in table.items()))
    done = f", {run.training.step} of them done" if run.training.step else ""
    total = settings.recipe.epochs * run.steps_per_epoch
    tell(f"folder   {run.folder}: {total} steps, {run.steps_per_epoch} an epoch{done}")


def _arguments(run: TrainingRun) -> dict[str, Any]:
    from debye.core.checkpoint import arguments_of

    made = arguments_of(run.training.model)
    return {key: value for key, value in made.items() if key != "frequency"}


def _conclude(run: TrainingRun) -> None:
    """The best epoch and its model, on stdout."""
    from debye.crystals.training.run import BEST

    if run.history:
        best = run.best
        show(
            f"best epoch {best.epoch}: validation MSE {best.valid_mse:.5f}, "
            f"MAE {best.valid_mae:.5f}, Wasserstein {best.valid_wasserstein:.2f} cm⁻¹\n"
            f"{run.folder / BEST}"
        )


def _settings(config: Path | None, overrides: Mapping[str, Any], resumed: Path | None) -> Settings:
    """The settings of a resumed folder, the config file laid over them, and the flags on top."""
    from debye.crystals.training.config import Settings, layered
    from debye.crystals.training.run import saved_settings

    recipe = {key: value for key, value in overrides.items() if value is not None}
    return Settings.from_tables(
        layered(
            saved_settings(resumed) if resumed else {},
            read_toml(config) if config else {},
            {"recipe": recipe} if recipe else {},
        )
    )


def _follow(run: TrainingRun, stop: Callable[[], bool]) -> None:
    """Show the losses and the time left; where stderr is no terminal, a line an epoch."""
    epochs = run.settings.recipe.epochs
    total, first, begun = epochs * run.steps_per_epoch, run.training.step, monotonic()
    with progress_bar() as bar:
        task = bar.add_task("training", total=total, completed=first)
        for step in run.steps(stop):
            bar.update(task, completed=step.step)
            if step.rewound:
                tell(f"step {step.step}: the loss was {step.loss:g}; went back to the average")
            if step.ends_epoch:
                epoch = run.history[-1]
                line = (
                    f"epoch {epoch.epoch}/{epochs}  "
                    f"train {epoch.train_loss:.4f}  valid {epoch.valid_loss:.4f}  "
                    f"MSE {epoch.valid_mse:.5f}  MAE {epoch.valid_mae:.5f}"
                )
                bar.update(task, description=line)
                if bar.disable:
                    left = (monotonic() - begun) / (step.step - first) * (total - step.step)
                    tell(f"{line}  left {left // 60:.0f}:{left % 60:02.0f}")


def _draw_training_curve(run: TrainingRun, path: Path) -> None:
    from debye.plot.crystals import training_curve_figure

    draw(training_curve_figure(run.history), path)


def ensemble(
    data: opt.Data,
    output: opt.Output,
    config: opt.Configs,
    force_constants: Lattices = None,
    folds: Folds = 5,
    jobs: Jobs = 1,
    overwrite: opt.Overwrite = False,
) -> int:
    """Cross-validate, and keep the networks as an ensemble.

    Each config is a TOML file as for `debye train`; several make networks of
    several kinds. For each fold and config a network is trained on the other
    folds, an ordinary run of `debye train` in OUTPUT/fold-K/CONFIG. Then every
    row is predicted by the networks that never saw it: their errors are
    printed, and calibrate the uncertainty of the ensemble.

    Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on where
    it stopped: what is finished is kept. A folder that holds other runs is
    refused, unless --overwrite begins anew.
    """
    from debye.crystals.training.crossval import cross_validate

    with graceful_stop("stopping; the checkpoints are being written", grace=8.0) as stop:
        try:
            found = cross_validate(
                data,
                config,
                output,
                force_constants=force_constants,
                folds=folds,
                jobs=jobs,
                overwrite=overwrite,
                stopping=stop,
                report=tell,
            )
        except ComputationError:
            if stop():
                return interrupted()
            raise
    show(to_json({"schema": SCHEMA, **found.summary}, indent=2))
    show(f"{found.model}")
    return SOME_FAILED if found.failed else DONE


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
