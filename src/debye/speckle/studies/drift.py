"""Fluctuating source: the flow that carries a rigid cloud, learned from its speckle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics.known import LotkaVolterra
from debye.speckle.dynamics.learnable import Flow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.panels import Arrows, Curve, Curves, Points, Role, Strip
from debye.speckle.scattering.models import RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.studies.page import error_panel, loss_panel, speckle_strip
from debye.speckle.studies.study import Report, Row, Study

BOX = 2.0
"""Side of the box, and diameter of the window that is lit."""


def known() -> Drift:
    """Predator and prey."""
    return Drift(LotkaVolterra())


def model() -> Drift:
    """Polynomials of the position."""
    return Drift(Flow(degree=5))


def scattering() -> RigidCloud:
    """The published spheres, probe and detector."""
    return RigidCloud(
        Detector(42, 0.75, BOX, 0.05),
        GaussianProbe(0.25, BOX),
        R=0.07,
        illumination="centres",
        aperture=True,
    )


def random_clouds(runs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clouds of 400 spheres in the box; the state is their centre, the specimen the rest."""
    points = 2 * torch.rand(runs, 400, 2, generator=generator) - 1
    centre = points.mean(dim=1)
    return centre.double(), points - centre[:, None]


def followed(study: Study, quick: bool) -> Tensor:
    """Quarter steps to the horizon, or to 100."""
    last = 100 if quick else study.horizon
    return torch.arange(0, last + 0.25, 0.25, dtype=torch.float64)


def upward_crossings(times: Tensor, x: Tensor) -> Tensor:
    """Times at which a signal rises through its mean, by linear interpolation."""
    y = x - x.mean()
    up = ((y[:-1] < 0) & (y[1:] >= 0)).nonzero()[:, 0]
    return times[up] + (times[up + 1] - times[up]) * (-y[up] / (y[up + 1] - y[up]))


def period(times: Tensor, x: Tensor) -> float:
    """Mean time between upward crossings of the mean.

    Raises:
        InputError: There are fewer than two crossings.

    Example:
        >>> t = torch.linspace(0, 100, 5001, dtype=torch.float64)
        >>> round(period(t, torch.sin(t)), 3)
        6.283
    """
    crossing = upward_crossings(times, x)
    if len(crossing) < 2:
        raise InputError(
            "no period can be told",
            why="the signal crosses its mean less than twice",
            fix="follow it for longer",
        )
    return float((crossing[-1] - crossing[0]) / (len(crossing) - 1))


def metrics(report: Report) -> list[Row]:
    """Largest error over the last period, and the period if it was followed for two.

    Raises:
        InputError: No period can be told.
    """
    rows = []
    for t, target, published in ((100, 0.02, "< 0.1"), (500, 0.1, "0.35")):
        if report.reaches(t):
            span = (report.times <= t) & (report.times > t - 16.05)
            worst = float(report.error[span].max())
            name = f"position error at t = {t} (worst of the last period)"
            rows.append(Row(name, worst, target, published))
    pairs = list(zip(report.predicted[..., 0], report.true[..., 0], strict=True))
    if all(len(upward_crossings(report.times, x)) > 1 for pair in pairs for x in pair):
        gaps = [abs(period(report.times, f) / period(report.times, x) - 1) for f, x in pairs]
        name = "relative error of the period, mean over unseen runs"
        rows.append(Row(name, sum(gaps) / len(gaps), 5e-4))
    return rows


def scene(report: Report, states: Tensor, i: int) -> Points:
    """The cloud of the first unseen run, its centre, and the window that is lit."""
    centre = states[0, i]
    cloud = centre if report.specimen is None else report.specimen[0] + centre
    turn = torch.linspace(0, 2 * math.pi, 100)
    window = Curve(BOX / 2 * turn.cos(), BOX / 2 * turn.sin(), role="other")
    cross = Curve(centre[:1], centre[1:], role="beyond", mark="+")
    return Points(cloud.reshape(-1, 2), half=1.5, unit="unit of length", curves=[window, cross])


def nearness(points: Tensor, seen: Tensor, scale: float) -> Tensor:
    """(…) how near points (…, 2) are to any of the states (N, 2) seen: 1 at them, 0 far away.

    Example:
        >>> nearness(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.zeros(1, 2), 1.0)
        tensor([1., 0.])
    """
    return torch.exp(-0.5 * (torch.cdist(points, seen).amin(-1) / scale) ** 2).round(decimals=6)


def flow_panels(report: Report) -> list[Arrows]:
    """True and learned velocity, the learned one faint where no frame went, and a true orbit.

    Raises:
        InputError: The states of the frames are not known.
    """
    path = report.true[0].double()
    low, high = path.amin(0) - 0.15, path.amax(0) + 0.15
    x, y = (torch.linspace(float(a), float(b), 15).double() for a, b in zip(low, high, strict=True))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    with torch.no_grad():
        true, learned = (f(0.0, grid) for f in (report.study.known(), report.fitted.system))
    seen = report.data.known_states().flatten(0, 1).double()
    near = nearness(grid.reshape(-1, 2), seen, float((high - low).max()) / 14).view(15, 15)
    orbit = [Curve(path[:80, 0], path[:80, 1], role="other")]
    fastest = float(true.norm(dim=-1).max())
    names = ("True velocity, and an unseen run", "Learned velocity, faint where no frame went")
    return [
        Arrows(x, y, true, torch.ones(15, 15), names[0], orbit, fastest),
        Arrows(x, y, learned, near, names[1], orbit, fastest, bar="speed"),
    ]


def series_panel(report: Report, span: Tensor) -> Curves:
    """Both coordinates of the centre over a span of time."""
    roles: dict[str, Role] = {"x": "trained", "y": "fitted"}
    curves, t = list[Curve](), report.times[span]
    for k, (name, role) in enumerate(roles.items()):
        curves += [
            Curve(t, report.true[0, span, k], f"{name}, truth", role=role, mark="="),
            Curve(t, report.predicted[0, span, k], f"{name}, learned", role=role, mark="--"),
        ]
    last = bool(span[-1])
    return Curves(curves, x="time", y="centre", legend="beside" if last else "none")


def page(report: Report) -> list[Strip]:
    """Speckle, fields, coordinates, errors.

    Raises:
        InputError: The states of the frames are not known.
    """
    end = float(report.times[-1])
    spans = [report.times <= 50, report.times >= end - 50][: 2 if end > 50 else 1]
    error = error_panel(report, report.times[1:], report.error[1:], "mean position error")
    return [
        speckle_strip(report, len(report.times) - 1, height=1.9),
        Strip([flow_panels(report)], height=2.3),
        Strip([[series_panel(report, span) for span in spans]], height=1.5),
        Strip([[error, loss_panel(report.losses)]], height=1.6),
    ]


DRIFT = Study(
    name="drift",
    title="Fluctuating source",
    known=known,
    model=model,
    scattering=scattering,
    starts=random_clouds,
    runs=100,
    times=(0.0, 16.0, 2.0),
    solver=Solver("tsit5", rtol=1e-6, atol=1e-7),
    careful=Solver("tsit5", rtol=1e-9, atol=1e-10),
    plan=Plan((Stage(2, 4, 8, 10, 4), Stage(9, 8, 1, 5, 4)), ridge=1e-6),
    quick=Plan((Stage(2, 3, 8, 9, 3),), ridge=1e-6),
    runs_unseen=8,
    horizon=500.0,
    followed=followed,
    metrics=metrics,
    page=page,
    scene=scene,
    movie_until=50.0,  # it goes round for hundreds of time units: three turns tell the story
)
