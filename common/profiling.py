"""What ``compare.py profile`` prints: a network's parameters, FLOPs, memory and storage, layer by layer."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

import backends
from backends.base import needs, total_flops
from common.profiler import Profiler
from config import Trial, UserError, expand

_BYTES = 4
"""Bytes of a float32."""


def text(arguments: argparse.Namespace) -> str:
    """Return the tables of all architectures asked for, one below the other."""
    fields = {"backend": [arguments.backend], "engine": [arguments.engine], "architecture": arguments.architectures}
    trials = expand([fields], backends.vocabulary(allow_code=True))
    capability = backends.load(arguments.backend).capability
    for trial in trials:
        reason = capability.reason_against(needs(trial, arguments.classes))
        if reason is not None:
            raise UserError(f"{arguments.backend} cannot build {trial.architecture.label}: {reason}")
    with Profiler() as profiler:
        return "\n".join(_table(profiler, trial, arguments.input_shape, arguments.classes) for trial in trials)


def _table(profiler: Profiler, trial: Trial, input_shape: tuple[int, ...], classes: int) -> str:
    layers = profiler.layers(trial, input_shape, classes)
    header = ("layer", "kind", "output", "parameters", "FLOPs", "output kB", "storage kB")
    rows = [header, *(_row(layer) for layer in layers), _total(layers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) if column < 3 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in ([*zip(row, widths, strict=True)] for row in rows)
    ]
    shape = "x".join(map(str, input_shape))
    title = f"{trial.architecture.label} in {trial.backend}, input {shape}, {classes} classes, one sample in float32"
    rule = "-" * len(lines[0])
    note = (
        "FLOPs: two a multiply-add of matrix products and convolutions, forward pass; element-wise work is not counted."
    )
    return "\n".join(
        [title, lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:-1]), rule, lines[-1], note, ""]
    )


def _row(layer: Mapping[str, Any]) -> tuple[str, ...]:
    output = "x".join(map(str, layer["output_shape"]))
    return (layer["name"], layer["kind"], output, *_figures([layer]))


def _total(layers: list[dict[str, Any]]) -> tuple[str, ...]:
    return ("total", "", "", *_figures(layers))


def _figures(layers: list[Any]) -> tuple[str, ...]:
    parameters = sum(layer["parameters"] for layer in layers)
    outputs = sum(math.prod(layer["output_shape"]) for layer in layers)
    flops = total_flops([layer["flops"] for layer in layers])
    counted = "unknown" if flops is None else f"{flops:,}"
    return (f"{parameters:,}", counted, f"{outputs * _BYTES / 1e3:.1f}", f"{parameters * _BYTES / 1e3:.1f}")
