"""Each published claim beside what was measured, and whether it holds.

A claim on a mean holds where the 95% interval of the mean over seeds lies on its side, fails where it lies on the
other, and cannot be told where the interval holds the boundary, below three seeds, or where so few seeds are all equal.
A published accuracy, of one run, fails where it lies above the interval by more than the 0.15 points that one run may
be lucky by. What a table of nodes says of parameters is decided by arithmetic, without a trial. All others are decided
by trials on MNIST's official split, all of it.

Of a network that was trained in several ways, the way it was published counts, or else that of most seeds, then of most
epochs, then the better on validation data. The best of several networks is the best on validation data. Two networks
are compared seed by seed, where all was the same but the architecture; in time and energy those count of which all trials
were timed alone, and no seed took more than twice as long as another for the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from common.layout import Cell, Column, HumanFormat, lay_out
from common.published import (
    DEPTHS,
    EXPLORATION_SOURCE,
    LIGHTWEIGHT,
    LIGHTWEIGHT_SOURCE,
    NODES,
    RECORDS,
    Model,
)
from common.stats import INTERVAL_SEEDS, MeanInterval, evidence_interval
from common.summary import STEADY, complete, in_order, scattered
from common.trained import Trained, best_first, configurations, of_architecture, of_family
from config import parse_architecture

Word = Literal["holds", "fails", "cannot be told"]

LUCK = 0.15
"""Points by which one published run may lie above the mean of many."""

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
    records : a row a trial, of any number of runs; a trial that several runs have counts once, timed alone where it was.
    """
    frame = in_order(complete(records))
    ok = frame[
        (frame["status"] == "ok")
        & (frame["dataset"] == "mnist")
        & (frame["split"] == "official")
        & frame["rows"].isna()
    ]
    trained = configurations(ok)
    return [*_models(trained), *_tables(trained), *_family_claims(trained), *_records(trained)]


def _text(found: MeanInterval, unit: str = "%") -> str:
    if found.mean is None:
        return "-"
    spread = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.mean:.2f}{unit}{spread}, n = {found.n}"


_PLACE = "on MNIST's official split"
_FEW = f"fewer than {INTERVAL_SEEDS} seeds {_PLACE}"
_FEW_PAIRS = f"fewer than {INTERVAL_SEEDS} seeds in common"
_OPPOSITE: dict[Word, Word] = {"holds": "fails", "fails": "holds", "cannot be told": "cannot be told"}


def _undecided(found: MeanInterval, few: str = _FEW) -> str:
    """Say why a mean over seeds can decide nothing; nothing where it can."""
    if found.n < INTERVAL_SEEDS:
        return few
    return "" if found.low is not None else f"all {found.n} seeds gave the same, too few to say how seeds vary"


def _side(found: MeanInterval, boundary: float) -> Word:
    """Say whether a mean lies above a boundary."""
    if _undecided(found) or found.low is None or found.high is None or found.low <= boundary <= found.high:
        return "cannot be told"
    return "holds" if found.low > boundary else "fails"


def _why(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _reproduced(source: str, model: Model, trained: Sequence[Trained]) -> Verdict:
    one = of_architecture(trained, model.architecture)
    claim, claimed = f"{model.title}: accuracy ({model.architecture})", f"{model.accuracy:.2f}%"
    if one is None:
        return Verdict(source, claim, claimed, "-", "cannot be told", f"no trial {_PLACE}")
    found, otherwise = one.accuracy, _otherwise(one, model)
    if found.low is None or found.high is None or _undecided(found):
        return Verdict(source, claim, claimed, _text(found), "cannot be told", _undecided(found))
    if found.high >= model.accuracy - LUCK:
        more = "more was measured here" if found.low > model.accuracy else ""
        return Verdict(source, claim, claimed, _text(found), "holds", _why(more, otherwise))
    if otherwise:
        return Verdict(source, claim, claimed, _text(found), "cannot be told", otherwise)
    return Verdict(source, claim, claimed, _text(found), "fails", "the published run lies above the interval")


def _otherwise(one: Trained, model: Model) -> str:
    """Say in what a network was trained otherwise than it was published, or less; nothing where it was not."""
    unlike, epochs = one.unlike_published(), one.first("max_epochs") or 0
    return _why(
        f"trained with another {', '.join(unlike)} than published" if unlike else "",
        f"{epochs:.0f} epochs, of {model.epochs} published" if epochs < model.epochs else "",
    )


def _models(trained: Sequence[Trained]) -> Iterator[Verdict]:
    for model in LIGHTWEIGHT:
        one = of_architecture(trained, model.architecture)
        claim, claimed = f"{model.title}: parameters ({model.architecture})", f"{model.parameters:,}"
        if one is None:
            yield Verdict(LIGHTWEIGHT_SOURCE, claim, claimed, "-", "cannot be told", f"no trial {_PLACE}")
        else:
            word: Word = "holds" if one.parameters == model.parameters else "fails"
            idle = one.first("untrained_parameters")
            why = f"{idle:,.0f} of them get no gradient" if idle else ""
            yield Verdict(LIGHTWEIGHT_SOURCE, claim, claimed, f"{one.parameters:,.0f}", word, why)
        yield _reproduced(LIGHTWEIGHT_SOURCE, model, trained)


def _tables(trained: Sequence[Trained]) -> Iterator[Verdict]:
    for model in (*NODES, *DEPTHS):
        yield _reproduced(EXPLORATION_SOURCE, model, trained)
        if model.parameters is not None:
            (width,) = parse_architecture(model.architecture)["hidden_layer_sizes"]
            count = (784 + 1) * width + (width + 1) * 10
            why = f"784-{width}-10 has {count:,}; no network with one hidden layer of {width} has the number published"
            claim = f"{model.title}: parameters ({model.architecture})"
            word: Word = "holds" if count == model.parameters else "fails"
            yield Verdict(EXPLORATION_SOURCE, claim, f"{model.parameters:,}", f"{count:,}", word, why)


def _records(trained: Sequence[Trained]) -> Iterator[Verdict]:
    """Hold the best within each budget against the best that was published: to beat it, an interval lies above it."""
    enough = [found for found in trained if len(found.trials) >= INTERVAL_SEEDS]
    for record in RECORDS:
        claim, claimed = f"{record.title}: not beaten", f"{record.accuracy:.2f}%, {record.parameters:,} parameters"
        within = [found for found in of_family(enough, (record.family,)) if found.parameters <= record.budget]
        source = "others, best within a budget"
        if not within:
            why = f"no such network has {INTERVAL_SEEDS} seeds {_PLACE}"
            yield Verdict(source, claim, claimed, "-", "cannot be told", why)
            continue
        best = max(within, key=lambda found: found.val_accuracy)
        found, size = best.accuracy, f"{best.parameters:,.0f} parameters"
        why = _why(f"{best.architecture}, {size}", f"{record.source}: {record.remark}", _undecided(found))
        yield Verdict(source, claim, claimed, _text(found), _OPPOSITE[_side(found, record.accuracy)], why)


Decision = tuple[str, Word, str]


def _untold(why: str) -> Decision:
    return "-", "cannot be told", why


def _family_claims(trained: Sequence[Trained]) -> Iterator[Verdict]:
    for family, heads in FAMILIES.items():
        members = best_first(of_family(trained, heads))
        missing = f"no network {heads[0]}* {_PLACE}"
        for title, claimed, decide in _ALONE:
            decision = decide(trained, members) if members else _untold(missing)
            yield Verdict(LIGHTWEIGHT_SOURCE, f"{title} ({family})", claimed, *decision)
        for title, claimed, compare, timed in _AGAINST:
            against = _alike(trained, heads, timed)
            decision = _untold(against) if isinstance(against, str) else compare(*against)
            yield Verdict(LIGHTWEIGHT_SOURCE, f"{title} ({family})", claimed, *decision)


def _alike(trained: Sequence[Trained], heads: tuple[str, ...], timed: bool) -> tuple[Trained, list[Trained]] | str:
    """Return the best member of which there is a full-size network trained alike, and those networks, the best first.

    Where there is none, say why. What is `timed` looks at networks of which all trials were timed alone.
    """
    counted = [found for found in trained if not (timed and found.trials["contended"].any())]
    members, full = of_family(counted, heads), of_family(counted, FULL_SIZE)
    if not members or not full:
        alone = ", timed with no other trial beside it" if timed else ""
        return f"no {'full-size network' if members else f'network {heads[0]}*'} {_PLACE}{alone}"
    recipes = {found.recipe for found in full}
    comparable = [found for found in members if found.recipe in recipes]
    if comparable:
        best = best_first(comparable)[0]
        return best, best_first(found for found in full if found.recipe == best.recipe)
    best = best_first(members)[0]
    unlike, closest = min(((best.unlike(found), found.architecture) for found in full), key=lambda pair: len(pair[0]))
    return f"trained otherwise: {best.architecture} and {closest} differ in {', '.join(unlike)}"


def _fewer_parameters(trained: Sequence[Trained], members: Sequence[Trained]) -> Decision:
    cnn = of_architecture(trained, "cnn")
    if cnn is None:
        return _untold(f"no trial of cnn {_PLACE}")
    least = min(members, key=lambda found: found.parameters)
    saved = 100 * (1 - least.parameters / cnn.parameters)
    why = f"at most, by {least.architecture}, of cnn's {cnn.parameters:,.0f}"
    return f"{saved:.1f}% less", "holds" if saved >= 80 else "fails", why


def _under_50k(_: Sequence[Trained], members: Sequence[Trained]) -> Decision:
    small = [found for found in members if found.parameters < 50_000]
    least = min(members, key=lambda found: found.parameters)
    why = f"the least has {least.parameters:,.0f} ({least.architecture})"
    return f"{len(small)} of {len(members)}", "holds" if small else "fails", why


def _over_98(_: Sequence[Trained], members: Sequence[Trained]) -> Decision:
    found = members[0].accuracy
    return _text(found), _side(found, 98.0), _why(members[0].architecture, _undecided(found))


def _paired(first: Trained, second: Trained, column: str, scale: float = 1) -> MeanInterval:
    """Return the mean over shared seeds of first - second, times `scale`."""
    return evidence_interval((scale * first.trials[column]).sub(scale * second.trials[column]))


def _within_half(best: Trained, rivals: Sequence[Trained]) -> Decision:
    behind = _paired(rivals[0], best, "test_accuracy", 100)
    why = _why(f"{best.architecture} against {rivals[0].architecture}, trained alike", _undecided(behind, _FEW_PAIRS))
    return _text(behind, " points behind"), _OPPOSITE[_side(behind, 0.5)], why


def _smaller(best: Trained, rivals: Sequence[Trained]) -> Decision:
    figures, less = [], True
    for column, name, unit, scale in (
        ("memory_rise_mb", "rise of memory in training", "MB", 1.0),
        ("model_bytes", "file", "kB", 1e-3),
    ):
        own, others = best.first(column), [found.first(column) for found in rivals]
        known = [value for value in others if value is not None]
        if own is None or not known:
            return _untold(f"the {name} was not measured")
        figures.append(f"{own * scale:,.0f} {unit} against {min(known) * scale:,.0f}")
        less &= own < min(known)
    names = ", ".join(found.architecture for found in rivals)
    least = "the least of " if len(rivals) > 1 else ""
    why = f"rise of memory in training, and the file: {best.architecture} against {least}{names}, trained alike"
    return "; ".join(figures), "holds" if less else "fails", why


def _faster(best: Trained, rivals: Sequence[Trained]) -> Decision:
    column, level = "fit_s_to_98", "98% on validation data"
    there, n = int(best.trials[column].notna().sum()), len(best.trials)
    reached = [found for found in rivals if len(found.trials) >= INTERVAL_SEEDS and found.trials[column].notna().all()]
    if n < INTERVAL_SEEDS:
        return _untold(f"{best.architecture}: {_FEW}")
    if not reached:
        return _untold(
            f"no full-size network trained alike reached {level} with each of {INTERVAL_SEEDS} seeds or more"
        )
    if not there:
        return "never", "fails", f"{best.architecture} never reached {level}"
    if there < n:
        return _untold(f"{best.architecture} reached {level} with {there} of {n} seeds")
    return _saved(best, reached, column, " s sooner", f"to {level}")


def _less_energy(best: Trained, rivals: Sequence[Trained]) -> Decision:
    metered = [found for found in rivals if found.trials["energy_j"].notna().all()]
    if not metered or best.trials["energy_j"].isna().any():
        return _untold("energy was not measured")
    methods = {str(method) for found in (best, *metered) for method in found.trials["energy_method"]}
    if len(methods) > 1:
        return _untold("energy was not found in the same way")
    return _saved(best, metered, "energy_j", " J less", methods.pop())


def _saved(best: Trained, rivals: Sequence[Trained], column: str, unit: str, how: str) -> Decision:
    """Say whether a network takes less time or energy than each of others, that is than the one that takes least."""
    if reason := _not_comparable([best, *rivals]):
        return _untold(reason)
    rival = min(rivals, key=lambda found: float(found.trials[column].mean()))
    saved = _paired(rival, best, column)
    why = _why(f"{best.architecture} against {rival.architecture}, trained alike", how, _undecided(saved, _FEW_PAIRS))
    return _text(saved, unit), _side(saved, 0.0), why


def _not_comparable(trained: Sequence[Trained]) -> str:
    """Say why times and energy cannot be compared; nothing where they can."""
    for found in trained:
        if scattered(found.trials["epoch_s"]):
            return f"the same work took one seed of {found.architecture} more than {STEADY:g} times as long as another"
    if pd.concat([found.trials["cpu"] for found in trained]).nunique(dropna=False) > 1:
        return f"trials of {', '.join(found.architecture for found in trained)} ran on different processors"
    return ""


_ALONE: tuple[tuple[str, str, Callable[[Sequence[Trained], Sequence[Trained]], Decision]], ...] = (
    ("fewer parameters than a traditional CNN", "up to 80% less", _fewer_parameters),
    ("some under 50,000 parameters", "some", _under_50k),
    ("the best over 98% on the test set", "> 98%", _over_98),
)
_AGAINST: tuple[tuple[str, str, Callable[[Trained, Sequence[Trained]], Decision], bool], ...] = (
    ("the best within 0.5 points of the best full-size network", "< 0.5 points", _within_half, False),
    ("smaller in memory and storage", "smaller", _smaller, False),
    ("converge faster", "sooner", _faster, True),
    ("consume less energy", "less", _less_energy, True),
)
"""Claims that set the best of a family against full-size networks, and whether they are about time."""


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
