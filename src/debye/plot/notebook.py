"""What a notebook shows of each type: its numbers, and a picture of a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from debye.crystals.dos.quantities import BASES, QUANTITIES
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo_table import Thermodynamics
from debye.crystals.lattice.bands import Bands
from debye.crystals.predict.prediction import Prediction
from debye.crystals.structure.crystal import Crystal
from debye.plot.dos import array, fewer, frequency_limits
from debye.plot.element_colours import colours_of, element_colour
from debye.plot.fitted import coefficients
from debye.plot.structure import projected
from debye.plot.svg import HEIGHT, WIDTH, Picture, card, png, svg, swatch, thinned, ticks
from debye.plot.text import FREQUENCY_LABELS, UNIT_NAMES
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.xpcs.correlation import Correlation

MOST = 8
"""Elements, parameters or warnings that are told one by one."""
BUDGET = 3000
"""About how many characters the curves of a picture may take."""
LINE = 'stroke="#2E8BC9"'
"""A blue that is seen on white and on black."""
BAND = 'fill="#888" fill-opacity=".35"'


def crystal_card(crystal: Crystal) -> str:
    """Formula, sites, cell, volume, and the cell with its atoms."""
    lengths = np.linalg.norm(crystal.cell, axis=1)
    a, b, c = crystal.cell / lengths[:, None]
    angles = np.degrees(np.arccos([b @ c, c @ a, a @ b]))
    atoms = f"{crystal.n_atoms:.6g} atoms on {crystal.n_sites} sites"
    facts = [
        atoms if crystal.n_atoms != crystal.n_sites else f"{crystal.n_sites} atoms",
        f"a, b, c = {_list(lengths, '.4f')} Å; α, β, γ = {_list(angles, '.2f')}°",
        f"V = {crystal.volume:.2f} Å³",
        _swatches(crystal.elements),
    ]
    return card(_named(crystal), facts, _cell_picture(crystal), crystal.notes[:MOST])


def _cell_picture(crystal: Crystal) -> str:
    """The cell and its atoms, drawn as large as fits."""
    seen = projected(crystal)
    everything = np.concatenate([seen.edges.reshape(-1, 2), seen.atoms])
    low, high = everything.min(0), everything.max(0)
    scale = float(np.min(np.array([WIDTH - 40, HEIGHT - 40]) / np.maximum(high - low, 1e-6)))

    def at(points: NDArray[np.float64]) -> NDArray[np.int64]:
        x, y = ((points - low) * scale).T
        return np.stack([20 + x, HEIGHT - 20 - y], -1).round().astype(int)

    edges = "".join(
        "M{} {}L{} {}".format(*ends.ravel())
        for ends in at(seen.edges.reshape(-1, 2)).reshape(-1, 2, 2)
    )
    parts = [f'<path fill="none" stroke="currentColor" stroke-opacity=".6" d="{edges}"/>']
    last = ""
    for (x, y), element in zip(at(seen.atoms).tolist(), seen.elements, strict=True):
        if element != last:
            parts.append(f'{"</g>" if last else ""}<g fill="{element_colour(element)}">')
            last = element
        parts.append(f'<circle cx="{x}" cy="{y}" r="11"/>')
    atoms = f'<g stroke="currentColor" stroke-width="1">{"".join(parts[1:])}</g></g>'
    return svg(parts[0] + atoms, f"The cell of {_named(crystal)} with its atoms", width=WIDTH)


def spectrum_card(spectrum: Spectrum) -> str:
    """Axis, states, and the curve; of partials the total and each of them."""
    low, high = (f"{x:g}" for x in spectrum.frequency[[0, -1]].tolist())
    facts = [f"{len(spectrum.frequency)} points, {low} to {high} {UNIT_NAMES['cm-1']}"]
    title = f"Density of states, normalisation {spectrum.normalisation}"
    if len(spectrum.shape) > 1 or (spectrum.shape and not spectrum.labels):
        return card(title, [*facts, f"a batch of shape {tuple(spectrum.shape)}"])
    total, parts = (spectrum.sum(), fewer(spectrum)) if spectrum.shape else (spectrum, None)
    if total.normalisation == "3N":
        counted = f"{total.integral.item():.6g} states of {total.n_atoms.item():.6g} atoms"
        facts.append(counted)
    facts.append(f"mean frequency {total.mean_frequency.item():.5g} {UNIT_NAMES['cm-1']}")
    facts += [_swatches(spectrum.labels)] if spectrum.labels else []
    return card(title, facts, _density(total, parts))


def _density(
    total: Spectrum,
    parts: Spectrum | None = None,
    band: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> str:
    """The curve of a density of states, its parts under it, its band around it."""
    axis, g = array(total.frequency), array(total.density)
    edges = [array(edge) for edge in band or ()]
    stacked = array(parts.density).cumsum(0) if parts is not None else g[:0, None]
    count = max(12, min(60, 240 // (1 + len(stacked))))
    omega, g, *rows = thinned(axis, g, *edges, *stacked, most=count)
    top = np.max(np.concatenate([g, *rows]))
    picture = Picture(frequency_limits([(omega, g)]), (0.0, 1.05 * float(top)))
    if edges:
        picture.area(omega, rows[0], rows[1], BAND)
    shades = colours_of(parts.labels if parts is not None else ())
    for top, colour in reversed(list(zip(rows[len(edges) :], shades, strict=True))):
        picture.area(omega, 0 * omega, top, f'fill="{colour}"')
    picture.curve(omega, g)
    picture.axis(ticks(*picture.x), FREQUENCY_LABELS["cm-1"])
    return picture.svg(f"Density of states, {total.integral.item():.4g} states")


def prediction_card(prediction: Prediction) -> str:
    """Mean frequency and heat capacity with their errors, the total with its parts, warnings."""
    total, known = prediction.total, prediction.uncertainty
    mean, heat = total.mean_frequency.item(), prediction.thermo(300.0).heat_capacity.item()
    halves = ["", ""]
    if known is not None:
        found = known.interval("mean_frequency"), known.interval("heat_capacity", [300.0])
        halves = [f" ± {interval.half.item():.2g}" for interval in found]
    facts = [
        f"mean frequency {mean:.4g}{halves[0]} {UNIT_NAMES['cm-1']}",
        f"C<sub>V</sub>(300 K) {heat:.4g}{halves[1]} {QUANTITIES['heat_capacity'].unit_text()}",
        _swatches(prediction.elements.labels)
        + ("; ± and grey: 90 % intervals" if known is not None else ""),
    ]
    picture = _density(total, prediction.elements, prediction.band())
    return card(_named(prediction.crystal), facts, picture, prediction.warnings[:MOST])


def bands_card(bands: Bands) -> str:
    """Frequencies along the path, its points by name."""
    way, omega = array(bands.path.distance), array(bands.frequency)
    low, high = omega.min(), omega.max()
    branches = omega.shape[1]
    every = -(-branches // 60)
    bottom = min(low, 0.0) if bands.imaginary else 0.0
    picture = Picture((0.0, way[-1] or 1.0), (bottom, 1.04 * high), left=64, bottom=34)
    lines = _branches(bands, way, omega[:, ::every])
    picture.curves(lines, look=f'{LINE} stroke-linejoin="round"')
    for place, _ in bands.path.ticks:
        picture.upright(place)
    if bands.range_end is not None and bands.range_end < high:
        picture.area(picture.x, 2 * (bands.range_end,), 2 * (picture.y[1],), BAND)
    picture.axis([(x, name.replace("G", "Γ")) for x, name in bands.path.ticks])
    picture.upward(ticks(*picture.y))
    left_out = f", one in {every} drawn" if every > 1 else ""
    lowest = low if bands.imaginary else 0.0
    facts = [f"{branches} branches{left_out}, {lowest:.0f} to {high:.0f} {UNIT_NAMES['cm-1']}"]
    title = f"Phonon bands of {bands.crystal.formula}"
    return card(title, facts, picture.svg(title), bands.notes[:MOST])


def _branches(
    bands: Bands, way: NDArray[np.float64], omega: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Each branch in one line as far as the path does not jump, of few points."""
    path, most = bands.path, max(len(bands.path.ends) + 1, BUDGET // (5 * omega.shape[1]))
    cuts = np.cumsum(path.lengths)[:-1]
    runs: list[list[list[NDArray[np.float64]]]] = []
    for i, (x, rows) in enumerate(zip(np.split(way, cuts), np.split(omega, cuts), strict=True)):
        if not i or path.ends[i - 1][1] != path.ends[i][0]:
            runs.append([])
        count = max(2, round(most * float(np.ptp(x) / (way[-1] or 1.0))))
        runs[-1].append(thinned(x, *rows.T, most=count))
    joined = [[np.concatenate(part) for part in zip(*run, strict=True)] for run in runs]
    return [(x, branch) for x, *rows in joined for branch in rows]


def thermodynamics_card(table: Thermodynamics) -> str:
    """The heat capacity over temperature with its band, and the amounts it is of."""
    kelvin, heat = array(table.temperature), array(table.heat_capacity)
    amount = BASES[table.basis].text
    title = f"Thermodynamics per {amount}"
    span = f"{len(kelvin)} temperatures, {kelvin.min():g} to {kelvin.max():g} K"
    if heat.ndim > 1:
        return card(title, [span, f"a batch of shape {heat.shape[:-1]}"])
    facts = [
        span,
        f"C<sub>V</sub> {heat[-1]:.5g}, S {array(table.entropy)[-1]:.5g} J/K/{amount}"
        f" at {kelvin[-1]:g} K; zero-point energy {table.zero_point_energy.item():.4g}"
        f" kJ/{amount}",
    ]
    edges = [array(edge) for edge in table.bounds.get("heat_capacity", ())]
    order = np.argsort(kelvin)
    T, heat, *edges = thinned(kelvin[order], *(row[order] for row in (heat, *edges)))
    top = float(np.max(np.concatenate([heat, *edges])))
    picture = Picture((0.0, T.max() or 1.0), (0.0, 1.1 * top or 1.0), left=64)
    if edges:
        picture.area(T, edges[0], edges[1], BAND)
    picture.curve(T, heat, look=LINE)
    picture.axis(ticks(*picture.x), f"Temperature (K); upwards C_V (J/K/{amount})")
    picture.upward(ticks(*picture.y))
    return card(title, facts, picture.svg("Heat capacity against temperature"))


def frames_card(frames: Frames) -> str:
    """Shape, times, the first frame and the total counts against time."""
    runs, times, *pixels = frames.data.shape
    t = frames.times.double().numpy(force=True)
    counts = (frames.data * frames.mask).sum((0, 2, 3)).double().numpy(force=True) / runs
    known = [
        name for name in ("states", "system", "scattering") if getattr(frames, name) is not None
    ]
    facts = [
        f"{runs} run{'s'[: runs > 1]} of {times} frames of {pixels[0]} × {pixels[1]} pixels,"
        f" {frames.mask.double().mean().item():.0%} of them open",
        f"t = {t[0]:g} to {t[-1]:g}; {counts.mean():.4g} counts a frame",
    ]
    facts += [f"known: {', '.join(known)}"] if known else []
    picture = Picture((t[0], t[-1]), (0.0, 1.05 * counts.max() or 1.0), left=110)
    picture.curve(*thinned(t, counts), look=LINE)
    picture.axis(ticks(t[0], t[-1]), "time; upwards counts of a frame")
    picture.upward(ticks(*picture.y))
    first = svg(_image(frames), "The first frame", 200, 200)
    return card("Frames", facts, f"{first} {picture.svg('Counts against time')}")


def _image(frames: Frames) -> str:
    """The first frame, four decades of it, in blocks of pixels."""
    frame = (frames.data[0, 0] * frames.mask).double()
    block = -(-max(frame.shape) // 40)
    small = torch.nn.functional.avg_pool2d(frame[None], block, ceil_mode=True)[0].numpy(force=True)
    depth = np.log10(np.clip(small / (small.max() or 1.0), 1e-4, 1.0)) / 4 + 1
    colours = (255 * matplotlib.colormaps["viridis"](np.linspace(0, 1, 16))[:, :3]).astype(np.uint8)
    return png((15 * depth).round().astype(np.uint8), colours, "The first frame, logarithmic")


def correlation_card(found: Correlation) -> str:
    """Bins, delays, frames and contrast, what was assumed, and g2 − 1 of some bins."""
    q, contrast = found.qmap.q.numpy(), found.contrast.numpy()
    time = np.log10(found.time.numpy())
    unit = found.time_unit
    facts = [
        f"{len(q)} bins, q = {q.min():.3g} to {q.max():.3g} {found.qmap.unit}",
        f"{len(found.numbers)} frames; τ = {found.time[0]:.3g} to {found.time[-1]:.3g} {unit}",
        f"contrast {np.nanmin(contrast):.3f} to {np.nanmax(contrast):.3f}"
        if np.isfinite(contrast).any()
        else "contrast unknown",
    ]
    above = found.g2.numpy() - 1
    highest = float(np.nanmax(above)) if np.isfinite(above).any() else 1.0
    picture = Picture((time[0], time[-1]), (0.0, max(1.05 * highest, 1e-3)), left=70)
    for k in sorted({round(k) for k in np.linspace(0, len(q) - 1, min(len(q), MOST))}):
        there = np.isfinite(above[k])
        picture.curve(*thinned(time[there], np.clip(above[k][there], 0, None)), look=LINE)
    picture.axis(ticks(time[0], time[-1]), f"log₁₀ τ / {unit or 'unit of time'}; upwards g2 − 1")
    picture.upward(ticks(*picture.y))
    return card("Correlation", facts, picture.svg("g2 − 1 against delay"), found.notes[:MOST])


def fitted_card(fitted: FittedSystem) -> str:
    """The equation's name, its term, and the coefficients with their errors."""
    system = type(fitted.system).__name__
    title = f"{system}, its {fitted.system.term_name} fitted"
    names, values, errors = coefficients(fitted)
    facts = [f"{type(fitted.system.term).__name__}, {len(values)} coefficients"]
    if len(values) > 150 or not len(values):
        return card(title, facts)
    bars = errors if errors is not None else np.zeros(len(values))
    terms = [
        f"{escape(name)} = {value:.4g}" + (f" ± {error:.2g}" if errors is not None else "")
        for name, value, error in zip(names[:MOST], values, bars, strict=False)
    ]
    terms += ["…"] if len(names) > MOST else []
    return card(title, [*facts, *terms], _coefficient_picture(values, bars))


def _coefficient_picture(values: NDArray[np.float64], bars: NDArray[np.float64]) -> str:
    """Points with their errors, or a line through many with a band around it."""
    low, high = min(0.0, *(values - bars)), max(0.0, *(values + bars))
    picture = Picture((-0.5, len(values) - 0.5), (float(low), float(high)), left=96)
    places = np.arange(len(values))
    if len(values) > 4 * MOST:
        picture.area(places, values - bars, values + bars, BAND)
        picture.curve(places, values, look=LINE)
    else:
        for place, value, span in zip(places, values, bars, strict=True):
            picture.bar(float(place), value, span, LINE)
    picture.curve(picture.x, (0, 0), look='stroke="currentColor" stroke-opacity=".4"')
    picture.axis([], "coefficients in order, with their standard errors")
    picture.upward(ticks(*picture.y))
    return picture.svg("The coefficients with their standard errors")


def _named(crystal: Crystal) -> str:
    """The formula, and the name where it says something else."""
    name = crystal.name[:60]
    return crystal.formula if name in ("", crystal.formula) else f"{crystal.formula} ({name})"


def _list(numbers: Iterable[float], form: str) -> str:
    return ", ".join(f"{x:{form}}" for x in numbers)


def _swatches(labels: Iterable[str]) -> str:
    """The first names beside their colours."""
    names = list(labels)
    shown = [swatch(c, n) for c, n in zip(colours_of(names), names[:MOST], strict=False)]
    return " ".join([*shown, *(["…"] if len(names) > MOST else [])])
