"""Verbs on the result files of XPCS: fit, average."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli import frame_options as of
from debye.cli import options as opt
from debye.cli.console import DONE, SOME_FAILED, show, tell, to_json, warn
from debye.cli.correlate import fresh, report, written
from debye.cli.inputs import FIGURES, writable
from debye.cli.output import draw
from debye.core.records import SCHEMA
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.xpcs.correlation import Correlation
    from debye.speckle.xpcs.fit import Fit


def fit(
    results: of.ResultFiles,
    model: of.Model = of.ModelName.STRETCHED,
    q: of.QRange = None,
    times: of.TimeRange = None,
    fix: of.Fix = None,
    bound: of.Bound = None,
    all_bins: of.Global = False,
    power: of.Power = None,
    temperature: of.Temperature = None,
    viscosity: of.Viscosity = None,
    output: opt.OptionalOutput = None,
    overwrite: opt.Overwrite = False,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> int:
    """Fit relaxation to the g2 of result files: τ by q, diffusion, radius.

    RESULTS are files of `debye correlate`, boost_corr or another program that keeps to the layout
    of APS 8-ID or to NXxpcs. What is not to be trusted is said on stderr: τ outside the delays, a
    bad fit, a parameter at its bound. OUTPUT is a copy of the file with the fit in it, or, with
    --overwrite, the file itself. With --temperature and --viscosity the radius of spheres is given.
    """
    from debye.speckle.data.results import write_fit

    solvent = _solvent(temperature, viscosity)
    output, figure = fresh(output, overwrite), writable(plot, "--plot", FIGURES)
    if len(results) > 1 and (output or figure):
        raise InputError(
            "cannot write the fits of several files to one",
            why=f"there are {len(results)}",
            fix="fit one at a time, or average them first",
        )
    how: dict[str, Any] = {
        "fixed": {name: _number(value, "--fix") for name, value in _named(fix, "--fix")},
        "bounds": {name: _pair(value, "--bound") for name, value in _named(bound, "--bound")},
        "q": _pair(q, "--q"),
        "times": _pair(times, "--times"),
    }
    if power is not None and not all_bins:
        raise InputError(
            "--power would not be used", why="each bin is fitted by itself", fix="add --global"
        )
    if all_bins:
        how["power"] = power
    code = DONE
    for path in results:
        found = _correlation(path)
        fitted = found.fit(model.value, all_bins=all_bins, **how)
        for note in fitted.notes:
            warn(note if len(results) == 1 else f"{path}: {note}")
        record = {"source": str(path), **_record(found, fitted, solvent)}
        show(to_json(record) if as_json else "\n".join(_lines(record)), needed=not figure)
        if output:
            write_fit(path, output, fitted, overwrite=overwrite)
            tell(f"wrote {output}")
        if figure:
            from debye.plot.xpcs import fit_figure

            draw(fit_figure(fitted, found, found.time_unit), figure)
        code = SOME_FAILED if bool(fitted.failed.any()) else code
    return code


def average(
    results: of.ResultFiles,
    output: opt.OptionalOutput = None,
    leave_out: of.LeaveOut = None,
    overwrite: opt.Overwrite = False,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> int:
    """Average the g2 of result files, weighted by their errors, if they agree.

    Files of another geometry, q-map or frame time are refused, and runs whose g2 differ by more
    than errors allow: the sample has changed, or the beam. --leave-out drops one by name.
    """
    from debye.speckle.xpcs.average import average as mean

    output, figure = fresh(output, overwrite), writable(plot, "--plot", FIGURES)
    dropped = {path.resolve() for path in leave_out or ()}
    unknown = dropped - {path.resolve() for path in results}
    if unknown:
        raise InputError(
            f"cannot leave {next(iter(unknown))} out",
            why="it is none of the results given",
            fix="name one as it was given",
        )
    kept = [path for path in results if path.resolve() not in dropped]
    runs = [_correlation(path) for path in kept]
    found = mean(runs, names=[str(path) for path in kept])
    written(found, output, overwrite)
    report(found, output, as_json=as_json, needed=not figure)
    if figure:
        from debye.plot.xpcs import correlation_figure

        draw(correlation_figure(found, found.time_unit), figure)
    return DONE


def _correlation(path: Path) -> Correlation:
    """g2 of a result file."""
    from debye.speckle.data.read_results import read_results

    held = read_results(path)
    if held.correlation is not None:
        return held.correlation
    if held.two_time is None:
        raise InputError(
            f"cannot use {path}", why="it holds no g2", fix="correlate the frames again"
        )
    tell(f"{path} holds two-time maps alone: g2 is that of their diagonals")
    return held.two_time.correlation


def _record(found: Correlation, fitted: Fit, solvent: tuple[float, float] | None) -> dict[str, Any]:
    """What was fitted, with what follows for the sample where that can be told."""
    from debye.speckle.xpcs.diffusion import diffusion, power_law, stokes_einstein

    record = {"schema": SCHEMA, "time_unit": found.time_unit, **fitted.as_json()}
    with suppress(InputError):  # one q alone has no power law
        law = power_law(fitted)
        record |= {"power": law.power, "power_error": law.power_error}
        record["power_interval"] = law.power_interval.tolist()
    D = diffusion(fitted)
    record |= {"D": D.value, "D_error": D.error, "D_interval": D.interval.tolist()}
    record["D_unit"] = D.unit if found.time_unit == "s" else f"{D.unit} in {found.time_unit}"
    if solvent is not None:
        if found.time_unit != "s":
            raise InputError(
                "cannot say how large the particles are",
                why="no frame time is known",
                fix="correlate the frames again, with --frame-time",
            )
        record["radius_nm"], record["radius_nm_error"] = stokes_einstein(D, *solvent)
    return record


def _lines(record: dict[str, Any]) -> list[str]:
    """A line for each bin, and what follows."""
    names, unit = record["parameters"], record["time_unit"] or "unit of time"
    titles = [f"τ / {unit}" if name == "tau" else name for name in names]
    lines = [
        f"{'q / ' + record['q_unit']:>12} " + "".join(f"{t:>26}" for t in titles) + f"{'p':>9}"
    ]
    for k, q in enumerate(record["q"]):
        cells = (f"{record[n][k]:.5g} ± {record[f'{n}_error'][k]:.2g}" for n in names)
        row = "".join(f"{cell:>26}" for cell in cells)
        lines.append(f"{q:>12.5g} {row}{record['p_value'][k]:>9.2g}")
    if "power" in record:
        lines.append(f"τ ∝ q^−n, n = {record['power']:.3f} ± {record['power_error']:.3f}")
    lines.append(f"D = 1/(τ q²) = {record['D']:.5g} ± {record['D_error']:.2g} {record['D_unit']}")
    if "radius_nm" in record:
        lines.append(
            f"Stokes–Einstein radius = {record['radius_nm']:.4g} ± "
            f"{record['radius_nm_error']:.2g} nm"
        )
    return lines


def _solvent(temperature: float | None, viscosity: float | None) -> tuple[float, float] | None:
    """Temperature and viscosity, both or neither."""
    if temperature is None and viscosity is None:
        return None
    if temperature is None or viscosity is None:
        raise InputError(
            "cannot say how large the particles are",
            why="a radius needs --temperature and --viscosity",
            fix="give both, or neither",
        )
    for option, value in (("--temperature", temperature), ("--viscosity", viscosity)):
        if not 0 < value < math.inf:
            raise InputError(
                f"cannot use {option} {value:g}", why="it must be positive", fix="give K and Pa s"
            )
    return temperature, viscosity


def _named(texts: list[str] | None, option: str) -> list[tuple[str, str]]:
    """``name=value``, each."""
    found = [text.partition("=") for text in texts or ()]
    for name, equals, value in found:
        if not (name and equals and value):
            raise InputError(
                f"cannot understand {option} {name}{equals}{value}",
                why="it is no name=value",
                fix="see debye fit --help",
            )
    return [(name.strip(), value) for name, _, value in found]


def _number(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"cannot understand {option} {text}", why="it is no number", fix="see debye fit --help"
        )
    return value


def _pair(text: str | None, option: str) -> tuple[float, float] | None:
    """``low:high``, of which one may be left out."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    if not colon or not (low.strip() or high.strip()):
        raise InputError(
            f"cannot understand {option} {text}",
            why="it is no low:high",
            fix="see debye fit --help",
        )
    ends = (
        _number(low, option) if low.strip() else -math.inf,
        _number(high, option) if high.strip() else math.inf,
    )
    if not ends[0] <= ends[1]:
        raise InputError(
            f"cannot use {option} {text}", why="it does not rise", fix="give the lower one first"
        )
    return ends
