"""How fast the studio answers: one crystal from its text to the picture, and a stack that plays.

    python benchmarks/studio.py

needs `pip install 'debye[test]'` and a Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import sync_playwright

import debye

NAMES = ("rutile.cif", "quartz.cif", "mg3sb2.cif")
REPEATS = 9
OPEN = """async ([name, text]) => {
    const { open } = await import("/static/js/crystals.js");
    const { store } = document.getElementById("view");
    const begun = performance.now();
    const opened = open(store, [{ name, text }]);
    await new Promise((done) => {
        const look = () => requestAnimationFrame(store.get("current") ? done : look);
        look();
    });
    const taken = performance.now() - begun;
    await opened;
    store.set({ items: [], current: null });
    return taken;
}"""


def timed(work):
    """Milliseconds of some work."""
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


def crystals(page):
    """Milliseconds of `debye.predict` and of the page, taken in turns; each text is another."""
    for name in NAMES:
        text, predicted, seen = (debye.DEMO / name).read_text(), [], []
        for i in range(REPEATS + 1):
            given = text + "\n" * (i + 1)  # nothing is remembered of it
            predicted.append(timed(lambda given=given: debye.predict(given)))
            seen.append(page.evaluate(OPEN, [name, given]))
        python, studio = median(predicted[1:]), median(seen[1:])
        limit = 1.5 * python + 100
        print(
            f"{name:<12} predict {python:6.0f} ms   page {studio:6.0f} ms   limit {limit:6.0f} ms"
        )


def frames(page):
    """Frames that are shown in a second of playing."""
    player = "document.querySelector('canvas.frame').player"
    page.click("#tabs >> text=Speckle")
    page.wait_for_selector("canvas.frame")
    page.select_option("[aria-label='Frames per second']", "60")
    page.click("#play")
    page.wait_for_timeout(1000)
    before, begun = page.evaluate(f"{player}.shown"), time.perf_counter()
    page.wait_for_timeout(4000)
    shown = page.evaluate(f"{player}.shown") - before
    print(f"128 × 128 frames shown: {shown / (time.perf_counter() - begun):.0f} /s")


def main():
    """Start a studio, look at it, and print."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Path(folder) / "frames.npy"
        np.save(stack, np.random.default_rng(0).poisson(3.0, (256, 128, 128)).astype(np.uint16))
        command = [sys.executable, "-m", "debye", "studio", "--port", "0", "--no-browser", stack]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().strip()
            with sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                page.goto(address)
                page.click("#tabs >> text=Crystals")
                page.wait_for_selector("#example")
                crystals(page)
                frames(page)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
