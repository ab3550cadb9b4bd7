"""Verbs of motion: simulate, learn, extrapolate, formula, study."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli import fit_options as fo
from debye.cli import frame_options as of
from debye.cli import options as opt
from debye.cli.console import (
    DONE,
    FAILED,
    SOME_FAILED,
    interrupted,
    progress_bar,
    show,
    tell,
    to_json,
    warn,
)
from debye.cli.inputs import check_one_way, check_range, writable
from debye.cli.output import draw, write_json
from debye.cli.stopping import graceful_stop
from debye.core.files import folder, read_toml
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.data.frames import Frames
    from debye.speckle.data.quality import Quality
    from debye.speckle.fitting.fit import Fitting
    from debye.speckle.fitting.fitted import FittedSystem
    from debye.speckle.studies.study import Case, Report


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
    from debye.speckle.studies.run import study as find

    writable(output, "--output")
    check_range(seed, "--seed", least=0)
    if until is not None:
        check_range(until, "--until")
    case = find(system.value)
    with progress_bar() as bar:
        task = bar.add_task(f"simulating {case.name}", total=runs or case.runs)
        frames = case.frames(
            runs=runs,
            photons=photons,
            seed=seed,
            until=until,
            watch=lambda done: bar.update(task, completed=done),
        )
    save_frames(output, frames)
    show(f"{output}: {frames.summary()}")
    return DONE


def learn(
    frames: opt.Frames,
    output: opt.Output,
    system: opt.System = None,
    method: opt.MethodName = opt.Method.GAUSS_NEWTON,
    likelihood: fo.Likelihood = None,
    instrument: fo.InstrumentToo = None,
    start_error: fo.StartError = None,
    quick: opt.Quick = False,
    config: opt.Config = None,
    follow: of.Follow = False,
    window: fo.Stretch = 12,
    timeout: of.Timeout = 30.0,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    imports: opt.Imports = False,
    device: opt.Device = "cpu",
    as_json: opt.Json = False,
) -> int:
    """Learn the unknown term of an equation of motion from frames, or from their correlations.

    The fitted system is written to OUTPUT, a .safetensors file, after every
    step. The config is TOML: any fields of the plan, with [[stages]], and for
    an equation of your own [system] with its class, constants and terms,
    [scattering] and [solver]. A term that it leaves out may take any smooth form.

    Of measured frames the instrument is fitted too: its gain, backgrounds,
    beam centre, scale of q, probe width and contrast. At the end debye says
    whether the fitted system describes the frames; where it does not, what to
    try, and the exit code is 3.

    Given a result file of `debye correlate`, a system under thermal noise is
    fitted to g2 and the mean intensity, starts unknown; the config then
    describes sample, detector and force.

    With --follow the file may still be written: a stretch of frames is fitted
    at a time and then forgotten, what it taught being what is known before
    the next; the first has to show the term roughly.

    Given a config with a table [object], a rigid object that nobody has seen
    is reconstructed together with the flow that carries it.

    Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on where
    it stopped. A file that another command has written is refused, unless
    --overwrite begins anew.
    """
    from debye.cli.correlations import fit_results
    from debye.cli.objects import fit_object
    from debye.cli.streams import fit_stream, stream_of_config, stream_of_study
    from debye.core.device import pick_device
    from debye.speckle.data.nexus import load_frames
    from debye.speckle.data.results import holds_results
    from debye.speckle.fitting.described import TABLES, begun
    from debye.speckle.fitting.fit import prepare
    from debye.speckle.fitting.fitted import FittedSystem
    from debye.speckle.fitting.plan import default_plan
    from debye.speckle.studies.study import as_study

    check_one_way(resume=resume, overwrite=overwrite)
    writable(output, "--output")
    if holds_results(frames):
        return fit_results(frames, output, config, overwrite, as_json)
    flags = {"method": method.value, "likelihood": likelihood, "start_error": start_error}
    given = {k: v for k, v in flags.items() if v is not None}
    written = read_toml(config) if config else {}
    tables = written | given
    facts: dict[str, Any]
    if follow:
        _refuse_stream(output, overwrite=overwrite)
        facts = {"frames": str(frames.name)}
        if "system" in tables:
            _refuse_study(system, quick)
            begin = stream_of_config(tables, instrument, imports=imports)
            facts["described"] = {k: tables[k] for k in TABLES if k in tables}
        else:
            begin = stream_of_study(partial(_study_of, system), tables, instrument)
        stream = fit_stream(frames, output, begin, size=window, timeout=timeout, facts=facts)
        return _tell_outcome(stream.result(), output, as_json)
    data = load_frames(frames).to(pick_device(device, precise=True))
    _tell_left_out(data.quality)
    if config and "object" in written:
        return fit_object(data, output, written, config, overwrite, as_json)
    going_on = resume or (output.exists() and not overwrite)
    facts = {"frames": str(frames).removeprefix(f"{_file_of(frames).parent}/")}
    if "system" in tables:
        _refuse_study(system, quick)
        fitting = begun(tables, data, prepare, default_plan, instrument=instrument, imports=imports)
        facts["described"] = {k: tables[k] for k in TABLES if k in tables}
    else:
        case = as_study(_study_of(system, data))
        plan = (case.quick if quick else case.plan).changed(tables)
        fitting = case.fitting(data, plan, guess=not going_on, instrument=instrument)
        facts["study"] = case.name
    if data.quality.frames:
        facts["left_out"] = data.quality.frames
    if not _follow(fitting, output, going_on, facts):
        return interrupted()
    return _tell_outcome(FittedSystem.of(fitting, **facts), output, as_json)


def _study_of(system: opt.StudyName | None, data: Frames) -> Case:
    """The study that is asked for, or that made the frames.

    Raises:
        InputError: Neither is there.
    """
    from debye.speckle.studies.run import STUDIES
    from debye.speckle.studies.run import study as find

    name = system.value if system else str(data.about.get("study", ""))
    if not name:
        raise InputError(
            "cannot tell which equation to learn",
            why="the file names no study",
            fix="write the equation into [system] of a --config, as docs/speckle.md shows, or "
            f"name one of {', '.join(STUDIES)} with --system",
        )
    case = find(name)
    if data.scattering is None:
        tell(f"the file names no geometry: taking that of the {case.name} study")
    return case


def _refuse_study(system: opt.StudyName | None, quick: bool) -> None:
    """Refuse a study beside an equation of one's own.

    Raises:
        InputError: There are both.
    """
    if system or quick:
        raise InputError(
            f"cannot use {'--system' if system else '--quick'} with an equation of your own",
            why="the config has a [system], and a study has its own equation and plan",
            fix="leave out the one or the other",
        )


def _refuse_stream(output: Path, *, overwrite: bool) -> None:
    """Refuse to write a stream over a file.

    Raises:
        InputError: The output exists.
    """
    if output.exists() and not overwrite:
        raise InputError(
            f"{output} exists", why="a stream cannot be gone back to", fix="add --overwrite"
        )


def _tell_outcome(fitted: FittedSystem, output: Path, as_json: bool) -> int:
    """Print what was learned and how well it describes the frames; 3 where it does not."""
    record = {**fitted.as_json(), "output": str(output)}
    show(to_json(record) if as_json else "\n".join([*fitted.lines(), str(output)]), needed=False)
    if fitted.goodness and fitted.goodness.fits is False:
        warn(fitted.goodness.lines()[0])
        return SOME_FAILED
    return DONE


def _tell_left_out(quality: Quality) -> None:
    """Say on stderr which pixels and frames did not count, and why."""
    for line in quality.lines():
        warn(line)


def _file_of(frames: Path) -> Path:
    """The file of ``file.h5::/path``."""
    from debye.speckle.data.locate import split_name

    return Path(split_name(str(frames))[0])


def _follow(fitting: Fitting, output: Path | None, going_on: bool, facts: dict[str, Any]) -> bool:
    """Fit with a progress bar, writing the system after every step; False if interrupted.

    Args:
        fitting: What to walk to its end.
        output: The file to write, if any.
        going_on: Whether to begin where the file stands.
        facts: What the card of the file says, and must say to go on from it.
    """
    from debye.speckle.fitting.fitted import resume, save

    def keep() -> None:
        if output:
            save(output, fitting, **facts)

    if output and going_on:
        resume(output, fitting, **facts)
    stages = fitting.plan.stages
    with graceful_stop() as stop, progress_bar() as bar:
        task = bar.add_task("fitting", total=fitting.plan.iterations)
        for step in fitting.run():
            keep()
            done = sum(stage.iterations for stage in stages[: step.epoch]) + step.step
            line = f"stage {step.epoch + 1}/{len(stages)} step {step.step}  loss {step.loss:.4g}"
            bar.update(task, completed=done, description=line)
            if bar.disable:
                tell(line + ("  (step shortened)" if step.rewound else ""))
            if stop():
                return False
    keep()  # once more, with the plan marked as done
    return True


def extrapolate(
    fitted: opt.Fitted,
    until: opt.Until,
    source: opt.From = None,
    output: opt.OptionalOutput = None,
    runs: opt.Runs = 4,
    imports: opt.Imports = False,
    as_json: opt.Json = False,
) -> int:
    """Follow a fitted system beyond its data.

    Prints the error of the frames against time wherever the source has frames to compare with,
    and how much of it the counting of photons alone would make. OUTPUT is an HDF5 file of the
    predicted frames.
    """
    from debye.speckle.conclusions.extrapolate import extrapolate as follow
    from debye.speckle.data.nexus import save_frames
    from debye.speckle.fitting.fitted import load

    output = writable(output, "--output")
    found = follow(load(fitted, imports=imports), until, source, runs=runs)
    _tell_left_out(found.quality)
    show(to_json(found.as_json()) if as_json else "\n".join(found.lines()))
    if output:
        save_frames(output, found.predicted)
        tell(f"{output}: frames to t = {float(found.predicted.times[-1]):g}")
    if found.stopped:
        warn(found.stopped)
    return FAILED if found.stopped else DONE


def formula(
    fitted: opt.Fitted,
    source: opt.From = None,
    functions: opt.Functions = None,
    alone: opt.Alone = False,
    latex: opt.Latex = False,
    imports: opt.Imports = False,
    as_json: opt.Json = False,
) -> int:
    """Put the fitted term of a system into words: sums of named functions, with their odds.

    The term is a spline, as `debye learn` fits to frames that no study names.
    Formulas are fitted to the frames too, those that the system was fitted to
    unless --from names others or --alone says none. Where several formulas do
    as well, or none does, none is named, and the exit code is 3.
    """
    from debye.speckle.conclusions.extrapolate import frames_of
    from debye.speckle.conclusions.formula import find_formula
    from debye.speckle.data.nexus import load_frames
    from debye.speckle.fitting.fitted import load

    if alone and source:
        raise InputError(
            "cannot use frames and none", why="--from names some", fix="leave out --alone or --from"
        )
    law = load(fitted, imports=imports)
    data = None if alone else load_frames(source or frames_of(law))
    found = find_formula(law, data, functions)
    rows = [c.latex for c in found.candidates] if latex else found.lines()
    show(to_json(found.as_json()) if as_json else "\n".join(rows))
    if not found.named:
        warn(found.verdict)
    return DONE if found.named else SOME_FAILED


def plan(
    fitted: opt.Fitted,
    candidates: fo.Measurements,
    imports: opt.Imports = False,
    as_json: opt.Json = False,
) -> int:
    """Rank measurements not yet made by the information they would add about a fitted system.

    Of each: the information ΔI in natural units (ln 2 halves an error), the error of the
    coefficients after it over that before, and the frames and exposures it costs. A table of the
    config has start and times, or from (a file of frames) and run; and any of until, frames,
    exposure and q.

    Frames are predicted by what is fitted so far: use it once that is roughly known.
    """
    from debye.core.records import SCHEMA
    from debye.speckle.conclusions.candidates import read_candidates
    from debye.speckle.conclusions.next_measurement import rank_measurements
    from debye.speckle.fitting.fitted import load

    law = load(fitted, imports=imports)
    gains = rank_measurements(law, read_candidates(candidates))
    if as_json:
        show(to_json({"schema": SCHEMA, "measurements": [gain.as_json() for gain in gains]}))
    else:
        width = max(9, *(len(gain.name) for gain in gains))
        show(f"{'candidate':{width}}  information  a frame  error after/before  frames  exposures")
        for gain in gains:
            each = gain.information / gain.frames
            show(
                f"{gain.name:{width}}  {gain.information:11.4g}  {each:7.3g}  "
                f"{gain.shrinkage:18.3g}  {gain.frames:6}  {gain.exposures:9.4g}"
            )
    if law.goodness and law.goodness.fits is False:
        warn("the frames did not follow this law: what it predicts may not come")
    return DONE


class _InterruptedError(Exception):
    """The fit of a study was asked to stop."""


def study(
    name: opt.StudyArgument,
    output: opt.OptionalOutput = None,
    quick: opt.Quick = False,
    photons: opt.Photons = 0.0,
    seed: opt.Seed = 0,
    movie: opt.Movie = True,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Simulate, learn, compare on unseen initial states, extrapolate: a published study.

    OUTPUT is a folder for the table, the figures, the movie and the fitted system.

    Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on where
    the fit stopped. A folder with the same study of other photons, seed or
    plan is refused, unless --overwrite begins anew.
    """
    from debye.speckle.studies.run import run_study

    check_range(seed, "--seed", least=0)
    check_one_way(resume=resume, overwrite=overwrite)
    if resume and not output:
        raise InputError(
            "cannot go on with a study", why="it was kept nowhere", fix="name its folder: --output"
        )
    target = folder(output) if output else None
    written = target / f"{name.value}.safetensors" if target else None
    going_on = resume or (written is not None and written.exists() and not overwrite)
    facts = {"study": name.value, "photons": photons, "seed": seed}

    def walk(fitting: Fitting) -> None:
        if not _follow(fitting, written, going_on, facts):
            raise _InterruptedError

    try:
        report = run_study(name.value, quick=quick, photons=photons, seed=seed, walk=walk)
    except _InterruptedError:
        return interrupted() if target else interrupted("interrupted: nothing was kept")
    text = to_json(report.as_json(), indent=2) if as_json else "\n".join(report.lines())
    show(text, needed=not target)
    if target:
        _write(report, target, movie)
    return DONE


def _write(report: Report, target: Path, with_movie: bool) -> None:
    """Table, page of figures and movie into a folder."""
    from debye.plot.speckle import movie as draw_movie
    from debye.plot.speckle import study_figure

    name = report.study.name
    write_json(target / f"{name}.json", report.as_json())
    draw(study_figure(report), target / f"{name}.png")
    if with_movie:
        tell(f"drew {draw_movie(report, target / f'{name}.gif')}")
