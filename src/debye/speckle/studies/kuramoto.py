"""Locally coupled moments: the kernel of a lattice of phase oscillators, learned from speckle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debye.speckle.dynamics.couplings import Kernel
from debye.speckle.dynamics.known import MexicanHat
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Kuramoto, System, transfer_function
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.panels import Curve, Curves, Image, Strip
from debye.speckle.scattering.models import Lattice
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.studies.page import (
    error_panel,
    loss_panel,
    moments,
    speckle_strip,
    states_strip,
)
from debye.speckle.studies.study import Report, Row, Study, relative
from debye.speckle.values import expect


def known() -> Kuramoto:
    """The published coupling."""
    return Kuramoto(MexicanHat())


def model() -> Kuramoto:
    """A kernel of 120 free weights."""
    return Kuramoto(Kernel(11))


def scattering() -> Lattice:
    """The published probe and detector."""
    return Lattice(Detector(42, 0.5, 2.0, 0.06), GaussianProbe(0.25, 2.0), points=80)


def random_phases(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """Independent phases on an 80 × 80 lattice."""
    return 2 * math.pi * torch.rand(runs, 80, 80, generator=generator), None


def phase_error(found: Tensor, true: Tensor) -> Tensor:
    """(time,) mean of 1 − cos(difference), from phases (run, time, …): 0 the same, 1 unrelated."""
    return (1 - (found - true).cos()).transpose(0, 1).flatten(1).mean(1)


def carrying(states: Tensor, fraction: float = 0.99) -> Tensor:
    """Which wave numbers carry most of the power of e^{iθ}: (y, x) bool.

    Args:
        states: (…, y, x) phases.
        fraction: How much of the power, the strongest wave numbers first.
    """
    power = torch.fft.fft2(torch.polar(torch.ones_like(states), states)).abs().square()
    power = power.flatten(0, -3).mean(0)
    strongest, order = power.flatten().sort(descending=True)
    enough = int((strongest.cumsum(0) < fraction * strongest.sum()).sum()) + 1
    chosen = torch.zeros(power.numel(), dtype=torch.bool)
    chosen[order[:enough]] = True
    return chosen.view(power.shape)


def transfer_error(found: System, true: System, states: Tensor) -> float:
    """Relative L2 error of the kernel's transfer function where the signal is.

    Raises:
        InputError: A kernel is larger than the lattice.
    """
    shape = states.shape[-2:]
    T, T0 = (transfer_function(kernel(s), shape) for s in (found, true))
    where = carrying(states)
    return float((T - T0)[where].abs().norm() / T0[where].abs().norm())


def kernel(system: System) -> Tensor:
    """K k of a system of coupled phases.

    Raises:
        InputError: It is another system.
    """
    return expect(system, Kuramoto, "system").K * system.term().detach()


def metrics(report: Report) -> list[Row]:
    """Transfer function, kernel, frames.

    Raises:
        InputError: The kernel is larger than the lattice.
    """
    found, true = report.fitted.system, report.study.known()
    k, k0 = kernel(found), kernel(true)
    rows = [
        Row(
            "relative L2 error of the transfer function (99 % of the signal)",
            transfer_error(found, true, report.data.known_states()),
            0.05,
        ),
        Row("relative L2 error of the kernel", relative(k, k0)),
        Row("K Σk, learned (true −1.206)", float(k.sum()), None, "−1.35"),
    ]
    for t in (10, 30, 55, 105, 250):
        if report.reaches(t):
            error = float(report.frame_error[(report.seen - t).abs().argmin()])
            rows.append(Row(f"frame amplitude error, unseen, {t - 5} after the start", error))
    return rows


def scene(report: Report, states: Tensor, i: int) -> Image:
    """The phases of the first unseen run."""
    return Image(states[0, i], "phase")


def kernel_panels(report: Report) -> list[Image | Curves]:
    """True and learned kernel on one scale, and their transfer functions along κ_x.

    Raises:
        InputError: The kernel is larger than the lattice.
    """
    k0, k = kernel(report.study.known()), kernel(report.fitted.system)
    limits = (-float(k0.abs().max()), float(k0.abs().max()))
    T0, T = (transfer_function(x, (80, 80)).real[0, :41] for x in (k0, k))
    waves = torch.arange(41)
    curves = [Curve(waves, T0, "truth", mark="="), Curve(waves, T, "learned", role="fitted")]
    return [
        Image(k0, "signed", "true kernel", limits=limits),
        Image(k, "signed", "learned kernel", bar="K k", limits=limits),
        Curves(curves, x="wave number (cycles per box)", y="transfer function"),
    ]


def page(report: Report) -> list[Strip]:
    """Phases, speckle, kernels, transfer function, errors.

    Raises:
        InputError: The kernel is larger than the lattice.
    """
    late = [
        error_panel(report, report.times, report.error, "mean 1 − cos(phase error)"),
        error_panel(report, report.seen, report.frame_error, "frame amplitude error"),
        loss_panel(report.losses),
    ]
    return [
        states_strip(report, "Phases of an unseen run, 0 to 2π on a cyclic map", height=3.5),
        speckle_strip(report, moments(report)[2], height=1.9),
        Strip([kernel_panels(report)], height=1.8, widths=[0.8, 0.8, 1.2]),
        Strip([late], height=1.7),
    ]


KURAMOTO = Study(
    name="kuramoto",
    title="Locally coupled moments",
    known=known,
    model=model,
    scattering=scattering,
    starts=random_phases,
    runs=100,
    times=(5.0, 55.0, 0.5),
    solver=Solver("tsit5", rtol=1e-4, atol=1e-4),
    careful=Solver("tsit5", rtol=1e-6, atol=1e-6),
    plan=Plan((Stage(3, 1, 1, 5, 1), Stage(6, 4, 2, 3, 1)), smooth=False),
    quick=Plan((Stage(3, 1, 1, 5, 1),), smooth=False),
    runs_unseen=4,
    horizon=250.0,
    error=phase_error,
    metrics=metrics,
    page=page,
    scene=scene,
)
