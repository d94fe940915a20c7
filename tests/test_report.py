"""Charts, plots, the answer in words and the page, against the records that they are made from."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
import compare
from common import studies
from common.naming import row_names
from common.report import details, drawing, gallery
from common.report.answer import paragraph
from common.report.overview import pareto
from common.results import Results
from common.store import Run
from common.summary import configuration
from common.trial import empty_record
from config import Trial, UserError
from tests.command import call, the_run

STUDY = {
    "question": "Is wider better?",
    "base": {
        "dataset": "digits",
        "rows": 400,
        "seeds": 2,
        "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "early_stopping_patience": None},
    },
    "grids": [
        {"backend": ["sklearn", "torch"], "architecture": ["ffn:4", "ffn:16"], "train_share": [0.6, 0.8]},
        {"backend": "sklearn", "architecture": "ffn:8+dropout=0.5"},
        {"backend": "torch", "architecture": "attention_700"},
    ],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("report")
    return compare.run_study(STUDY, results=folder, quiet=True)


@pytest.fixture(scope="module")
def reported(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("reported") / results.run.name
    shutil.copytree(results.run.directory, copy)
    outcome = call("report", copy)
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip() == str(copy / "report.html")
    return copy


def page_data(page: str) -> dict[str, Any]:
    """Return what the page's script works with."""
    found = re.search(r'id="data">([^<]*)<', page)
    assert found
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return data


# Charts


def test_a_sweep_shows_the_mean_of_the_records_at_each_value(results: Results) -> None:
    chart = results.charts["accuracy-by-nodes"]
    assert chart.x.label == "neurons of a hidden layer"
    found = {(one.label, x): (y, n) for one in chart.series for x, y, n in zip(one.x, one.y, one.n, strict=True)}
    for backend in ("sklearn", "torch"):
        for nodes in (4, 16):
            scores = [one["test_accuracy"] for one in results.records
                      if (one["backend"], one["architecture"], one["train_share"]) == (backend, f"ffn:{nodes}", 0.8)]  # fmt: skip
            (label,) = [
                label
                for label, _ in found
                if label.startswith(backend) and "80/20" in label and (label, nodes) in found
            ][:1]
            assert found[label, nodes] == (pytest.approx(100 * np.mean(scores)), 2)


def test_train_shares_are_in_percent(results: Results) -> None:
    chart = results.charts["accuracy-by-train_share"]
    assert {x for one in chart.series for x in one.x} == {60.0, 80.0}
    assert "(%)" in chart.x.label


def test_what_does_not_vary_has_no_chart(results: Results) -> None:
    assert not [name for name in results.charts if name.endswith(("-by-learning_rate", "-by-depth", "-by-seed"))]


def test_every_configuration_stands_in_the_overview_and_the_front(results: Results) -> None:
    for name in ("accuracy-overview", "pareto-parameters"):
        assert sum(len(one.x) for one in results.charts[name].series) == len(results.rows)


def test_curves_are_means_over_seeds(results: Results) -> None:
    chart = results.charts["curves-val_accuracy"]
    names = dict(zip(row_names(results.rows), results.rows.to_dict("records"), strict=True))
    for one in chart.series:
        keys = [record["key"] for record in results.by_configuration[configuration(names[one.label])]]
        expected = np.mean([results.history(key)["val_accuracy"] for key in keys], axis=0)
        assert list(one.x) == [1, 2]
        assert one.y == pytest.approx(100 * expected)
        assert set(one.n) == {2}


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=30))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    costs, scores = [float(cost) for cost, _ in points], [float(score) for _, score in points]
    front = pareto(costs, scores)
    unbeaten = {
        (cost, score)
        for cost, score in zip(costs, scores, strict=True)
        if not any((c <= cost and s >= score) and (c, s) != (cost, score) for c, s in zip(costs, scores, strict=True))
    }
    assert set(front) == unbeaten
    assert front == sorted(front)


def test_shipped_studies_name_charts_that_there_are() -> None:
    for name in studies.shipped():
        assert gallery.known(studies.read(name).chart or ""), name


def test_a_chart_that_no_run_could_have_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chart: 'accuracy-by-noodles' is no chart"):
        compare.run_study({**STUDY, "chart": "accuracy-by-noodles"}, results=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_chart_that_a_study_names_comes_first(results: Results) -> None:
    assert next(iter(results.charts)) != "pareto-fit_s"
    results = Results(results.run)
    results.study["chart"] = "pareto-fit_s"
    assert next(iter(results.charts)) == "pareto-fit_s"


# Drawn


def test_a_figure_has_the_charts_labels_and_values(results: Results) -> None:
    chart = results.charts["accuracy-by-nodes"]
    axes = drawing.draw(chart).axes[0]
    assert axes.get_xlabel() == chart.x.label
    assert axes.get_ylabel() == "test accuracy (%)"
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        drawing.in_lines(one.label) for one in chart.series
    }
    drawn = {tuple(np.asarray(line.get_ydata(), float)) for line in axes.get_lines()}
    assert {tuple(np.asarray(one.y, float)) for one in chart.series} <= drawn


def test_a_framework_keeps_its_color(results: Results) -> None:
    from matplotlib.colors import to_hex

    for chart in results.charts.values():
        axes = drawing.draw(chart).axes[0]
        for line in axes.get_lines():
            backend = str(line.get_label()).partition(" ")[0].rstrip(",")
            if backend in drawing.COLORS:
                assert to_hex(line.get_color()) == drawing.COLORS[backend], chart.name


def test_names_are_drawn_as_they_are(results: Results) -> None:
    from dataclasses import replace

    chart = results.charts["accuracy-overview"]
    named = replace(chart, series=[replace(one, y=["$x_1$ <b> 数字"] * len(one.y)) for one in chart.series])
    labels = [text.get_text() for text in drawing.draw(named).axes[0].get_yticklabels()]
    assert labels == [r"\$x_1\$ <b> 数字"]  # a backslash before a dollar keeps matplotlib from reading mathematics


@pytest.mark.parametrize("name", ["accuracy-overview", "curves-val_accuracy", "pareto-parameters"])
def test_long_names_are_broken_into_lines_and_leave_room(name: str, results: Results) -> None:
    from dataclasses import replace

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    chart = results.charts[name]
    long = [
        f"torch attention_2k+blocks=2+middle=32+pooling_queries={at}+width=24 (lr 0.0283, weight decay 0.02)"
        for at in range(9)
    ]
    series = [
        replace(
            one,
            label=long[at],
            y=long[: len(one.y)] if chart.kind == "dots" else one.y,
            names=one.names and long[: len(one.y)],
        )
        for at, one in enumerate(chart.series[:9])
    ]
    drawn = drawing.draw(replace(chart, series=series))
    FigureCanvasAgg(drawn).draw()  # lays it out
    axes, width = drawn.axes[0], drawn.bbox.width
    assert axes.bbox.width > 0.35 * width
    names = axes.get_yticklabels() if chart.kind == "dots" else []
    for box in (text.get_window_extent() for text in [*names, *axes.get_legend().get_texts(), axes.title]):
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= drawn.bbox.height


# Written


def test_a_report_leaves_plots_and_one_page(reported: Path, results: Results) -> None:
    names = {path.name for path in (reported / "plots").iterdir()}
    for name in [*results.charts, "confusion", "classes", "samples", "mistakes", "first-layer", "attention-torch"]:
        assert {f"{name}.png", f"{name}.svg"} <= names
    svg = (reported / "plots" / "accuracy-by-nodes.svg").read_text(encoding="utf-8")
    assert "test accuracy (%)" in svg
    assert (reported / "report.html").stat().st_size < 6_000_000


def test_the_page_holds_every_figure_of_every_trial(reported: Path, results: Results) -> None:
    data = page_data((reported / "report.html").read_text(encoding="utf-8"))
    assert data["details"]["columns"]["test_accuracy"] == [one["test_accuracy"] for one in results.records]
    assert data["details"]["key"] == [one["key"] for one in results.records]
    assert len(data["board"]["rows"]) == len(results.rows) == len(data["details"]["rows"])
    at = data["details"]["key"].index(next(one["key"] for one in results.records if one["status"] == "ok"))
    counts = np.array(data["details"]["confusion"][at]).reshape(10, 10)
    record = results.records[at]
    assert counts.sum() == record["n_test"]
    assert counts.trace() / counts.sum() == pytest.approx(record["test_accuracy"])


def test_failures_and_the_unsupported_stand_in_the_page(reported: Path) -> None:
    assert "sklearn ffn:8+dropout=0.5: unsupported: " in (reported / "report.html").read_text(encoding="utf-8")


def test_a_page_asks_nobody_for_anything(reported: Path) -> None:
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", page)


@pytest.mark.slow
def test_all_but_the_trials_can_be_made_again(reported: Path, tmp_path: Path) -> None:
    copy = tmp_path / reported.name
    shutil.copytree(reported / "trials", copy / "trials")
    assert call("report", copy).status == 0
    for name in ("trials.csv", "summary.csv", "ranking.csv"):
        again, before = copy / "tables" / name, reported / "tables" / name
        assert again.read_text() == before.read_text(), name
    assert {path.name for path in (copy / "plots").iterdir()} == {path.name for path in (reported / "plots").iterdir()}
    assert call("table", copy).status == 0


def test_a_row_can_be_run_again_as_the_page_says(results: Results, tmp_path: Path) -> None:
    for row in details.details(results)["rows"]:
        records = [results.records[number] for number in row["trials"]]
        text = row["command"].removeprefix("cat > again.json <<'END'\n").partition("\nEND\n")[0]
        file = tmp_path / "again.json"
        file.write_text(text, encoding="utf-8")
        plan = studies.plan(studies.read(str(file)), {}, backends.vocabulary(), None, {})
        assert plan.keys == [record["key"] for record in records]


# Odd runs


def made_up(folder: Path, records: list[dict[str, Any]], **study: Any) -> Run:
    """Write a run of records that nobody measured."""
    run = Run(folder / "odd-digits-00000000")
    run.begin({"name": "odd", "question": "What is odd?", "recommend": None, "chart": None, "datasets": ["digits"],
               "note": None, "keys": [one["key"] for one in records], **study}, {"fixed": {}, "also": {}}, overwrite=False)  # fmt: skip
    for record in records:
        run.write(record)
    return run


def record(architecture: str = "ffn:4", seed: int = 0, **fields: Any) -> dict[str, Any]:
    trial = Trial.model_validate(
        {"backend": "torch", "architecture": "ffn:4", "dataset": "digits", "seed": seed}, context=backends.vocabulary()
    )
    key = f"{abs(hash((architecture, seed, str(fields)))):064x}"
    figures = {"status": "ok", "test_accuracy": 0.9, "val_accuracy": 0.9, "parameters": 314, "fit_s": 1.0, "n_classes": 10,
               "contended": False, "versions": "{}", "cpu": "a processor"}  # fmt: skip
    return {**empty_record(trial), **figures, "key": key, "architecture": architecture, **fields}


def test_a_report_of_nothing_but_failures(tmp_path: Path) -> None:
    run = made_up(
        tmp_path, [record(status="failed", error="ValueError: <script>alert(1)</script>", test_accuracy=None)]
    )
    assert call("report", run.directory).status == 0
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_a_report_of_one_trial(tmp_path: Path) -> None:
    run = made_up(tmp_path, [record()])
    assert call("report", run.directory).status == 0
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "90.00% of the test images right (one seed)" in page


def test_a_report_of_records_from_before_there_was_pruning(tmp_path: Path) -> None:
    before = record()
    del before["sparsity"]
    results = Results(made_up(tmp_path, [before, record(seed=1)]))
    assert [row["trials"] for row in details.details(results)["rows"]] == [[0, 1]]
    assert set(results.trials["sparsity"]) == {0.0}


def test_a_report_of_no_trial_yet(tmp_path: Path) -> None:
    run = made_up(tmp_path, [])
    outcome = call("report", run.directory)
    assert outcome.status == 0, outcome.err
    assert "no trials yet" in (run.directory / "report.html").read_text(encoding="utf-8")


def test_names_of_any_kind_stay_text(tmp_path: Path) -> None:
    name = "</script><script>alert('数字')</script>.py:net"
    run = made_up(tmp_path, [record(name), record(name, seed=1)], question="<img src=x onerror=alert(1)>")
    assert call("report", run.directory).status == 0
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    data = page_data(page)
    assert data["board"]["rows"][0]["architecture"] == name


# From Python


def test_the_answer_says_who_was_still_learning(results: Results, tmp_path: Path) -> None:
    copy = tmp_path / results.run.name
    shutil.copytree(results.run.directory, copy)
    trained = [record for record in results.records if record["status"] == "ok"]
    for record in trained:
        (Run(copy).artefacts(record["key"]) / "history.json").write_text('{"val_accuracy": [0.9, 0.901]}')
    assert "still gained" not in paragraph(Results(Run(copy)))
    best = max(trained, key=lambda record: record["test_accuracy"])
    (Run(copy).artefacts(best["key"]) / "history.json").write_text('{"val_accuracy": [0.6, 0.9]}')
    assert re.search(
        r"1 of \d+ networks .* gained more than 0.2 points .* most .*\(15.05\)", paragraph(Results(Run(copy)))
    )


def test_a_run_is_found_again_by_name(results: Results) -> None:
    found = compare.load_run(results.run.name, results.run.directory.parent)
    assert found.trials.equals(results.trials)
    assert found.summary["n"].sum() == sum(one["status"] == "ok" for one in results.records)


def test_a_finished_study_is_not_trained_again(results: Results) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.run.directory.rglob("*.json") if "trials" in path.parts}
    again = compare.run_study(STUDY, results=results.run.directory.parent, quiet=True)
    assert again.run.name == results.run.name
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_chart_that_is_not_there_is_named_with_those_that_are(results: Results) -> None:
    with pytest.raises(UserError, match=r"plot: 'accuracy-by-node' .*did you mean 'accuracy-by-nodes'"):
        results.plot("accuracy-by-node")


def test_a_setting_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"architecture: is no setting"):
        compare.run_study("quick", architecture="ffn:64", results=tmp_path)


def test_a_notebook_shows_question_answer_and_table(results: Results) -> None:
    shown = results._repr_html_()
    assert "Is wider better?" in shown
    assert "<table>" in shown
    assert "ffn:16" in shown


def test_a_run_writes_its_report_unless_told_not_to(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"question": "One?", "base": {"backend": "sklearn", "dataset": "digits", "rows": 200,
                    "architecture": "ffn:4", "training": {"epochs": 1}}}), encoding="utf-8")  # fmt: skip
    assert call("--study", file, "--results", tmp_path / "without").status == 0
    assert not (the_run(tmp_path / "without") / "report.html").exists()
    assert call("--study", file, "--results", tmp_path / "with", report=True).status == 0
    assert (the_run(tmp_path / "with") / "report.html").is_file()
