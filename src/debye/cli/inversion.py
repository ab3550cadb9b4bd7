"""Verbs that go from a spectrum back to a structure: invert rank, refine, design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debye.cli.common import (
    DONE,
    FIGURES,
    SOME_FAILED,
    check_range,
    show,
    tell,
    to_json,
    verb,
    warn,
    writable,
)
from debye.cli.inversion_options import (
    Background,
    EnergyUnit,
    Goal,
    Neutron,
    ResolutionText,
    Result,
    SpectrumFile,
    UnderIt,
    Window,
    candidates_of,
    free_parameters_of,
    json_or_folder,
    measured_of,
    replacements_of,
    resolutions_of,
    target_of,
    window_of,
)
from debye.cli.inversion_output import (
    design_table,
    draw_design,
    draw_ranking,
    draw_refined,
    give,
    proposal_record,
    ranking_record,
    ranking_table,
    refined_record,
    refined_table,
)
from debye.cli.output import Device, load_predictor
from debye.cli.spectra import ModelFile, Plot
from debye.core.files import atomic_write

app = typer.Typer(
    name="invert",
    help="From a spectrum back to a structure: rank candidates, refine one, design one.",
    no_args_is_help=True,
)


STRUCTURES = (".cif", ".vasp", ".extxyz")
"""What a refined structure's file may end in."""


def register(parent: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    app.command()(verb(rank))
    app.command()(verb(refine))
    app.command()(verb(design))
    parent.add_typer(app)


def rank(
    spectrum: SpectrumFile,
    candidates: Annotated[
        list[str],
        typer.Argument(
            help="Structures: files, folders, globs; or a folder that debye screen wrote.",
            show_default=False,
        ),
    ],
    unit: EnergyUnit = None,
    resolution: ResolutionText = "fit",
    background: UnderIt = Background.LINEAR,
    neutron: Neutron = False,
    window: Window = None,
    top: Annotated[int, typer.Option(help="How many to list.", min=1)] = 10,
    model: ModelFile = None,
    output: Result = None,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    device: Device = "auto",
) -> int:
    """Rank candidates by how likely they make a measured spectrum.

    Scale, background and, unless given, the resolution are fitted to each.
    The probabilities add up to 1: they hold if one of the candidates is right.
    """
    from debye.crystals.inversion.rank import rank as rank_candidates

    place, figure = writable(output, "--output", (".json",)), writable(plot, "--plot", FIGURES)
    measured = measured_of(spectrum, unit)
    widths, part = resolutions_of(resolution, measured), window_of(window, measured)
    found = candidates_of(candidates, load_predictor(model, device), neutron=neutron)
    ranking = rank_candidates(
        measured, found, resolutions=widths, background=background.value, window=part
    )
    for note in ranking.notes:
        warn(note)
    told = ranking_record(ranking, spectrum, measured)
    give(to_json(told) if as_json else ranking_table(ranking, top), told, place, needed=not plot)
    if figure:
        draw_ranking(ranking, figure, measured.unit)
    return SOME_FAILED if found.failed else DONE


def refine(
    spectrum: SpectrumFile,
    structure: Annotated[
        Path, typer.Argument(help="The structure to begin with.", show_default=False)
    ],
    free: Annotated[
        list[str] | None,
        typer.Option(
            help="What may change: lattice, positions, or Sb=Bi (how much Bi stands for Sb); "
            "may be given several times.",
            show_default="lattice",
        ),
    ] = None,
    toward: Annotated[
        Path | None,
        typer.Option(help="Free the fraction of an alloy with this second parent instead."),
    ] = None,
    unit: EnergyUnit = None,
    resolution: ResolutionText = "fit",
    background: UnderIt = Background.LINEAR,
    neutron: Neutron = False,
    window: Window = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Trust the predictions; only measured errors count.")
    ] = False,
    samples: Annotated[
        int, typer.Option(help="Draw so many values from the posterior.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    model: ModelFile = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The result as .json, or the structure as .cif, .vasp, .extxyz."),
    ] = None,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Adjust a structure until its predicted spectrum fits a measured one.

    The symmetry is kept. Each value comes with its error, and what the
    spectrum cannot tell is said in words.
    """
    from debye.crystals.inversion.likelihood import SHIPPED_ERROR
    from debye.crystals.inversion.refine import refined_over

    place = writable(output, "--output", (".json", *STRUCTURES))
    figure = writable(plot, "--plot", FIGURES)
    measured = measured_of(spectrum, unit)
    widths, part = resolutions_of(resolution, measured), window_of(window, measured)
    free_parameters, predictor = (
        free_parameters_of(structure, free, toward),
        load_predictor(model, "cpu"),
    )
    found, width = refined_over(
        predictor,
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
    told = refined_record(found, width, spectrum, measured)
    show(to_json(told) if as_json else refined_table(found), needed=not (place or plot))
    if place:
        if place.suffix == ".json":
            atomic_write(place, to_json(told, indent=2) + "\n")
        else:
            found.crystal.write(place)
        tell(f"wrote {place}")
    if figure:
        draw_refined(found, figure, measured.unit)


def design(
    structure: Annotated[
        Path, typer.Argument(help="The structure to begin with.", show_default=False)
    ],
    replace: Annotated[
        list[str],
        typer.Option(help="Elements that may replace one of it: Sb=As,Bi; may be repeated."),
    ],
    target: Annotated[Goal, typer.Option(help="What should have the value.", show_default=False)],
    value: Annotated[str, typer.Option(help="The value; for a gap its ends in cm⁻¹, as low:high.")],
    temperature: Annotated[float, typer.Option(help="Of the heat capacity, K.")] = 300.0,
    top: Annotated[int, typer.Option(help="How many to list.", min=1)] = 10,
    model: ModelFile = None,
    output: Annotated[
        Path | None, typer.Option(help="A .json file, or a folder of CIF files.")
    ] = None,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    device: Device = "auto",
) -> None:
    """Find substitutions that bring a property of the spectrum to a value.

    Every combination is predicted, whole and mixed; the fractions of a
    mixture are found by gradients through the network.
    """
    from debye.crystals.inversion.design import design as propose
    from debye.crystals.structure_io.read import read_crystal

    place, figure = json_or_folder(output), writable(plot, "--plot", FIGURES)
    check_range(temperature, "--temperature", least=0)
    goal, pairs = target_of(target, value, temperature), replacements_of(replace)
    proposals = propose(load_predictor(model, device), read_crystal(structure), pairs, goal)[:top]
    told = {
        "target": goal.name,
        "goal": goal.goal,
        "proposals": [proposal_record(p) for p in proposals],
    }
    needed = not (place or plot)
    show(to_json(told) if as_json else design_table(proposals, goal), needed=needed)
    if place and place.suffix == ".json":
        atomic_write(place, to_json(told, indent=2) + "\n")
        tell(f"wrote {place}")
    elif place:
        for k, proposal in enumerate(proposals, 1):
            proposal.crystal.write(place / f"{k:02d}-{proposal.crystal.formula}.cif")
        tell(f"wrote {len(proposals)} structures to {place}")
    if figure:
        draw_design(proposals, goal, figure)
