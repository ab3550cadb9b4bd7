"""Self-organising particles: a pair force learned from the speckle of a swarm.

What is learned is the force h(1 − h)r. h and 1 − h are one law of motion, and it vanishes with all
derivatives at its cutoff, so that neither the branch nor the cutoff can be told from data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from debye.speckle.dynamics.known import SwarmForce
from debye.speckle.dynamics.learnable import RadialSpline
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Swarm
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.panels import Curve, Curves, Points, Strip
from debye.speckle.scattering.models import Cloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.studies.page import (
    error_panel,
    loss_panel,
    moments,
    speckle_strip,
    states_strip,
)
from debye.speckle.studies.study import Report, Row, Study, relative

Interaction = Callable[[Tensor], Tensor]
"""h(r): (P,) distances to (P,)."""


def known() -> Swarm:
    """The published swarm."""
    return Swarm(SwarmForce())


def model() -> Swarm:
    """A swarm with a spline for a force."""
    return Swarm(RadialSpline(size=16, start=0.95))


def scattering() -> Cloud:
    """The published spheres, probe and detector."""
    return Cloud(
        Detector(48, 0.75, 5.0, 0.05),
        GaussianProbe(0.25, 5.0),
        R=0.15,
        illumination="centres",
        aperture=True,
    )


def disc_of_particles(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """500 particles spread evenly over a disc of radius L/2 = 2.5."""
    r = 2.5 * torch.rand(runs, 500, generator=generator).sqrt()
    phi = 2 * math.pi * torch.rand(runs, 500, generator=generator)
    return torch.stack([r * phi.cos(), r * phi.sin()], dim=-1), None


def pair_force(interaction: Interaction, r: Tensor) -> Tensor:
    """f(r) = h(1 − h)·r: what the swarm feels, the same for h and 1 − h.

    Example:
        >>> pair_force(lambda r: 0 * r + 0.5, torch.tensor([2.0]))
        tensor([0.5000])
    """
    h = interaction(r)
    return h * (1 - h) * r


def falling_branch(interaction: Interaction, r: Tensor) -> Tensor:
    """The branch that falls to 0 at the cutoff: of h and 1 − h the one smaller there.

    Args:
        interaction: h(r).
        r: Distances, the last of them near the cutoff.
    """
    h = interaction(r)
    return h if float(h[-1].detach().abs()) <= 0.5 else 1 - h


def effective_cutoff(interaction: Interaction, furthest: float) -> float:
    """Largest distance at which |f| still is 1 % of its largest value at r ≥ 0.1."""
    r = torch.linspace(0.1, furthest, 2000, dtype=torch.float64)
    force = pair_force(interaction, r).detach().abs()
    return float(r[(force >= 0.01 * force.max()).nonzero()[-1, 0]])


def cluster_sizes(points: Tensor, cutoff: float = 0.15, bins: int = 30) -> Tensor:
    """(bins,) fraction of particles with 0, 1, 2 … neighbours within ``cutoff``, as published.

    Args:
        points: (run, particle, coordinate).
        cutoff: Distance of a neighbour.
        bins: Longest list; more neighbours count into the last.

    Example:
        >>> cluster_sizes(torch.tensor([[[0.0], [0.1], [9.0]]]), bins=3)
        tensor([0.3333, 0.6667, 0.0000])
    """
    near = (torch.cdist(points, points) < cutoff).sum(-1) - 1
    return torch.bincount(near.flatten().clamp(max=bins - 1), minlength=bins) / near.numel()


def metrics(report: Report) -> list[Row]:
    """Force, cutoff, positions, clusters."""
    h, h0 = report.fitted.system.term, report.study.known().term
    r = torch.linspace(0.1, 0.8, 701, dtype=torch.float64)
    force, name = relative(pair_force(h, r), pair_force(h0, r)), "mean position error, unseen, "
    rows = [
        Row("relative RMS error of the force f(r), 0.1 ≤ r ≤ 0.8", force, 0.05, "by eye"),
        *report.errors_at(name + "t = {t:g}", {2: (0.006, "by eye"), 6: (0.015, "by eye"), 10: ()}),
        Row("distance where |f| is 1 % of its maximum, learned", effective_cutoff(h, 0.9)),
        Row("the same, true", effective_cutoff(h0, 0.9)),
        Row("cutoff of the spline (true cutoff 0.75)", float(h.cutoff), None, "0.83"),
    ]
    if report.reaches(50):
        sizes = [cluster_sizes(x[:, -1]) for x in (report.predicted, report.true)]
        apart = 0.5 * float((sizes[0] - sizes[1]).abs().sum())
        rows.append(
            Row("cluster-size histogram at t = 50, fraction misplaced", apart, 0.05, "by eye")
        )
    return rows + report.errors_at(name + "t = {t:g}", {50: ()})


def scene(report: Report, states: Tensor, i: int) -> Points:
    """The particles of the first unseen run."""
    return Points(states[0, i], half=2.6, unit="unit of length")


def force_panel(report: Report) -> Curves:
    """The pair force over the truth, with the error bar its photons allow."""
    r = torch.linspace(0.06, 0.9, 120, dtype=torch.float64)
    h, h0 = report.fitted.system.term, report.study.known().term
    error = report.fitted.error_of(lambda: pair_force(h, r)) if report.data.photons else None
    curves = [
        Curve(r, pair_force(h0, r), "truth", mark="="),
        Curve(r, pair_force(h, r).detach(), "learned", role="fitted", error=error),
    ]
    return Curves(
        curves, x="distance r", y="f = h(1 − h) r", title="Pair force", limits=(-0.1, 0.06)
    )


def interaction_panel(report: Report) -> Curves:
    """H itself, on the branch that falls to 0 at the cutoff."""
    r = torch.linspace(0.05, 0.9, 300, dtype=torch.float64)
    h, h0 = report.fitted.system.term, report.study.known().term
    curves = [
        Curve(r, falling_branch(h0, r), "truth", mark="="),
        Curve(r, falling_branch(h, r).detach(), "learned", role="fitted"),
    ]
    title = "h itself, the falling branch (dotted: its cutoff)"
    return Curves(
        curves, x="distance r", y="interaction h(r)", title=title, marks=[float(h.cutoff)]
    )


def clusters_panel(report: Report) -> Curves:
    """How many neighbours the particles have at the end."""
    bins = torch.arange(30)
    curves = [
        Curve(bins, cluster_sizes(report.true[:, -1]), "truth", mark="step"),
        Curve(bins, cluster_sizes(report.predicted[:, -1]), "learned", role="fitted", mark="step"),
    ]
    title = f"Clusters at t = {float(report.times[-1]):g}"
    return Curves(curves, x="neighbours within 0.15 (last: 29 or more)", y="fraction", title=title)


def page(report: Report) -> list[Strip]:
    """Particles, speckle, force, h, clusters, errors."""
    error = error_panel(report, report.times[1:], report.error[1:], "mean position error")
    late = [clusters_panel(report), error, loss_panel(report.losses)]
    return [
        states_strip(report, "Particles of an unseen run", height=3.6),
        speckle_strip(report, moments(report)[2], height=1.9),
        Strip([[force_panel(report), interaction_panel(report)]], height=1.8),
        Strip([late], height=1.7),
    ]


SWARM = Study(
    name="swarm",
    title="Self-organising particles",
    known=known,
    model=model,
    scattering=scattering,
    starts=disc_of_particles,
    runs=50,
    times=(0.0, 10.0, 0.1),
    solver=Solver("tsit5", rtol=1e-5, atol=1e-6),
    careful=Solver("tsit5", rtol=1e-6, atol=1e-7),
    plan=Plan((Stage(6, 2, 1, 5), Stage(21, 8, 1, 4))),
    quick=Plan((Stage(6, 1, 1, 5, 1),)),
    runs_unseen=4,
    horizon=50.0,
    metrics=metrics,
    page=page,
    scene=scene,
)
