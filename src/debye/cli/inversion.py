"""From a spectrum back to a structure: invert rank, refine, design; what they print and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli import options as opt
from debye.cli.console import DONE, SOME_FAILED, plural, show, tell, to_json, warn, warn_of
from debye.cli.inputs import (
    FIGURES,
    check_range,
    free_parameters_of,
    json_or_folder,
    load_predictor,
    read_candidates,
    read_one,
    read_spectrum,
    replacements_of,
    resolutions_of,
    target_of,
    window_of,
    writable,
)
from debye.cli.output import draw, write_json
from debye.core.records import SCHEMA

if TYPE_CHECKING:
    from debye.crystals.dos_io.measured import Measured
    from debye.crystals.inversion.design import Proposal, Target
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.rank import Ranking
    from debye.crystals.inversion.refine import Refined


def ranking_record(
    ranking: Ranking, path: Path, measured: Measured, level: float
) -> dict[str, Any]:
    """A ranking as numbers and text for JSON."""
    fits, candidates = ranking.fits, ranking.candidates
    lower, upper = (end.tolist() for end in ranking.scale_interval(level))
    return {
        "schema": SCHEMA,
        "spectrum": str(path),
        "unit": measured.unit,
        "points": len(ranking.observed.frequency),
        "interval_level": level,
        "notes": [*measured.notes, *ranking.notes],
        "candidates": [
            {
                "formula": candidates.labels[i],
                "source": candidates.sources[i],
                "probability": float(ranking.probability[k]),
                "log_likelihood": float(fits.log_likelihood[k]),
                "misfit": float(fits.misfit[k]),
                "scale": float(ranking.scale[k]),
                "scale_lower": lower[k],
                "scale_upper": upper[k],
                "background_fraction": [float(b) for b in fits.coefficients[k, 1:]],
                "resolution_cm-1": list(ranking.resolution[k].coefficients),
                "warnings": list(candidates.warnings[i]),
            }
            for k, i in enumerate(ranking.order)
        ],
    }


def ranking_table(ranking: Ranking, top: int, level: float) -> str:
    """A ranking as a table of its first candidates."""
    candidates, halves = ranking.candidates, ranking.scale_interval(level).half
    lines = [
        f"{'':>4} {'formula':<22} {'probability':>11} {'misfit':>7} {'scale':>9} {'±':>8}  source",
        f"{'':>4} {'':<22} {'':>11} {'':>7} {'':>9} {f'{100 * level:g} %':>8}  (± if normal)",
    ]
    for k, i in enumerate(ranking.order[:top]):
        mark = " !" if candidates.warnings[i] else ""
        lines.append(
            f"{k + 1:>4} {candidates.labels[i]:<22} {float(ranking.probability[k]):>11.4f} "
            f"{float(ranking.fits.misfit[k]):>7.2f} {float(ranking.scale[k]):>9.4g} "
            f"{float(halves[k]):>8.2g}  {candidates.sources[i]}{mark}"
        )
    if (more := len(candidates) - top) > 0:
        rest = float(ranking.probability[top:].sum())
        lines.append(f"     and {more} more, together {rest:.4f}")
    return "\n".join(lines)


def draw_ranking(ranking: Ranking, path: Path, unit: str) -> None:
    """Draw the best candidates on the measured spectrum."""
    from debye.plot.inversion import ranking_figure

    draw(ranking_figure(ranking, unit=unit), path)


def refined_record(
    found: Refined, width: Resolution, path: Path, measured: Measured, level: float
) -> dict[str, Any]:
    """A refinement as numbers and text for JSON."""
    ends = (end.tolist() for end in found.interval(level))
    each = (found.free_parameters.parameters, found.values.tolist(), *ends, found.at_bound)
    parameters = [
        {
            "name": p.name,
            "value": x + p.offset,
            "value_lower": lower + p.offset,
            "value_upper": upper + p.offset,
            "start": p.offset,
            "at_bound": at,
        }
        for p, x, lower, upper, at in zip(*each, strict=True)
    ]
    return {
        "schema": SCHEMA,
        "spectrum": str(path),
        "unit": measured.unit,
        "structure": found.free_parameters.name,
        "interval_level": level,
        "parameters": parameters,
        "covariance": found.covariance.tolist(),
        "directions": [d._asdict() for d in found.directions],
        "misfit_before": float(found.before.misfit[0]),
        "misfit": float(found.fits.misfit[0]),
        "scale": float(found.fits.coefficients[0, 0]) * found.observed.area,
        "resolution_cm-1": list(width.coefficients),
        "samples": found.samples.tolist(),
        "notes": [*measured.notes, *found.notes],
        "refined": found.crystal.to_dict(),
    }


def refined_table(found: Refined, level: float) -> str:
    """A refinement as a table: values with errors, and what the spectrum tells."""
    before, after = float(found.before.misfit[0]), float(found.fits.misfit[0])
    source = "of the samples" if len(found.samples) else "if normal"
    lines = [
        f"{'':<40} {'start':>9} {'refined':>9} {'±':>8}",
        f"{'':<40} {'':>9} {'':>9} {f'{100 * level:g} %':>8}  (± {source})",
    ]
    halves = found.interval(level).half
    for p, x, half in zip(found.free_parameters.parameters, found.values, halves, strict=True):
        value = float(x) + p.offset
        lines.append(f"{p.name:<40} {p.offset:>9.4f} {value:>9.4f} {float(half):>8.4f}")
    lines.append(f"misfit {before:.2f} before, {after:.2f} after")
    lines.append("independent directions, posterior over prior width:")
    lines += [f"  {d.width_ratio:>5.2f}  {d.words}" for d in found.directions]
    return "\n".join(lines)


def draw_refined(found: Refined, path: Path, unit: str, level: float) -> None:
    """Draw the spectrum before and after, and the parameters."""
    from debye.plot.inversion import refined_figure

    draw(refined_figure(found, unit=unit, level=level), path)


def design_record(proposals: list[Proposal], goal: Target, level: float) -> dict[str, Any]:
    """Proposals as numbers and text for JSON."""
    return {
        "schema": SCHEMA,
        "target": goal.name,
        "quantity": goal.column,
        "goal": goal.goal,
        "interval_level": level,
        "proposals": [_proposal_record(p) for p in proposals],
    }


def _proposal_record(proposal: Proposal) -> dict[str, Any]:
    from debye.crystals.predict.record import expected_error

    uncertainty = proposal.prediction.uncertainty
    return {
        "formula": proposal.crystal.formula,
        "value": proposal.value,
        "value_lower": proposal.lower,
        "value_upper": proposal.upper,
        "replaced": dict(proposal.replaced),
        **(expected_error(uncertainty) if uncertainty else {}),
        "elements_unseen": list(proposal.prediction.elements_unseen),
        "warnings": list(proposal.prediction.warnings),
        "structure": proposal.crystal.to_dict(),
    }


def design_table(proposals: list[Proposal], goal: Target, level: float) -> str:
    """Proposals as a table."""
    calibrated = all(p.prediction.uncertainty for p in proposals) and goal.wanted
    source = "calibrated" if calibrated else "the model's usual error, taken as normal"
    lines = [
        f"{goal.label}, goal {goal.goal:g}; ± {100 * level:g} %, {source}",
        f"{'formula':<28} {'value':>9} {'±':>8}  replaced",
    ]
    for p in proposals:
        replaced = ", ".join(f"{x:.3f} {name}" for name, x in p.replaced.items()) or "nothing"
        unseen = p.prediction.elements_unseen
        note = f"  ! never seen: {', '.join(unseen)}" if unseen else ""
        note += _error_of(p)
        lines.append(f"{p.crystal.formula:<28} {p.value:>9.4g} {p.half:>8.2g}  {replaced}{note}")
    return "\n".join(lines)


def _error_of(proposal: Proposal) -> str:
    """The expected error of a proposal, and the training crystal nearest in composition."""
    uncertainty = proposal.prediction.uncertainty
    if uncertainty is None or uncertainty.applicability is None:
        return ""
    off = 100 * uncertainty.applicability.distance
    return (
        f"  (error {uncertainty.expected_error.item():.3g} cm⁻¹; nearest known: "
        f"{uncertainty.applicability.nearest}, {off:.0f} % of the atoms other)"
    )


def draw_design(proposals: list[Proposal], goal: Target, path: Path, level: float) -> None:
    """Draw proposals against their goal."""
    from debye.plot.inversion import design_figure

    draw(design_figure(proposals, goal, level=level), path)


STRUCTURES = (".cif", ".vasp", ".extxyz")
"""What a refined structure's file may end in."""


def rank(
    spectrum: opt.Measured,
    candidates: opt.Candidates,
    unit: opt.OptionalUnit = None,
    resolution: opt.ResolutionText = "fit",
    background: opt.BackgroundName = opt.Background.LINEAR,
    neutron: opt.Neutron = False,
    window: opt.Window = None,
    level: opt.Level = 0.9,
    top: opt.Top = 10,
    model: opt.ModelFile = None,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> int:
    """Rank candidates by how likely they make a measured spectrum.

    Scale, background and, unless given, the resolution are fitted to each.
    The probabilities add up to 1: they hold if one of the candidates is right.
    OUTPUT is a .json file.
    """
    from debye.crystals.inversion.rank import rank as rank_candidates

    check_range(top, "--top", least=1)
    check_range(level, "--level", least=0.5, most=0.99)
    file, figure = writable(output, "--output", (".json",)), writable(plot, "--plot", FIGURES)
    measured = read_spectrum(spectrum, unit)
    widths, part = resolutions_of(resolution, measured), window_of(window, measured)
    found = read_candidates(candidates, load_predictor(model, device), neutron=neutron)
    ranking = rank_candidates(
        measured, found, resolutions=widths, background=background.value, window=part
    )
    for note in ranking.notes:
        warn(note)
    warn_of(zip(found.sources, found.warnings, strict=True))
    record = ranking_record(ranking, spectrum, measured, level)
    text = to_json(record) if as_json else ranking_table(ranking, top, level)
    show(text, needed=not (file or figure))
    if file:
        write_json(file, record)
    if figure:
        draw_ranking(ranking, figure, measured.unit)
    return SOME_FAILED if found.failed else DONE


def refine(
    spectrum: opt.Measured,
    structure: opt.Structure,
    free: opt.Free = None,
    toward: opt.Toward = None,
    unit: opt.OptionalUnit = None,
    resolution: opt.ResolutionText = "fit",
    background: opt.BackgroundName = opt.Background.LINEAR,
    neutron: opt.Neutron = False,
    window: opt.Window = None,
    level: opt.Level = 0.9,
    exact: opt.Exact = False,
    samples: opt.Samples = 0,
    seed: opt.Seed = 0,
    model: opt.ModelFile = None,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
) -> None:
    """Adjust a structure until its predicted spectrum fits a measured one.

    The symmetry is kept. Each value comes with its ±, and what the
    spectrum cannot tell is said in words. OUTPUT is the result as .json, or
    the structure as .cif, .vasp, .extxyz.
    """
    from debye.crystals.inversion.likelihood import SHIPPED_ERROR
    from debye.crystals.inversion.refine import refined_over

    check_range(seed, "--seed", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    file = writable(output, "--output", (".json", *STRUCTURES))
    figure = writable(plot, "--plot", FIGURES)
    measured = read_spectrum(spectrum, unit)
    widths, part = resolutions_of(resolution, measured), window_of(window, measured)
    free_parameters = free_parameters_of(structure, free, toward)
    found, width = refined_over(
        load_predictor(model, "cpu"),
        free_parameters,
        measured,
        widths,
        window=part,
        background=background.value,
        neutron=neutron,
        error=None if exact else SHIPPED_ERROR,
        samples=samples,
        seed=seed,
    )
    for note in found.notes:
        warn(note)
    record = refined_record(found, width, spectrum, measured, level)
    show(to_json(record) if as_json else refined_table(found, level), needed=not (file or figure))
    if file and file.suffix == ".json":
        write_json(file, record)
    elif file:
        tell(f"wrote {found.crystal.write(file)}")
    if figure:
        draw_refined(found, figure, measured.unit, level)


def design(
    structure: opt.Structure,
    replace: opt.Replace,
    target: opt.Target,
    value: opt.Value,
    temperature: opt.Temperature = 300.0,
    level: opt.Level = 0.9,
    top: opt.Top = 10,
    model: opt.ModelFile = None,
    output: opt.OptionalOutput = None,
    plot: opt.Plot = None,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> None:
    """Find substitutions that bring a property of the spectrum to a value.

    Every combination is predicted, whole and mixed; the fractions of a
    mixture are found by gradients through the network. OUTPUT is a .json
    file, or a folder of CIF files.
    """
    from debye.crystals.inversion.design import design as propose

    check_range(top, "--top", least=1)
    made, figure = json_or_folder(output), writable(plot, "--plot", FIGURES)
    check_range(temperature, "--temperature", least=0)
    check_range(level, "--level", least=0.5, most=0.99)
    goal, pairs = target_of(target, value, temperature), replacements_of(replace)
    predictor = load_predictor(model, device)
    proposals = propose(predictor, read_one(structure), pairs, goal, level=level)[:top]
    warn_of((p.crystal.source or p.crystal.formula, p.prediction.warnings) for p in proposals)
    record = design_record(proposals, goal, level)
    text = to_json(record) if as_json else design_table(proposals, goal, level)
    show(text, needed=not (made or figure))
    if made and made.suffix == ".json":
        write_json(made, record)
    elif made:
        for k, proposal in enumerate(proposals, 1):
            proposal.crystal.write(made / f"{k:02d}-{proposal.crystal.formula}.cif")
        tell(f"wrote {plural(len(proposals), 'structure')} to {made}")
    if figure:
        draw_design(proposals, goal, figure, level)
