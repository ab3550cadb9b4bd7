"""The verb that goes from a detector's frames to a result file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from debye.cli import frame_options as of
from debye.cli import options as opt
from debye.cli.console import DONE, progress_bar, show, tell, to_json, warn
from debye.cli.inputs import FIGURES, check_range, writable
from debye.cli.output import draw
from debye.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from debye.speckle.data.quality import Examined
    from debye.speckle.data.stack import Stack
    from debye.speckle.xpcs.correlation import Correlation
    from debye.speckle.xpcs.geometry import Geometry
    from debye.speckle.xpcs.qmap import QMap
    from debye.speckle.xpcs.twotime import TwoTime

NEAR = 3.0
"""Pixels within which a centre is good enough: 2 are harmless, 10 make g2 end at 1.25."""
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Where:
    """What is said of the detector on the command line; None where the file is to say it."""

    centre: tuple[float, float] | None
    energy: float | None
    distance: float | None
    pixel: float | None


def correlate(
    stacks: of.Stacks,
    output: opt.Output,
    mask: of.Mask = None,
    centre: of.Centre = None,
    energy: of.Energy = None,
    distance: of.Distance = None,
    pixel: of.Pixel = None,
    poni: of.Poni = None,
    frame_time: of.FrameTime = None,
    rings: of.Rings = "8",
    phi: of.Phi = 1,
    two_time: of.TwoTime = False,
    frames: of.Which = None,
    bad_frames: of.BadFrames = None,
    bins: of.Bin = 1,
    overwrite: opt.Overwrite = False,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> int:
    """Correlate a detector's frames: g2 with its errors, by q, into a result file.

    OUTPUT, by custom x_results.hdf, opens in pyXpcsViewer, and is NXxpcs as well; one that exists
    is replaced with --overwrite alone. What the file says of beam centre,
    distance, pixel, energy and frame time is used; options go before it. Without all of them q is
    in pixels. Pixels and frames that do not count are left out, and named on stderr. Several runs
    are averaged, if they agree.
    """
    from debye.speckle.data.results import write_results
    from debye.speckle.data.stack import Stack
    from debye.speckle.xpcs.average import average

    writable(output, "--output")
    if output.exists() and not overwrite:
        raise InputError(
            f"cannot write {output}", why="it exists", fix="choose another name, or --overwrite"
        )
    figure = writable(plot, "--plot", FIGURES)
    where = Where(_centre(centre), energy, distance, pixel)
    part, bad = _part(frames), _numbers(bad_frames, "--bad-frames")
    good = _mask(mask)
    runs = [
        Stack.open(
            spec,
            frames=part,
            bad_frames=bad,
            mask=good,
            frame_time=frame_time,
            bins=bins,
            poni=poni,
        )
        for spec in _runs(stacks)
    ]
    if two_time and len(runs) > 1:
        raise InputError(
            "cannot make two-time maps of several runs",
            why=f"there are {len(runs)}, each with a time of its own",
            fix="correlate each into a file of its own",
        )
    counting = _examined(runs)
    qmaps = [_qmap(stack, counting[0].mask, where, rings, phi) for stack in runs]
    found = [_correlated(*each, two_time) for each in zip(runs, counting, qmaps, strict=True)]
    whole, maps = found[0]
    _check_centre(whole)
    if len(runs) > 1:
        whole = average([run for run, _ in found], names=[r.source.name for r in runs])
    write_results(output, whole, maps, overwrite=overwrite)
    tell(f"wrote {output}")
    record = _record(whole, output, [c.quality.as_json() for c in counting], runs[0])
    show(to_json(record) if as_json else "\n".join(_lines(whole)), needed=not figure)
    if figure:
        from debye.plot.xpcs import correlation_figure

        draw(correlation_figure(whole, "s" if record["frame_time"] else "frames"), figure)
    return DONE


def _runs(stacks: list[str]) -> list[Any]:
    """What is a run: each that is given, but images together are one."""
    from debye.speckle.data.images import IMAGES
    from debye.speckle.data.sources import runs_of

    paths = [Path(s) for s in stacks]
    if len(paths) > 1 and all(p.suffix.lower() in IMAGES for p in paths):
        return [stacks]
    found = [run for spec in stacks for run in runs_of(spec)]
    if len(found) > len(stacks):
        warn(f"{len(found)} runs are averaged: {', '.join(found[:4])}{' …' * (len(found) > 4)}")
    return found


def _examined(runs: list[Stack]) -> list[Examined]:
    """Which frames of each run count, and which pixels in all of them; told."""
    found = []
    for stack in runs:
        found.append(stack.examined())
        for line in found[-1].quality.lines():
            warn(line if len(runs) == 1 else f"{stack.source.name}: {line}")
    if any(stack.frame_time is None for stack in runs):
        warn("no frame time is known, and delays are in frames: give --frame-time in s")
    shapes = {stack.shape for stack in runs}
    if len(shapes) > 1:
        raise InputError(
            "cannot average these runs",
            why=f"their frames are {' and '.join(map(str, sorted(shapes)))}",
            fix="give runs of one detector",
        )
    everywhere = found[0].mask
    for each in found[1:]:
        everywhere = everywhere & each.mask
    return [each._replace(mask=everywhere) for each in found]


def _qmap(stack: Stack, mask: Tensor, where: Where, rings: str, phi: int) -> QMap:
    """The rings."""
    from debye.speckle.xpcs.qmap import make_qmap

    geometry = _geometry(stack, where)
    if not geometry.is_physical:
        names = ("distance", "pixel", "wavelength")
        missing = [n for n in names if getattr(geometry, n) is None]
        told = ", ".join(f"--{n}".replace("wavelength", "energy") for n in missing)
        warn(f"q is in pixels: no {', '.join(missing)} is known; give {told}")
    qmap = make_qmap(geometry, mask, rings, phi=phi)
    if qmap.left_out:
        few = [f"ring {i} from {float(qmap.phi_edges[k]):g}°" for i, k in qmap.left_out]
        more = f" … ({len(few)})" if len(few) > 8 else ""
        warn(f"bins of too few pixels were left out: {', '.join(few[:8])}{more}")
    return qmap


def _geometry(stack: Stack, where: Where) -> Geometry:
    """Where the detector stood: by options, else as the file says, else in the middle."""
    from debye.speckle.xpcs.geometry import Geometry, wavelength_of

    stated = stack.stated
    centre = where.centre or stated.centre
    if centre is None:
        tall, wide = stack.shape
        centre = ((wide - 1) / 2, (tall - 1) / 2)
        x, y = centre
        warn(f"no beam centre is known: taken at the middle of the frame, {x:g},{y:g}; --centre")
    elif not stack.holds(*centre):
        x, y = centre
        wide, tall = stack.shape[::-1]
        warn(f"the beam's centre {x:g},{y:g} lies outside the frame of {wide} × {tall} pixels")
    wavelength = stated.wavelength if where.energy is None else wavelength_of(where.energy)
    return Geometry(
        *centre,
        distance=stated.distance if where.distance is None else where.distance,
        pixel=stated.pixel if where.pixel is None else where.pixel,
        wavelength=wavelength,
        tilt=stated.tilt,
    )


def _correlated(
    stack: Stack, counting: Examined, qmap: QMap, maps: bool
) -> tuple[Correlation, TwoTime | None]:
    """G2 of the frames that count, and maps if they are wanted."""
    from debye.speckle.xpcs.correlator import Correlator
    from debye.speckle.xpcs.twotime import TwoTimer

    step = stack.interval
    correlator, timer = Correlator(qmap, step), TwoTimer(qmap, step) if maps else None
    with progress_bar() as bar:
        task = bar.add_task("correlating frames", total=len(counting.kept) // stack.bins)
        for block, numbers in stack.blocks(counting=counting):
            places = stack.places(numbers)
            correlator.update(block, places)
            if timer is not None:
                timer.update(block, places)
            bar.advance(task, len(block))
    return correlator.finish(), None if timer is None else timer.finish()


def _check_centre(found: Correlation) -> None:
    """A word where the mean frame is uneven about the centre, and where the beam seems to be."""
    from debye.speckle.xpcs.centre import centre_warnings, find_centre

    for message in centre_warnings(found):
        warn(message)
        geometry = found.qmap.geometry
        with suppress(InputError):  # it may be oriented scattering, with no better centre
            better = find_centre(found.saxs_2d, found.qmap.mask, geometry)
            if hypot(better.x - geometry.x, better.y - geometry.y) > NEAR:
                at = f"{better.x:.1f},{better.y:.1f}"
                warn(
                    f"the beam seems to be at {at}, and {geometry.x:g},{geometry.y:g} was taken "
                    f"for its centre: check the mean frame, and try --centre {at}"
                )


def _record(
    found: Correlation, output: Path, quality: list[dict[str, Any]], stack: Stack
) -> dict[str, Any]:
    """What is printed as JSON."""
    geometry = found.qmap.geometry
    return {
        "output": str(output),
        "frames": len(found.numbers),
        "frame_time": stack.frame_time,
        "centre": [geometry.x, geometry.y],
        "distance": geometry.distance,
        "pixel": None if geometry.pixel is None else list(geometry.sides),
        "energy": geometry.energy,
        "q_unit": found.qmap.unit,
        "q": found.qmap.q.tolist(),
        "phi": found.qmap.dynamic.phi_of.tolist(),
        "delay": found.time.tolist(),
        "g2": found.g2.tolist(),
        "g2_error": found.error.tolist(),
        "contrast": found.contrast.tolist(),
        "contrast_error": found.contrast_error.tolist(),
        "quality": quality,
    }


def _lines(found: Correlation) -> list[str]:
    """A line for each bin."""
    qmap, error = found.qmap, found.error
    head = (
        f"{'q / ' + qmap.unit:>12} {'phi / deg':>9} {'contrast':>16} {'g2 first':>16} {'last':>16}"
    )
    lines = [head]
    for k in range(len(qmap)):
        pairs = [(found.contrast[k], found.contrast_error[k])]
        pairs += [(found.g2[k, at], error[k, at]) for at in (0, -1)]
        told = " ".join(f"{f'{float(v):.4f} ± {float(e):.4f}':>16}" for v, e in pairs)
        lines.append(f"{float(qmap.q[k]):>12.5g} {float(qmap.dynamic.phi_of[k]):>9.1f} {told}")
    return lines


def _mask(spec: str | None) -> Tensor | None:
    """The pixels that a mask leaves."""
    if spec is None:
        return None
    from debye.speckle.data.sources import mask_of

    return mask_of(spec)


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


def _part(text: str | None) -> slice:
    """``start:stop:step``, each of which may be left out."""
    if text is None:
        return slice(None)

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
