"""What a search tried and what it found: its candidates, the best of them, and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.layout import Cell, Column, lay_out
from common.store import Run, table
from common.tables import number, percent, to_csv
from common.trial import Record
from config import Scalar, Search, Trial

FIGURES = ("val_accuracy", "val_log_loss", "epochs", "fit_s", "trial_s", "parameters", "flops_per_sample", "model_bytes",
           "latency_ms_p50", "energy_j")  # fmt: skip
"""What ``tables/search.csv`` says of a candidate; no figure of the test data is among them."""


@dataclass(frozen=True)
class Candidate:
    """What the sampler asked for, and what became of it.

    Attributes
    ----------
    trial : its longest training, of as many epochs as the study says.
    records : of its rungs, as far as it went.
    state : ``complete``; ``pruned``, given up at a rung; ``failed``, with the reason.
    """

    contender: str
    number: int
    parameters: Mapping[str, Scalar]
    trial: Trial | None
    records: Sequence[Record]
    state: Literal["complete", "pruned", "failed"]
    reason: str | None = None

    @property
    def said(self) -> dict[str, Any]:
        """What ``study.json`` says of it."""
        return {
            **{name: getattr(self, name) for name in ("contender", "number", "parameters", "state", "reason")},
            "keys": [record["key"] for record in self.records],
        }

    @property
    def text(self) -> str:
        """What was chosen, in words."""
        values = {name.rpartition(".")[2]: value for name, value in self.parameters.items()}
        return ", ".join(
            f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in values.items()
        )


@dataclass(frozen=True)
class Found:
    """What a search found: all candidates, those whose networks were tested, and the records of these tests."""

    run: Run
    candidates: Sequence[Candidate]
    finalists: Sequence[Candidate]
    records: Sequence[Record]

    @property
    def of(self) -> dict[str, list[Candidate]]:
        """The candidates of each contender."""
        return by_contender(self.candidates)

    @property
    def without(self) -> list[str]:
        """A line for each contender of which no candidate ended well."""
        return reasons(self.candidates)


def by_contender(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Return the candidates of each contender, in order."""
    found: dict[str, list[Candidate]] = {}
    for one in candidates:
        found.setdefault(one.contender, []).append(one)
    return found


def reasons(candidates: Sequence[Candidate]) -> list[str]:
    """Return a line for each contender of which no candidate ended well, with what ended them."""
    lines = []
    for name, of in by_contender(candidates).items():
        if not any(one.state == "complete" for one in of):
            reasons = sorted({one.reason.splitlines()[-1] for one in of if one.reason})
            lines.append(f"search: no candidate of {name} ended well: {'; '.join(reasons[:3])}")
    return lines


def directions(search: Search) -> list[Literal["maximize", "minimize"]]:
    """Return which way each objective is to go, as Optuna says it."""
    return ["maximize" if objective == "val_accuracy" else "minimize" for objective in search.objectives]


def best(candidates: Sequence[Candidate], search: Search) -> list[Candidate]:
    """Return the best candidate, of several equal ones the surest (by log loss); of several objectives the unbeaten.

    Where none ended well, there is none.
    """
    whole = [candidate for candidate in candidates if candidate.state == "complete"]
    signs = [-1 if way == "maximize" else 1 for way in directions(search)]

    def figures(candidate: Candidate) -> list[float]:
        last = candidate.records[-1]
        return [sign * last[objective] for sign, objective in zip(signs, search.objectives, strict=True)]

    if len(search.objectives) == 1 and whole:
        return [min(whole, key=lambda one: (*figures(one), one.records[-1]["val_log_loss"]))]
    unbeaten = [one for one in whole if not any(_beats(figures(other), figures(one)) for other in whole)]
    return list({tuple(figures(one)): one for one in reversed(unbeaten)}.values())[::-1]


def _beats(figures: Sequence[float], others: Sequence[float]) -> bool:
    pairs = list(zip(figures, others, strict=True))
    return all(one <= other for one, other in pairs) and any(one < other for one, other in pairs)


def csv(candidates: Sequence[Candidate]) -> str:
    """Return a row a candidate: what was chosen, and the figures of its last trial."""
    rows = [
        {
            **{name: getattr(one, name) for name in ("contender", "number", "state", "reason")},
            **one.parameters,
            **{name: one.records[-1][name] if one.records else None for name in FIGURES},
            "key": one.records[-1]["key"] if one.records else None,
        }
        for one in candidates
    ]
    return to_csv(table(rows))


def render(found: Found, width: int | None) -> str:
    """Return a row for each candidate whose network is tested: what was spent until it was found, and its figures."""
    rows = found.finalists
    of = found.of
    spent = {name: _seconds(candidates) for name, candidates in of.items()}
    columns = [
        _column("search", [row.contender for row in rows], right=False),
        _column("candidates", [str(len(of[row.contender])) for row in rows]),
        _column("seconds", [number(spent[row.contender]) for row in rows]),
        _column("found at", [f"{row.number + 1}" for row in rows]),
        _column("validation %", [percent(row.records[-1]["val_accuracy"]) for row in rows]),
        _column("parameters", [f"{row.records[-1]['parameters'] or 0:,}" for row in rows]),
        _column("chosen", [row.text for row in rows], right=False),
    ]
    pruned, failed = (sum(one.state == state for one in found.candidates) for state in ("pruned", "failed"))
    notes = ["Chosen by validation figures alone: no trial of the search has read a test image. seconds: of all trials, "
             "from data to record. found at: the candidate, counted from 1. All candidates: tables/search.csv."]  # fmt: skip
    notes += found.without
    notes += [f"{pruned} candidates were given up early, {failed} failed."] * bool(pruned or failed)
    notes += ["Below, each is trained from fresh seeds and tested once, on the split of the search: seeds differ in "
              "initial weights and batches."]  # fmt: skip
    return lay_out(columns, [], notes, "text", width, "tables/search.csv")


def _seconds(candidates: Sequence[Candidate]) -> float:
    return sum(float(record["trial_s"] or 0) for one in candidates for record in one.records)


def _column(header: str, texts: Sequence[str], right: bool = True) -> Column:
    return Column(header, [Cell(text) for text in texts], right=right)
