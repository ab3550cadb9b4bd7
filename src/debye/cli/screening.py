"""Verbs that screen many structures and rank them: screen, top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli import lattice_options as ol
from debye.cli import options as opt
from debye.cli.console import (
    BAD_INPUT,
    DONE,
    SOME_FAILED,
    Warnings,
    interrupted,
    plural,
    progress_bar,
    tell,
    warn,
)
from debye.cli.inputs import FIGURES, check_range, keep_stdin, parse_range, writable
from debye.cli.output import Printer, draw
from debye.cli.stopping import graceful_stop
from debye.core.records import SCHEMA

if TYPE_CHECKING:
    from debye.crystals.screening.rank import Query
    from debye.crystals.screening.run import Screening
    from debye.crystals.screening.worker import Report


def screen(
    files: opt.Files,
    output: opt.Output,
    by: opt.By = opt.Quantity.HEAT_CAPACITY_PER_KG,
    temperatures: opt.Temperatures = "293.15",
    top: opt.Top = 10,
    level: opt.Level = 0.9,
    partial: opt.PartialName = opt.Partial.NONE,
    lattice: ol.LatticeName = ol.Lattice.GIVEN,
    executor: opt.Executor = opt.ExecutorName.LOCAL,
    executor_config: opt.ExecutorConfig = None,
    workers: opt.Workers = None,
    shard_size: opt.ShardSize = 1000,
    overwrite: opt.Overwrite = False,
    refine: ol.Refine = None,
    calculator: ol.Calculator = None,
    model: opt.ModelFile = None,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
) -> int:
    """Predict the spectra of many structures, on all cores or on a cluster.

    Writes Parquet files to the folder OUTPUT, one for each shard of the
    structures. A structure that cannot be read or predicted is a row with its
    error. In the end the best are printed; `debye top OUTPUT` ranks them
    otherwise.

    Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on where
    it stopped: the shards that are done are kept. A folder that holds another
    screening is refused, unless --overwrite begins anew.

    With --refine 25% the quarter of which the largest error is expected goes
    to a calculator, of which --calculator names the function; the column
    refined_by says which rows are its.
    """
    from debye.crystals.screening.run import screen as run

    kelvin = parse_range(temperatures, "--temperatures", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    done = structures = 0
    stop = graceful_stop("stopping once the shards in work are done")
    with stop as stopping, progress_bar() as bar:
        task = bar.add_task("structures", total=None)

        def advance(report: Report) -> None:
            nonlocal done, structures
            done, structures = done + 1, structures + report.structures
            bar.update(task, completed=structures)

        found = run(
            keep_stdin(files, output, overwrite=overwrite),
            output,
            temperatures=kelvin,
            level=level,
            partial=partial.value,
            lattice=lattice.value,
            model=model,
            device=device,
            workers=workers,
            executor=executor.value,
            executor_config=executor_config,
            shard_size=shard_size,
            overwrite=overwrite,
            refine=refine,
            calculator=calculator,
            stopping=stopping,
            progress=advance,
            notify=warn,
        )
    code = _ended(found, done)
    if code in (DONE, SOME_FAILED) and top:
        from debye.crystals.screening.rank import Query

        _print_top(Query(output, by.value, kelvin[0]), top, as_json=as_json)
    return code


def _ended(found: Screening, done: int) -> int:
    """Say how a screening ended; its exit code."""
    from debye.crystals.screening.rank import warned

    if not found.finished:
        tell(f"{plural(done, 'part')} done, in {found.folder}")
        return interrupted()
    structures, failed = found.structures, found.failed
    tell(f"{found.folder} holds {plural(structures, 'structure')} in {plural(done, 'part')}")
    if failed:
        tell(f"{failed} of {structures} structures failed; the column error says why")
    refined, unrefined = found.refined
    if refined or unrefined:
        tell(f"{plural(refined, 'structure')} refined; the column refined_by says which")
    if unrefined:
        warn(f"{plural(unrefined, 'structure')} not refined; the column refine_error says why")
    if told := warned(found.folder):
        warn(f"{told} of {structures} structures have warnings; the column warnings says which")
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
    width = max(map(len, ["formula", *(row["formula"] for row in rows)]))
    uncertain = any(row[EXPECTED_ERROR] is not None for row in rows)
    shown = f"{100 * (query.level or 0.0):g} %"
    more = (f"  {'±':>7}  {'error':>6}", f"  {shown:>7}  {'cm⁻¹':>6}") if uncertain else ("", "")
    head = f"{'':>4}  {'formula':<{width}}  {title:>14}{more[0]}  source"
    units = f"{'':>4}  {'':<{width}}  {wanted.unit:>14}{more[1]}"
    printer = Printer(f"{head}\n{units}", as_json=as_json, needed=needed)
    said = Warnings()
    first = {"schema": SCHEMA, **({"interval_level": query.level} if uncertain else {})}
    for i, row in enumerate(rows, 1):
        mark = " !" if row["warnings"] else ""
        for message in row["warnings"] or ():
            said.add(row["id"], message)
        cells = f"{row[query.column]:>14.6g}{_uncertainty(row, query) if uncertain else ''}"
        line = f"{i:>4}  {row['formula']:<{width}}  {cells}  {row['id']}{mark}"
        printer.add(lambda line=line: line, lambda row=row: first | row)  # type: ignore[misc]
    said.close()
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
