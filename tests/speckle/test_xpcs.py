"""Whatever holds frames is correlated by the one front door, and obeys Siegert's relation."""

import pickle

import numpy as np
import pytest
import torch

import debye
from debye import speckle
from debye.errors import InputError
from debye.speckle import Frames, Stack, correlate, read_results

SIDE = 48


def decaying_speckle(decay, frames=200, side=SIDE, seed=0):
    """Fields that forget exponentially: an Ornstein–Uhlenbeck process in every pixel."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames, side, side, 2, generator=generator, dtype=torch.float64)
    keep = torch.exp(torch.tensor(-decay, dtype=torch.float64))
    field = [torch.view_as_complex(noise[0])]
    for n in noise[1:]:
        field.append(keep * field[-1] + (1 - keep**2).sqrt() * torch.view_as_complex(n))
    return torch.stack(field).abs().square()


def plt_axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


def test_g2_of_an_exponential_decay_obeys_siegert():
    decay = 0.07
    found = correlate(decaying_speckle(decay), rings=1)
    want = 1 + torch.exp(-2 * decay * found.delay)
    early = found.width == 1
    away = (found.g2 - want).abs() / found.error
    assert (away[:, early] < 5).all()
    assert (found.error < 0.05).all()
    assert found.contrast.item() == pytest.approx(1, abs=0.03)


def test_poisson_noise_is_taken_off_the_contrast():
    intensity = decaying_speckle(0.5, frames=60)
    counts = torch.poisson(2 * intensity, generator=torch.Generator().manual_seed(1))
    found = correlate(counts, rings=1)
    assert found.contrast.item() == pytest.approx(1, abs=0.05)


def test_a_flickering_source_cancels():
    intensity = decaying_speckle(0.1, frames=40)
    flicker = 1 + 0.5 * torch.rand(40, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    lags = {"delays": 5, "rings": 1}
    found, still = correlate(intensity * flicker, **lags), correlate(intensity, **lags)
    assert (found.g2 - still.g2).abs().max() < 0.02


def test_a_run_is_the_same_whatever_holds_it(tmp_path):
    seen = decaying_speckle(0.1, frames=24).numpy()
    middle = {"rings": 2, "frame_time": 0.5, "centre": (24, 24)}
    found = correlate(seen, **middle)
    np.save(tmp_path / "a.npy", seen)
    timed = Frames(seen, 0.5 * np.arange(24))
    for same in (
        torch.from_numpy(seen),
        seen[None],
        Stack.open(seen),
        Frames(seen, range(24)),
        timed,
        tmp_path / "a.npy",
        [tmp_path / "a.npy"],
        seen[:, :, :].tolist(),
    ):
        options = middle
        if isinstance(same, Stack):
            options = {k: v for k, v in middle.items() if k != "frame_time"}
        got = correlate(same, **options)
        torch.testing.assert_close(got.g2, found.g2)
    assert correlate(timed, 2).time.tolist()[:3] == [0.5, 1.0, 1.5]
    assert "2 bins" in repr(found)
    assert found.plot(plt_axes()).get_ylabel() == "$g_2$(τ) − 1"


def test_a_result_fits_compares_pickles_writes_and_shows_itself(tmp_path):
    seen = decaying_speckle(0.1, frames=64, side=32)
    found = debye.correlate(seen, rings=2, frame_time=0.01, two_time=[1], slices=2)
    assert found == pickle.loads(pickle.dumps(found))
    assert found.fit("single").tau == pytest.approx([0.1, 0.1], rel=0.3)
    assert found.fit("single", all_bins=True, power=0.0).tau[0] == pytest.approx(0.1, rel=0.3)
    assert found.two_time.maps.shape == (1, 64, 64)
    assert [len(s.numbers) for s in found.slices] == [32, 32]
    back = read_results(found.write(tmp_path / "a_results.hdf"))
    assert back.correlation.g2.tolist() == found.g2.tolist()
    assert back.two_time == found.two_time
    with pytest.raises(InputError, match="exists"):
        found.write(tmp_path / "a_results.hdf")
    assert len(found.to_frame()) == 2 * len(found.delay)
    shown = found._repr_html_()
    assert shown.count("<path") >= 2
    assert "script" not in shown
    assert len(shown) < 5000
    assert any("q is in pixels" in note for note in found.notes)


def test_pixels_of_a_simulated_detector_have_its_wave_numbers():
    study = speckle.study("drift")
    frames = study.frames(runs=1)
    found = correlate(frames, rings=2)
    assert found.qmap.unit == "1/length"
    inside = found.qmap.dynamic.labels > 0
    Q = frames.scattering.detector.Q
    torch.testing.assert_close(found.qmap.geometry.modulus(found.qmap.shape)[inside], Q[inside])


def test_rings_that_nobody_has_counted_are_as_many_as_hold_pixels():
    found = correlate(decaying_speckle(0.1, 12, side=14))
    assert 1 < len(found.qmap) < 8
    assert any("rings were made" in note for note in found.notes)


def test_the_centre_is_found_where_that_is_asked_for():
    y, x = np.mgrid[:64, :64]
    slope = 2e3 / (4 + np.hypot(y - 27, x - 36) ** 2)
    seen = decaying_speckle(0.1, 120, side=64).numpy() * slope
    wrong = correlate(seen, rings=3)
    assert any("the beam seems to be at" in note for note in wrong.notes)
    found = correlate(seen, rings=3, find_centre=True)
    at = found.qmap.geometry
    assert (at.x, at.y) == (pytest.approx(36, abs=0.7), pytest.approx(27, abs=0.7))
    assert any("was found at" in note for note in found.notes)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: correlate(x[None], run=1), "the file holds 1"),
        (lambda x: correlate(Frames(x, range(4)), run=1), "the file holds 1"),
        (lambda x: correlate(x, rings=0), "cannot make 0 rings"),
        (lambda x: correlate(x, rings=40), "holds too few pixels"),
        (lambda x: correlate(x, slices=0), "cannot make 0 slices"),
        (lambda x: correlate(Frames(x, [0, 1, 2, 4])), "the times are uneven"),
        (lambda x: correlate(Stack.open(x), frame_time=1.0), "give them to Stack.open"),
        (lambda x: correlate(0 * x), "dark"),
        (lambda x: correlate(x[0]), "give \\(time, qy, qx\\)"),
        (lambda x: correlate(3), "give \\(time, qy, qx\\)"),
        (lambda x: correlate([]), "no frames are given"),
        (lambda x: correlate([x, x[:, :9]], rings=1), "their frames are"),
        (lambda x: correlate("nowhere.h5"), "no such file"),
    ],
)
def test_a_run_that_cannot_be_correlated_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(decaying_speckle(0.1, frames=4, side=12).numpy())
