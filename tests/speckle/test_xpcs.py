"""Correlation obeys Siegert's relation and the definitions."""

import numpy as np
import pytest
import torch

from debye.errors import InputError
from debye.speckle.data.correlate import correlate
from debye.speckle.data.frames import Frames
from debye.speckle.scattering.optics import Detector
from debye.speckle.xpcs.correlators import QMap, contrast, g2, g2_from_two_time, two_time


def decaying_speckle(decay, frames=200, side=48, seed=0):
    """Fields that forget exponentially: an Ornstein–Uhlenbeck process in every pixel."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames, side, side, 2, generator=generator, dtype=torch.float64)
    keep = torch.exp(torch.tensor(-decay, dtype=torch.float64))
    field = [torch.view_as_complex(noise[0])]
    for n in noise[1:]:
        field.append(keep * field[-1] + (1 - keep**2).sqrt() * torch.view_as_complex(n))
    return torch.stack(field).abs().square()


EVERYWHERE = torch.ones(1, 48, 48, dtype=torch.bool)


def test_g2_of_an_exponential_decay_obeys_siegert():
    decay = 0.07
    found = g2(decaying_speckle(decay), EVERYWHERE)
    want = 1 + torch.exp(-2 * decay * found.delay)
    assert ((found.g2[0] - want).abs() < 5 * found.error[0] + 1e-3).all()
    assert (found.error < 0.03).all()


def test_fully_coherent_intensity_has_contrast_one_and_poisson_noise_is_taken_off():
    intensity = decaying_speckle(0.5, frames=20)
    assert contrast(intensity, EVERYWHERE, shot_noise=False).mean().item() == pytest.approx(
        1, abs=0.03
    )
    counts = torch.poisson(2 * intensity, generator=torch.Generator().manual_seed(1))
    assert contrast(counts, EVERYWHERE).mean().item() == pytest.approx(1, abs=0.05)


def test_two_time_is_symmetric_and_agrees_with_g2():
    intensity = decaying_speckle(0.1, frames=60)
    c = two_time(intensity, EVERYWHERE)
    torch.testing.assert_close(c, c.mT)
    delays = torch.tensor([1, 5, 20])
    torch.testing.assert_close(g2_from_two_time(c)[:, delays], g2(intensity, EVERYWHERE, delays).g2)


def test_a_flickering_source_cancels():
    intensity = decaying_speckle(0.1, frames=40)
    flicker = 1 + 0.5 * torch.rand(40, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(g2(intensity * flicker, EVERYWHERE).g2, g2(intensity, EVERYWHERE).g2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: g2(torch.ones(4, 48, 48), EVERYWHERE, torch.tensor([4])), "between 1 and 3"),
        (lambda: g2(torch.zeros(4, 48, 48), EVERYWHERE), "it is dark"),
        (lambda: contrast(torch.full((2, 48, 48), torch.nan), EVERYWHERE), "not only finite"),
        (
            lambda: QMap.of(
                Detector(8, 0.5, 2.0).Q, torch.tensor([500.0, 600.0]), Detector(8, 0.5, 2.0).open
            ),
            "region 0 of the q-map is empty",
        ),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_run_is_correlated_whatever_holds_it():
    seen = decaying_speckle(0.1, frames=24).numpy()
    found = correlate(seen, rings=2)
    assert found == correlate(Frames(seen, range(24)), rings=2)
    assert repr(found) == "Correlated(QMap(2 regions, |Q| = 0 … 24 pixels), 24 frames every 1)"
    table = correlate(Frames(seen, 0.5 * np.arange(24)), rings=2).to_frame()
    assert table["delay"].tolist()[:3] == [0.5, 1.0, 1.5]
    assert table["g2"].tolist() == pytest.approx(found.to_frame()["g2"].tolist())
    assert found.two_time.shape == (2, 24, 24)
    assert found.plot().get_ylabel() == "g2(τ) − 1"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: correlate(x, run=1), "the file holds 1"),
        (lambda x: correlate(x, rings=0), "cannot make 0 rings"),
        (lambda x: correlate(x, rings=40), "region 1 of the q-map is empty"),
        (lambda x: correlate(Frames(x, [0, 1, 2, 4])), "the times are uneven"),
        (lambda x: correlate(0 * x), "dark"),
        (lambda x: correlate(x[0]), "not \\(run, time, qy, qx\\)"),
        (lambda x: correlate(3), "not \\(run, time, qy, qx\\)"),
        (lambda x: correlate("nowhere.h5"), "no such file"),
    ],
)
def test_a_run_that_cannot_be_correlated_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(decaying_speckle(0.1, frames=4, side=12).numpy())
