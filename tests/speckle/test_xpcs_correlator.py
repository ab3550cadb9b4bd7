"""Streamed correlation is what its definition says, however the frames come."""

import numpy as np
import pytest
import torch

import debye
from debye.errors import InputError
from debye.speckle.xpcs import correlation, ladder
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.events import nonzero
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.jackknife import boundaries, jackknifed
from debye.speckle.xpcs.qmap import SECTORS, make_qmap
from debye.speckle.xpcs.simulate import Simulated, brownian
from debye.speckle.xpcs.slots import weights

QMAP = brownian(side=40, bins=3).qmap


def counts(mean, frames=150, seed=0):
    return Simulated(QMAP, frames=frames, photons=mean, diffusion=0.5, seed=seed, slope=1.0)


def stack(seen):
    return np.concatenate(list(seen.blocks()))


def correlated(frames, *, size=10**6, qmap=QMAP, **options):
    correlator = Correlator(qmap, 1e-3, **options)
    for start in range(0, len(frames), size):
        correlator.update(frames[start : start + size])
    return correlator.finish()


def assert_same(a, b, tolerance=1e-4):
    assert a.delay.tolist() == b.delay.tolist()
    torch.testing.assert_close(a.g2, b.g2, rtol=tolerance, atol=tolerance, equal_nan=True)
    torch.testing.assert_close(a.error, b.error, rtol=1e-2, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(a.contrast, b.contrast, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(a.saxs_2d, b.saxs_2d)
    torch.testing.assert_close(a.intensity, b.intensity, rtol=1e-5, atol=1e-6)


def by_definition(frames, present, lag, level, looked=64):
    """g2 of each bin at one lag and level, by the formula of `Correlator`, pixel by pixel."""
    flat = np.where(present[:, None], frames.reshape(len(frames), -1), 0).astype(float)
    label, shell = (p.labels.flatten().numpy() for p in (QMAP.dynamic, QMAP.static))
    sector = QMAP.cells().flatten().numpy()
    w = weights(flat[present][:looked].mean(0), QMAP, True)
    rows = len(flat) >> level
    mean = flat.sum(0) / present.sum()
    values = []
    for without in (None, *range(SECTORS)):
        row = []
        for number in range(1, len(QMAP) + 1):
            inside = (label == number) & (sector != without)
            mu = np.zeros(len(label))
            for s in np.unique(shell[inside]):
                mu[inside & (shell == s)] = mean[inside & (shell == s)].mean()
            x = (w * flat)[:, inside]
            binned = x[: rows << level].reshape(rows, 1 << level, -1).sum(1)
            flux, steady = binned.sum(1), (w * mean)[inside].sum()
            pairs = (flux[lag:] * flux[: rows - lag]).sum() / steady**2
            product = (binned[lag:] * binned[: rows - lag]).sum()
            row.append(product / pairs / (w * mu)[inside].__pow__(2).sum())
        values.append(row)
    return jackknifed(torch.tensor(values)[..., None], boundaries(QMAP))


@pytest.mark.parametrize("mean", [0.01, 1.0])
@pytest.mark.parametrize(("lag", "level"), [(1, 0), (16, 0), (9, 1), (11, 3)])
def test_multi_tau_is_what_its_definition_says(mean, lag, level):
    frames = stack(counts(mean))
    present = np.ones(len(frames), bool)
    present[[3, 40, 41, 42, 120]] = False
    correlator = Correlator(QMAP, 1e-3)
    correlator.update(frames[present], np.flatnonzero(present))
    found = correlator.finish()
    want, replicas = by_definition(frames, present, lag, level)
    at = found.delay.tolist().index(lag << level)
    # Bins share one correlation between neighbours, judged from all delays: undo nothing of it.
    middle = found.replicas[..., at].mean(0)
    torch.testing.assert_close(middle, replicas[..., 0].mean(0), rtol=1e-5, atol=1e-6)
    assert (found.g2[:, at] - want[:, 0]).abs().max() < 0.5 * found.error[:, at].max()
    assert found.width[at] == 1 << level


@pytest.mark.parametrize("mean", [0.005, 0.3])
@pytest.mark.parametrize("size", [1, 7, 64, 100])
def test_streamed_equals_whole(mean, size):
    frames = stack(counts(mean))
    assert_same(correlated(frames, size=size), correlated(frames))


@pytest.mark.parametrize("delays", ["multi-tau", 20])
def test_dense_equals_sparse(monkeypatch, delays):
    frames = stack(counts(0.02, frames=333))
    found = []
    for occupancy in (0.0, 0.02, 1.0):
        monkeypatch.setattr(ladder, "OCCUPANCY", occupancy)
        found.append(correlated(frames, delays=delays))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


@pytest.mark.parametrize("dark", [70, 200])
def test_frames_that_become_bright_are_correlated_as_frames(monkeypatch, dark):
    """The shutter opens late: what began as events goes on as whole frames."""
    frames = stack(counts(3.0, frames=400))
    frames[:dark] = np.random.default_rng(0).poisson(0.001, frames[:dark].shape)
    found = correlated(frames, size=50)
    monkeypatch.setattr(ladder, "OCCUPANCY", 0.0)
    assert_same(found, correlated(frames))


@pytest.mark.parametrize("mean", [0.01, 1.0])
def test_bad_frames_add_nothing(mean):
    frames = stack(counts(mean))
    spoiled = frames.copy()
    spoiled[[10, 90]] = 1000
    found = correlated(spoiled, bad_frames=[10, 90])
    other = spoiled.copy()
    other[[10, 90]] = 7
    assert found == correlated(other, bad_frames=[10, 90])
    assert len(found.numbers) == len(frames) - 2
    assert (found.g2 - correlated(frames).g2)[:, :10].abs().max() < 0.2 * (found.g2.max() - 1)


def test_what_flickers_and_falls_with_q_is_not_correlated():
    """Frames without speckle: g2 is 1 though the beam flickers and the pattern slopes."""
    q = QMAP.geometry.modulus(QMAP.shape).numpy()
    beam = 1 + 0.5 * np.random.default_rng(0).random(100)
    frames = (beam[:, None, None] * q**-2).astype(np.float32)
    found = correlated(frames, counts=False)
    # What is left is the slope within a shell, one pixel wide.
    assert (found.g2 - 1).abs().max() < 1e-2
    assert (found.g2 - 1)[1:].abs().max() < 2e-3
    flat = correlated((0 * frames + beam[:, None, None]).astype(np.float32), counts=False)
    assert (flat.g2 - 1).abs().max() < 1e-5
    assert flat.contrast.abs().max() < 1e-5


def test_static_speckle_stays_correlated_though_the_beam_flickers():
    still = np.random.default_rng(1).exponential(size=QMAP.shape)
    beam = 1 + 0.5 * np.random.default_rng(0).random(100)
    found = correlated((beam[:, None, None] * still).astype(np.float32), counts=False)
    assert (found.g2.std(1) < 1e-4).all()
    assert ((found.g2[:, 0] - 2).abs() < 5 * found.error[:, 0]).all()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"static": 0.4},
        {"modes": 3},
        {"background": 0.3},
        {"photons": 0.05},
        {"photons": 0.0},
        {"blur": 0.6},
    ],
    ids=str,
)
def test_siegert(how):
    seen = brownian(side=56, bins=3, frames=250, slope=1.0, diffusion=0.3, seed=4, **how)
    found = seen.correlate()
    away = (found.g2 - seen.g2(found.delay)) / found.error
    assert away.abs().max() < 6
    assert away.square().mean().sqrt() < 1.6
    contrast = seen.g2(torch.zeros(1))[:, 0] - 1
    assert ((found.contrast - contrast).abs() < 5 * found.contrast_error).all()


@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_errors_are_the_scatter(blur):
    """Over 24 realisations the mean error of all bins is their standard deviation, to a quarter."""
    found = [
        brownian(side=48, bins=3, frames=80, seed=s, blur=blur, diffusion=0.3).correlate()
        for s in range(24)
    ]
    true = torch.stack([c.g2 for c in found]).var(0).mean().sqrt()
    told = torch.stack([c.error for c in found]).square().mean().sqrt()
    assert 0.75 < told / true < 1.3


def test_slices_of_time_and_a_look_while_frames_come():
    seen = counts(1.0, frames=200)
    frames = stack(seen)
    correlator = Correlator(QMAP, 1e-3, slice_frames=50)
    correlator.update(frames[:120])
    early = correlator.so_far()
    assert len(early.numbers) == 120
    assert [len(s.numbers) for s in early.slices] == [50, 50, 20]
    correlator.update(frames[120:])
    found = correlator.finish()
    assert_same(found, correlated(frames))
    assert_same(found.slices[1], correlated(frames[50:100]))


def test_nan_outside_the_bins_is_of_no_account_and_inside_is_refused():
    frames = stack(counts(1.0, frames=80)).astype(np.float32)
    good = correlated(frames)
    frames[:, 0, 0] = np.nan
    assert correlated(frames).g2.equal(good.g2)
    frames[70, 20, 30] = np.nan
    with pytest.raises(InputError, match="not finite in some of them"):
        correlated(frames)


def test_other_number_types_are_the_same_frames():
    frames = stack(counts(1.0, frames=80))
    good = correlated(frames)
    for kind in (np.uint8, np.int32, ">u4", np.float64, torch.int16):
        other = (
            torch.from_numpy(frames.astype(np.int16))
            if kind is torch.int16
            else frames.astype(kind)
        )
        assert_same(correlated(other), good)


def test_yes_and_no_have_no_contrast_and_that_is_told():
    frames = stack(counts(0.3, frames=80)) > 0
    found = debye.correlate(frames, rings=2)
    assert found.contrast.isnan().all()
    assert found.contrast_error.isnan().all()
    assert found.g2.isfinite().all()
    assert any("no pixel holds two photons" in note for note in found.notes), found.notes
    assert debye.correlate(frames * np.uint8(2), rings=2).contrast.isfinite().all()


def test_large_blocks_of_a_large_map_agree_with_linear_delays():
    frames = stack(counts(0.5, frames=90))
    linear, multi = correlated(frames, delays=16), correlated(frames)
    torch.testing.assert_close(linear.replicas.mean(0), multi.replicas.mean(0)[:, :16])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: correlated(np.zeros((90, 40, 40), np.uint8)), "hold no light in any frame"),
        (lambda: correlated(np.ones((1, 40, 40))), "there are 1 that count"),
        (lambda: Correlator(QMAP).finish(), "there are 0 that count"),
        (lambda: correlated(np.ones((9, 41, 40))), "a frame of the q-map \\(40, 40\\)"),
        (lambda: correlated(np.ones((9, 40, 40), complex)), "not of real numbers"),
        (lambda: correlated(np.ma.ones((9, 40, 40))), "a mask to the q-map"),
        (lambda: Correlator(QMAP, 0.0), "frame time of 0.0 s"),
        (lambda: Correlator(QMAP, delays="some"), "multi-tau"),
        (lambda: Correlator(QMAP, slice_frames=1), "slices of 1 frames"),
        (lambda: Correlator(QMAP).update(np.ones((2, 40, 40)), [4, 4]), "do not rise from 0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_bin_in_the_shadow_is_named():
    frames = stack(counts(1.0, frames=80))
    frames[:, QMAP.dynamic.labels.numpy() == 2] = 0
    with pytest.raises(InputError, match="cannot correlate bin 2 of the q-map"):
        correlated(frames)


def test_bins_of_azimuth_are_correlated_by_themselves():
    qmap = make_qmap(Geometry(x=19.5, y=19.5), torch.ones(40, 40) > 0, 2, phi=2, q_range=(4, 19))
    seen = Simulated(qmap, frames=100, diffusion=0.5)
    frames = stack(seen)
    found = correlated(frames, qmap=qmap)
    torch.testing.assert_close(found.qmap.dynamic.phi_of, torch.tensor([90.0, 270.0] * 2).double())
    alone = correlated(frames, qmap=qmap.only([2]))
    torch.testing.assert_close(
        found.replicas.mean(0)[2], alone.replicas.mean(0)[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("mean", [0.01, 0.5])
def test_photons_one_by_one_are_the_same_frames(mean):
    frames = stack(counts(mean, frames=200))
    correlator = Correlator(QMAP, 1e-3, bad_frames=[7, 150])
    for start, size in ((0, 50), (50, 130), (180, 20)):
        some = frames[start : start + size]
        correlator.update_events(*nonzero(some.reshape(size, -1)), size)
    assert_same(correlator.finish(), correlated(frames, bad_frames=[7, 150]))
    with pytest.raises(InputError, match="sort them by frame"):
        Correlator(QMAP).update_events(np.array([3, 2]), np.array([0, 0]), np.array([1, 1]), 4)


def test_times_given_for_numbers_are_refused():
    correlator = Correlator(QMAP)
    correlator.update(np.ones((2, 40, 40)), [0, 10**9])
    with pytest.raises(InputError, match="not times"):
        correlator.finish()


def test_flux_is_taken_some_bins_at_a_time(monkeypatch):
    frames = stack(counts(1.0))
    whole = correlated(frames)
    monkeypatch.setattr(correlation, "AT_ONCE", 1)
    assert correlated(frames) == whole


def test_speckle_that_is_the_same_on_both_sides_counts_once():
    """Friedel: a thin sample scatters alike to q and −q, which halves what is known."""
    errors = []
    for seed in range(10):
        frames = stack(counts(0.0, frames=60, seed=seed))
        same = frames.copy()
        same[:, :20] = frames[:, :19:-1, ::-1]
        both = [correlated(x, counts=False).error[1:] for x in (same, frames)]
        errors.append([error.square().mean() for error in both])
    twice, once = torch.tensor(errors).mean(0).sqrt()
    assert 1.2 < twice / once < 1.65
