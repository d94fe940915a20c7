"""What every exported model has in common, whichever framework wrote its network: names, preprocessing, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from common.onnx_file import OUTPUTS, PREPARED, RAW, sealed

OPSET, IR = 18, 10
"""What every runtime since the end of 2024 reads; packages write newer ones where they are left to."""
_ROWS = "rows"
_MAKING = 500
"""Bytes that the nodes take which make one array of its parts, and more."""


@dataclass(frozen=True)
class Preprocessing:
    """From raw images to what the network sees.

    Attributes
    ----------
    arrays : as :meth:`common.features.FeaturePipeline.arrays` gives them.
    image_shape : (height, width, channels) of raw images.
    dtype : of raw images, ``uint8`` or ``float32``.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    image_shape: tuple[int, ...]
    dtype: str


def finished(
    network: Path,
    input_shape: tuple[int, ...],
    classes: int,
    metadata: Mapping[str, Any],
    preprocessing: Preprocessing | None,
) -> bytes:
    """Return a network that a backend wrote as the file that is shipped.

    Parameters
    ----------
    network : ONNX with one input, (rows, *input_shape), and one output, logits (rows, classes).
    metadata : what the file says of itself, each value as JSON.
    preprocessing : None where the file is to take what the network sees.

    Raises
    ------
    ValueError
        Where the network is of another opset, or is no valid ONNX.
    """
    model = onnx.load(network)
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("", 0) != OPSET:
        raise ValueError(f"the network was written for opset {found.get('', 0)}, not {OPSET}")
    _rename_ends(model)
    name = PREPARED if preprocessing is None else RAW
    first = [] if preprocessing is None else _nodes(model, preprocessing)
    kind = TensorProto.UINT8 if preprocessing and preprocessing.dtype == "uint8" else TensorProto.FLOAT
    shape = input_shape if preprocessing is None else preprocessing.image_shape
    arrays, made = _stored(model.graph.initializer)
    graph = helper.make_graph(
        [*made, *first, *model.graph.node, helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)],
        str(metadata["architecture"]),
        [helper.make_tensor_value_info(name, kind, [_ROWS, *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [_ROWS, classes]) for output in OUTPUTS],
        arrays,
    )
    for node in graph.node:  # the exporter's stack traces, which hold this machine's paths
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    whole = helper.make_model(graph, opset_imports=model.opset_import, ir_version=IR, producer_name="samenet")
    whole.functions.extend(model.functions)
    helper.set_model_props(whole, {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()})
    onnx.checker.check_model(whole, full_check=True)
    return sealed(whole.SerializeToString())


def _stored(arrays: Iterable[TensorProto]) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return arrays as they are stored, and the nodes that make the whole of those that are mostly zeros.

    Of these the file holds what is not 0, and by how many places each of it stands behind the one before; a runtime
    makes the array once, when it loads the file. ONNX's own sparse tensors are of a type that no layer takes.
    """
    stored: list[TensorProto] = []
    nodes: list[NodeProto] = []
    for array in arrays:
        values = numpy_helper.to_array(array)
        places = np.flatnonzero(values)
        gaps = np.diff(places, prepend=0)
        gaps = gaps.astype(np.min_scalar_type(gaps.max(initial=0)))
        if not len(places) or len(places) * (values.itemsize + gaps.itemsize) + _MAKING >= values.nbytes:
            stored.append(array)
            continue
        name = array.name
        parts = {"left": values.ravel()[places], "gaps": gaps, "size": np.array([values.size]),
                 "axis": np.array(0), "shape": np.array(values.shape)}  # fmt: skip
        stored += [numpy_helper.from_array(part, f"{name}/{end}") for end, part in parts.items()]
        zero = numpy_helper.from_array(np.zeros(1, values.dtype))
        nodes += [
            helper.make_node("ConstantOfShape", [f"{name}/size"], [f"{name}/zeros"], value=zero),
            helper.make_node("Cast", [f"{name}/gaps"], [f"{name}/wide"], to=TensorProto.INT32),
            helper.make_node("CumSum", [f"{name}/wide", f"{name}/axis"], [f"{name}/places"]),
            helper.make_node("ScatterElements", [f"{name}/zeros", f"{name}/places", f"{name}/left"], [f"{name}/flat"]),
            helper.make_node("Reshape", [f"{name}/flat", f"{name}/shape"], [name]),
        ]
    return stored, nodes


def _rename_ends(model: ModelProto) -> None:
    """Call what goes into the network ``inputs`` and what comes out ``logits``, and nothing else so."""
    graph = model.graph
    (taken,), (given,) = [one.name for one in graph.input], [one.name for one in graph.output]
    names = {name: f"{name}_of_the_network" for name in (PREPARED, RAW, *OUTPUTS)} | {taken: PREPARED, given: "logits"}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for array in graph.initializer:
        array.name = names.get(array.name, array.name)


def _nodes(model: ModelProto, preprocessing: Preprocessing) -> list[NodeProto]:
    """Return the nodes from ``images`` to ``inputs``; their constants become the model's."""
    arrays = preprocessing.arrays
    steps: list[tuple[str, npt.NDArray[Any] | None, dict[str, Any]]] = [("Cast", None, {"to": TensorProto.FLOAT})]
    if "resize" in arrays:
        weights = arrays["resize"]
        # (rows, channels, height, width) by the width, then with the two exchanged by the height, then back
        steps += [("Transpose", None, {"perm": [0, 3, 1, 2]}), ("MatMul", weights.T, {})]
        steps += [("Transpose", None, {"perm": [0, 1, 3, 2]}), ("MatMul", weights.T, {})]
        steps += [("Transpose", None, {"perm": [0, 3, 2, 1]})]
    if np.any(arrays["offset"]):
        steps += [("Sub", arrays["offset"], {})]
    if np.any(arrays["divisor"] != 1):
        steps += [("Div", arrays["divisor"], {})]
    if "components" in arrays:
        steps += [("Flatten", None, {}), ("Sub", arrays["mean"], {}), ("MatMul", arrays["components"].T, {})]
    nodes, value = [], RAW
    for number, (operation, constant, attributes) in enumerate(steps):
        result = PREPARED if number == len(steps) - 1 else f"preprocessing/{number}"
        inputs = [value]
        if constant is not None:
            inputs.append(f"preprocessing/{number}/constant")
            model.graph.initializer.append(numpy_helper.from_array(constant.astype(np.float32), inputs[1]))
        nodes.append(helper.make_node(operation, inputs, [value := result], **attributes))
    return nodes
