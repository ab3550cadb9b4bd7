"""Verbs that go from a spectrum back to a structure: invert rank, refine, design."""

from __future__ import annotations

from debye.cli import options as opt
from debye.cli.console import DONE, SOME_FAILED, plural, show, tell, to_json, warn
from debye.cli.inputs import (
    free_parameters_of,
    load_predictor,
    read_candidates,
    read_one,
    read_spectrum,
)
from debye.cli.inversion_output import (
    design_record,
    design_table,
    draw_design,
    draw_ranking,
    draw_refined,
    ranking_record,
    ranking_table,
    refined_record,
    refined_table,
)
from debye.cli.output import write_json
from debye.cli.values import (
    FIGURES,
    check_range,
    json_or_folder,
    replacements_of,
    resolutions_of,
    target_of,
    window_of,
    writable,
)

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
