"""Summaries and rendered tables, against figures worked out by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from common.ranking import DEFAULT_WEIGHTS, rank
from common.summary import SPEC_FIELDS, error_line, summarize
from common.tables import render, render_ranking, write_tables

SPEC: dict[str, Any] = {
    **{"backend": "torch", "engine": None, "architecture": "ffn:64", "dataset": "mnist", "data_sha256": "ab" * 32},
    **{"split": "share", "train_share": 0.8, "rows": None, "seed": 0, "scaling": "unit", "input_size": None},
    **{"pca": None, "max_epochs": 50, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.001},
    **{"schedule": "constant", "momentum": 0.0, "nesterov": False, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    **{"l2": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "sparsity": 0.0, "augmentation": "none"},
    **{"early_stopping_patience": 5, "validation": 0.1},
    **{"protocol": "matched", "loop": "tuned", "device": "cpu", "precision": "float32", "threads": 1},
}
FIGURES: dict[str, Any] = {
    **{"status": "ok", "error": None, "test_accuracy": 0.97, "test_precision_macro": 0.97, "test_recall_macro": 0.97},
    **{"test_f1_macro": 0.97, "test_log_loss": 0.1, "val_accuracy": 0.97, "train_loss": 0.05, "epochs": 50},
    **{"import_s": 2.0, "build_s": 0.1, "first_step_s": 0.02, "fit_s": 40.0, "epoch_s": 0.8, "evaluate_s": 0.1},
    **{"latency_ms_p50": 0.1, "latency_ms_p95": 0.2, "throughput_per_s": 9e5, "idle_memory_mb": 300.0},
    **{"peak_memory_mb": 700.0, "memory_rise_mb": 400.0, "parameters": 50890, "flops_per_sample": 101632},
    **{"model_bytes": 203560, "energy_j": 500.0, "energy_method": "estimated: CPU seconds x 15 W"},
    **{"contended": False, "n_train": 50400, "n_val": 5600, "n_test": 14000, "n_classes": 10, "harness_s": 1.0},
    "warnings": [],
}
UNMEASURED = dict.fromkeys(set(FIGURES) - {"status", "error", "warnings"})


def trial(**changes: Any) -> dict[str, Any]:
    record = {**SPEC, **FIGURES, **changes}
    name = "-".join(str(record[field]) for field in [*SPEC_FIELDS, "seed"])
    return {"key": name, **record}


def failed(status: str, error: str, **changes: Any) -> dict[str, Any]:
    return trial(**{**UNMEASURED, "status": status, "error": error, **changes})


def frame(*trials: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(trials))


def realistic() -> pd.DataFrame:
    """Three backends, two networks, two splits, three seeds; attention once; one unsupported, one failed."""
    base = {"torch": (40.0, 0.05, 700.0), "sklearn": (55.0, 0.2, 350.0), "keras": (90.0, 0.9, 1100.0)}
    trials = []
    for backend, (fit, latency, memory) in base.items():
        for architecture, parameters, accuracy in (("ffn:64", 50890, 0.9735), ("ffn:128-64", 109386, 0.9781)):
            for share, loss in ((0.8, 0.0), (0.6, 0.003)):
                for seed, luck in enumerate((0.0, 0.0012, -0.0009)):
                    score = accuracy - loss + luck + 0.0001 * len(backend)
                    trials.append(trial(
                        backend=backend, engine="tensorflow" if backend == "keras" else None, architecture=architecture,
                        train_share=share, seed=seed, test_accuracy=score, test_f1_macro=score - 0.0003,
                        val_accuracy=score + 0.001, test_log_loss=0.09 + luck, fit_s=fit * share + seed,
                        epochs=50 - seed, epoch_s=fit * share / 50, latency_ms_p50=latency,
                        throughput_per_s=1e5 / latency,
                        peak_memory_mb=memory if seed == 0 else None, parameters=parameters,
                        model_bytes=4 * parameters, energy_j=15 * fit * share,
                    ))  # fmt: skip
    trials += [
        trial(architecture="attention_5k", test_accuracy=0.981, test_f1_macro=0.9808, fit_s=900.0, parameters=5002,
              model_bytes=20008, epochs=44, latency_ms_p50=3.1, throughput_per_s=4000.0),
        trial(architecture="ffn:16x64:sigmoid", test_accuracy=0.1123, test_f1_macro=0.0202, test_log_loss=2.301,
              fit_s=9.0, epochs=6, parameters=116554, model_bytes=466216),
        *(failed("unsupported", "MLPClassifier has no dropout", backend="sklearn", seed=seed, train_share=share,
                 architecture="ffn:64+dropout=0.2") for seed in range(3) for share in (0.8, 0.6)),
        failed("failed", "Traceback (most recent call last):\n  File x\nRuntimeError: boom", architecture="cnn"),
    ]  # fmt: skip
    return frame(*trials)


def row_of(table: str, *words: str) -> str:
    """Return the one line that holds all the words."""
    lines = [line for line in table.splitlines() if all(word in line for word in words)]
    assert len(lines) == 1, (words, lines)
    return lines[0]


def test_a_summary_by_hand() -> None:
    accuracies, fits = (0.96, 0.97, 0.98), (10.0, 40.0, 13.0)
    records = frame(*(trial(seed=seed, test_accuracy=accuracy, fit_s=fit, peak_memory_mb=None if seed else 700.0)
                      for seed, (accuracy, fit) in enumerate(zip(accuracies, fits, strict=True))))  # fmt: skip
    row = summarize(records).iloc[0]
    assert (row["n"], row["n_failed"], row["status"]) == (3, 0, "ok")
    assert row["test_accuracy_mean"] == pytest.approx(0.97) and row["test_accuracy_sd"] == pytest.approx(0.01)
    assert row["test_accuracy_low"] == pytest.approx(0.97 - 4.302653 * 0.01 / 3**0.5)
    assert row["fit_s"] == 13.0  # the median; the mean is 21
    assert row["peak_memory_mb"] == 700.0
    assert pd.isna(row["rows"]) and pd.isna(row["failures"])


def test_contended_times_never_mix_with_exclusive_ones() -> None:
    mixed = [trial(seed=seed, fit_s=fit, energy_j=10 * fit, contended=busy)
             for seed, (fit, busy) in enumerate([(10.0, False), (30.0, True), (12.0, False)])]  # fmt: skip
    busy = [trial(architecture="ffn:8", seed=seed, fit_s=5.0 + seed, contended=True) for seed in range(2)]
    small, large = (row for _, row in summarize(frame(*mixed, *busy)).iterrows())
    assert (large["fit_s"], large["energy_j"], large["n_timed"], large["n"]) == (11.0, 110.0, 2, 3)
    assert not large["contended"] and small["contended"] and small["fit_s"] == 5.5
    text = render(summarize(frame(*mixed, *busy)), "text")
    assert "5.50†" in row_of(text, "ffn:8 ") and "5.50*" not in text
    assert "11.0*" not in text  # alone among its kind, it is the best of nothing
    assert "† timed while other trials ran" in text


def test_times_that_a_busy_machine_scattered_are_compared_with_nothing() -> None:
    busy = [trial(seed=seed, fit_s=fit, epoch_s=fit / 50) for seed, fit in enumerate([10.0, 11.0, 25.0])]
    calm = [
        trial(architecture="ffn:8", seed=seed, fit_s=fit, epoch_s=fit / 50)
        for seed, fit in enumerate([20.0, 21.0, 30.0])
    ]
    early = [
        trial(architecture="ffn:9", seed=seed, fit_s=fit, epoch_s=0.6) for seed, fit in enumerate([21.0, 22.0, 70.0])
    ]
    summary = summarize(frame(*busy, *calm, *early))
    assert [round(spread, 6) for spread in summary["epoch_s_spread"]] == [1.5, 1.0, 2.5]
    text = render(summary, "text")
    assert "11.0~" in row_of(text, "ffn:64 ") and "11.0*" not in text
    assert "21.0*" in row_of(text, "ffn:8 ") and "22.0 " in row_of(text, "ffn:9 ")  # fewer epochs are less work
    assert "~ the same work took one seed more than 2 times as long as another" in text
    ranking = rank(summary, {"fit_s": 1.0}).set_index("architecture")
    assert "more than 2 times as long" in ranking.loc["ffn:64", "reason"] and pd.isna(ranking.loc["ffn:8", "reason"])


def test_measured_energy_counts_where_there_is_any_and_is_not_compared_with_estimates() -> None:
    records = frame(
        trial(seed=0, energy_j=100.0, energy_method="measured: RAPL"),
        trial(seed=1, energy_j=900.0),
        trial(architecture="ffn:8", energy_j=50.0),
    )
    summary = summarize(records)
    assert list(summary["energy_j"]) == [50.0, 100.0]
    assert list(summary["energy_method"]) == ["estimated: CPU seconds x 15 W", "measured: RAPL"]
    text = render(summary, "text")
    assert "≈50.0 " in text and "50.0*" not in text and " 100*" not in text
    both = frame(trial(energy_j=100.0), trial(architecture="ffn:8", energy_j=50.0))
    assert "≈50.0*" in render(summarize(both), "text")


def test_null_stays_null() -> None:
    summary = summarize(frame(trial(energy_j=None, energy_method=None, peak_memory_mb=None)))
    assert summary[["energy_j", "energy_method", "peak_memory_mb", "test_accuracy_sd"]].isna().all(axis=None)
    text = render(summary, "text")
    assert "not measured in this run: 95% interval, peak MB, energy J." in text and "nan" not in text.lower()


def test_convergence_counts_where_every_seed_got_there() -> None:
    there = [trial(seed=seed, fit_s_to_98=seconds, epochs_to_98=2) for seed, seconds in enumerate((3.0, 1.0, 2.0))]
    some = [trial(architecture="ffn:8", seed=seed, fit_s_to_98=value) for seed, value in enumerate((3.0, None, 2.0))]
    summary = summarize(frame(*there, *some)).set_index("architecture")
    assert summary.loc["ffn:64", "fit_s_to_98"] == 2.0 and summary.loc["ffn:64", "epochs_to_98"] == 2
    assert pd.isna(summary.loc["ffn:8", "fit_s_to_98"])


def test_the_table_has_seconds_and_epochs_to_every_level_that_any_row_reached() -> None:
    reached = {"fit_s_to_97": 1.5, "epochs_to_97": 1, "fit_s_to_98": 3.0, "epochs_to_98": 2}
    text = render(summarize(frame(trial(**reached), trial(architecture="ffn:8"))), "text", width=1000)
    assert "s (epochs) to 97%" in text and "1.50 (1) " in text and "3.00 (2) " in text
    assert "s (epochs) to 99%" not in text and "s (epochs) to: training until" in text


def test_conditions_that_rows_do_not_share_are_said_above_them() -> None:
    where = {"cpu": "Xeon", "blas": "OpenBLAS", "commit": "abc", "versions": '{"numpy": "2.4", "torch": "2.13"}'}

    def above(*changes: dict[str, Any]) -> str:
        rows = [trial(**{**where, **change}) for change in changes]
        return render(summarize(frame(*rows)), "text", width=1000).split("\n\n")[0]

    other = '{"numpy": "2.4", "scikit-learn": "1.9"}'
    assert "Not the same" not in above({}, {"backend": "sklearn", "versions": other}, {"seed": 1, "cpu": None})
    text = above(
        {"threads": 1, "backend": "sklearn"}, {"threads": 2, "loop": "idiomatic", "cpu": "EPYC", "commit": "d"}
    )
    assert "Not the same in all rows: cpu (EPYC; Xeon)" in text.replace(",", ";") and "threads (1, 2)" in text
    assert "commit (abc, d); loop (idiomatic, tuned)." in text and "blas" not in text
    assert "torch version (2.13, 2.14)." in above({}, {"seed": 1, "versions": '{"torch": "2.14"}'})
    assert "contention (alone, beside other trials)." in above({}, {"architecture": "ffn:8", "contended": True})
    assert "protocol (matched, native); data (cifar10, mnist)." in above(
        {}, {"dataset": "cifar10", "protocol": "native"}
    )
    assert "data of mnist, by SHA-256 (abababab, cdcdcdcd)." in above({}, {"data_sha256": "cd" * 32})
    assert "Not the same" not in render(summarize(frame(trial(), trial(backend="sklearn"))), "text")


def test_failures_are_counted_and_their_reasons_listed() -> None:
    records = frame(
        trial(seed=0),
        failed("failed", "Traceback (most recent call last):\n  File x\nRuntimeError: boom", seed=1),
        failed("timeout", "no result within 60 s\nmore", seed=2),
        *(failed("unsupported", "MLPClassifier has no dropout", backend="sklearn", seed=seed) for seed in range(3)),
    )
    summary = summarize(records)
    none, some = (row for _, row in summary.iterrows())
    assert (none["n"], none["n_failed"], none["status"]) == (0, 0, "unsupported: MLPClassifier has no dropout")
    assert (some["n"], some["n_failed"], some["status"]) == (1, 2, "1 of 3 failed, 1 of 3 timeout")
    text = render(summary, "text")
    assert "sklearn ffn:64: unsupported: MLPClassifier has no dropout" in text.splitlines()
    assert "failed (seed 1): RuntimeError: boom; timeout (seed 2): no result within 60 s" in text
    assert "File x" not in text and "60 s more" not in text


def test_what_a_backend_cannot_do_is_one_line_below_what_failed() -> None:
    images = "it is a feed-forward network and nothing else"
    records = frame(
        trial(seed=0),
        *(failed("unsupported", images, backend="sklearn", architecture=name) for name in ("cnn", "resnet")),
        failed("failed", "boom", architecture="resnet"),
    )
    lines = render(summarize(records), "text").splitlines()
    bad, none = lines.index("torch resnet: failed (seed 0): boom"), f"sklearn cnn, resnet: unsupported: {images}"
    assert bad < lines.index(none)


def test_order_is_natural_and_independent_of_the_rows() -> None:
    records = realistic()
    shuffled = records.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(summarize(records), summarize(shuffled))
    ascending = ["attention_700", "attention_2k", "attention_10k", "ffn:8", "ffn:64", "ffn:128"]
    names = summarize(frame(*(trial(architecture=name) for name in sorted(ascending))))["architecture"]
    assert list(names) == ascending


def test_text_shows_what_varies_and_captions_what_does_not() -> None:
    text = render(summarize(realistic()), "text")
    caption, rest = text.split("\n\n")[0], text.split("\n\n")[1]
    assert "mnist" in caption and "batch 32" in caption and "lr 0.001" in caption and "threads 1" in caption
    assert "momentum" not in caption and "split" not in caption
    assert rest.splitlines()[0].split()[:3] == ["backend", "architecture", "split"]
    line = row_of(rest, "keras/tensorflow", "ffn:128-64", "80/20")
    assert "97.87 ± 0.11" in line and "[97.61, 98.13]" in line


def test_settings_that_change_together_are_one_column_and_said_above() -> None:
    other = {"batch_size": 128, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.02, "max_epochs": 10}
    trials = [trial(architecture=name, threads=2, **more) for name in ("cnn", "mlp") for more in ({}, other)]
    above, table = render(summarize(frame(*trials)), "text").split("\n\n")[:2]
    assert table.splitlines()[0].split()[:4] == ["backend", "architecture", "optimizer", "accuracy"]
    assert row_of(table, "cnn", "adam ") and row_of(table, "cnn", "adamw ")
    assert "optimizer adam: max epochs 50, batch 32, lr 0.001" in above
    assert "optimizer adamw: max epochs 10, batch 128, lr 0.01, weight decay 0.02" in above

    two = [one | {"weight_decay": 0.0, "max_epochs": 50, "batch_size": 32} for one in trials]
    table = render(summarize(frame(*two)), "text").split("\n\n")[1]
    assert table.splitlines()[0].split()[2:4] == ["optimizer", "lr"], "two are not hidden"

    above, table = render(summarize(frame(*trials[:2])), "text").split("\n\n")[:2]
    assert "batch  optimizer  lr" in table and "optimizer" not in above, "of two rows nothing shows what goes together"


def test_best_is_marked_by_direction_within_equal_test_sets_and_ties_share_it() -> None:
    records = frame(
        trial(backend="sklearn", test_accuracy=0.98, fit_s=20.0),
        trial(backend="torch", test_accuracy=0.965, fit_s=10.0),
        trial(backend="sklearn", train_share=0.6, test_accuracy=0.950001, fit_s=7.0),
        trial(backend="torch", train_share=0.6, test_accuracy=0.95, fit_s=9.0),
    )
    text = render(summarize(records), "text")
    assert "98.00*" in row_of(text, "sklearn", "80/20") and "20.0*" not in text
    assert "10.0*" in row_of(text, "torch", "80/20") and "96.50*" not in text
    assert "95.00*" in row_of(text, "sklearn", "60/40") and "95.00*" in row_of(text, "torch", "60/40")
    assert "**98.00**" in render(summarize(records), "markdown")
    assert r"\textbf{98.00}" in render(summarize(records), "latex")


def test_a_network_at_chance_is_said_and_is_best_in_nothing() -> None:
    records = frame(trial(), trial(architecture="ffn:8"),
                    trial(architecture="ffn:4", test_accuracy=0.1499, fit_s=0.5, parameters=9))  # fmt: skip
    text = render(summarize(records), "text")
    assert row_of(text, "ffn:4 ").endswith("1, chance") and "0.500*" not in text
    assert "below 1.5 times that of guessing" in text
    assert "chance" not in render(summarize(frame(trial(test_accuracy=0.151))), "text")


def test_parameters_that_never_learned_are_said() -> None:
    rows = frame(trial(architecture="basic", untrained_parameters=1200.0), trial(untrained_parameters=0.0))
    text = render(summarize(rows), "text").replace("\n  ", " ")
    assert "basic: 1,200 of its 50,890 parameters got no gradient" in text
    assert text.count("got no gradient") == 1


def test_few_seeds_are_said_with_the_least_difference() -> None:
    def text(seeds: int) -> str:
        values = (0.96, 0.97, 0.98, 0.97, 0.97)
        return render(
            summarize(frame(*(trial(seed=s, test_accuracy=values[s]) for s in range(seeds)))), "text", width=400
        )

    # t(0.975, 2) = 4.3027; times sqrt(2/3) times an sd of 1 point
    assert "differences in accuracy below about 3.51 points cannot be concluded" in text(3)
    assert "nothing can be concluded" in text(1)
    assert "Fewer than 5 seeds" in text(4) and "Fewer than" not in text(5)


@pytest.mark.parametrize("width", [120, 140])
def test_text_fits_the_width_and_says_what_it_left_out(width: int) -> None:
    text = render(summarize(realistic()), "text", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "left out for width: samples/s" in text and "samples/s" not in text.split("\n\n")[1].splitlines()[0]
    assert "accuracy %" in text and "left out" not in render(summarize(realistic()), "text")


def test_formats_hold_the_note_the_dash_and_what_latex_cannot_read() -> None:
    summary = summarize(realistic())
    for format, line in (("text", 0), ("markdown", 0), ("latex", 3)):
        assert "digits stand in" in render(summary, format, note="digits stand in").splitlines()[line]  # type: ignore[arg-type]
    latex = render(summary, "latex")
    assert r"attention\_5k" in latex and r"$\pm$" in latex and latex.isascii()
    read = pd.read_csv(io.StringIO(render(summary, "csv")))
    assert list(read.columns) == list(summary.columns)
    assert list(read["test_accuracy_mean"]) == pytest.approx(
        list(summary["test_accuracy_mean"]), abs=1e-15, nan_ok=True
    )


def test_empty_records_render() -> None:
    summary = summarize(realistic().iloc[:0])
    assert "no trial ended well" in render(summary, "text")
    assert "nothing to rank" in render_ranking(rank(summary, DEFAULT_WEIGHTS), "text")


def test_tables_are_byte_equal_and_without_tracebacks(tmp_path: Path) -> None:
    records = realistic()
    write_tables(records, tmp_path / "a")
    write_tables(records.sample(frac=1, random_state=1), tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["ranking.csv", "summary.csv", "trials.csv"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    trials = pd.read_csv(tmp_path / "a" / "trials.csv")
    assert len(trials) == len(records) and "RuntimeError: boom" in set(trials["error"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("no MNIST\nhere", "no MNIST"),
        ("Traceback (most recent call last):\n  File x\n    f()\nRuntimeError: boom", "RuntimeError: boom"),
        (
            "Traceback (most recent call last):\n  File x\nKeyError: 1\n\nDuring handling:\n\n"
            "Traceback (most recent call last):\n  File y\nE: Exception encountered.\n\n\x1b[1mInput 'y'\x1b[0m\n\nkwargs",
            "E: Exception encountered. Input 'y'",
        ),
        (None, "no message"),
    ],
)
def test_an_error_is_said_in_the_line_that_matters(error: str | None, said: str) -> None:
    assert error_line(error) == said
