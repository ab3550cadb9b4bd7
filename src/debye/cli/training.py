"""Verbs that train: train, ensemble."""

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
    interrupted,
    plural,
    progress_bar,
    show,
    tell,
    to_json,
)
from debye.cli.inputs import (
    check_one_way,
    complain_of,
    read_labelled,
)
from debye.cli.output import draw
from debye.cli.paths import expanded, read_path
from debye.cli.stopping import graceful_stop
from debye.core.files import folder, read_toml
from debye.core.records import SCHEMA
from debye.errors import ComputationError

if TYPE_CHECKING:
    from debye.core.distributed import ProcessGroup
    from debye.crystals.data.dataset import Split
    from debye.crystals.data.force_constants import LatticeLabel
    from debye.crystals.structure_io.read import FailedInput
    from debye.crystals.training.begun import Beginning
    from debye.crystals.training.config import Settings
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
Begin = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        callback=expanded,
        help="Begin with the weights of this model, and not at random.",
        show_default=False,
    ),
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
    begin: Begin = None,
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

    --weights goes on with a model: a file, or fast or ensemble, of which the first
    network is taken. It settles the network, but for dropout and q_points. What
    it was trained on is not new to it, here neither: an error on such rows is
    no error on rows left out.

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
    from debye.crystals.training.begun import read_beginning
    from debye.crystals.training.run import check_same, holds_run

    check_one_way(resume=resume, overwrite=overwrite)
    with process_group(device) as processes:
        going_on = resume or (not overwrite and holds_run(output))
        first = read_beginning(begin) if begin else None
        settings = _settings(
            config, {"epochs": epochs, "seed": seed}, output if resume else None, first
        )
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
            begin=first,
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
    begin: Beginning | None,
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
        begin=begin,
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


def _settings(
    config: Path | None,
    overrides: Mapping[str, Any],
    resumed: Path | None,
    begin: Beginning | None,
) -> Settings:
    """The settings of a resumed folder, the config file laid over them, and the flags on top.

    Those of a model to begin with lie below all.
    """
    from debye.crystals.training.begun import network_table
    from debye.crystals.training.config import Settings, layered
    from debye.crystals.training.run import saved_settings

    recipe = {key: value for key, value in overrides.items() if value is not None}
    return Settings.from_tables(
        layered(
            {"network": network_table(begin.net)} if begin else {},
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
    begin: Begin = None,
    overwrite: opt.Overwrite = False,
) -> int:
    """Cross-validate, and keep the networks as an ensemble.

    Each config is a TOML file as for `debye train`; several make networks of
    several kinds. For each fold and config a network is trained on the other
    folds, an ordinary run of `debye train` in OUTPUT/fold-K/CONFIG. Then every
    row is predicted by the networks that never saw it: their errors are
    printed, and calibrate the uncertainty of the ensemble.

    --weights names the OUTPUT of an earlier run with the same rows and folds, whose
    networks are trained on, each in its fold.

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
                begin=begin,
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
