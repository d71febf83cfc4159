"""Writers of each export format, and functions that run the written files."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unittest import mock

import keras
import numpy as np
import numpy.typing as npt

from symae_keras._utils.arrays import swaps_codes
from symae_keras.errors import InputError

Arrays = Mapping[str, npt.NDArray[Any]]

#: The newest version that tf2onnx 1.17 writes.
_OPSET: Final = 18


# === Writers ===


def _write_saved_model(function: Any, model: Any, path: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(function.__name__, function)
    archive.write_out(str(path), verbose=False)


def _write_tflite(function: Any, model: Any, path: Path) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(function, model, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[function.__name__]
        )
        try:
            path.write_bytes(converter.convert())
        except Exception as error:
            # The reason is in the middle of a very long message.
            missing = re.search(r"(?:TF Select|Custom) ops: (.+)", str(error))
            if missing is None:
                raise
            raise InputError(
                f"LiteRT has no operation for TensorFlow's {missing[1]}"
            ) from error


def _write_onnx(function: Any, model: Any, path: Path) -> None:
    import onnx
    import tf2onnx

    with _silent("tf2onnx"), _mended_tf2onnx():
        proto, _ = tf2onnx.convert.from_function(
            function,
            function.input_signature,
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_erfc, []), "SelectV2": (_where, [])},
        )
    _name_axes(proto.graph, swaps_codes(model))
    onnx.save(proto, path)


@contextlib.contextmanager
def _mended_tf2onnx() -> Iterator[None]:
    """Disable an optimisation of tf2onnx 1.17 that computes wrong shapes.

    It merges two consecutive reshapes. A 0 in the shape of the second one means "as
    many as the input has", but then refers to an axis of the first one. Runtimes do the
    same optimisation correctly.
    """
    from tf2onnx import optimizer

    with mock.patch.dict(optimizer._optimizers):
        optimizer._optimizers.pop("remove_back_to_back", None)
        yield


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write `1 - erf(x)` for the Erfc in GELU, which tf2onnx does not support."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    one = graph.make_const(f"{name}/one", np.ones((), np.float32))
    erf = graph.make_node("Erf", node.input, shapes=shapes, dtypes=dtypes)
    graph.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        name=name,
        outputs=node.output,
        shapes=shapes,
        dtypes=dtypes,
    )


def _where(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write Where; tf2onnx would multiply by 0 and 1, and NaN times 0 is NaN."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    graph.make_node(
        "Where",
        node.input,
        name=name,
        outputs=node.output,
        shapes=shapes,
        dtypes=dtypes,
    )


def _name_axes(graph: Any, groups: bool) -> None:
    """Name axes of any length by their meaning."""
    for each in (*graph.input, *graph.output):
        prefix, _, rest = each.name.rpartition("_")
        # The two arguments of `redatum` may have different numbers of instances.
        of_redatum = prefix and rest in ("from", "mask")
        own = f"{prefix}_instances" if of_redatum else "instances"
        names = ("batch", own) if groups else ("batch",)
        axes = each.type.tensor_type.shape.dim
        for axis, name in zip(axes, names, strict=False):
            if not axis.dim_value:
                axis.dim_param = name


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Silence a logger; the check after it reports errors."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


#: Functions of the endpoint, the model and the output path.
WRITERS: Final = {
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
    "tflite": _write_tflite,
}


# === Runtimes ===


def _run_saved_model(path: Path, endpoint: str) -> Callable[[Arrays], Arrays]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures[endpoint]

    def run(arrays: Arrays) -> Arrays:
        # `loaded` must exist as long as its variables are used.
        assert loaded is not None
        outputs = signature(**{k: tf.constant(v) for k, v in arrays.items()})
        return {name: each.numpy() for name, each in outputs.items()}

    return run


def _run_onnx(path: Path, endpoint: str) -> Callable[[Arrays], Arrays]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda arrays: dict(
        zip(names, session.run(names, dict(arrays)), strict=True)
    )


def _run_tflite(path: Path, endpoint: str) -> Callable[[Arrays], Arrays]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner(endpoint)
    return lambda arrays: dict(runner(**arrays))


#: Functions of a written file and its endpoint that return a function to run it.
RUNNERS: Final = {
    "saved_model": _run_saved_model,
    "onnx": _run_onnx,
    "tflite": _run_tflite,
}
