"""The demo's page in a real browser: drawn by mouse, finger and keyboard, and quiet."""

from __future__ import annotations

import numpy as np
import pytest

from common import data
from common.demo.chosen import choose
from common.store import Run
from tests.browser import browser, page  # noqa: F401
from tests.demo_server import served, trained

pytestmark = pytest.mark.slow

PAINT = """rows => {
  const pad = document.getElementById("pad"), ink = pad.getContext("2d");
  const size = pad.width / rows.length;
  rows.forEach((row, y) => row.forEach((level, x) => {
    ink.fillStyle = `rgb(${level} ${level} ${level})`;
    ink.fillRect(x * size, y * size, size, size);
  }));
  waiting = true;
  ask();
}"""
BESTS = "() => [...document.querySelectorAll('.best')].map(best => best.textContent)"


@pytest.fixture(scope="module")
def demo(browser, tmp_path_factory):  # noqa: F811
    """Serve a run; after the browser, so that nothing is trained where there is none."""
    run = trained(tmp_path_factory.mktemp("demo"), "--dataset", "digits", "--backend", "sklearn", "--backend", "torch",
                  "--arch", "ffn:64", "attention_2k", "--epochs", 8, "--seeds", 1, "--threads", 1)  # fmt: skip
    with served(run) as running:
        yield running


def opened(page, demo):  # noqa: F811
    page.goto(demo.url)
    page.wait_for_selector(".model")
    return page


def drawn(page) -> None:  # noqa: F811
    """Draw a one with the mouse."""
    frame = page.locator("#pad").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"]
    page.mouse.move(x, y + 0.15 * frame["height"])
    page.mouse.down()
    page.mouse.move(x, y + 0.85 * frame["height"], steps=12)
    page.mouse.up()


def answered(page) -> list[str]:  # noqa: F811
    """Return the models' answers when all have one."""
    page.wait_for_function("() => [...document.querySelectorAll('.best')].every(best => /\\d/.test(best.textContent))")
    page.wait_for_function("() => !asking && !waiting")
    found: list[str] = page.evaluate(BESTS)
    return found


def test_the_pixels_of_a_test_digit_get_its_label(page, demo):  # noqa: F811
    digits, run = data.load("digits"), Run(demo.run)
    chosen = choose(run, "digits")
    with np.load(run.artefacts(chosen[0].record["key"]) / "predictions.npz") as saved:
        right = saved["index"][saved["predicted"] == saved["label"]]
    opened(page, demo)
    found = []
    for row in right[:12]:
        page.click("#clear")
        page.evaluate(PAINT, np.rint(digits.images[row, :, :, 0] / 16 * 255).astype(int).tolist())
        found.append(answered(page)[0] == str(digits.labels[row]))
    assert np.mean(found) > 0.8


def test_a_stroke_of_the_mouse_is_answered_while_it_is_drawn(page, demo):  # noqa: F811
    opened(page, demo)
    frame = page.locator("#pad").bounding_box()
    page.mouse.move(frame["x"] + 150, frame["y"] + 40)
    page.mouse.down()
    page.mouse.move(frame["x"] + 150, frame["y"] + 200, steps=5)
    assert answered(page), "no answer before the button is let go"
    page.mouse.up()
    assert page.locator(".top li").count() == 3 * page.locator(".model").count()
    assert page.locator(".looks canvas").count() == 2
    widths = page.evaluate("() => [...document.querySelectorAll('.bar span')].map(bar => parseFloat(bar.style.width))")
    assert widths[0] >= widths[1] >= widths[2] > 0
    assert "read" in page.inner_text("#verdict") or "agree" in page.inner_text("#verdict")
    seen = page.evaluate("() => [...document.getElementById('seen').getContext('2d').getImageData(0, 0, 8, 8).data]")
    assert max(seen[0::4]) == 255 and seen[0] == 0


def test_clear_forgets_the_drawing(page, demo):  # noqa: F811
    opened(page, demo)
    drawn(page)
    answered(page)
    page.click("#clear")
    assert set(page.evaluate(BESTS)) == {"–"}
    assert page.locator(".looks canvas").count() == 0
    assert page.locator("#invitation").is_visible()
    level = """() => Math.max(...document.getElementById('pad').getContext('2d').getImageData(0, 0, 280, 280).data
      .filter((_, at) => at % 4 === 0))"""
    assert page.evaluate(level) == 0


def test_it_is_drawn_on_by_keyboard_and_spoken(page, demo):  # noqa: F811
    opened(page, demo)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "pad"
    assert page.locator("#pen").is_visible()
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.inner_text("#pen-state") == "Pen down"
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    answered(page)
    page.wait_for_function("() => document.getElementById('spoken').textContent.includes('torch')")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "clear"
    page.keyboard.press("Enter")
    assert set(page.evaluate(BESTS)) == {"–"}
    assert page.inner_text("#spoken") == "Cleared."


def test_what_is_seen_has_names(page, demo):  # noqa: F811
    opened(page, demo)
    drawn(page)
    answered(page)
    nameless = page.evaluate("""() => [...document.querySelectorAll("canvas, button, section, [role=img]")].filter(
      one => !(one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
        || one.textContent.trim())).length""")
    assert nameless == 0
    levels = page.evaluate("() => [...document.querySelectorAll('h1, h2, h3')].map(one => one.tagName)")
    assert levels[0] == "H1" and levels.count("H1") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, demo, scheme):  # noqa: F811
    page.emulate_media(color_scheme=scheme)
    opened(page, demo)
    drawn(page)
    answered(page)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 10
    assert not {text: ratio for text, ratio in contrasts.items() if ratio < 4.5}


CONTRASTS = """() => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = one => {
    for (let at = one; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || one.id === "invitation" || !one.getClientRects().length || one.closest("template")) continue;
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
    found[one.textContent.trim().slice(0, 60)] = (a + 0.05) / (b + 0.05);
  }
  return found;
}"""


def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_finger_draws(browser, demo):  # noqa: F811
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    shown = context.new_page()
    try:
        opened(shown, demo)
        assert shown.evaluate("() => document.documentElement.scrollWidth") <= 360
        frame = shown.locator("#pad").bounding_box()
        assert frame["width"] > 280 and frame["y"] + frame["height"] < 740
        touch = context.new_cdp_session(shown)
        x = frame["x"] + frame["width"] / 2
        for kind, y in [("touchStart", 60), *(("touchMove", y) for y in range(80, 260, 20))]:
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": frame["y"] + y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        answered(shown)
        assert shown.evaluate("() => scrollY") == 0, "the page was scrolled, not drawn on"
    finally:
        context.close()


def test_a_demo_that_has_ended_says_so(browser, demo):  # noqa: F811
    context = browser.new_context()
    shown = context.new_page()
    try:
        opened(shown, demo)
        context.set_offline(True)
        drawn(shown)
        shown.wait_for_selector("#problem:not([hidden])")
        assert "has ended" in shown.inner_text("#problem")
    finally:
        context.close()
