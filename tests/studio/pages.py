"""A studio in a process of its own, and what a browser sees of it."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe

PICTURES = Path(__file__).parents[2] / "build" / "studio"
"""Where the pictures of all views are written."""
WIDE, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}


@contextmanager
def running(*command):
    """The first line of a program of Python that runs while the block does."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().strip().rstrip("/")
    finally:
        process.terminate()
        process.communicate(timeout=30)


def studio(*arguments):
    """The address of a studio, as the command opens it."""
    command = ("-m", "debye", "studio", "--port", "0", "--no-browser")
    return running(*command, *map(str, arguments))


def limited(**limits):
    """The address of a studio whose computations may take little."""
    code = (
        "import functools; from debye.studio.serve import serve;"
        "from debye.studio.workers import Limits;"
        "show = functools.partial(print, flush=True);"
        f"serve([], port=0, limits=Limits(**{limits!r}), open_page=show)"
    )
    return running("-c", f"if __name__ == '__main__':\n    {code}")


@contextmanager
def looked_at(browser, address, ready="#example, #stack", **how):
    """A page of a studio; nothing it does may break its policy, ask another host or fail."""
    context = browser.new_context(viewport=WIDE, accept_downloads=True, **how)
    own = address.partition("#")[0]
    page, wrong = context.new_page(), []
    page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda r: r.url.startswith((own, "blob:", "data:")) or wrong.append(r.url),
    )
    page.wrong = wrong
    page.set_default_timeout(30_000)
    page.goto(address)
    page.wait_for_selector(ready)
    yield page
    context.close()
    assert not page.wrong, page.wrong


def store(page, expression):
    """What the page holds."""
    values = "document.getElementById('view').store.values"
    return page.evaluate(f"() => {{ const now = {values}; return {expression}; }}")


def opened(page, name):
    """Open an example, and wait for its bands."""
    before = store(page, "now.items.length")
    page.select_option("#example", name)
    page.wait_for_function(
        "n => { const now = document.getElementById('view').store.values;"
        " return now.items.length > n && now.bands; }", arg=before,
    )  # fmt: skip


def drawn(page, selector):
    """The layers of a chart as they are drawn."""
    return page.eval_on_selector(selector, "svg => svg.chart.spec.layers")


def look(page, name):
    """The view in both themes on both sizes: accessible, not wider than it is, and kept."""
    for theme in ("light", "dark"):
        page.evaluate("t => document.getElementById('view').store.set({ theme: t })", theme)
        for size, viewport in (("wide", WIDE), ("phone", PHONE)):
            page.set_viewport_size(viewport)
            page.wait_for_function("w => innerWidth === w", arg=viewport["width"])
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            PICTURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURES / f"{name}-{theme}-{size}.png", full_page=True)
