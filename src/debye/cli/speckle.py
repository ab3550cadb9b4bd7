"""Verbs of motion: simulate, learn, extrapolate, study, xpcs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli import options as opt
from debye.cli.console import (
    DONE,
    graceful_stop,
    interrupted,
    plural,
    progress_bar,
    show,
    tell,
    to_json,
    warn,
)
from debye.cli.output import draw, write_json
from debye.cli.values import FIGURES, check_range, writable
from debye.core.files import folder, read_toml
from debye.core.records import SCHEMA
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.core.training import Step
    from debye.speckle.data.frames import Frames
    from debye.speckle.dynamics.systems import System
    from debye.speckle.fitting.fit import Fitting, Plan
    from debye.speckle.scattering.models import Scattering
    from debye.speckle.studies.report import Report


def simulate(
    system: opt.CaseName,
    output: opt.Output,
    runs: opt.OptionalRuns = None,
    until: opt.OptionalUntil = None,
    photons: opt.Photons = 0.0,
    seed: opt.Seed = 0,
) -> int:
    """Simulate the coherent-scattering frames of a known system.

    The HDF5 file OUTPUT holds frames, states, geometry, equation and seed, and
    describes itself. Without --runs there are as many as were published.
    """
    from debye.speckle.data.nexus import save_frames
    from debye.speckle.studies.cases import study as find
    from debye.speckle.studies.making import make_frames

    writable(output, "--output")
    check_range(seed, "--seed", least=0)
    if until is not None:
        check_range(until, "--until")
    case = find(system.value)
    with progress_bar() as bar:
        task = bar.add_task(f"simulating {case.name}", total=runs or case.runs)
        frames = make_frames(
            case,
            runs=runs,
            photons=photons,
            seed=seed,
            until=until,
            watch=lambda done: bar.update(task, completed=done),
        )
    save_frames(output, frames)
    runs, times, height, width = frames.data.shape
    show(
        f"{output}: {plural(runs, 'run')} × {times} frames of {height} × {width} pixels, "
        f"t = {float(frames.times[0]):g} … {float(frames.times[-1]):g}"
    )
    return DONE


def learn(
    frames: opt.Frames,
    output: opt.Output,
    system: opt.System = None,
    method: opt.MethodName = opt.Method.GAUSS_NEWTON,
    likelihood: opt.Likelihood = None,
    quick: opt.Quick = False,
    config: opt.Config = None,
    resume: opt.Resume = False,
    device: opt.Device = "cpu",
) -> int:
    """Learn the unknown term of an equation of motion from frames.

    The fitted system is written to OUTPUT, a .safetensors file, after every
    step; Ctrl-C leaves one to --resume from. The config is TOML: any fields of
    the plan, with [[stages]].
    """
    from debye.core.device import pick_device
    from debye.speckle.data.nexus import load_frames
    from debye.speckle.fitting.fit import prepare
    from debye.speckle.fitting.model_file import resume as take_up
    from debye.speckle.fitting.model_file import save_fitted
    from debye.speckle.studies.cases import study as find
    from debye.speckle.studies.scan import first_guess

    writable(output, "--output")
    where = pick_device(device, precise=True)
    data = load_frames(frames)
    for kind, count in data.about.get("masked", {}).items():
        warn(f"{count} {kind} pixels were masked")
    case = find(system.value if system else str(data.about.get("study", "")))
    model = _model(case.model, case.name)
    plan = _plan(case, quick, config, {"method": method.value, "likelihood": likelihood})
    if case.name == "scan" and data.states is not None and not resume:
        first_guess(model, data.states[0], data.times, case.solver)
    scattering = _scattering(data, case)
    fitting = prepare(model, data.to(where), plan, solver=case.solver, scattering=scattering)
    if resume:
        take_up(output, fitting)
    stopped = _follow(
        fitting, lambda: save_fitted(output, fitting, study=case.name, frames=frames.name)
    )
    if stopped:
        return interrupted("interrupted: go on with --resume")
    show(str(output))
    return DONE


def _scattering(data: Frames, case: Any) -> Scattering:  # noqa: ANN401
    """The frames' own geometry, or the study's where they name none."""
    expected = case.scattering()
    if data.scattering is None:
        tell(f"the file names no geometry: taking that of the {case.name} study")
        return expected
    seen, wanted = type(data.scattering).__name__, type(expected).__name__
    if seen != wanted:
        raise InputError(
            f"cannot learn {case.name} from these frames",
            why=f"they are of a {seen}, and its equation moves a {wanted}",
            fix="leave --system out, or give frames of such a system",
        )
    return data.scattering


def _model(make: Any, name: str) -> System:  # noqa: ANN401 - a function without arguments
    if make is None:
        raise InputError(
            f"cannot learn {name}",
            why="no term is left in its equation",
            fix="fill one yourself with debye.speckle, as docs/speckle.md shows",
        )
    return make()


def _plan(case: Any, quick: bool, config: Path | None, flags: dict[str, Any]) -> Plan:  # noqa: ANN401
    """The study's plan with the config file's fields and then the flags laid over it."""
    from dataclasses import replace

    from debye.speckle.fitting.fit import Stage

    changes = read_toml(config) if config else {}
    try:
        if "stages" in changes:
            changes["stages"] = tuple(Stage(**stage) for stage in changes["stages"])
        given = {k: v for k, v in flags.items() if v is not None}
        return replace(case.quick if quick else case.plan, **{**changes, **given})
    except TypeError as error:
        raise InputError(
            f"cannot follow the config {config}",
            why=str(error),
            fix="use the fields of Plan and Stage in debye.speckle.fitting.fit",
        ) from error


def _follow(fitting: Fitting, keep: Callable[[], None]) -> bool:
    """Fit with a progress bar, keeping the system after every step; True if stopped."""
    stages = fitting.plan.stages
    total = sum(stage.iterations for stage in stages)
    with graceful_stop() as stop, progress_bar() as bar:
        task = bar.add_task("fitting", total=total)
        for step in fitting.run():
            keep()
            done = sum(stage.iterations for stage in stages[: step.epoch]) + step.step
            line = f"stage {step.epoch + 1}/{len(stages)} step {step.step}  loss {step.loss:.4g}"
            bar.update(task, completed=done, description=line)
            if bar.disable:
                tell(line + ("  (step shortened)" if step.rewound else ""))
            if stop():
                return True
    keep()  # once more, with the plan marked as done
    return False


def extrapolate(
    fitted: opt.Fitted,
    until: opt.Until,
    source: opt.From = None,
    output: opt.OptionalOutput = None,
    runs: opt.Runs = 4,
    as_json: opt.Json = False,
) -> int:
    """Follow a fitted system beyond its data.

    Prints the error of the frames against time wherever the source has frames to compare with,
    and how much of it the counting of photons alone would make. OUTPUT is an HDF5 file of the
    predicted frames.
    """
    import torch

    from debye.speckle.data.nexus import load_frames, save_frames
    from debye.speckle.fitting.model_file import load_fitted
    from debye.speckle.scattering.noise import expose
    from debye.speckle.studies.metrics import frame_error

    output, found = writable(output, "--output"), load_fitted(fitted)
    source = source or _fitted_to(fitted, found.card)
    known = load_frames(source).runs(runs)
    if known.states is None:
        raise InputError(
            f"cannot start from {source}", why="it holds no states", fix="give frames with states"
        )
    check_range(until, "--until", least=float(known.times[1]))
    step = float(known.times[1] - known.times[0])
    beyond = max(0, round((until - float(known.times[-1])) / step))
    extra = known.times[-1] + step * torch.arange(1, beyond + 1, dtype=torch.float64)
    times = torch.cat([known.times, extra])
    times = times[times <= until + step / 2]
    path = found.extrapolate(known.states[:, 0], times).states.transpose(0, 1)
    intensity = found.frames(path, known.specimen)
    both = min(len(known.times), len(times))
    error = frame_error(intensity[:, :both], known.data[:, :both], known.mask)
    # What photons alone would do: the prediction itself, counted.
    counted = expose(intensity[:, :both].clamp(min=0), torch.Generator().manual_seed(0))
    noise = frame_error(
        intensity[:, :both], counted if known.photons else intensity[:, :both], known.mask
    )
    if as_json:
        numbers = {"times": times[:both], "frame_error": error, "photon_noise": noise}
        show(to_json({"schema": SCHEMA, **{k: v.tolist() for k, v in numbers.items()}}))
    else:
        show("      time  frame amplitude error  of that photon noise")
        for k in range(0, both, max(both // 20, 1)):
            show(f"{times[k]:10.4g}  {error[k]:21.3e}  {noise[k]:20.3e}")
    if output:
        save_frames(output, _predicted(known, found, times, path, intensity))
        tell(f"{output}: frames to t = {float(times[-1]):g}")
    return DONE


def _fitted_to(fitted: Path, card: dict[str, Any]) -> Path:
    """The frames a system was fitted to, if they still lie beside it or here."""
    name = str(card.get("frames") or "")
    found = [
        folder / name for folder in (fitted.parent, Path()) if name and (folder / name).exists()
    ]
    if not found:
        raise InputError(
            f"nothing to start {fitted} from",
            why=f"the frames it was fitted to, {name or 'unknown'}, are not beside it",
            fix="name frames, whose first states are taken, with --from",
        )
    return found[0]


def _predicted(known: Frames, fitted: Any, times: Any, path: Any, intensity: Any) -> Frames:  # noqa: ANN401
    from dataclasses import replace

    return replace(
        known,
        data=intensity * known.mask,
        times=times,
        states=path,
        photons=0.0,
        system=fitted.system,
        about={**known.about, "predicted": True},
    )


def study(
    name: opt.StudyArgument,
    output: opt.OptionalOutput = None,
    quick: opt.Quick = False,
    photons: opt.Photons = 0.0,
    seed: opt.Seed = 0,
    movie: opt.Movie = True,
    as_json: opt.Json = False,
) -> int:
    """Simulate, learn, compare on unseen initial states, extrapolate: a published study.

    OUTPUT is a folder for the table, the figures, the movie and the fitted system.
    """
    from debye.speckle.fitting.model_file import save_fitted
    from debye.speckle.studies.cases import study as find
    from debye.speckle.studies.evaluate import conduct

    check_range(seed, "--seed", least=0)
    target = folder(output) if output else None
    case = find(name.value)
    plan = case.quick if quick else case.plan
    assert plan is not None  # noqa: S101 - every StudyName has one
    with progress_bar() as bar:
        total = sum(stage.iterations for stage in plan.stages)
        task = bar.add_task(f"{case.name}: simulating", total=total)

        def watch(step: Step) -> None:
            line = f"{case.name}: stage {step.epoch + 1} step {step.step} loss {step.loss:.4g}"
            bar.update(task, advance=1, description=line)
            if bar.disable:
                tell(line)

        def keep(fitting: Fitting) -> None:
            if target:
                save_fitted(target / f"{case.name}.safetensors", fitting, study=case.name)

        report = conduct(case, quick=quick, photons=photons, seed=seed, watch=watch, keep=keep)
    text = to_json({"schema": SCHEMA, **report.as_json()}, indent=2) if as_json else _table(report)
    show(text, needed=not target)
    if target:
        _write(report, target, movie)
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


def _write(report: Report, target: Path, with_movie: bool) -> None:
    """Table, page of figures and movie into a folder."""
    from debye.plot.movie import movie as draw_movie
    from debye.plot.studies import study_figure

    name = report.study.name
    write_json(target / f"{name}.json", report.as_json())
    draw(study_figure(report), target / f"{name}.png")
    if with_movie:
        tell(f"drew {draw_movie(report, target / f'{name}.gif')}")


def xpcs(
    frames: opt.Frames,
    rings: opt.Rings = 3,
    run: opt.Run = 0,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> int:
    """Correlate frames: speckle contrast, g2 against delay, the two-time map.

    Prints g2 and its standard error for each ring of constant |Q|.
    """
    from debye.speckle.data.correlate import correlate_run
    from debye.speckle.data.nexus import load_frames

    figure = writable(plot, "--plot", FIGURES)
    found = correlate_run(load_frames(frames), run, rings)
    show(
        to_json({"schema": SCHEMA, **found.as_json()}) if as_json else "\n".join(found.table()),
        needed=not figure,
    )
    if figure:
        from debye.plot.xpcs import xpcs_figure

        draw(xpcs_figure(found), figure)
    return DONE
