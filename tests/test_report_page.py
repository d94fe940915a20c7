"""``report.html`` in a browser: what a reader can do with it."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import compare
from common.results import Results
from tests.browser import browser, page
from tests.command import call
from tests.test_report import STUDY, made_up, record

__all__ = ["browser", "page"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = compare.run_study(STUDY, results=tmp_path_factory.mktemp("page"), quiet=True)
    assert call("report", found.run.directory).status == 0
    return found


def opened(page: Any, run: Path) -> Any:
    page.goto((run / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    return page


def column(page: Any, number: int) -> list[str]:
    """Return the texts of a column of the leaderboard."""
    return [cell.inner_text() for cell in page.query_selector_all(f"#board tbody td:nth-child({number})")]


def heads(page: Any) -> list[str]:
    return [one.inner_text().rstrip(" ▲▼") for one in page.query_selector_all("#board thead button")]


def test_a_click_on_a_head_sorts_and_another_turns_it_round(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    at = 1 + heads(page).index("parameters")
    page.click("#board thead button:has-text('parameters')")
    parameters = [int(text.rstrip("*").replace(",", "")) for text in column(page, at)]
    assert parameters == sorted(parameters)
    assert page.get_attribute(f"#board thead th:nth-child({at})", "aria-sort") == "ascending"
    page.click("#board thead button:has-text('parameters')")
    assert [int(text.rstrip("*").replace(",", "")) for text in column(page, at)] == sorted(parameters, reverse=True)
    page.click("#board thead button:has-text('accuracy')")  # of scores the highest come first
    accuracies = [float(text.split()[0].rstrip("*=?")) for text in column(page, 1 + heads(page).index("accuracy %"))]
    assert accuracies == sorted(accuracies, reverse=True)


def test_rows_are_filtered_by_framework_and_by_name(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    page.select_option("#filter-backend", "sklearn")
    assert set(column(page, 1)) == {"sklearn"}
    page.select_option("#filter-backend", "")
    page.fill("#filter-architecture", "ATTENTION")
    assert column(page, 2) == ["attention_700"]
    assert page.inner_text("#shown") == f"1 of {len(results.rows)} rows"


def test_a_column_is_hidden_and_shown(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    assert "fit s" in heads(page)
    assert "log loss" not in heads(page)
    page.click("details.menu summary")
    page.uncheck("#columns label:has-text('fit s') input")
    page.check("#columns label:has-text('log loss') input")
    assert "fit s" not in heads(page)
    assert "log loss" in heads(page)


def test_a_trial_is_opened_by_its_row_and_by_its_address(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    page.click("#board a:has-text('attention_700')")
    page.wait_for_selector("#detail[open]")
    assert page.inner_text("#detail-title") == "torch attention_700"
    records = [one for one in results.records if one["architecture"] == "attention_700"]
    page.click("#detail button:has-text('seed 1')")
    shown = page.inner_text("#detail-body")
    assert records[1]["key"] in shown
    assert page.locator("#curve .scatterlayer .trace").count() == 2
    counts = [int(cell.inner_text()) for cell in page.query_selector_all("#detail .confusion td:not(:first-child)")]
    assert sum(counts) == records[1]["n_test"]
    page.keyboard.press("Escape")
    assert not page.is_visible("#detail")
    page.goto((results.run.directory / "report.html").as_uri() + f"#trial-{records[0]['key']}")
    page.reload()
    page.wait_for_selector("#detail[open]")
    assert records[0]["key"] in page.inner_text("#detail-body")
    page.click("#detail .close")


def test_the_lines_that_run_a_row_again_are_copied(page: Any, results: Results) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, results.run.directory)
    page.click("#board a:has-text('attention_700')")
    page.click("#copy")
    page.wait_for_function("document.querySelector('#detail [role=status]').textContent !== ''")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.inner_text("#command")
    assert "python compare.py --study again.json" in copied
    page.click("#detail .close")


def test_charts_are_switched_and_frameworks_with_them(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    page.select_option("#chart-choice", label="test accuracy by neurons of a hidden layer")
    chart = results.charts["accuracy-by-nodes"]
    assert page.inner_text("#chart-caption").endswith(chart.caption)
    assert page.locator("#chart .scatterlayer .trace").count() == len(chart.series)
    page.uncheck("#chart-backends label:has-text('sklearn') input")
    kept = [one for one in chart.series if one.backend != "sklearn"]
    assert page.locator("#chart .scatterlayer .trace").count() == len(kept)
    page.click("#chart-figures summary")
    rows = page.query_selector_all("#chart-figures tbody tr")
    assert len(rows) == sum(len(one.x) for one in kept)


def test_a_reader_with_a_keyboard_gets_everywhere(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#board thead button:has-text('parameters')")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent").startswith("parameters")
    page.focus("#board tbody a >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open]")
    page.keyboard.press("Escape")


def test_every_picture_and_control_has_a_name(page: Any, results: Results) -> None:
    opened(page, results.run.directory)
    assert page.evaluate("[...document.images].filter((one) => !one.alt).length") == 0
    nameless = "[...document.querySelectorAll('input, select, button')].filter((one) => !one.labels?.length && !one.textContent.trim() && !one.ariaLabel)"
    assert page.evaluate(f"{nameless}.length") == 0
    levels = page.evaluate(
        "[...document.querySelectorAll('main h2, main h3, h1')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Any, results: Results, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    opened(page, results.run.directory)
    contrasts = page.evaluate("""() => {
      const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((one) => {
          const value = one / 255;
          return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const back = (one) => {
        for (; one; one = one.parentElement) {
          const color = getComputedStyle(one).backgroundColor;
          if (!/, 0\\)$/.test(color)) return color;
        }
        return "rgb(255, 255, 255)";
      };
      return [...document.querySelectorAll("p, li, td, th, a, label, summary, h1, h2, h3, figcaption, button, legend")]
        .filter((one) => one.offsetParent && one.textContent.trim())
        .map((one) => {
          const [a, b] = [light(getComputedStyle(one).color), light(back(one))].sort((x, y) => y - x);
          return [(a + 0.05) / (b + 0.05), one.tagName, one.textContent.slice(0, 40)];
        });
    }""")
    assert len(contrasts) > 50
    assert min(contrasts)[0] >= 4.5, min(contrasts)


def test_a_phone_scrolls_tables_and_not_the_page(page: Any, results: Results) -> None:
    page.set_viewport_size({"width": 380, "height": 800})
    opened(page, results.run.directory)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_markup_in_names_is_text(page: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=\"document.title='owned'\"><b>数字</b>"
    run = made_up(tmp_path, [record(name), record(name, seed=1), record("ffn:4", error="<script>x</script>", status="failed")],
                  question=name)  # fmt: skip
    assert call("report", run.directory).status == 0
    opened(page, run.directory)
    assert name in page.inner_text("h1")
    assert name in column(page, 2)
    page.select_option("#chart-choice", index=0)
    assert "数字" in page.inner_text("#chart")
    page.click("#board tbody a >> nth=0")
    page.wait_for_selector("#detail[open]")
    assert name in page.inner_text("#detail-title")
    page.click("#detail .close")
    assert page.title() != "owned"


def test_ten_thousand_trials_open_at_once(page: Any, tmp_path: Path) -> None:
    records = [
        record(f"ffn:{1 + width}", seed, test_accuracy=0.9 + 0.00001 * width + 0.001 * seed)
        for width in range(1000)
        for seed in range(10)
    ]
    run = made_up(tmp_path, records)
    assert call("report", run.directory).status == 0
    shutil.rmtree(run.directory / "trials")
    start = time.monotonic()
    opened(page, run.directory)
    print(f"opened in {time.monotonic() - start:.2f} s, {(run.directory / 'report.html').stat().st_size / 1e6:.1f} MB")
    assert page.inner_text("#shown") == "200 of 1000 rows"
    page.click("#more")
    assert page.inner_text("#shown") == "1000 of 1000 rows"
