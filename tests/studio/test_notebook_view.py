"""`prediction.view()` in a notebook: the studio's viewer in one piece, which asks for nothing."""

import pytest
from pages import looked_at, store

import debye


def test_it_shows_and_moves_without_a_network(browser, tmp_path):
    p = debye.predict(debye.DEMO / "mg3sb2.cif")
    view = p.view(points=40)
    assert repr(view).startswith("View(Prediction(Mg3Sb2")
    assert "srcdoc" in view._repr_html_()
    page_file = tmp_path / "view.html"
    page_file.write_text(view.page(), encoding="utf-8")
    with looked_at(browser, page_file.as_uri(), ready=".branch") as page:
        assert store(page, "now.current.dos") == p.total.density.tolist()
        page.locator("#spectra svg").first.click(position={"x": 200, "y": 200})
        page.wait_for_selector(".motion:not([hidden])")
        viewer = "document.querySelector('canvas.cell').viewer"
        assert store(page, f"{viewer}.playing") is True


def test_a_large_cell_is_refused_in_words(tmp_path):
    large = debye.Crystal(
        ["Si"] * 41, [[i * 2.5, 0.01 * i * i, 0] for i in range(41)],
        [[102.5, 0, 0], [0, 30, 0], [0, 0, 3.0]],
    )  # fmt: skip
    with pytest.raises(debye.InputError, match="in a notebook"):
        debye.predict(large).view()
