"""A system Chromium for tests of pages: import the fixtures `browser` and `page`; without one the tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    """Yield a browser, started once for a module."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser) -> Iterator:
    """Yield a page; the test fails on errors in its console, and on requests to anything but where the page is from."""
    context = browser.new_context()
    shown, problems, requested = context.new_page(), [], []
    shown.set_default_timeout(30_000)
    shown.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    shown.on("pageerror", lambda error: problems.append(str(error)))
    shown.on("request", lambda request: requested.append((shown.main_frame.url, request)))
    shown.on("websocket", lambda socket: problems.append(f"opened {socket.url}"))
    yield shown
    home = shown.url.partition("#")[0]
    context.close()
    assert not problems, problems
    urls = [request.url for _, request in requested]
    assert home in urls, "the page never loaded"
    strangers = [url for url in urls if not _same_place(url, home)]
    assert not strangers, f"requests that left the page: {strangers}"


def _same_place(url: str, home: str) -> bool:
    """Say whether a request stays: within the page itself, to its own file, or to its own server."""
    one, other = urlsplit(url), urlsplit(home)
    if one.scheme in ("data", "blob"):
        return True
    if other.scheme == "file":
        return (one.scheme, one.path) == (other.scheme, other.path)
    return (one.scheme, one.netloc) == (other.scheme, other.netloc)
