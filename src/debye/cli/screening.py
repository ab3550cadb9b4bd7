"""Verbs that screen many structures and rank them: screen, top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye import __version__
from debye.cli import options as opt
from debye.cli.console import (
    BAD_INPUT,
    DONE,
    SOME_FAILED,
    graceful_stop,
    interrupted,
    plural,
    progress_bar,
    tell,
    warn,
)
from debye.cli.output import Printer, draw
from debye.cli.values import FIGURES, check_range, parse_range, writable
from debye.core.files import folder, read_toml
from debye.core.records import SCHEMA
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.core.executors import ExecutorPool
    from debye.crystals.screening.rank import Query
    from debye.crystals.screening.worker import Job


def screen(
    files: opt.Files,
    output: opt.Output,
    by: opt.By = opt.Quantity.HEAT_CAPACITY_PER_KG,
    temperatures: opt.Temperatures = "293.15",
    top: opt.Top = 10,
    level: opt.Level = 0.9,
    partial: opt.PartialName = opt.Partial.NONE,
    executor: opt.Executor = opt.ExecutorName.LOCAL,
    executor_config: opt.ExecutorConfig = None,
    workers: opt.Workers = None,
    shard_size: opt.ShardSize = 1000,
    model: opt.ModelFile = None,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> int:
    """Predict the spectra of many structures, on all cores or on a cluster.

    Writes Parquet files to the folder OUTPUT, one for each shard of the
    structures. A structure that cannot be read or predicted is a row with its
    error. In the end the best are printed; `debye top OUTPUT` ranks them
    otherwise.
    """
    from debye.core.checkpoint import read_card
    from debye.crystals.predict.predictor import grid, model_path
    from debye.crystals.screening import store
    from debye.crystals.screening.shards import files_of
    from debye.crystals.screening.worker import Job

    kelvin = parse_range(temperatures, "--temperatures", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    found = files_of(files)
    card = read_card(model_path(model))
    manifest = {
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
        "interval_level": level,
    }
    job = Job(
        folder(output).resolve(),
        model and model_path(model).resolve(),
        card["sha256"],
        tuple(manifest["temperatures"]),
        partial.value,
        device,
        level,
    )
    with store.locked(output):
        chosen = _executor_pool(executor, executor_config, workers, job)
        store.begin(output, manifest)
        code = _run(found, shard_size, job, chosen)
    if code in (DONE, SOME_FAILED) and top:
        from debye.crystals.screening.rank import Query

        _print_top(Query(output, by.value, kelvin[0]), top, as_json=as_json)
    return code


def _executor_pool(
    name: opt.ExecutorName, config: Path | None, workers: int | None, job: Job
) -> ExecutorPool:
    """The executor that is asked for, with its config."""
    from debye.core import executors
    from debye.core.device import pick_device

    if name is opt.ExecutorName.LOCAL:
        if config is not None:
            raise InputError(
                f"--executor-config {config} would not be used",
                why="local processes need no config",
                fix="add --executor parsl or --executor dask",
            )
        pick_device(job.device)  # elsewhere it is the workers' devices that count
        return executors.local(workers or executors.cores(), ["debye.crystals.screening.worker"])
    table = read_toml(config) if config else {}
    if name is opt.ExecutorName.PARSL:
        return executors.parsl(table, workers, job.folder / "parsl")
    return executors.dask(table, workers)


def _run(found: list[Path], shard_size: int, job: Job, executor: ExecutorPool) -> int:
    """Screen what is missing; the exit code."""
    from debye.crystals.screening import store
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
        tell(f"{plural(done, 'part')} done, in {job.folder}")
        return interrupted()
    store.finish(job.folder, structures, failed)
    tell(f"{job.folder} holds {plural(structures, 'structure')} in {plural(done, 'part')}")
    if failed:
        tell(f"{failed} of {structures} structures failed; the column error says why")
    return DONE if not failed else SOME_FAILED if failed < structures else BAD_INPUT


def top(
    folder: opt.Screened,
    by: opt.By = opt.Quantity.HEAT_CAPACITY_PER_KG,
    temperature: opt.OptionalTemperature = None,
    top: opt.Top = 10,
    lowest: opt.Lowest = False,
    contains: opt.Contains = None,
    without: opt.Without = None,
    max_error: opt.MaxError = None,
    level: opt.OptionalLevel = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> None:
    """Rank what was screened, and draw it with the best labelled.

    TEMPERATURE is one of those screened, by default the first. LEVEL can only be
    that of the screening, which keeps intervals of one level.
    """
    from debye.crystals.screening.rank import Query
    from debye.crystals.screening.store import read_manifest

    if temperature is not None:
        check_range(temperature, "--temperature", least=0)
    if max_error is not None:
        check_range(max_error, "--max-error", least=0)
    figure = writable(plot, "--plot", FIGURES)
    query = Query(
        folder, by.value, temperature, contains or (), without or (), lowest, max_error, level
    )
    if "done" not in read_manifest(folder):
        warn(f"the screening {folder} is not finished; this ranks the parts that are there")
    rows = _print_top(query, top, as_json=as_json, needed=figure is None)
    if figure:
        _draw_screening(query, rows, figure)


def _print_top(
    query: Query, count: int, *, as_json: bool, needed: bool = True
) -> list[dict[str, Any]]:
    """Print the best rows, and give them."""
    from debye.crystals.dos.quantities import PROPERTIES
    from debye.crystals.predict.record import EXPECTED_ERROR
    from debye.crystals.screening.rank import top as best

    rows = best(query, count)
    if not rows:
        warn("no structure fits")
    wanted = PROPERTIES[query.by]
    title = wanted.title(query.temperature or 0.0)
    width = max([len(row["formula"]) for row in rows], default=0)
    uncertain = any(row[EXPECTED_ERROR] is not None for row in rows)
    shown = f"{100 * (query.level or 0.0):g} %"
    more = (f"  {'±':>7}  {'error':>6}", f"  {shown:>7}  {'cm⁻¹':>6}") if uncertain else ("", "")
    head = f"{'':>4}  {'formula':<{width}}  {title:>14}{more[0]}  source"
    units = f"{'':>4}  {'':<{width}}  {wanted.unit:>14}{more[1]}"
    printer = Printer(f"{head}\n{units}", as_json=as_json, needed=needed)
    first = {"schema": SCHEMA, **({"interval_level": query.level} if uncertain else {})}
    for i, row in enumerate(rows, 1):
        mark = " !" if row["warnings"] else ""
        cells = f"{row[query.column]:>14.6g}{_uncertainty(row, query) if uncertain else ''}"
        line = f"{i:>4}  {row['formula']:<{width}}  {cells}  {row['id']}{mark}"
        printer.add(lambda line=line: line, lambda row=row: first | row)  # type: ignore[misc]
    return rows


def _uncertainty(row: dict[str, Any], query: Query) -> str:
    """Half the interval around a row's value, and the expected error of its spectrum."""
    from debye.crystals.predict.record import EXPECTED_ERROR, bounds_of

    if row[EXPECTED_ERROR] is None:
        return " " * 17
    lower, upper = (row[column] for column in bounds_of(query.column))
    return f"  {(upper - lower) / 2:>7.2g}  {row[EXPECTED_ERROR]:>6.3g}"


def _draw_screening(query: Query, best: list[dict[str, Any]], path: Path) -> None:
    """What was screened, and the best of it."""
    from debye.crystals.dos.quantities import PROPERTIES
    from debye.crystals.screening.rank import values
    from debye.plot.screening import screening_figure

    figure = screening_figure(
        *values(query),
        label=PROPERTIES[query.by].axis(query.temperature),
        best=[(row["formula"], row["mass_per_atom_u"], row[query.column]) for row in best],
        classical=query.by == "heat-capacity-per-kg",
        lowest=query.lowest,
    )
    draw(figure, path)
