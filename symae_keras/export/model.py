"""Export of one method of a model to a file, compared with Keras."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor, swaps_codes
from symae_keras._utils.files import check_output, disk_error, written_atomically
from symae_keras._utils.folders import Draft
from symae_keras._utils.optional import import_optional
from symae_keras._utils.text import one_line
from symae_keras.errors import InputError
from symae_keras.export.formats import RUNNERS, WRITERS
from symae_keras.layers.normalization import MedianNormalization
from symae_keras.models.base import AutoencoderBase

#: The formats and the suffixes of their files; a SavedModel is a folder.
FORMATS: Final = {"saved_model": "", "onnx": ".onnx", "tflite": ".tflite"}
#: The methods that can be exported.
ENDPOINTS: Final = ("encode", "decode", "reconstruct", "redatum")
#: Largest allowed difference from Keras, relative to the largest output.
TOLERANCE: Final = 1e-4

#: Files of a SavedModel, including TensorFlow's unfinished files.
_SAVED_MODEL: Final = (
    "saved_model.pb*",
    "fingerprint.pb*",
    "variables",
    "assets",
)
#: Packages that each format needs in addition to the package's own dependencies.
_NEEDS: Final = {"onnx": ("tf2onnx", "onnxruntime"), "tflite": ("ai_edge_litert",)}
_FLOAT32: Final = "float32"
_OTHER_FLOATS: Final = (
    "float16",
    "bfloat16",
    "float64",
    "mixed_float16",
    "mixed_bfloat16",
)

#: Shape and dtype of tensors by name; `None` means any length.
Specs = dict[str, tuple[Shape, str]]


class Exported(NamedTuple):
    """Description of an exported model."""

    path: Path
    """The file, or the folder of a SavedModel."""
    endpoint: str
    """The exported method."""
    inputs: Specs
    """Shape and dtype of every input by its name; `None` means any length."""
    outputs: Specs
    """Shape and dtype of every output by its name."""
    difference: float
    """Largest difference from Keras that was found, relative to the largest output."""


def export_model(
    model: keras.Model,
    path: str | PathLike[str],
    format: str = "saved_model",
    endpoint: str | None = None,
    force: bool = False,
) -> Exported:
    """Write a method of a model as a SavedModel, or as an ONNX or LiteRT file.

    The exported model has no training noise and computes in float32, even if the
    training used another precision. It accepts any number of groups and of instances
    per group. Before it replaces `path`, it runs in the runtime of its format and is
    compared with Keras.

    The inputs have the same names as in Python, and all of them are required. A model
    of groups takes `x`, float32 `(batch, instances, *instance_shape)`, and `mask`, bool
    `(batch, instances)`, True = present; `redatum` takes `coherent_from`,
    `nuisance_from`, `coherent_mask` and `nuisance_mask`. A model of single instances
    takes only `x` `(batch, *instance_shape)`. A NaN or infinite pixel counts as bad,
    as if it were masked by a mask of pixels. `decode` takes `coherent`, float32
    `(batch, coherent_dim)`, and `nuisance`, float32 `(batch, instances, nuisance_dim)`.

    The outputs of `encode` are `coherent` and `nuisance`. For a model of single
    instances, the output is `code`, or `code_0`, `code_1`, ... if its code consists of
    several maps. Other endpoints return `instances`, or `probabilities` for models that
    classify.

    Args:
        model: A model of this package.
        path: The output: a folder for `"saved_model"`, otherwise a file whose name ends
            in `.onnx` or `.tflite`.
        format: `"saved_model"`, `"onnx"` or `"tflite"` (LiteRT). The last two need
            `pip install "symae_keras[export]"`.
        endpoint: `"encode"`, `"reconstruct"` or, for a model of groups, `"decode"` or
            `"redatum"`. `None` (default) means `"redatum"` for a model of groups,
            otherwise `"reconstruct"`.
        force: Replace an existing file at `path`, or a folder that an export wrote and
            that contains nothing else.

    Returns:
        The path, inputs and outputs with shapes and dtypes, and the difference from
        Keras.

    Raises:
        InputError: An argument or the backend is not supported, a package is missing,
            or the exported model differs from Keras by more than 1e-4 of its largest
            output. In these cases, nothing is written.

    Example:
    >>> import tempfile
    >>> from symae_keras.models import LinearAutoencoder
    >>> model = LinearAutoencoder((8,), code_dim=2)
    >>> folder = Path(tempfile.mkdtemp()) / "linear"
    >>> exported = export_model(model, folder, endpoint="encode")
    >>> exported.inputs, exported.outputs
    ({'x': ((None, 8), 'float32')}, {'code': ((None, 2), 'float32')})
    """
    path = Path(path)
    check_target(path, format, force)
    endpoint = check_endpoint(model, endpoint)
    model = _in_float32(model)
    inputs = _inputs(model, endpoint)
    function = _traced(model, endpoint, inputs)
    with _partial(path, format, force) as partial:
        try:
            WRITERS[format](function, model, partial)
            difference = _difference(model, endpoint, inputs, partial, format)
        # Converters and runtimes raise errors of many classes.
        except Exception as error:
            if isinstance(error, OSError) or disk_error(error) is not None:
                raise  # `_partial` reports a full disk
            raise InputError(
                f"The format {format} cannot express {endpoint} of this "
                f"{type(model).__name__}: {one_line(error)}; choose another format."
            ) from error
        if not difference <= TOLERANCE:
            raise InputError(
                f"As {format}, {endpoint} of this {type(model).__name__} differs from "
                f"Keras by {difference:.1g} of the largest output, more than "
                f"{TOLERANCE:g}; choose another format."
            )
    outputs = {
        name: (tuple(spec.shape), spec.dtype.name)
        for name, spec in function.get_concrete_function().structured_outputs.items()
    }
    return Exported(path, endpoint, inputs, outputs, difference)


def check_endpoint(model: Any, endpoint: str | None) -> str:
    """Return the endpoint to export, or raise; see `export_model`."""
    if not isinstance(model, AutoencoderBase):
        raise InputError(
            f"A model of symae_keras is needed; received a {type(model).__name__}, "
            "which Keras itself can export with model.export(path)."
        )
    if endpoint is None:
        return "redatum" if swaps_codes(model) else "reconstruct"
    if endpoint not in ENDPOINTS:
        raise InputError(
            f"The endpoint must be one of {', '.join(ENDPOINTS)}; received {endpoint}."
        )
    if endpoint in ("decode", "redatum") and not swaps_codes(model):
        raise InputError(
            f"a {type(model).__name__} is a model of single instances, which has no "
            "codes of groups to swap or decode; export encode or reconstruct."
        )
    if endpoint == "decode" and not hasattr(model, "coherent_dim"):
        raise InputError(
            f"The codes of a {type(model).__name__} have no fixed sizes, so decode "
            "cannot be exported; export redatum."
        )
    return endpoint


def check_target(
    path: Path, format: str, force: bool = False, inputs: Iterable[Path] = ()
) -> None:
    """Reject an invalid format or path of `export_model` before any model is read.

    The inputs are the files of the model; they are never replaced.
    """
    if format not in FORMATS:
        raise InputError(
            f"The format must be one of {', '.join(FORMATS)}; received {format}."
        )
    suffix = FORMATS[format]
    if suffix and path.suffix.lower() != suffix:
        raise InputError(f"A file of the format {format} ends in {suffix}: {path}.")
    if not suffix and path.suffix.lower() in FORMATS.values() and path.suffix:
        raise InputError(
            f"The format saved_model makes a folder, but {path} has the suffix of a "
            "file; choose another format or another name."
        )
    for each in _NEEDS.get(format, ()):
        import_optional(each, "export", f"The format {format}")
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "Models are exported with the TensorFlow backend of Keras, but this is "
            f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow; a model saved "
            "with any backend can be loaded there."
        )
    if suffix:
        check_output(path, force, inputs)
    else:
        Draft(path, _SAVED_MODEL, resume=None, force=force, inputs=inputs)


@contextlib.contextmanager
def _partial(path: Path, format: str, force: bool) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` if no error occurs."""
    if not FORMATS[format]:
        with Draft(path, _SAVED_MODEL, resume=None, force=force) as folder:
            yield folder
        return
    with written_atomically(path) as partial:
        yield partial


# === Endpoint function ===


def _inputs(model: Any, endpoint: str) -> Specs:
    if not swaps_codes(model):
        return {"x": ((None, *model.instance_shape), _FLOAT32)}
    if endpoint == "decode":
        return {
            "coherent": ((None, model.coherent_dim), _FLOAT32),
            "nuisance": ((None, None, model.nuisance_dim), _FLOAT32),
        }
    x = (None, None, *model.instance_shape), _FLOAT32
    mask = (None, None), "bool"
    if endpoint != "redatum":
        return {"x": x, "mask": mask}
    return {
        "coherent_from": x,
        "nuisance_from": x,
        "coherent_mask": mask,
        "nuisance_mask": mask,
    }


def _call(model: Any, endpoint: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Call the endpoint and return named outputs in float32."""
    if endpoint == "decode":
        decoded = model.decode(inputs["coherent"], inputs["nuisance"])
        return {"instances": ops.cast(decoded, _FLOAT32)}
    arguments = [inputs[name] for name in inputs if not name.endswith("mask")]
    masks = [inputs[name] for name in inputs if name.endswith("mask")]
    good = [_finite(each) for each in arguments]
    if masks:
        axes = (1,) * len(model.instance_shape)
        good = [
            ops.logical_and(
                ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *axes)), each
            )
            for mask, each in zip(masks, good, strict=True)
        ]
    outputs = getattr(model, endpoint)(*arguments, *good)
    if endpoint != "encode":
        classes = getattr(model, "n_classes", None) is not None
        named = {"probabilities" if classes else "instances": outputs}
    elif swaps_codes(model):
        named = outputs._asdict()
    elif isinstance(outputs, tuple):
        named = {f"code_{n}": each for n, each in enumerate(outputs)}
    else:
        named = {"code": outputs}
    return {name: ops.cast(each, _FLOAT32) for name, each in named.items()}


def _finite(x: Tensor) -> Tensor:
    """Return where numbers are neither NaN nor infinite.

    It compares numbers, because LiteRT has no such operation.
    """
    return ops.abs(x) <= float(np.finfo(np.float32).max)


def _in_float32(model: Any) -> Any:
    """Return the model itself, or a copy that computes in float32."""
    layers = model._flatten_layers()
    if all(each.compute_dtype == each.variable_dtype == _FLOAT32 for each in layers):
        return model
    copy = type(model).from_config(_float32_config(model.get_config()))
    copy.set_weights(model.get_weights())
    if swaps_codes(model):
        copy.detail = model.detail
    return copy


def _float32_config(config: Any) -> Any:
    """Return a config in which every policy of another precision is replaced."""
    if isinstance(config, (list, tuple)):
        return type(config)(_float32_config(each) for each in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {**config["config"], "name": _FLOAT32}}
    return {
        key: _FLOAT32
        if key == "dtype" and value in _OTHER_FLOATS
        else _float32_config(value)
        for key, value in config.items()
    }


def _traced(model: Any, endpoint: str, inputs: Specs) -> Any:
    """Return the endpoint as a TensorFlow function of the inputs, in their order."""
    import tensorflow as tf

    signature = [
        tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in inputs.items()
    ]

    def function(*tensors: Any) -> dict[str, Any]:
        return _call(model, endpoint, dict(zip(inputs, tensors, strict=True)))

    function.__name__ = endpoint
    return tf.function(function, input_signature=signature, autograph=False)


# === Check ===


def _difference(
    model: Any, endpoint: str, inputs: Specs, path: Path, format: str
) -> float:
    """Return the largest difference from Keras over the largest output, on samples."""
    run = RUNNERS[format](path, endpoint)
    worst = 0.0
    for sizes in ((1, 1), (2, 3), (3, 7)):
        arrays = _sample(model, inputs, sizes)
        expected = _call(model, endpoint, arrays)
        received = run(arrays)
        for name, tensor in expected.items():
            truth = ops.convert_to_numpy(tensor)
            scale = max(np.abs(truth).max(), float(np.finfo(np.float32).tiny))
            apart = np.abs(received[name] - truth).max() / scale
            worst = float(np.maximum(worst, apart))  # unlike max, keeps NaN
    return worst


def _sample(
    model: Any, inputs: Specs, sizes: tuple[int, int]
) -> dict[str, npt.NDArray[Any]]:
    """Draw instances in (estimated) data units, some of them absent."""
    rng = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, (shape, dtype) in inputs.items():
        free = iter(sizes)
        full = tuple(next(free) if n is None else n for n in shape)
        if dtype == "bool":
            arrays[name] = np.ones(full, bool)
            arrays[name][1:, -1] = False
        elif name in ("coherent", "nuisance"):
            arrays[name] = rng.normal(size=full).astype(_FLOAT32)
        else:
            x = _data_units(model, rng.normal(size=full).astype(_FLOAT32))
            x[1:].reshape(-1)[:1] = np.nan
            arrays[name] = x
    return arrays


def _data_units(model: Any, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # A mean swap leaves the scaling to its inner autoencoder.
    scaled = getattr(model, "autoencoder", model)
    if isinstance(scaled.normalization, MedianNormalization):
        return 1.0 + 0.1 * x  # of any brightness
    return np.array(ops.convert_to_numpy(scaled._denormalize(x)), _FLOAT32)
