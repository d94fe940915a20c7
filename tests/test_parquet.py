"""A run's trials as one Parquet file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import call, record_paths, records, study, the_run

polars = pytest.importorskip("polars", reason="needs requirements-scale.txt")


def test_one_file_says_what_all_records_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.parquet._BATCH", 2)
    path, results = study(tmp_path, architecture=["ffn:1", "ffn:2", "ffn:3"]), tmp_path / "results"
    assert call("--study", path, "--results", results).status == 0
    first = record_paths(results)[0]
    fields = json.loads(first.read_text(encoding="utf-8"))
    first.write_text(json.dumps({**fields, "peak_memory_mb": 123, "of_tomorrow": 1}), encoding="utf-8")
    target = tmp_path / "trials.parquet"
    outcome = call("table", the_run(results), "--parquet", target)
    assert outcome.status == 0 and "3 trials" in outcome.out, outcome
    found = {row["key"]: row for row in polars.read_parquet(target).to_dicts()}
    for record in records(results):
        row = {
            name: json.loads(value)
            if value is not None and name in ("spec", "settings", "warnings", "untrained")
            else value
            for name, value in found[record["key"]].items()
        }
        assert row == {"of_tomorrow": None, **record}


def test_a_place_that_takes_no_file_is_said_in_one_line(tmp_path: Path) -> None:
    path, results = study(tmp_path, architecture="ffn:1"), tmp_path / "results"
    assert call("--study", path, "--results", results).status == 0
    (tmp_path / "file").touch()
    outcome = call("table", the_run(results), "--parquet", tmp_path / "file" / "trials.parquet")
    assert outcome.status == 2 and len(outcome.err.splitlines()) == 1, outcome
