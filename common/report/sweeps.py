"""Charts of what a study varies: accuracy, time, memory and energy against depth, nodes, train share, epochs and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.naming import field_label, row_names
from common.report.charts import Axis, Chart, Series, seeds
from common.report.measures import ACCURACY, COSTS, Measure, by_backend, ends, remarks, values
from common.summary import SPEC_FIELDS, natural
from config import FeedForward, parse_architecture

MOST_SERIES = 4
"""Series of one backend in a chart; of more nobody could read them."""

DERIVED = {"depth": "hidden layers", "nodes": "neurons of a hidden layer", "activation": "activation"}
"""What varies within the name of a feed-forward network."""

LABELS = {
    "train_share": "training part of the data (%)", "max_epochs": "epochs at most", "input_size": "height of the images (pixels)",
    "learning_rate": "learning rate", "batch_size": "batch size", "rows": "rows of the data used", "l2": "L2 penalty",
    "pca": "principal components",
}  # fmt: skip
LOGARITHMIC = {"nodes", "learning_rate", "batch_size", "l2", "rows"}


@dataclass(frozen=True)
class Sweep:
    """A setting that varies while all else of a configuration stays.

    Attributes
    ----------
    rows : the summary's rows that belong to it.
    at : the setting's value in each row.
    group : rows of one group differ in the setting alone.
    """

    name: str
    label: str
    rows: pd.DataFrame
    at: pd.Series
    group: pd.Series


def sweeps(rows: pd.DataFrame) -> list[Sweep]:
    """Return the settings of which at least two values stand against each other, those of the most rows first."""
    found = []
    networks = _networks(rows)
    columns = [str(name) for name in networks]
    fields = [name for name in SPEC_FIELDS if name not in ("backend", "engine", "data_sha256")]
    frame = rows[SPEC_FIELDS].join(networks)
    for name in (*DERIVED, *fields):
        if name == "architecture" or frame[name].nunique() < 2:
            continue
        fixed = [field for field in SPEC_FIELDS if field not in (name, "data_sha256")]
        if name in DERIVED:
            fixed = [field for field in fixed if field != "architecture"] + [
                field for field in columns if field != name
            ]
        if name == "train_share":
            fixed.remove("split")
        if name == "dataset":
            fixed = [field for field in fixed if field not in ("split", "train_share", "rows")]
        there = frame[frame[name].notna()]
        group = there.groupby(fixed, dropna=False, sort=False).ngroup()
        swept = there.groupby(group)[name].transform("nunique") > 1
        if swept.any():
            kept = swept[swept].index
            label = DERIVED.get(name) or LABELS.get(name) or field_label(name)
            found.append(Sweep(name, label, rows.loc[kept], there[name][kept], group[kept]))
    return sorted(found, key=lambda sweep: -len(sweep.rows))


def _networks(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the depth, width and activation of each feed-forward network, and what else is in its name."""
    found = []
    for label in rows["architecture"]:
        fields = dict(parse_architecture(label))
        if fields.get("name") != "ffn":
            found.append({"depth": None, "nodes": None, "activation": None, "more": label})
            continue
        network = FeedForward.model_validate(fields)
        sizes, activations = network.hidden_layer_sizes, network.activations
        found.append({
            "depth": len(sizes),
            "nodes": sizes[0] if len(set(sizes)) == 1 else None,
            "activation": activations[0] if len(set(activations)) == 1 else "-".join(activations),
            "more": f"{sizes if len(set(sizes)) > 1 else ''} {network.dropout} {network.batch_norm}",
        })  # fmt: skip
    return pd.DataFrame(found, index=rows.index, columns=["depth", "nodes", "activation", "more"])


def charts(rows: pd.DataFrame) -> Iterator[Chart]:
    """Yield, for each setting that varies, a chart of accuracy and of each cost that was measured."""
    for sweep in sweeps(rows):
        for measure in (ACCURACY, *COSTS):
            chart = _chart(sweep, measure)
            if chart is not None:
                yield chart


def _chart(sweep: Sweep, measure: Measure) -> Chart | None:
    found = values(sweep.rows, measure).assign(at=sweep.at, group=sweep.group, backend=by_backend(sweep.rows))
    found = found[found["value"].notna()]
    found = found[found.groupby("group")["at"].transform("nunique") > 1]
    if not len(found):
        return None
    numeric = all(isinstance(value, int | float) for value in found["at"])
    names = _names(sweep, found)
    kept, dropped = _kept(found)
    series: list[Series] = []
    styles: dict[str, int] = {}
    for group in kept:
        points = found[found["group"] == group]
        points = points.iloc[sorted(range(len(points)), key=[*map(natural, points["at"])].__getitem__)]
        backend = points["backend"].iloc[0]
        scale = 100 if sweep.name == "train_share" else 1
        at = [float(value) * scale for value in points["at"]] if numeric else [str(value) for value in points["at"]]
        style = styles.setdefault(names[group], len(styles))
        series.append(Series(
            f"{backend}{', ' * bool(names[group])}{names[group]}", backend, at, points["value"].tolist(),
            points["n"].astype(int).tolist(), ends(points["low"]), ends(points["high"]), style=style,
        ))  # fmt: skip
    counts = [count for one in series for count in one.n]
    parts = [f"{measure.how} of {seeds(counts)} a point", remarks(sweep.rows, measure)]
    parts += [f"{dropped} more series with as many points or fewer are left out; the tables have them"] * bool(dropped)
    return Chart(
        f"{measure.name}-by-{sweep.name}", sweep.label, f"{measure.label.partition(' (')[0]} by {sweep.label.partition(' (')[0]}",
        "; ".join(part for part in parts if part) + ".", "line", Axis(sweep.label, numeric and sweep.name in LOGARITHMIC),
        Axis(measure.label), series,
    )  # fmt: skip


def _names(sweep: Sweep, found: pd.DataFrame) -> dict[int, str]:
    """Return what tells each group from those of the same backend: what varies besides the swept setting."""
    heads = found[~found["group"].duplicated()]
    rows = sweep.rows.loc[heads.index].copy()
    if sweep.name in rows.columns:
        rows[sweep.name] = rows[sweep.name].iloc[0]
    if sweep.name == "dataset":
        for field in ("split", "train_share", "rows"):
            rows[field] = rows[field].iloc[0]
    texts = [name.partition(" ")[2] for name in row_names(rows)]
    if sweep.name in DERIVED:
        texts = [
            _without(sweep.name, text, networks)
            for text, networks in zip(texts, _networks(rows).to_dict("records"), strict=True)
        ]
    same = len(set(texts)) == 1
    return {group: "" if same else text for group, text in zip(heads["group"], texts, strict=True)}


def _without(name: str, text: str, network: Mapping[Any, Any]) -> str:
    """Return a row's text with, for its network, what of it stays while `name` varies."""
    _, _, more = text.partition(" (")
    parts = {"depth": network["depth"], "nodes": network["nodes"], "activation": network["activation"]}
    said = {
        "depth": f"{parts['depth']} layers",
        "nodes": f"{parts['nodes']} neurons",
        "activation": str(parts["activation"]),
    }
    kept = [said[part] for part in said if part != name and parts[part] is not None and not pd.isna(parts[part])]
    return ", ".join(kept) + (f", {more.removesuffix(')')}" if more else "")


def _kept(found: pd.DataFrame) -> tuple[list[int], int]:
    """Return the groups to draw, for each backend those with the most points, and how many are left out."""
    sizes = Counter(found["group"])
    kept: list[int] = []
    for _, groups in found.groupby("backend", sort=False)["group"]:
        kept += sorted(dict.fromkeys(groups), key=lambda group: -sizes[group])[:MOST_SERIES]
    return kept, len(sizes) - len(kept)
