"""The verb that goes from a detector's frames to a result file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from debye.cli import frame_options as of
from debye.cli import options as opt
from debye.cli.console import DONE, progress_bar, show, tell, to_json, warn
from debye.cli.inputs import FIGURES, check_range, writable
from debye.cli.output import draw
from debye.cli.scans import correlate_each, followed
from debye.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from debye.speckle.data.analysis import Analysis
    from debye.speckle.xpcs.correlation import Correlation

Number = TypeVar("Number", int, float)


def correlate(
    stacks: of.Stacks,
    output: opt.OptionalOutput = None,
    mask: of.Mask = None,
    centre: of.Centre = None,
    find_centre: of.FindCentre = False,
    energy: of.Energy = None,
    distance: of.Distance = None,
    pixel: of.Pixel = None,
    poni: of.Poni = None,
    frame_time: of.FrameTime = None,
    rings: of.Rings = None,
    phi: of.Phi = 1,
    two_time: of.TwoTime = False,
    slices: of.Slices = 1,
    frames: of.Which = None,
    bad_frames: of.BadFrames = None,
    bins: of.Bin = 1,
    run: of.Run = None,
    average: of.Average = False,
    follow: of.Follow = False,
    count: of.Count = None,
    timeout: of.Timeout = 30.0,
    every: of.Every = 5.0,
    executor: opt.Executor = opt.ExecutorName.LOCAL,
    executor_config: opt.ExecutorConfig = None,
    workers: opt.Workers = None,
    overwrite: opt.Overwrite = False,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> int:
    """Correlate a detector's frames: g2 with its errors, by q, into a result file.

    OUTPUT, by custom x_results.hdf, opens in pyXpcsViewer, and is NXxpcs as well; one that exists
    is replaced with --overwrite alone. What the file says of beam centre,
    distance, pixel, energy and frame time is used; options go before it. Without all of them q is
    in pixels. Pixels and frames that do not count are left out, and named on stderr. Several runs
    are averaged, if they agree; where OUTPUT is a folder, each scan has a file of its own there,
    and what is done is not done again.
    """
    from debye.speckle.data.analysis import Analysis

    for name, value in (("--count", count), ("--run", run)):
        if value is not None and follow == (name == "--run"):
            raise InputError(
                f"{name} would not be used",
                why=f"it is {'not ' * follow}of --follow",
                fix="leave one of them out" if follow else "add --follow",
            )
    if "-" in stacks:
        raise InputError(
            "cannot read frames from stdin",
            why="they are read a block at a time, some of them twice",
            fix="save them to a file, and name it",
        )
    each = output is not None and (output.is_dir() or not output.suffix) and not average
    if not each:
        fresh(output, overwrite)
    figure = writable(plot, "--plot", FIGURES)
    how = Analysis(
        q=rings,
        phi=phi,
        mask=_mask(mask),
        centre=_centre(centre),
        energy=energy,
        distance=distance,
        pixel=pixel,
        poni=poni,
        frame_time=frame_time,
        frames=_part(frames),
        bad_frames=tuple(_numbers(bad_frames, "--bad-frames")),
        bins=bins,
        slices=slices,
        two_time=two_time,
        find_centre=find_centre,
    )
    if each and output is not None:
        if follow or figure:
            raise InputError(
                f"cannot use --{'follow' if follow else 'plot'} with a folder of results",
                why="it is for one",
                fix="name a file with --output",
            )
        return correlate_each(
            stacks,
            output,
            how,
            run,
            executor=executor.value,
            executor_config=executor_config,
            workers=workers,
            overwrite=overwrite,
            as_json=as_json,
        )
    if follow:
        found = followed(stacks, how, output, count=count, timeout=timeout, every=every)
    else:
        found = _correlated(stacks, how, run)
    written(found, output, overwrite or follow)
    report(found, output, as_json=as_json, needed=not figure)
    if figure:
        from debye.plot.xpcs import correlation_figure

        draw(correlation_figure(found, found.time_unit), figure)
    return DONE


xpcs = correlate
"""As the verb was called before."""


def fresh(output: Path | None, overwrite: bool) -> Path | None:
    """A result file that may be written: seen before the work.

    Raises:
        InputError: It exists, or cannot be written.
    """
    writable(output, "--output")
    if output is not None and output.exists() and not overwrite:
        raise InputError(
            f"cannot write {output}", why="it exists", fix="choose another name, or --overwrite"
        )
    return output


def _correlated(stacks: list[str], how: Analysis, run: int | None) -> Correlation:
    """g2 of what is given, with a progress bar."""
    from debye.speckle.data.correlate import analysed, runs_of

    given = runs_of(stacks, run)
    if len(given) > len(stacks):
        warn(f"{len(given)} runs are averaged: {', '.join(given[:4])}{' …' * (len(given) > 4)}")
    with progress_bar() as bar:
        task = bar.add_task("correlating frames", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return analysed(given, how, run, warn, advance)


def written(found: Correlation, output: Path | None, overwrite: bool) -> None:
    """Write a result file, if one is wanted; told either way."""
    if output is None:
        tell("no result file was written: name one with --output")
        return
    found.write(output, overwrite=overwrite)
    tell(f"wrote {output}")


def report(
    found: Correlation, output: Path | None, *, as_json: bool = False, needed: bool = True
) -> None:
    """Print a correlation: a record, or a line for each bin."""
    record = {"output": None if output is None else str(output), **found.as_json()}
    show(to_json(record) if as_json else "\n".join(_lines(found)), needed=needed)


def _lines(found: Correlation) -> list[str]:
    """A line for each bin; azimuths where there are several."""
    qmap, error = found.qmap, found.error
    phi = qmap.dynamic.phi_of.tolist()
    parted = len(set(phi)) > 1
    azimuth = f" {'phi / deg':>9}" if parted else ""
    lines = [
        f"{'q / ' + qmap.unit:>12}{azimuth} {'contrast':>16} {'g2 first':>16} {'last':>16}",
    ]
    for k, q in enumerate(qmap.q.tolist()):
        pairs = [(found.contrast[k], found.contrast_error[k])]
        pairs += [(found.g2[k, at], error[k, at]) for at in (0, -1)]
        told = " ".join(f"{f'{float(v):.4f} ± {float(e):.4f}':>16}" for v, e in pairs)
        lines.append(f"{q:>12.5g}{f' {phi[k]:>9.1f}' if parted else ''} {told}")
    return lines


def _mask(specs: list[str] | None) -> Tensor | None:
    """The pixels that all masks leave."""
    from debye.speckle.data.sources import mask_of

    found = [mask_of(spec) for spec in specs or ()]
    for spec, mask in zip(specs or (), found, strict=True):
        if mask.shape != found[0].shape:
            raise InputError(
                f"cannot use the mask {spec} with the others",
                why=f"it is {tuple(mask.shape)}, and the first {tuple(found[0].shape)}",
                fix="give masks of one detector",
            )
        found[0] = found[0] & mask
    return found[0] if found else None


def _parsed(text: str, option: str, split: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        return [kind(part) for part in text.split(split)]
    except ValueError:
        raise InputError(
            f"cannot understand {option} {text!r}",
            why=f"it is no {kind.__name__} numbers with {split!r} between",
            fix="see debye correlate --help",
        ) from None


def _numbers(text: str | None, option: str) -> list[int]:
    return [] if text is None else _parsed(text, option, ",", int)


def _centre(text: str | None) -> tuple[float, float] | None:
    """X and y."""
    if text is None:
        return None
    found = _parsed(text, "--centre", ",", float)
    if len(found) != 2:
        raise InputError(
            f"cannot use --centre {text!r}", why=f"it holds {len(found)} numbers", fix="give x,y"
        )
    for number in found:
        check_range(number, "--centre")
    return (found[0], found[1])


def _part(text: str | None) -> slice | None:
    """``start:stop:step``, each of which may be left out."""
    if text is None:
        return None

    def number(part: str) -> int:
        return int(part) if part.strip() else -1

    found = _parsed(text, "--frames", ":", number)
    if not 2 <= len(found) <= 3:
        raise InputError(
            f"cannot use --frames {text!r}", why="it is no range", fix="give start:stop:step"
        )
    given = [n if part.strip() else None for n, part in zip(found, text.split(":"), strict=True)]
    if len(given) == 3 and given[2] == 0:
        raise InputError(f"cannot use --frames {text!r}", why="its step is 0", fix="give 1")
    return slice(*given)
