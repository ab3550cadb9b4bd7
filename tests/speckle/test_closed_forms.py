"""Simulated suspensions, correlated as data are, follow closed forms."""

from dataclasses import replace

import pytest
import torch

from debye.speckle import Ageing, Brownian, Cloud, Detector, Drift, GaussianProbe, Suspension

L, WIDTH, STEP = 4.0, 0.15, 0.02
D, SHEAR = 0.05, 3.0


def sheared(x):
    return torch.stack([SHEAR * x[..., 1], 0 * x[..., 0]], -1)


def resting(x):
    return 0 * x


def diffused(qx, qy, t):
    """exp(−2Dq²t): Berne & Pecora, Dynamic Light Scattering (1976), chapter 5."""
    return torch.exp(-2 * D * (qx**2 + qy**2) * t)


def torn(qx, qy, t):
    """|∫∫ p(x) p(x + γty) e^{i q_x γ t y} dx dy|² of a Gaussian p of width r_p = WIDTH·L.

    Fuller, Rallison, Schmidt & Leal, J. Fluid Mech. 100, 555 (1980), where p hardly changes on the
    way of a particle; here it does, by a = (γt)²/4. Particles diffuse as well, for the time average
    of a pixel is else not its mean.
    """
    a, k = (SHEAR * t) ** 2 / 4, SHEAR * qx * t
    spread = D * ((qx**2 + qy**2) * t + k * qy * t + k**2 * t / 3)
    return torch.exp(-2 * spread - (k * WIDTH * L) ** 2 / (2 * (1 + a))) / (1 + a)


@pytest.fixture(scope="module")
def seen():
    return Cloud(
        Detector(12, 0.5, L),
        GaussianProbe(WIDTH, L),
        R=0.02,
        illumination="centres",
        aperture=False,
    )


@pytest.mark.parametrize(("flow", "form"), [(resting, diffused), (sheared, torn)])
def test_correlations_are_the_closed_form_over_the_pixels_of_a_bin(seen, flow, form):
    sample = Suspension(seen, (400, 2), L=L, frames=800, frame_time=STEP, settle=STEP)
    qmap = sample.qmap([4.0, 6.0, 8.0], phi=4)
    system = Brownian(Drift(flow), D)
    runs = sample.correlate(system, qmap, runs=6, seed=3)
    found = torch.stack([run.g2 for run in runs]).mean(0) - 1
    q, t = seen.q, runs[0].delay * STEP
    for k in range(len(qmap)):
        y, x = (qmap.dynamic.labels == k + 1).nonzero(as_tuple=True)
        known = form(q[x][:, None], q[y][:, None], t).mean(0)
        early = known > 0.5
        off = found[k, early] / found[k, 0] - known[early] / known[0]
        assert float(off.abs().max()) < 0.08
    assert float(found[:, 0].mean()) > 0.4


def test_two_time_maps_of_an_ageing_suspension_are_the_closed_form(seen):
    """((a + t₁)/(a + t₂))^(2Dq²a), averaged as the maps are: how much slower when it is older.

    One age by itself lies lower, by what few speckles in a ring take from it at any age.
    """
    age, frames = 1.0, 100
    sample = Suspension(seen, (300, 2), L=L, frames=frames, frame_time=STEP, settle=STEP)
    qmap = sample.qmap([4.0, 6.0])
    system = Ageing(Drift(resting), D, age)
    runs = [run.two_time for run in sample.correlate(system, qmap, 32, seed=3, maps=1)]
    ages, apart = [0.0, 1.0, 2.0], torch.tensor([0, 4, 9, 19])
    found = torch.stack([run.at_age(ages) for run in runs]).mean(0)[..., apart] - 1
    t, q2 = age + STEP * torch.arange(1, frames + 1).double(), seen.q**2
    ratio = torch.minimum(t[:, None], t) / torch.maximum(t[:, None], t)
    y, x = (qmap.dynamic.labels == 1).nonzero(as_tuple=True)
    squares, count = (q2[x] + q2[y]).unique(return_counts=True)
    count = count.double()
    power = ratio.expand(len(squares), -1, -1) ** (2 * D * age * squares[:, None, None])
    whole = (count @ power.flatten(1) / count.sum()).view(1, frames, frames).float()
    known = replace(runs[0], bins=torch.tensor([0]), maps=whole).at_age(ages)[0][:, apart]
    young, old = known / known[:, :1]
    assert float((old - young).max()) > 0.1
    off = (found[0] / found[0, :, :1]).diff(dim=0)[0] - (old - young)
    assert float(off.abs().max()) < 0.06
