"""Verbs of motion: simulate, learn, extrapolate, xpcs."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debye.cli.common import (
    DONE,
    FIGURES,
    INTERRUPTED,
    check_range,
    graceful_stop,
    progress_bar,
    tell,
    verb,
    warn,
    writable,
)
from debye.cli.output import Device
from debye.cli.study import Json, Photons, Seed, StudyName
from debye.core.files import read_toml
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.data.frames import Frames
    from debye.speckle.dynamics.systems import System
    from debye.speckle.fitting.fit import Fitting, Plan
    from debye.speckle.scattering.models import Scattering


class Case(str, Enum):
    """Systems that can be simulated."""

    SWARM = "swarm"
    KURAMOTO = "kuramoto"
    DRIFT = "drift"
    GRAY_SCOTT = "gray-scott"
    TURING = "turing"
    SCAN = "scan"


class Method(str, Enum):
    """How a law is learned."""

    GAUSS_NEWTON = "gauss-newton"
    LBFGS = "lbfgs"
    ADAM = "adam"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    for function in (simulate, learn, extrapolate, xpcs):
        app.command()(verb(function))


def simulate(
    system: Annotated[Case, typer.Argument(help="What to simulate.", show_default=False)],
    output: Annotated[Path, typer.Option(help="HDF5 file to write.", show_default=False)],
    runs: Annotated[
        int | None, typer.Option(min=1, help="Initial states; as published by default.")
    ] = None,
    until: Annotated[float | None, typer.Option(help="Last time; as published by default.")] = None,
    photons: Photons = 0.0,
    seed: Seed = 0,
) -> int:
    """Simulate the coherent-scattering frames of a known law.

    The file holds frames, states, geometry, equation and seed, and describes itself.
    """
    from debye.speckle.data.nexus import save_frames
    from debye.speckle.studies.cases import study as find
    from debye.speckle.studies.making import make_frames

    writable(output, "--output")
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
    count = tuple(frames.data.shape)
    typer.echo(
        f"{output}: {count[0]} runs × {count[1]} frames of {count[2]} × {count[3]} pixels, "
        f"t = {float(frames.times[0]):g} … {float(frames.times[-1]):g}"
    )
    return DONE


def learn(
    frames: Annotated[Path, typer.Argument(help="HDF5 file of frames.", show_default=False)],
    output: Annotated[
        Path, typer.Option(help="FittedSystem to write, .safetensors.", show_default=False)
    ],
    system: Annotated[
        StudyName | None, typer.Option(help="Equation; the file's own by default.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How to learn.")] = Method.GAUSS_NEWTON,
    likelihood: Annotated[
        str | None, typer.Option(help="poisson, amplitude, exact, squares or l1.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Follow the shortened plan.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML: any fields of the plan, with [[stages]].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the output file.")] = False,
    device: Device = "cpu",
) -> int:
    """Learn the law of motion behind frames.

    The law is written after every step; Ctrl-C leaves one to --resume from.
    """
    from debye.core.device import pick_device
    from debye.speckle.data.nexus import load_frames
    from debye.speckle.fitting.fit import prepare
    from debye.speckle.fitting.model_file import resume as take_up
    from debye.speckle.fitting.model_file import save_fitted
    from debye.speckle.studies.cases import study as find
    from debye.speckle.studies.scan import first_guess

    writable(output, "--output")
    place = pick_device(device, precise=True)
    data = load_frames(frames)
    for kind, count in data.about.get("masked", {}).items():
        warn(f"{count} {kind} pixels were masked")
    case = find(system.value if system else str(data.about.get("study", "")))
    model = _model(case.model, case.name)
    plan = _plan(case, quick, config, {"method": method.value, "likelihood": likelihood})
    if case.name == "scan" and data.states is not None and not resume:
        first_guess(model, data.states[0], data.times, case.solver)
    eye = _eye(data, case)
    learning = prepare(model, data.to(place), plan, solver=case.solver, scattering=eye)
    if resume:
        take_up(output, learning)
    stopped = _follow(
        learning, lambda: save_fitted(output, learning, study=case.name, frames=frames.name)
    )
    if stopped:
        tell("stopped; go on with --resume")
        return INTERRUPTED
    typer.echo(str(output))
    return DONE


def _eye(data: Frames, case: Any) -> Scattering:  # noqa: ANN401
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


def _follow(learning: Fitting, keep: Any) -> bool:  # noqa: ANN401 - a function without arguments
    """Learn with a progress bar, keeping the law after every step; True if stopped."""
    stages = learning.plan.stages
    total = sum(stage.iterations for stage in stages)
    with graceful_stop() as stop, progress_bar() as bar:
        task = bar.add_task("learning", total=total)
        for step in learning.run():
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
    law: Annotated[Path, typer.Argument(help="FittedSystem of debye learn.", show_default=False)],
    until: Annotated[float, typer.Option(help="Last time.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Frames whose first states to start from; those it learned from if none."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="HDF5 file of predicted frames.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs to follow.")] = 4,
    as_json: Json = False,
) -> int:
    """Follow a learned law beyond its data.

    Prints the error of the frames against time wherever the source has frames to compare with,
    and how much of it the counting of photons alone would make.
    """
    import torch

    from debye.speckle.data.nexus import load_frames, save_frames
    from debye.speckle.fitting.model_file import load_fitted
    from debye.speckle.scattering.noise import expose
    from debye.speckle.studies.metrics import frame_error

    output, found = writable(output, "--output"), load_fitted(law)
    source = source or _learned_from(law, found.card)
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
    light = found.frames(path, known.specimen)
    both = min(len(known.times), len(times))
    error = frame_error(light[:, :both], known.data[:, :both], known.mask)
    # What photons alone would do: the law's own prediction, counted.
    counted = expose(light[:, :both].clamp(min=0), torch.Generator().manual_seed(0))
    noise = frame_error(light[:, :both], counted if known.photons else light[:, :both], known.mask)
    if as_json:
        numbers = {"times": times[:both], "frame_error": error, "photon_noise": noise}
        typer.echo(json.dumps({k: v.tolist() for k, v in numbers.items()}))
    else:
        typer.echo("      time  frame amplitude error  of that photon noise")
        for k in range(0, both, max(both // 20, 1)):
            typer.echo(f"{times[k]:10.4g}  {error[k]:21.3e}  {noise[k]:20.3e}")
    if output:
        save_frames(output, _predicted(known, found, times, path, light))
        tell(f"{output}: frames to t = {float(times[-1]):g}")
    return DONE


def _learned_from(law: Path, card: dict[str, Any]) -> Path:
    """The frames a law was learned from, if they still lie beside it or here."""
    name = str(card.get("frames") or "")
    found = [folder / name for folder in (law.parent, Path()) if name and (folder / name).exists()]
    if not found:
        raise InputError(
            f"nothing to start {law} from",
            why=f"the frames it was learned from, {name or 'unknown'}, are not beside it",
            fix="name frames, whose first states are taken, with --from",
        )
    return found[0]


def _predicted(known: Frames, law: Any, times: Any, path: Any, light: Any) -> Frames:  # noqa: ANN401
    from dataclasses import replace

    return replace(
        known,
        data=light * known.mask,
        times=times,
        states=path,
        photons=0.0,
        system=law.system,
        about={**known.about, "predicted": True},
    )


def xpcs(
    frames: Annotated[Path, typer.Argument(help="HDF5 file of frames.", show_default=False)],
    rings: Annotated[int, typer.Option(min=1, max=50, help="Regions of equal width in |Q|.")] = 3,
    run: Annotated[int, typer.Option(min=0, help="Which run.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Figure to draw: a PNG, SVG or PDF file.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Correlate frames: speckle contrast, g2 against delay, the two-time map.

    Prints g2 and its standard error for each ring of constant |Q|.
    """
    from debye.speckle.data.correlate import correlate_run
    from debye.speckle.data.nexus import load_frames

    plot = writable(plot, "--plot", FIGURES)
    found = correlate_run(load_frames(frames), run, rings)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        typer.echo("\n".join(found.table()))
    if plot:
        from debye.plot import save
        from debye.plot.xpcs import xpcs_figure

        tell(str(save(xpcs_figure(found), plot)))
    return DONE
