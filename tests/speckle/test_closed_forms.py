"""Simulated suspensions, correlated as data are, follow closed forms."""

import pytest
import torch

from debye.speckle import Brownian, Cloud, Detector, Drift, GaussianProbe, Suspension

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


@pytest.mark.parametrize(("flow", "form"), [(resting, diffused), (sheared, torn)])
def test_correlations_are_the_closed_form_over_the_pixels_of_a_bin(flow, form):
    seen = Cloud(
        Detector(12, 0.5, L),
        GaussianProbe(WIDTH, L),
        R=0.02,
        illumination="centres",
        aperture=False,
    )
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
