"""The verb study: a published case in one go."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import DONE, folder, progress_bar, tell, verb
from debye.core.files import atomic_write

if TYPE_CHECKING:
    from debye.speckle.studies.report import Report


class StudyName(str, Enum):
    """Cases with something to learn."""

    SWARM = "swarm"
    KURAMOTO = "kuramoto"
    DRIFT = "drift"
    SCAN = "scan"


Photons = Annotated[
    float, typer.Option(min=0, help="Expected counts in the brightest pixel; 0 for no noise.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the initial states and of the photons.")]
Json = Annotated[bool, typer.Option("--json", help="Every number of the table as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(verb(study))


def study(
    name: Annotated[StudyName, typer.Argument(help="Which case.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Folder for table, figures, movie and law.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A shortened run.")] = False,
    photons: Photons = 0.0,
    seed: Seed = 0,
    movie: Annotated[bool, typer.Option(help="Draw the movie too.")] = True,
    as_json: Json = False,
) -> int:
    """Simulate, learn, judge on unseen initial states, extrapolate: a published case in one go."""
    from debye.speckle.fitting.model_file import save_fitted
    from debye.speckle.studies.cases import study as find
    from debye.speckle.studies.evaluate import conduct

    place = folder(output) if output else None
    case = find(name.value)
    plan = case.quick if quick else case.plan
    assert plan is not None  # noqa: S101 - every StudyName has one
    with progress_bar() as bar:
        total = sum(stage.iterations for stage in plan.stages)
        task = bar.add_task(f"{case.name}: simulating", total=total)

        def watch(step: Any) -> None:  # noqa: ANN401 - a Step
            line = f"{case.name}: stage {step.epoch + 1} step {step.step} loss {step.loss:.4g}"
            bar.update(task, advance=1, description=line)
            if bar.disable:
                tell(line)

        def keep(learning: Any) -> None:  # noqa: ANN401 - a Fitting
            if place:
                save_fitted(place / f"{case.name}.safetensors", learning, study=case.name)

        report = conduct(case, quick=quick, photons=photons, seed=seed, watch=watch, keep=keep)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else _table(report))
    if place:
        _write(report, place, movie)
    return DONE


def _table(report: Report) -> str:
    """The table of a study in columns."""
    width = max(len(row.quantity) for row in report.rows)
    lines = [f"{report.study.title} ({report.study.name})", ""]
    lines.append(f"{'quantity':{width}}  {'value':>10}  {'target':>8}  published")
    for row in report.rows:
        target = "" if row.target is None else f"≤ {row.target:g}"
        mark = {True: " met", False: " NOT MET", None: ""}[row.met]
        lines.append(
            f"{row.quantity:{width}}  {row.value:10.4g}  {target:>8}{mark}  {row.published}"
        )
    spent = ", ".join(f"{k} {v:.1f} s" for k, v in report.seconds.items())
    return "\n".join([*lines, "", spent])


def _write(report: Report, place: Path, with_movie: bool) -> None:
    """Table, page of figures and movie into a folder."""
    from debye.plot import save
    from debye.plot.movie import movie as draw_movie
    from debye.plot.studies import study_figure

    name = report.study.name
    atomic_write(place / f"{name}.json", json.dumps(report.as_json(), indent=2))
    written = [save(study_figure(report), place / f"{name}.png")]
    if with_movie:
        written.append(draw_movie(report, place / f"{name}.gif"))
    for path in written:
        tell(str(path))
