"""Each published claim beside what was measured, and whether it holds.

A claim on a mean holds where the 95% interval of the mean over seeds lies on its side, fails where it lies on the
other, and cannot be told where the interval holds the boundary, or below three seeds. A published accuracy, of one run,
fails where it lies above the interval by more than the 0.15 points that one run may be lucky by. What a table of nodes
says of parameters is decided by arithmetic, without a trial. All others are decided by trials on MNIST's official split,
all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from common.layout import Cell, Column, HumanFormat, lay_out
from common.published import DEPTHS, EXPLORATION_SOURCE, LIGHTWEIGHT, LIGHTWEIGHT_SOURCE, NODES, RECORDS, Model
from common.stats import INTERVAL_SEEDS, MeanInterval, mean_interval
from common.summary import SPEC_FIELDS, complete
from config import parse_architecture

Word = Literal["holds", "fails", "cannot be told"]

LUCK = 0.15
"""Points by which one published run may lie above the mean of many."""

CIRCUMSTANCES = ("cpu", "device", "threads", "contended")
"""What trials must share for their times and energy to be compared."""

FULL_SIZE = ("cnn", "resnet", "mlp")
FAMILIES = {"as published": ("lightweight_",), "single-weight": ("attention_",)}
"""Lightweight networks by the beginning of their names."""


@dataclass(frozen=True)
class Verdict:
    """One claim: what was claimed, what was measured, whether it holds, and why."""

    source: str
    claim: str
    claimed: str
    measured: str
    word: Word
    why: str = ""


def verdicts(records: pd.DataFrame) -> list[Verdict]:
    """Decide every published claim by the trials on MNIST's official split, all of it, that ended well.

    Parameters
    ----------
    records : a row a trial, of any number of runs.
    """
    frame = complete(records)
    ok = frame[
        (frame["status"] == "ok")
        & (frame["dataset"] == "mnist")
        & (frame["split"] == "official")
        & frame["rows"].isna()
    ]
    measured = _Measured(ok)
    return [*_models(measured), *_tables(measured), *_family_claims(measured), *_records(measured)]


class _Measured:
    """The trials by architecture, each in the configuration that has most seeds, and of those most epochs."""

    def __init__(self, ok: pd.DataFrame) -> None:
        fields = [name for name in SPEC_FIELDS if name != "architecture"]
        self.trials: dict[str, pd.DataFrame] = {}
        for architecture, found in ok.groupby("architecture"):
            sizes = found.groupby(fields, dropna=False)["seed"].transform("nunique")
            best = found[sizes == sizes.max()]
            best = best[best["max_epochs"] == best["max_epochs"].max()]
            group = best.groupby(fields, dropna=False, sort=False).ngroup()
            self.trials[str(architecture)] = best[group == group.iloc[0]].set_index("seed")

    def of(self, family: str) -> list[str]:
        """Return the measured architectures of a family, the best by mean accuracy first."""
        heads = FAMILIES.get(family, FULL_SIZE)
        found = [name for name in self.trials if name.startswith(heads) and not _is_variant(name)]
        return sorted(found, key=lambda name: -self.trials[name]["test_accuracy"].mean())

    def accuracy(self, architecture: str) -> MeanInterval:
        """Return the mean test accuracy in percent."""
        if architecture not in self.trials:
            return MeanInterval(0)
        return mean_interval(100 * self.trials[architecture]["test_accuracy"], bounds=(0, 100))

    def first(self, architecture: str, column: str) -> float | None:
        """Return a figure that no seed changes, or that one seed measured."""
        if architecture not in self.trials:
            return None
        values = self.trials[architecture][column].dropna()
        return float(values.iloc[0]) if len(values) else None

    def paired(self, first: str, second: str, column: str, scale: float = 1) -> MeanInterval:
        """Return the mean over shared seeds of first - second, times `scale`."""
        return mean_interval(scale * self.trials[first][column].sub(self.trials[second][column]).dropna())

    def unlike(self, first: str, second: str) -> str:
        """Say why two architectures' times and energy cannot be compared; nothing where they can."""
        both = pd.concat([self.trials[first], self.trials[second]])
        differ = [name for name in CIRCUMSTANCES if both[name].nunique(dropna=False) > 1]
        return f"trials of {first} and {second} differ in {', '.join(differ)}" if differ else ""


def _is_variant(architecture: str) -> bool:
    """Whether a network lacks the attention its name stands for: a twin, or one with dense projections."""
    return "+scores=" in architecture or "+projections=" in architecture


def _text(found: MeanInterval, unit: str = "%") -> str:
    if found.mean is None:
        return "-"
    spread = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.mean:.2f}{unit}{spread}, n = {found.n}"


def _side(found: MeanInterval, boundary: float) -> Word:
    """Say whether a mean lies above a boundary."""
    if found.n < INTERVAL_SEEDS or found.low is None or found.high is None or found.low <= boundary <= found.high:
        return "cannot be told"
    return "holds" if found.low > boundary else "fails"


_OPPOSITE: dict[Word, Word] = {"holds": "fails", "fails": "holds", "cannot be told": "cannot be told"}
_FEW = f"fewer than {INTERVAL_SEEDS} seeds on MNIST's official split"


def _reproduced(source: str, model: Model, measured: _Measured) -> Verdict:
    found = measured.accuracy(model.architecture)
    claimed = f"{model.accuracy:.2f}%"
    claim = f"{model.title}: accuracy ({model.architecture})"
    if found.n < INTERVAL_SEEDS or found.high is None:
        return Verdict(source, claim, claimed, _text(found), "cannot be told", _FEW)
    epochs = measured.first(model.architecture, "max_epochs") or 0
    if found.high < model.accuracy - LUCK and epochs < model.epochs:
        why = f"{epochs:.0f} epochs, of {model.epochs} published"
        return Verdict(source, claim, claimed, _text(found), "cannot be told", why)
    if found.high < model.accuracy - LUCK:
        return Verdict(source, claim, claimed, _text(found), "fails", "the published run lies above the interval")
    above = found.low is not None and found.low > model.accuracy
    return Verdict(source, claim, claimed, _text(found), "holds", "more was measured here" if above else "")


def _models(measured: _Measured) -> Iterator[Verdict]:
    for model in LIGHTWEIGHT:
        count = measured.first(model.architecture, "parameters")
        claim, claimed = f"{model.title}: parameters ({model.architecture})", f"{model.parameters:,}"
        if count is None:
            yield Verdict(LIGHTWEIGHT_SOURCE, claim, claimed, "-", "cannot be told", "no trial of it on MNIST")
        else:
            word: Word = "holds" if count == model.parameters else "fails"
            idle = measured.first(model.architecture, "untrained_parameters")
            why = f"{idle:,.0f} of them get no gradient" if idle else ""
            yield Verdict(LIGHTWEIGHT_SOURCE, claim, claimed, f"{count:,.0f}", word, why)
        yield _reproduced(LIGHTWEIGHT_SOURCE, model, measured)


def _tables(measured: _Measured) -> Iterator[Verdict]:
    for model in (*NODES, *DEPTHS):
        yield _reproduced(EXPLORATION_SOURCE, model, measured)
        if model.parameters is not None:
            (width,) = parse_architecture(model.architecture)["hidden_layer_sizes"]
            count = (784 + 1) * width + (width + 1) * 10
            why = f"784-{width}-10 has {count:,}; no network with one hidden layer of {width} has the number published"
            claim = f"{model.title}: parameters ({model.architecture})"
            word: Word = "holds" if count == model.parameters else "fails"
            yield Verdict(EXPLORATION_SOURCE, claim, f"{model.parameters:,}", f"{count:,}", word, why)


def _records(measured: _Measured) -> Iterator[Verdict]:
    """Hold the best within each budget against the best that was published: to beat it, an interval lies above it."""
    for record in RECORDS:
        claim = f"{record.title}: not beaten"
        known = [name for name in measured.trials if name.startswith(record.family) and not _is_variant(name)]
        sizes = {
            name: measured.first(name, "parameters") for name in known if measured.accuracy(name).n >= INTERVAL_SEEDS
        }
        within = [name for name, size in sizes.items() if size is not None and size <= record.budget]
        source, claimed = "others, best within a budget", f"{record.accuracy:.2f}%, {record.parameters:,} parameters"
        if not within:
            yield Verdict(source, claim, claimed, "-", "cannot be told", f"{_FEW}, with so few parameters")
            continue
        best = max(within, key=lambda name: measured.trials[name]["test_accuracy"].mean())
        found = measured.accuracy(best)
        why = f"{best}, {sizes[best]:,.0f} parameters; {record.source}: {record.remark}"
        yield Verdict(source, claim, claimed, _text(found), _OPPOSITE[_side(found, record.accuracy)], why)


def _family_claims(measured: _Measured) -> Iterator[Verdict]:
    for family in FAMILIES:
        members, full = measured.of(family), measured.of("full size")
        for title, claimed, decide in _CLAIMS:
            claim = f"{title} ({family})"
            if not members or not full:
                missing = f"no {family} network" if not members else "no full-size network"
                yield Verdict(LIGHTWEIGHT_SOURCE, claim, claimed, "-", "cannot be told", f"{missing} on MNIST")
            else:
                text, word, why = decide(measured, members, full)
                yield Verdict(LIGHTWEIGHT_SOURCE, claim, claimed, text, word, why)


Decision = tuple[str, Word, str]


def _fewer_parameters(measured: _Measured, members: Sequence[str], _: Sequence[str]) -> Decision:
    cnn = measured.first("cnn", "parameters")
    if cnn is None:
        return "-", "cannot be told", "no trial of cnn"
    saved = {name: 100 * (1 - (measured.first(name, "parameters") or 0) / cnn) for name in members}
    most = max(saved, key=lambda name: saved[name])
    return (
        f"{saved[most]:.1f}% less",
        "holds" if saved[most] >= 80 else "fails",
        f"at most, by {most}, of cnn's {cnn:,.0f}",
    )


def _under_50k(measured: _Measured, members: Sequence[str], _: Sequence[str]) -> Decision:
    sizes = {name: measured.first(name, "parameters") or 0 for name in members}
    small = [name for name in members if sizes[name] < 50_000]
    least = min(members, key=lambda name: sizes[name])
    return (
        f"{len(small)} of {len(members)}",
        "holds" if small else "fails",
        f"the least has {sizes[least]:,.0f} ({least})",
    )


def _over_98(measured: _Measured, members: Sequence[str], _: Sequence[str]) -> Decision:
    found = measured.accuracy(members[0])
    return _text(found), _side(found, 98.0), members[0]


def _within_half(measured: _Measured, members: Sequence[str], full: Sequence[str]) -> Decision:
    points = measured.paired(full[0], members[0], "test_accuracy", 100)
    return f"{_text(points, ' points')} behind", _OPPOSITE[_side(points, 0.5)], f"{members[0]} against {full[0]}"


def _smaller(measured: _Measured, members: Sequence[str], full: Sequence[str]) -> Decision:
    best = members[0]
    figures, less = [], True
    for column, unit, scale in (("memory_rise_mb", "MB", 1.0), ("model_bytes", "kB", 1e-3)):
        own, others = measured.first(best, column), [measured.first(name, column) for name in full]
        known = [value for value in others if value is not None]
        if own is None or not known:
            return "-", "cannot be told", f"{column} was not measured"
        figures.append(f"{own * scale:,.0f} {unit} against {min(known) * scale:,.0f}")
        less &= own < min(known)
    return "; ".join(figures), "holds" if less else "fails", f"{best}: rise of memory in training, and its file"


def _faster(measured: _Measured, members: Sequence[str], full: Sequence[str]) -> Decision:
    column, best = "fit_s_to_98", members[0]
    if measured.trials[best][column].isna().all():
        return "never", "fails", f"{best} never reached 98% on validation data"
    reached = [name for name in full if measured.trials[name][column].notna().all()]
    if not reached:
        return "-", "cannot be told", "no full-size network reached 98% on validation data with every seed"
    rival = min(reached, key=lambda name: measured.trials[name][column].mean())
    if unlike := measured.unlike(best, rival):
        return "-", "cannot be told", unlike
    saved = measured.paired(rival, best, column)
    return (
        f"{_text(saved, ' s')} sooner",
        _side(saved, 0.0),
        f"{best} to 98% on validation data, before {rival}",
    )


def _less_energy(measured: _Measured, members: Sequence[str], full: Sequence[str]) -> Decision:
    rival = min(full, key=lambda name: measured.trials[name]["energy_j"].mean())
    if unlike := measured.unlike(members[0], rival):
        return "-", "cannot be told", unlike
    saved = measured.paired(rival, members[0], "energy_j")
    methods = {
        *measured.trials[rival]["energy_method"].dropna(),
        *measured.trials[members[0]]["energy_method"].dropna(),
    }
    if len(methods) != 1:
        return "-", "cannot be told", "energy was not found in the same way"
    return f"{_text(saved, ' J')} less", _side(saved, 0.0), f"{members[0]} against {rival}; {methods.pop()}"


_CLAIMS: tuple[tuple[str, str, Callable[[_Measured, Sequence[str], Sequence[str]], Decision]], ...] = (
    ("fewer parameters than a traditional CNN", "up to 80% less", _fewer_parameters),
    ("some under 50,000 parameters", "some", _under_50k),
    ("the best over 98% on the test set", "> 98%", _over_98),
    ("the best within 0.5 points of the best full-size network", "< 0.5 points", _within_half),
    ("smaller in memory and storage", "smaller", _smaller),
    ("converge faster", "sooner", _faster),
    ("consume less energy", "less", _less_energy),
)


def render(found: Sequence[Verdict], format: HumanFormat, width: int | None = None) -> str:
    """Show verdicts as a table for each source."""
    parts = []
    for source in dict.fromkeys(verdict.source for verdict in found):
        rows = [verdict for verdict in found if verdict.source == source]
        columns = [
            Column("claim", [Cell(row.claim) for row in rows], right=False),
            Column("claimed", [Cell(row.claimed) for row in rows]),
            Column("measured here", [Cell(row.measured) for row in rows]),
            Column("verdict", [Cell(row.word) for row in rows], right=False),
            Column("why", [Cell(row.why) for row in rows], 50, right=False),
        ]
        parts.append(lay_out(columns, [f"Published by {source}:"], [], format, width, "--format csv"))
    words = [verdict.word for verdict in found]
    count = ", ".join(f"{words.count(word)} {'hold' if word == 'holds' else 'fail' if word == 'fails' else word}"
                      for word in ("holds", "fails", "cannot be told"))  # fmt: skip
    notes = [f"{len(found)} claims: {count}.", *(__doc__ or "").split("\n\n")[1:],
             "Published times are of another machine, and are not compared."]  # fmt: skip
    return "\n".join([*parts, lay_out([], [], [" ".join(note.split()) for note in notes], format, width, "")])


def to_rows(found: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return verdicts as rows for CSV."""
    names = {"word": "verdict"}
    return [{names.get(key, key): value for key, value in vars(verdict).items()} for verdict in found]
