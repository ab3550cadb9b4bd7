"""Every view: its policy, size, accessibility, links and files, and its picture to be looked at."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from pages import drawn, look, looked_at, opened, store, studio

import debye


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screened")
    debye.screen(debye.DEMO, folder, model="fast", workers=1)
    with studio(folder, debye.DEMO / "rutile.cif", "--model", "fast") as found:
        yield found


def crystals(page):
    opened(page, "quartz.cif")
    opened(page, "mg3sb1.5bi0.5.cif")
    page.set_input_files("#measured-file", debye.DEMO / "germanium.dat")
    page.wait_for_selector(".ranking li")
    page.check("#table tbody input >> nth=0")
    pick(page, 60, 3)


def pick(page, point, branch):
    page.evaluate(
        """async ([point, branch]) => {
            const { pick } = await import("/static/js/bands.js");
            await pick(document.getElementById("view").store, { point, branch });
        }""",
        [point, branch],
    )
    page.wait_for_selector(".motion:not([hidden])")


def test_empty_view(page):
    look(page, "empty")


def test_crystals_view(page):
    crystals(page)
    look(page, "crystals")


def test_screening_view(browser, screened):
    with looked_at(browser, screened) as page:
        page.wait_for_selector("#title:not(:empty)")  # what it was started with is opened
        assert store(page, "now.current.formula") == "TiO2"
        page.click("#tabs >> text=Screening")
        page.wait_for_selector("#screening circle")
        assert page.locator(".screening tbody tr").count() == 11
        page.fill("[aria-label='Least value']", "300")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelectorAll('.screening tbody tr').length < 11")
        look(page, "screening")


def test_a_brush_chooses_and_a_link_keeps_it(browser, screened):
    within = "() => document.querySelector('.screening .facts').textContent"
    with looked_at(browser, screened) as page:
        page.click("#tabs >> text=Screening")
        page.wait_for_selector("#screening circle")
        box = page.locator("#screening svg").bounding_box()
        page.mouse.move(box["x"] + 70, box["y"] + 15)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        page.mouse.up()
        chosen = page.evaluate(within)
        assert 0 < int(chosen.split()[0]) < 11
        assert "within the brush" in chosen
        page.click("#share")
        page.wait_for_function("() => location.hash.length > 10")
        with looked_at(browser, page.url, ready="#screening circle") as other:
            assert other.evaluate(within) == chosen


def test_long_work_can_be_cancelled_on_the_page(browser, tmp_path):
    large = debye.read_crystal(debye.DEMO / "quartz.cif") * (4, 4, 3)
    held = large.write(tmp_path / "large.cif")
    with studio() as found, looked_at(browser, found) as page:
        page.set_input_files("input[type=file] >> nth=0", held)
        page.click("#busy >> text=Cancel")
        page.wait_for_selector("#busy", state="hidden")
        assert store(page, "now.items.length") == 0
        opened(page, "silicon.vasp")  # the worker was replaced


def test_first_page_is_small(browser, address):
    """Below 80 kB before data, as the network carries it."""
    context = browser.new_context()
    page, sizes = context.new_page(), []
    page.on("response", lambda r: sizes.append((r.url, r.request)))
    page.goto(address)
    page.wait_for_selector("#example")
    carried = {u: r.sizes() for u, r in sizes if "/api/" not in u}
    total = sum(s["responseBodySize"] + s["responseHeadersSize"] for s in carried.values())
    context.close()
    assert 5_000 < total < 80_000


def test_a_link_restores_everything(browser, page, address):
    crystals(page)
    page.select_option("#unit", "THz")
    page.select_option("#spectra select", "site")
    page.click(".legend button >> nth=0")
    page.evaluate("document.querySelector('canvas.cell').viewer.rotate(0.3, 0.1)")
    page.click("#share")
    page.wait_for_function("() => location.hash.length > 10")
    looks = """{
        formulas: now.items.map((i) => i.record.formula), current: now.current.formula,
        unit: now.unit, partial: now.partial, hidden: [...now.hidden], mode: now.mode,
        overlay: now.overlay.map((r) => r.formula), moving: now.moving?.frequency,
        ranking: now.measured?.candidates.map((c) => c.formula),
        turn: document.querySelector("canvas.cell").viewer.turn.flat().map((x) => x.toFixed(3)),
        dos: now.current.dos, bands: now.bands?.frequency,
    }"""
    before = store(page, looks)
    with looked_at(browser, page.url) as other:
        other.wait_for_selector(".ranking li")
        assert store(other, looks) == before


def test_a_mixed_site_shows_both_colours(page):
    """And the canvas is drawn without a graphics processor."""
    opened(page, "mg3sb1.5bi0.5.cif")
    seen = page.evaluate(
        """() => {
            const { viewer } = document.querySelector("canvas.cell");
            const site = viewer.crystal.species.find((s) => Object.keys(s).length === 2);
            const sprite = viewer.spheres.sprite(site, 0);
            const pixels = sprite.getContext("2d").getImageData(0, 0, 128, 128).data;
            const shown = new Set();
            for (let i = 0; i < pixels.length; i += 4) {
                const hex = [0, 1, 2].map((k) => pixels[i + k].toString(16).padStart(2, "0"));
                shown.add("#" + hex.join(""));
            }
            const { width, height } = viewer.canvas;
            const all = viewer.canvas.getContext("2d").getImageData(0, 0, width, height).data;
            let painted = 0;
            for (let i = 3; i < all.length; i += 4) painted += all[i] > 0;
            const colours = Object.keys(site).map((s) => viewer.spheres.colour(s).toLowerCase());
            return { both: colours.map((c) => shown.has(c)), painted: painted / (all.length / 4) };
        }"""
    )
    assert seen["both"] == [True, True]
    assert seen["painted"] > 0.03


def saved(page, label):
    with page.expect_download() as found:
        page.click(f"#exports button >> text={label}")
    return Path(found.value.path()).read_text()


def test_files_hold_what_is_shown(page):
    opened(page, "rutile.cif")
    rows = list(csv.reader(io.StringIO(saved(page, "Bands, CSV"))))
    shown = np.array(store(page, "now.bands.frequency"))
    np.testing.assert_allclose([[float(x) for x in r[5:]] for r in rows[1:]], shown, atol=1e-5)
    modes = yaml.load(saved(page, "band.yaml"), yaml.CSafeLoader)["phonon"]
    assert np.array(modes[3]["band"][0]["eigenvector"]).shape == (6, 3, 2)
    assert saved(page, "SVG").startswith("<svg xmlns")
    text = saved(page, "Structure, CIF")
    assert text.startswith("data_"), text[:300]
    again = debye.predict(text)
    np.testing.assert_allclose(again.total.density, store(page, "now.current.dos"), rtol=1e-3)


def test_an_alloy_lies_between_its_parents(page):
    opened(page, "mg3sb2.cif")
    opened(page, "mg3bi2.cif")
    page.click("#alloy >> text=Predict")
    page.wait_for_function("() => document.getElementById('title').textContent === 'Mg₃BiSb'")
    ends = [debye.read_crystal(debye.DEMO / f"mg3{x}2.cif") for x in ("sb", "bi")]
    expected = debye.predict(debye.interpolate(*ends, 0.5)).total.density
    np.testing.assert_allclose(store(page, "now.current.dos"), expected, rtol=1e-6)


def test_names_are_text_and_what_cannot_be_read_is_told(page, tmp_path):
    name = "<img src=x onerror=alert(1)>.cif"
    broken = tmp_path / name
    broken.write_text("nothing")
    page.set_input_files("#chooser", broken)
    page.wait_for_selector("#told:not([hidden])")
    assert name in page.inner_text("#told")
    assert page.locator("#told img").count() == 0
    page.wrong.clear()  # the browser notes every answer of 422
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x00\x00")
    page.set_input_files("#chooser", tmp_path / "a.pkl")
    page.wait_for_function("() => document.getElementById('told').textContent.includes('binary')")


def test_keyboard_alone_opens_picks_and_turns(page):
    page.focus("#example")
    page.select_option("#example", "silicon.vasp")
    page.wait_for_selector(".branch")
    page.focus("#spectra svg >> nth=0")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_selector(".motion:not([hidden])")
    assert store(page, "now.mode") == {"point": 1, "branch": 1}
    page.focus("canvas.cell")
    turn = "document.querySelector('canvas.cell').viewer.turn.flat()"
    before = store(page, turn)
    page.keyboard.press("ArrowLeft")
    assert store(page, turn) != before
    page.focus("#spectra svg >> nth=1")
    page.keyboard.press("ArrowUp")
    assert "total" in page.inner_text("#spectra .tip >> nth=1")


def test_with_reduced_motion_nothing_moves_by_itself(browser, address):
    with looked_at(browser, address, reduced_motion="reduce") as page:
        opened(page, "silicon.vasp")
        pick(page, 10, 2)
        viewer = "document.querySelector('canvas.cell').viewer"
        assert store(page, f"[{viewer}.playing, {viewer}.options.arrows]") == [False, True]


def test_a_long_job_is_cancelled(page, tmp_path):
    large = debye.read_crystal(debye.DEMO / "quartz.cif") * 3
    page.set_input_files("#chooser", large.write(tmp_path / "large.cif"))
    page.click(".job button")
    page.wait_for_selector(".job", state="detached")
    assert store(page, "now.items.length") == 0
    opened(page, "silicon.vasp")


def test_peaks_of_partials_are_drawn_by_element_and_site(page):
    opened(page, "rutile.cif")
    for partial, count in [("element", 2), ("site", 6), ("none", 0)]:
        page.select_option("#spectra select", partial)
        layers = drawn(page, "#spectra .chart >> nth=1")
        lines = [x for x in layers if x.get("colour") and "kind" not in x]
        assert len(lines) == count
        if count:
            total = np.sum([line["x"] for line in lines], axis=0)
            (whole,) = [x for x in layers if x.get("className") == "total"]
            np.testing.assert_allclose(total, whole["x"], rtol=1e-5, atol=1e-9)
