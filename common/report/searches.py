"""Charts of a search: its history, the best so far against what was spent, what mattered, and all candidates at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.report.charts import Axis, Chart, Series
from common.report.drawing import color, figure, plain
from common.report.pictures import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from common.results import Results
    from config import Search

NAMES = ("search-best", "search-history", "search-importance")
VALIDATION = Axis("validation accuracy (%)")
_GROUP = "the search"
_LEAST = 4
"""Candidates below which nothing can be said of what mattered."""


@dataclass(frozen=True)
class _Tried:
    """A candidate with the records of its rungs."""

    said: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    @property
    def complete(self) -> bool:
        """Whether it was trained to the end, and no record of it was lost since."""
        return self.said["state"] == "complete" and len(self.records) == len(self.said["keys"])

    @property
    def accuracy(self) -> float:
        """Of its last trial on validation data, in percent."""
        return 100 * float(self.records[-1]["val_accuracy"])

    @property
    def seconds(self) -> float:
        return sum(float(record["trial_s"] or 0) for record in self.records)


def _searches(results: Results) -> dict[str, list[_Tried]]:
    """Return the candidates of each contender, in the order in which they were tried; none where nothing was searched."""
    found: dict[str, list[_Tried]] = {}
    for said in results.study.get("candidates", []):
        found.setdefault(said["contender"], []).append(_Tried(said, results.run.records(said["keys"])))
    return {name: tried for name, tried in found.items() if any(one.complete for one in tried)}


def charts(results: Results) -> Iterator[Chart]:
    """Yield the charts of a run that searched; none of any other."""
    found = _searches(results)
    if not found:
        return
    complete = "validation accuracy of one training a candidate; those given up early or failed are left out"
    history, best, importances = [], [], []
    styles: dict[str, int] = {}
    for name, tried in found.items():
        backend = name.partition(" ")[0]
        style = styles[backend] = styles.get(backend, -1) + 1
        whole = [one for one in tried if one.complete]
        x, y = [one.said["number"] + 1 for one in whole], [one.accuracy for one in whole]
        history.append(Series(name, backend, x, y, [1] * len(x), style=style))
        spent = list(itertools.accumulate(one.seconds for one in tried))
        steps = _steps([(seconds, one.accuracy) for seconds, one in zip(spent, tried, strict=True) if one.complete])
        seconds, so_far = [at for at, _ in steps], [accuracy for _, accuracy in steps]
        best.append(Series(name, backend, seconds, so_far, [1] * len(steps), style=style))
        shares = _importances(results, tried)
        if shares:
            importances.append(Series(name, backend, list(shares.values()), list(shares), [len(x)] * len(shares)))
    yield Chart("search-best", _GROUP, "the best so far against what was spent",
                f"{complete}; seconds are of all trials of that search, those given up among them.", "line",
                Axis("seconds of trials"), VALIDATION, best)  # fmt: skip
    yield Chart("search-history", _GROUP, "the candidates in the order in which they were tried", f"{complete}.",
                "points", Axis("candidate"), VALIDATION, history)  # fmt: skip
    if importances:
        yield Chart("search-importance", _GROUP, "what mattered",
                    "share of the variance of validation accuracy that a parameter explains (fANOVA, by Optuna), over all "
                    "candidates trained to the end; of few candidates, and of a search that soon stays near its best, it "
                    "is rough.", "dots", Axis("importance"), Axis(""), importances)  # fmt: skip


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the best so far at each point as stairs: it holds until a better one is found."""
    so_far = list(itertools.accumulate((accuracy for _, accuracy in points), max))
    stairs = [(points[0][0], so_far[0])]
    for (seconds, _), before, now in zip(points[1:], so_far, so_far[1:], strict=False):
        stairs += [(seconds, before)] + [(seconds, now)] * (now > before)
    return stairs


def _importances(results: Results, tried: Sequence[_Tried]) -> dict[str, float]:
    """Return each parameter's share of the variance, the largest first; empty where there is too little to say."""
    whole = [one for one in tried if one.complete]
    if len(whole) < _LEAST or len({one.accuracy for one in whole}) < 2:
        return {}
    import optuna

    from common.tune import distributions

    spaces = distributions(_search(results))
    study = optuna.create_study(direction="maximize")
    for one in whole:
        values: dict[str, Any] = dict(one.said["parameters"])
        study.add_trial(optuna.trial.create_trial(params=values, distributions=spaces, value=one.accuracy))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name.rpartition(".")[2]: float(share) for name, share in found.items()}


def _search(results: Results) -> Search:
    from config import Search

    return Search.model_validate(results.study["search"])


def pictures(results: Results) -> Iterator[Picture]:
    """Yield the parallel coordinates of a search: a line a candidate, through its parameters to its accuracy."""
    found = _searches(results)
    if found:
        text = ("a line a candidate that was trained to the end, from parameter to parameter to its validation accuracy; "
                "the tenth that is best of each search is drawn strongly.")  # fmt: skip
        yield Picture("search-parallel", "all candidates of the search", text, lambda: _parallel(results, found))


def _parallel(results: Results, found: Mapping[str, Sequence[_Tried]]) -> Figure:
    parameters = _search(results).parameters
    drawn = figure(width=max(8.0, 1.6 * (len(parameters) + 1)))
    axes = drawn.add_subplot()
    whole = {name: [one for one in tried if one.complete] for name, tried in found.items()}
    accuracies = [one.accuracy for tried in whole.values() for one in tried]
    low, high = min(accuracies), max(accuracies)
    for name, tried in whole.items():
        shade = color(name.partition(" ")[0])
        strong = np.quantile([one.accuracy for one in tried], 0.9)
        for number, one in enumerate(tried):
            heights = [_height(values, one.said["parameters"][key]) for key, values in parameters.items()]
            heights.append((one.accuracy - low) / (high - low) if high > low else 0.5)
            best = one.accuracy >= strong
            axes.plot(range(len(heights)), heights, color=shade, alpha=0.9 if best else 0.2, zorder=2 + best,
                      linewidth=1.6 if best else 0.8, label=plain(name) if number == 0 else None)  # fmt: skip
    ends = [_ends(values) for values in parameters.values()] + [(f"{low:.2f}%", f"{high:.2f}%")]
    names = [*(name.rpartition(".")[2].replace("_", " ") for name in parameters), "validation accuracy"]
    for place, (bottom, top) in enumerate(ends):
        axes.axvline(place, color="#767676", linewidth=0.8, zorder=1)
        axes.annotate(plain(bottom), (place, 0), xytext=(0, -11), textcoords="offset points", ha="center", fontsize=7)
        axes.annotate(plain(top), (place, 1), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_yticks([])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    legend = axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for line in legend.get_lines():
        line.set_alpha(1)
    return drawn


def _height(values: Any, value: Any) -> float:
    """Return where a value stands on its axis, from 0 to 1."""
    if isinstance(values, list):
        return values.index(value) / max(1, len(values) - 1)
    if values.log:
        return float(np.log(value / values.low) / np.log(values.high / values.low))
    return float((value - values.low) / (values.high - values.low))


def _ends(values: Any) -> tuple[str, str]:
    return (str(values[0]), str(values[-1])) if isinstance(values, list) else (f"{values.low:g}", f"{values.high:g}")
