"""What Sphinx does not see: links of files that a forge shows, and figures that nobody shows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests"
)
BUILT = {"_build", "generated"}
SHOWN = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not BUILT & {*p.parts}),
]


def targets(page):
    """Files that a page links to or shows."""
    found = re.findall(r"\]\((?!https?:|#)([^)\s#]+)", page.read_text("utf-8"))
    return [target for target in found if not target.startswith(("../generated", "generated"))]


@pytest.mark.parametrize("page", SHOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [t for t in targets(page) if not (page.parent / t).exists()] == []


def test_every_figure_stands_in_the_gallery_over_its_command():
    parts = (ROOT / "docs" / "gallery.md").read_text("utf-8").split("\n![")[1:]
    shown = {re.search(r"figures/([\w.]+)", part)[1]: part for part in parts}
    assert set(shown) == {path.name for path in (ROOT / "docs" / "figures").iterdir()}
    silent = [name for name, part in shown.items() if not re.search(r"\n    (debye|python) ", part)]
    assert silent == []
