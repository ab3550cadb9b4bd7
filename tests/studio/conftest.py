"""One studio and one browser for all tests of the page."""

import shutil

import pytest
from pages import looked_at, studio


@pytest.fixture(scope="session")
def address():
    with studio() as found:
        yield found


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser: install Debian's chromium")
    from playwright.sync_api import sync_playwright

    # Without a graphics processor of any kind: what is seen must not need one.
    flags = ["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    with looked_at(browser, address) as found:
        yield found
