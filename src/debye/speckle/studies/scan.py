"""Ptychographic scan: planar motion from diffraction, against fitting every position.

Object and probe are known, as in the published proof of concept; the stage reports positions with
an error. From them the flow takes its first guess, and the free fit its starting points. The flow
then sees only the first half of the scan.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from debye.speckle.dynamics.known import Spiral
from debye.speckle.dynamics.learnable import RoundFlow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.fitting.positions import fit_positions, free_positions
from debye.speckle.panels import Curve, Curves, Image, Mark, Points, Role, Strip
from debye.speckle.scattering.scan import Scan, fermat_spiral
from debye.speckle.studies.page import error_panel, loss_panel, speckle_strip
from debye.speckle.studies.study import Fitted, Report, Row, Study, Walk

SPIRAL = (4.6, 4.0)
"""Growth in pixels per √frame and turning in radians per √frame; published: w = 4."""
JITTER = 1.0
"""Standard deviation of the recorded positions along each axis, pixels."""
SEEN = 81
"""Frames that the flow sees, of 163."""


def known() -> Drift:
    """A Fermat spiral."""
    return Drift(Spiral(*SPIRAL))


def model() -> Drift:
    """A flow of which only the symmetry is known."""
    return Drift(RoundFlow(powers=(-1, 0, 1), scale=20.0))


def scattering() -> Scan:
    """Random grains under two modes of a zone plate."""
    return Scan(grain_object(256, seed=7), two_modes(128), stop=8.0)


def grain_object(side: int, seed: int) -> Tensor:
    """A complex object of random grains: smooth noise turned into amplitude and phase."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.fft.fftfreq(side, dtype=torch.float64)
    falloff = torch.exp(-((k[:, None] ** 2 + k[None, :] ** 2) / (2 * 0.03**2)))
    noise = torch.randn(2, side, side, generator=generator, dtype=torch.float64)
    grains = torch.fft.ifft2(torch.fft.fft2(noise) * falloff).real
    grains = grains / grains.std(dim=(1, 2), keepdim=True)
    return torch.polar(torch.sigmoid(1 + grains[0]), 0.8 * grains[1]).to(torch.complex64)


def two_modes(side: int) -> Tensor:
    """A zone plate's probe: an annular pupil out of focus, in two incoherent modes.

    The second mode is the first times a gradient across it and holds a tenth of the intensity.
    """
    k = torch.arange(side, dtype=torch.float64) - side // 2
    ky, kx = torch.meshgrid(k, k, indexing="ij")
    radius = torch.hypot(kx, ky) * 128 / side
    annulus = torch.sigmoid(radius - 12) * torch.sigmoid(30 - radius)
    pupil = torch.polar(annulus, torch.pi * 0.009 * radius**2)
    main = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(pupil)))
    tilted = main * kx
    tilted = tilted * (0.1 * main.abs().square().sum() / tilted.abs().square().sum()).sqrt()
    modes = torch.stack([main, tilted])
    return (modes / modes.abs().square().sum().sqrt() * side).to(torch.complex64)


def spiral_start(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """The first point of a Fermat spiral; there is one scan only."""
    return fermat_spiral(1, *SPIRAL).expand(runs, 2).clone(), None


def whole_scan(study: Study, quick: bool) -> Tensor:
    """The times of all frames."""
    return study.grid()


def fit_half(study: Study, plan: Plan, photons: float, seed: int, walk: Walk) -> Fitted:
    """Simulate a scan, learn its motion from the first half, and fit all positions freely.

    Raises:
        InputError: The plan does not fit the frames.
        ComputationError: The fit does not survive.
    """
    began = time.perf_counter()
    whole = study.frames(runs=1, photons=photons, seed=seed)
    states = whole.known_states()
    generator = torch.Generator().manual_seed(seed)
    recorded = states[0] + JITTER * torch.randn(states[0].shape, generator=generator).double()
    recorded[0] = states[0, 0]  # the start of the scan is known, as in the published study
    half = min(SEEN, max(len(whole.times) // 2, 2))
    data = replace(
        whole, data=whole.data[:, :half], times=whole.times[:half], states=states[:, :half]
    )
    simulated = time.perf_counter()
    system = study.model()
    fit_positions(system, recorded[:half], data.times, study.solver)
    fitting = prepare(system, data, plan, solver=study.solver)
    walk(fitting)
    fitted = time.perf_counter()
    free = free_positions(
        study.scattering(),
        whole.data[0].float(),
        recorded.float(),
        fitting.experiment.gain,
        fitting.likelihood,
        whole.mask,
    )
    seconds = {
        "simulate": simulated - began,
        "fit": fitted - simulated,
        "free fit": time.perf_counter() - fitted,
    }
    return Fitted(data, fitting, seconds, {"free": free, "recorded": recorded})


def root_mean_square(path: Tensor, true: Tensor) -> float:
    """Root of the mean squared distance of paths (time, 2)."""
    return float((path - true).square().sum(-1).mean().sqrt())


def metrics(report: Report) -> list[Row]:
    """Position errors of both halves, beside a free fit of every position."""
    reached, rows = len(report.times), []
    learned = report.times <= report.until
    for name, path, target in (
        ("fitted system", report.predicted[0], 0.5),
        ("free per-frame fit", report.extra["free"][:reached], None),
        ("recorded positions", report.extra["recorded"][:reached], None),
    ):
        for half, part, goal in (("learned", learned, target), ("second", ~learned, None)):
            if part.any():
                error = root_mean_square(path[part], report.true[0, part])
                rows.append(Row(f"RMS position error, {name}, {half} half, pixels", error, goal))
    return rows


def scene(report: Report, states: Tensor, i: int) -> Points:
    """The path of the probe so far."""
    now = Curve(states[0, i, :1], states[0, i, 1:], role="beyond", mark="o")
    return Points(states[0, : i + 1], half=70, unit="pixel", curves=[now])


def path_panel(report: Report) -> Curves:
    """Recorded, true and learned positions."""

    def curve(path: Tensor, label: str, role: Role, mark: Mark) -> Curve:
        return Curve(path[:, 0], path[:, 1], label, role, mark)

    inside, recorded = report.times <= report.until, report.extra["recorded"]
    learned, beyond = report.predicted[0, inside], report.predicted[0, ~inside]
    curves = [
        curve(recorded, "recorded", "other", "+"),
        curve(report.true[0], "truth", "true", "o"),
        curve(learned, "learned", "trained", "."),
        curve(beyond, "extrapolated", "beyond", "."),
    ]
    return Curves(
        curves,
        x="x (pixels)",
        y="y (pixels)",
        title="Path of the probe",
        equal=True,
        legend="beside",
    )


def page(report: Report) -> list[Strip]:
    """Object, path, speckle, errors of the flow and of the free fit."""
    thing = Image(scattering().specimen.abs(), "grey", "Object", bar="|object|")
    free = (report.extra["free"][: len(report.times)] - report.true[0]).norm(dim=-1)
    every = Curve(report.times, free, "each frame alone", role="other", mark=".")
    error = error_panel(report, report.times, report.error, "position error, pixels", free=every)
    last = len(report.times) - 1
    return [
        Strip([[thing, path_panel(report)]], height=2.6),
        speckle_strip(report, last * 2 // 3, "Diffraction", height=1.9),
        Strip([[replace(error, log=True), loss_panel(report.losses)]], height=1.7),
    ]


SCAN = Study(
    name="scan",
    title="Ptychographic scan",
    known=known,
    model=model,
    scattering=scattering,
    starts=spiral_start,
    runs=1,
    times=(1.0, 163.0, 1.0),
    solver=Solver("tsit5", rtol=1e-6, atol=1e-5, max_steps=3000),
    careful=Solver("tsit5", rtol=1e-9, atol=1e-9),
    plan=Plan(tuple(Stage(n, 1, 1, 8, 1) for n in (4, 8, 16, 32, 81))),
    quick=Plan(tuple(Stage(n, 1, 1, 6, 1) for n in (4, 12, 40))),
    runs_unseen=1,
    horizon=163.0,
    since=1.0,
    followed=whole_scan,
    work=fit_half,
    guess=fit_positions,
    metrics=metrics,
    page=page,
    scene=scene,
)
