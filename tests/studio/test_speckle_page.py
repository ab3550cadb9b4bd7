"""What a page shows of frames is what debye says of them; a click on the two-time map moves it."""

import json

import numpy as np
import pytest
import torch
from pages import look, looked_at, store, studio
from stacks import FRAMES, simulated, write_master

import debye
from debye import speckle
from debye.speckle.fitting.goodness import Group


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Frames of Brownian motion, as an EIGER writes them."""
    return write_master(tmp_path_factory.mktemp("frames"), simulated())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A system fitted to simulated frames, and the frames."""
    folder = tmp_path_factory.mktemp("fitted")
    frames = speckle.study("drift").frames(runs=1, photons=1000)
    speckle.save_frames(folder / "drift.h5", frames)
    flow = speckle.Flow(degree=2)
    known = [[-1 / 3, 0], [-2 / 3, 0], [-1 / 3, 0.5], [0, 0], [-2 / 3, 0.5], [0, 0]]
    flow.coefficients.data = 0.99 * torch.tensor(known, dtype=torch.float64)
    errors = 1e-4 * torch.eye(12, dtype=torch.float64)
    system = speckle.Drift(flow), frames.scattering, speckle.Solver(), frames.gain or 1.0
    parts = {"deviance": 120.0, "expected": 100.0, "p": 1e-5, "by_q": (Group("1 of 6", 5.0, 1e-6),)}
    described = speckle.Goodness(pixels=100, misfit=0.1, **parts)
    made = speckle.FittedSystem(*system, covariance=errors, goodness=described)
    made.save(folder / "law.safetensors")
    return folder / "drift.h5", folder / "law.safetensors"


@pytest.fixture(scope="module")
def speckled(stack, fitted):
    with studio(stack, *fitted, "--model", "fast") as found:
        yield found


@pytest.fixture
def page(browser, speckled):
    with looked_at(browser, speckled) as found:
        found.wait_for_selector("canvas.frame")
        yield found


PLAYER = "document.querySelector('canvas.frame').player"


def correlated(page):
    page.fill("[aria-label='Rings']", "4")
    page.click("#correlate >> text=Correlate >> nth=-1")
    page.wait_for_selector("#g2:not([hidden])")


PIXELS = "document.querySelector('canvas.frame').toDataURL()"


def repainted(page, before):
    """The frame's pixels once they are others."""
    page.wait_for_function(f"before => {PIXELS} !== before", arg=before)
    return page.evaluate(PIXELS)


def test_frames_are_those_of_the_file(page):
    page.evaluate(f"{PLAYER}.show(7)")
    page.wait_for_function(f"() => {PLAYER}.frame === 7 && {PLAYER}.last")
    shown = np.array(page.evaluate(f"[...{PLAYER}.last]"))
    np.testing.assert_allclose(shown, simulated()[7].flatten())
    assert store(page, "now.stack.frames") == FRAMES


def test_log_and_range_change_pixels(page):
    page.wait_for_function(f"() => {PLAYER}.last")
    before = page.evaluate(PIXELS)
    page.uncheck("#player >> text=Log")
    linear = repainted(page, before)
    page.fill("[aria-label='Most value of the colours']", "2")
    page.keyboard.press("Enter")
    assert repainted(page, linear) != before


def test_it_plays(page):
    page.click("#play")
    page.wait_for_function(f"() => {PLAYER}.shown > 20")
    assert page.inner_text("#play") == "Pause"


def test_correlations_are_those_of_correlate(page, stack):
    correlated(page)
    found = debye.correlate(stack, 4)
    shown = store(page, "now.correlation")
    np.testing.assert_allclose(shown["delay"], found.time, rtol=1e-6)
    np.testing.assert_allclose(np.array(shown["g2"], float), found.g2, rtol=1e-6)
    np.testing.assert_allclose(np.array(shown["g2_error"], float), found.error, rtol=1e-6)
    np.testing.assert_allclose(shown["contrast"], found.contrast, rtol=1e-6)
    np.testing.assert_allclose(shown["fit"]["tau"], found.fit("stretched").tau, rtol=1e-6)
    rings = np.array(page.evaluate(f"[...{PLAYER}.rings]"))
    np.testing.assert_array_equal(rings, found.qmap.dynamic.labels.flatten())


def test_a_click_on_the_two_time_map_moves_the_frame(page):
    correlated(page)
    box = page.locator("canvas.map").bounding_box()
    rows = page.evaluate("document.querySelector('canvas.map').width")
    place = {"x": 0.75 * box["width"], "y": 0.25 * box["height"]}
    page.locator("canvas.map").click(position=place)
    page.wait_for_function(f"n => Math.abs({PLAYER}.frame - n) <= 1", arg=int(0.75 * rows))
    page.focus("canvas.map")
    before = page.evaluate(f"{PLAYER}.frame")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"n => {PLAYER}.frame === n - 1", arg=before)


def test_result_files_hold_it(page, stack, tmp_path):
    correlated(page)
    with page.expect_download() as found:
        page.click("#correlate >> text=results.hdf")
    found.value.save_as(tmp_path / "results.hdf")
    read = speckle.read_results(tmp_path / "results.hdf").correlation
    np.testing.assert_allclose(read.g2, debye.correlate(stack, 4).g2, rtol=1e-6)


def test_a_stack_is_sent_and_what_is_none_is_refused(page, tmp_path):
    np.save(tmp_path / "frames.npy", simulated())
    page.set_input_files("#stack-file", tmp_path / "frames.npy")
    page.wait_for_function("() => !/^\\d+$/.test(document.getElementById('stack').value)")
    page.wait_for_selector("canvas.frame")
    np.save(tmp_path / "held.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    page.set_input_files("#stack-file", tmp_path / "held.npy")
    page.wait_for_selector("#told:not([hidden])")
    assert "held.npy" in page.inner_text("#told")
    page.wrong.clear()  # the browser notes every answer of 422


def test_a_link_restores_the_correlation(browser, page, speckled):
    correlated(page)
    page.click("#share")
    page.wait_for_function("() => location.hash.length > 10")
    before = store(page, "now.correlation.g2")
    with looked_at(browser, page.url) as other:
        other.wait_for_selector("#g2:not([hidden])")
        assert store(other, "now.correlation.g2") == before


def test_speckle_view(page):
    correlated(page)
    look(page, "speckle")


def test_a_fitted_system_stands_beside_its_data(page, fitted):
    page.click("#tabs >> text=Fitted")
    page.wait_for_selector("#beside canvas")
    frames, law = fitted
    known = speckle.load_frames(frames).runs(1)
    expected = speckle.extrapolate(
        speckle.FittedSystem.load(law), 1.5 * float(known.times[-1]), known, runs=1
    )
    player = "document.querySelectorAll('#beside canvas')[1].player"
    page.fill("[aria-label='Time']", str(len(known.times)))
    page.wait_for_function("() => document.querySelector('.mark.beyond')")
    page.wait_for_function(f"n => {player}.frame === n && {player}.last", arg=len(known.times))
    shown = np.array(page.evaluate(f"[...{player}.last]"))
    np.testing.assert_allclose(
        shown, expected.predicted.data[0, len(known.times)].flatten(), rtol=1e-5
    )
    term = speckle.FittedSystem.load(law).system.term
    profile = page.eval_on_selector("#term svg", "svg => svg.chart.spec.layers.at(-1)")
    line = torch.tensor([[x, 0.0] for x in profile["x"]], dtype=torch.float64)
    np.testing.assert_allclose(profile["y"], term(line)[:, 1].detach(), atol=1e-9)
    said = page.inner_text("#goodness ul")
    assert "do not follow this law" in said
    assert "1 of 6 (z = 5)" in said
    look(page, "fitted")


def test_a_link_restores_a_fitted_system_at_its_time(browser, page):
    page.click("#tabs >> text=Fitted")
    page.wait_for_selector("#beside canvas")
    page.fill("[aria-label='Time']", "11")
    page.wait_for_selector(".mark.beyond")
    page.click("#share")
    page.wait_for_function("() => location.hash.length > 10")
    with looked_at(browser, page.url, ready=".mark") as other:
        other.wait_for_selector(".mark.beyond")
        assert other.inner_text(".mark") == page.inner_text(".mark")


def test_stacks_that_are_not_there_are_404(page, speckled):
    for path in ("/api/stacks/9", "/api/stacks/x", "/api/stacks/0/frames?start=x", "/api/fitted/7"):
        answer = page.request.get(speckled + path)
        assert answer.status in (404, 422)
        assert set(json.loads(answer.text())["error"]) == {"what", "why", "fix"}
    assert page.request.get(f"{speckled}/api/stacks/0/frames?start=100000").status == 422
