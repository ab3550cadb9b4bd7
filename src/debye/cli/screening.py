"""Verbs that screen many structures and rank them: screen, top."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye import __version__
from debye.cli.common import (
    BAD_INPUT,
    DONE,
    FIGURES,
    INTERRUPTED,
    SOME_FAILED,
    check_range,
    folder,
    graceful_stop,
    parse_range,
    progress_bar,
    tell,
    verb,
    warn,
    writable,
)
from debye.cli.figures import draw_screening
from debye.cli.output import Device, Printer
from debye.cli.spectra import Files, Json, ModelFile, Partial, Plot
from debye.core.files import read_toml
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.core.executors import ExecutorPool
    from debye.crystals.screening.rank import Query
    from debye.crystals.screening.worker import Job


class ExecutorName(str, Enum):
    """Who does the work."""

    LOCAL = "local"
    PARSL = "parsl"
    DASK = "dask"


class Target(str, Enum):
    """What can be ranked by."""

    HEAT_CAPACITY_PER_MASS = "heat-capacity-per-mass"
    HEAT_CAPACITY_PER_ATOM = "heat-capacity-per-atom"
    ENTROPY_PER_ATOM = "entropy-per-atom"
    ZERO_POINT_ENERGY = "zero-point-energy"
    MEAN_FREQUENCY = "mean-frequency"


Top = Annotated[int, typer.Option(min=0, help="How many of the best to print.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    app.command("screen")(verb(screen))
    app.command("top")(verb(top))


def screen(
    files: Files,
    output: Annotated[Path, typer.Option(help="Folder of the results.", show_default=False)],
    target: Annotated[Target, typer.Option(help="What to rank by in the end.")] = (
        Target.HEAT_CAPACITY_PER_MASS
    ),
    temperature: Annotated[
        str, typer.Option(help="K; several with commas between, or start:stop:step.")
    ] = "293.15",
    top: Top = 10,
    partial: Annotated[Partial, typer.Option(help="Keep partial spectra too.")] = Partial.NONE,
    executor: Annotated[ExecutorName, typer.Option(help="Who does the work.")] = ExecutorName.LOCAL,
    executor_config: Annotated[
        Path | None, typer.Option(help="TOML file that describes a Parsl or Dask executor.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Shards in work at a time; the cores of this machine, or what "
                     "the executor's config has, by default."),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Structures of a shard.")] = 1000,
    model: ModelFile = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:  # fmt: skip
    """Predict the spectra of many structures, on all cores or on a cluster.

    Writes Parquet files to the folder OUTPUT, one for each shard of the
    structures. Run the same command again after an interruption, whatever it
    was, and only what is missing is done. A structure that cannot be read or
    predicted is a row with its error. In the end the best are printed;
    `debye top OUTPUT` ranks them otherwise.
    """
    from debye.core.checkpoint import read_card
    from debye.crystals.predict.predictor import grid, model_path
    from debye.crystals.screening import store as place
    from debye.crystals.screening.shards import files_of
    from debye.crystals.screening.worker import Job

    kelvin = parse_range(temperature, "--temperature", least=0)
    found = files_of(files)
    card = read_card(model_path(model))
    told = {
        "debye_version": __version__,
        "model_sha256": card["sha256"],
        "inputs": files,
        "temperatures": list(dict.fromkeys(kelvin)),
        "partial": partial.value,
        "shard_size": shard_size,
        "frequency_unit": card.get("frequency_unit", "cm-1"),
        "frequency": grid(card),
        "dos_normalisation": "3N",
        "calibrated": "calibration" in card,
    }
    job = Job(
        folder(output).resolve(),
        model and model_path(model).resolve(),
        card["sha256"],
        tuple(told["temperatures"]),
        partial.value,
        device,
    )
    with place.locked(output):
        chosen = _executor_pool(executor, executor_config, workers, job)
        place.begin(output, told)
        code = _run(found, shard_size, job, chosen)
    if code in (DONE, SOME_FAILED) and top:
        from debye.crystals.screening.rank import Query

        _print_top(Query(output, target.value, kelvin[0]), top, as_json=as_json)
    return code


def _executor_pool(
    name: ExecutorName, config: Path | None, workers: int | None, job: Job
) -> ExecutorPool:
    """The executor that is asked for, with its config."""
    from debye.core import executors
    from debye.core.device import pick_device

    if name is ExecutorName.LOCAL:
        if config is not None:
            raise InputError(
                f"--executor-config {config} would not be used",
                why="local processes need no config",
                fix="add --executor parsl or --executor dask",
            )
        pick_device(job.device)  # elsewhere it is the workers' devices that count
        return executors.local(workers or executors.cores(), ["debye.crystals.screening.worker"])
    table = read_toml(config) if config else {}
    if name is ExecutorName.PARSL:
        return executors.parsl(table, workers, job.folder / "parsl")
    return executors.dask(table, workers)


def _run(found: list[Path], shard_size: int, job: Job, executor: ExecutorPool) -> int:
    """Screen what is missing; the exit code."""
    from debye.crystals.screening import store as place
    from debye.crystals.screening.run import run_shards
    from debye.crystals.screening.shards import shards

    done = structures = failed = 0
    stop = graceful_stop("stopping once the shards in work are done")
    with stop as stopping, progress_bar() as bar:
        task = bar.add_task("structures", total=None)
        for report in run_shards(
            shards(found, shard_size), job, executor, stopping=stopping, notify=warn
        ):
            done, structures = done + 1, structures + report.structures
            failed += report.failed
            bar.update(task, completed=structures)
        stopped = stopping()
    if stopped:
        tell(f"interrupted: {done} parts are in {job.folder}; run the same command to go on")
        return INTERRUPTED
    place.finish(job.folder, structures, failed)
    tell(f"{structures} structures in {done} parts are in {job.folder}")
    if failed:
        tell(f"{failed} of {structures} structures failed; their rows tell why, in column error")
    return DONE if not failed else SOME_FAILED if failed < structures else BAD_INPUT


def top(
    folder: Annotated[
        Path, typer.Argument(help="What `debye screen` wrote.", show_default=False)
    ],
    by: Annotated[Target, typer.Option(help="What to rank by.")] = Target.HEAT_CAPACITY_PER_MASS,
    temperature: Annotated[
        float | None, typer.Option(help="K, one of those screened; by default the first.")
    ] = None,
    top: Top = 10,
    lowest: Annotated[bool, typer.Option("--lowest", help="The smallest first.")] = False,
    contains: Annotated[
        list[str] | None, typer.Option(help="An element that must be there; may be repeated.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="An element that may not; may be repeated.")
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(help="Leave out rows of a larger expected error, cm⁻¹.", show_default=False),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Rank what was screened, and draw it with the best labelled."""
    from debye.crystals.screening.rank import Query
    from debye.crystals.screening.store import read_manifest

    if temperature is not None:
        check_range(temperature, "--temperature", least=0)
    if max_error is not None:
        check_range(max_error, "--max-error", least=0)
    figure = writable(plot, "--plot", FIGURES)
    query = Query(folder, by.value, temperature, contains or (), without or (), lowest, max_error)
    if "done" not in read_manifest(folder):
        warn(f"the screening {folder} is not finished; this ranks the parts that are there")
    rows = _print_top(query, top, as_json=as_json, needed=figure is None)
    if figure:
        draw_screening(query, rows, figure)


def _print_top(
    query: Query, count: int, *, as_json: bool, needed: bool = True
) -> list[dict[str, Any]]:
    """Print the best rows, and give them."""
    from debye.crystals.predict.rows import EXPECTED_ERROR, QUANTITIES
    from debye.crystals.screening.rank import top as best

    rows = best(query, count)
    if not rows:
        warn("no structure fits")
    quantity = QUANTITIES[query.target]
    at = f"({query.temperature:g} K)" if quantity.thermal else ""
    width = max([len(row["formula"]) for row in rows], default=0)
    sure = any(row[EXPECTED_ERROR] is not None for row in rows)
    more = (f"  {'±':>7}  {'error':>6}", f"  {'':>7}  {'cm⁻¹':>6}") if sure else ("", "")
    head = f"{'':>4}  {'formula':<{width}}  {quantity.label + at:>14}{more[0]}  source"
    units = f"{'':>4}  {'':<{width}}  {quantity.unit:>14}{more[1]}"
    printer = Printer(f"{head}\n{units}", as_json=as_json, needed=needed)
    for i, row in enumerate(rows, 1):
        mark = " !" if row["warnings"] else ""
        cells = f"{row[query.column]:>14.6g}{_doubt(row, query) if sure else ''}"
        line = f"{i:>4}  {row['formula']:<{width}}  {cells}  {row['id']}{mark}"
        printer.add(lambda line=line: line, lambda row=row: row)  # type: ignore[misc]
    return rows


def _doubt(row: dict[str, Any], query: Query) -> str:
    """Half the interval around a row's value, and the expected error of its spectrum."""
    from debye.crystals.predict.rows import EXPECTED_ERROR, ends_of

    if row[EXPECTED_ERROR] is None:
        return " " * 17
    lower, upper = (row[column] for column in ends_of(query.column))
    return f"  {(upper - lower) / 2:>7.2g}  {row[EXPECTED_ERROR]:>6.3g}"
