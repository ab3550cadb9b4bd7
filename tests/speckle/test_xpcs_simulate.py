"""Simulated frames have the g2 that their formula says, and the correlator finds it.

Each law is also held against what it would be without its own term, which must not fit.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from debye.speckle.data.stack import Stack
from debye.speckle.xpcs import twotime
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.diffusion import diffusion
from debye.speckle.xpcs.fit import fit
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Faults, Simulated, brownian
from debye.speckle.xpcs.twotime import two_time

MIDDLE = Geometry(x=27.5, y=27.5)
EVERY = torch.ones(56, 56) > 0
RINGS = make_qmap(MIDDLE, EVERY, [5, 12, 19, 26])
PARTS = make_qmap(MIDDLE, EVERY, [8, 17, 26], phi=8)
"""Azimuths of 22.5° and on, every 45°."""


def seen(qmap=RINGS, **how):
    start = {"frames": 240, "frame_time": 1e-3, "diffusion": 0.3, "slope": 1.0, "seed": 4}
    return Simulated(qmap, **(start | how))


def away(found, true):
    """Root mean square of (g2 − truth)/error."""
    return float(((found.g2 - true.g2(found.delay)) / found.error).square().mean().sqrt())


@pytest.mark.parametrize(
    ("qmap", "how", "without"),
    [
        (RINGS, {}, {"diffusion": 0.5}),
        (RINGS, {"static": 0.4}, {"static": 0.0}),
        (RINGS, {"modes": 3}, {"modes": 1}),
        (RINGS, {"background": 0.3}, {"background": 0.0}),
        (RINGS, {"photons": 0.0, "ageing": 40.0}, {"ageing": 0.0}),
        (PARTS, {"diffusion": 0.05, "shear": 20.0, "direction": 22.5}, {"shear": 0.0}),
        (PARTS, {"diffusion": 0.05, "shear": 20.0, "direction": 22.5}, {"direction": 67.5}),
        (
            PARTS,
            {"static": 0.4, "velocity": 30.0, "direction": 67.5, "photons": 3.0},
            {"velocity": 0.0},
        ),
    ],
    ids=str,
)
def test_the_correlator_finds_the_g2_that_was_put_in(qmap, how, without):
    true = seen(qmap, **how)
    found = true.correlate()
    assert away(found, true) < 2
    assert away(found, replace(true, **without)) > 3
    contrast = true.g2(torch.zeros(1))[:, 0] - 1
    assert ((found.contrast - contrast).abs() < 5 * found.contrast_error).all()


def test_uniform_flow_alone_is_invisible():
    """Without a reference that stands still only phases turn."""
    delay = torch.arange(1, 50)
    flowing = seen(PARTS, velocity=15.0)
    torch.testing.assert_close(flowing.g2(delay), seen(PARTS).g2(delay))
    assert away(flowing.correlate(), seen(PARTS)) < 2


def test_shear_is_sinc_squared_along_the_flow_and_nothing_across():
    """Burghardt et al. (2012), equation for a uniform gradient: sinc²(q Δv τ cos φ / 2)."""
    true = seen(PARTS, shear=20.0, direction=22.5, diffusion=0.0)
    delay = torch.arange(1, 40)
    along, across = true.g2(delay)[8], true.g2(delay)[10]  # the outer ring at 22.5° and 112.5°
    x = 21.5 * 20.0 * 1e-3 * delay.double() / 2
    torch.testing.assert_close(along, 1 + (torch.sin(x) / x) ** 2)
    torch.testing.assert_close(across, torch.full_like(across, 2.0))


def test_two_time_of_what_ages_is_what_was_put_in():
    """Mean maps of ten runs are the truth within their scatter, and not that without ageing."""
    runs = [brownian(side=40, bins=2, frames=120, diffusion=1.5, ageing=60.0, photons=0.0, seed=s)
            for s in range(10)]  # fmt: skip
    first = torch.arange(120)[:, None].expand(120, 120)
    upper = first <= first.T
    maps = torch.stack([two_time(r.blocks(), r.qmap, r.frame_time).maps.double() for r in runs])

    def coarse(c):
        """Mean over squares of 10 × 10 frames above the diagonal."""
        return c.unflatten(-1, (12, 10)).unflatten(-3, (12, 10)).mean((-3, -1))

    mean, scatter = coarse(maps).mean(0), coarse(maps).std(0) / 10**0.5
    apart = torch.ones(12, 12).triu(1) > 0

    def off(true):
        c = true.two_time(first, first.T)
        whole = torch.where(upper, c, c.mT)
        return ((mean - coarse(whole)) / scatter)[:, apart].square().mean().sqrt()

    assert off(runs[0]) < 1.8
    assert off(replace(runs[0], ageing=0.0)) > 4


def test_maps_are_the_same_by_events_by_rows_and_by_both(monkeypatch):
    true = seen(frames=90, photons=0.04, slope=2.0)
    frames = np.concatenate(list(true.blocks()))
    maps = []
    for occupancy in (0.0, 0.08, 1.0):  # the inner ring holds a tenth, all of them a twentieth
        monkeypatch.setattr(twotime, "OCCUPANCY", occupancy)
        maps.append(two_time([frames], RINGS))
    labels = RINGS.dynamic.labels.numpy()
    lit = [np.count_nonzero(frames[:, labels == n]) / (labels == n).sum() / 90 for n in (1, 2, 3)]
    assert np.count_nonzero(frames[:64, labels > 0]) / (labels > 0).sum() / 64 < 0.08 < lit[0]
    for other in maps[1:]:
        torch.testing.assert_close(other.maps, maps[0].maps, equal_nan=True, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            other.correlation.g2, maps[0].correlation.g2, equal_nan=True, rtol=1e-5, atol=1e-5
        )


def test_slices_of_what_ages_relax_ever_more_slowly():
    true = seen(frames=400, diffusion=1.0, ageing=10.0, photons=0.0)
    found = true.correlate(slice_frames=100)
    tau = torch.stack([fit(s, "single", fixed={"baseline": 1.0}).tau for s in found.slices])
    middle = 0.05 + 0.1 * torch.arange(4)
    wanted = 1 / (true.diffusion * RINGS.q**2) * (1 + true.ageing * middle[:, None])
    assert (tau / wanted - 1).abs().max() < 0.5
    assert (tau[3] > 1.5 * tau[0]).all()


FAULTS = Faults(dead=5, hot=4, stuck=3, saturation=255, dark=(30, 140), repeated=(77, 128))


def test_what_a_detector_does_wrong_is_left_out(tmp_path):
    """Through a file: the faults are named, and g2 is that of a faultless detector."""
    true = seen(frames=256, photons=8.0, faults=FAULTS)
    np.save(tmp_path / "frames.npy", np.concatenate(list(true.blocks(60))))
    stack = Stack.open(tmp_path / "frames.npy", frame_time=true.frame_time)
    counting = stack.examined(saturation=255)
    dead, hot, stuck = FAULTS.pixels(EVERY.shape, true.seed)
    good = counting.mask.numpy()
    assert not good[dead | hot | stuck].any()
    assert counting.quality.frames == {"dark": [30, 140], "repeated": [77, 128]}
    assert set(counting.quality.pixels) >= {"dead", "stuck"}
    assert counting.mask.double().mean() > 0.97
    qmap = make_qmap(MIDDLE, counting.mask, [5, 12, 19, 26])
    correlator = Correlator(qmap, stack.frame_time)
    for frames, numbers in stack.blocks(counting=counting):
        correlator.update(frames, stack.places(numbers))
    found = correlator.finish()
    assert away(found, replace(true, qmap=qmap)) < 2
    off, spoilt = ((c.g2 - true.g2(c.delay)).abs().mean() for c in (found, true.correlate()))
    assert spoilt > 5 * off
    d = diffusion(fit(found, "single", fixed={"baseline": 1.0}))
    assert abs(d.value - true.diffusion) < 4 * d.error


def test_faults_are_where_they_are_said_to_be():
    frames = np.concatenate(list(seen(frames=150, photons=3.0, faults=FAULTS).blocks(64)))
    plain = np.concatenate(list(seen(frames=150, photons=3.0).blocks(64)))
    dead, hot, stuck = FAULTS.pixels(EVERY.shape, 4)
    assert (int(dead.sum()), int(hot.sum()), int(stuck.sum())) == (5, 4, 3)
    lit = np.setdiff1d(np.arange(150), [*FAULTS.dark, *FAULTS.repeated])
    assert not frames[:, dead].any()
    assert (frames[lit][:, hot] >= 10_000).all()
    assert (frames[lit][:, stuck] == 7).all()
    assert not frames[[30, 140]].any()
    for number in FAULTS.repeated:
        assert (frames[number] == frames[number - 1]).all()
    rest = ~(dead | hot | stuck)
    assert (frames[lit][:, rest] == np.minimum(plain[lit][:, rest], 255)).all()
