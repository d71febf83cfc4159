"""Check that the config of a saved model names only classes that are safe data.

Keras builds everything that a config names. Its `safe_mode` rejects only lambdas, and
was bypassed several times (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906, CVE-2025-12058,
CVE-2025-49655), each time with a class or function that nobody had considered. This
module therefore lists the allowed names. All others are rejected before Keras reads the
config.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, Final

import keras

from symae_keras.errors import InputError

#: Layers that compute numbers from their arguments. Not included are layers that
#: contain code (Lambda, JaxLayer, FlaxLayer, TorchModuleWrapper), layers that read
#: files (TFSMLayer, StringLookup, IntegerLookup, TextVectorization) and layers that
#: allocate memory according to arguments (MelSpectrogram, STFTSpectrogram).
LAYERS: Final = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D
    BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization
    Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell
    GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer
    LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum Minimum MixUp MultiHeadAttention Multiply
    Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
    RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
    RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU
    RepeatVector Rescaling Reshape Resizing ReversibleEmbedding SeparableConv1D
    SeparableConv2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells Subtract
    TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()
)
#: Classes by the module in which configs name them.
_CLASSES: Final = {
    "keras": {"DTypePolicy", "Model", "Sequential"},
    "keras.models": {"Model", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.layers": LAYERS,
    "keras.dtype_policies": {"DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy"},
    "keras.random": {"SeedGenerator"},
    "keras.constraints": {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"},
    "keras.regularizers": {"L1", "L1L2", "L2", "OrthogonalRegularizer"},
    "keras.initializers": {
        *("Constant", "Identity", "IdentityInitializer", "Ones", "Zeros"),
        *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal"),
        *("LecunUniform", "Orthogonal", "OrthogonalInitializer", "RandomNormal"),
        *("RandomUniform", "TruncatedNormal", "VarianceScaling"),
    },
}
#: Modules of operations, which configs of models made of `keras.ops` name.
_OPERATIONS: Final = {f"keras.src.ops.{name}" for name in ("math", "nn", "numpy")}
_ACTIVATIONS: Final = frozenset(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish
    hard_tanh leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid
    silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax
    squareplus swish tanh tanh_shrink threshold
    """.split()
)
#: Names in configs for computed tensors and constants.
_SYMBOL: Final = "__keras_tensor__"
_ARRAYS: Final = {"__numpy__", "__tensor__"}
_PLAIN: Final = {_SYMBOL, *_ARRAYS, "__bytes__", "__ellipsis__", "__slice__"}
_DTYPES: Final = {
    *("bool", "bfloat16", "float16", "float32", "float64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
#: The largest integer, except under these keys and for pixels of an instance.
_MAX_INTEGER: Final = 2**31
_IDENTIFIERS: Final = {"seed", "shared_object_id"}
_MAX_PIXELS: Final = 2**28


def check_config(config: Any, remedy: str) -> None:
    """Raise if a config names anything but data, or sizes that no model has.

    Entries `compile_config` are removed, because a loaded model is not compiled.
    `remedy` is advice to the user about a class that is not registered.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise InputError("its config.json does not describe a model")
    stack: list[tuple[str, Any]] = [("", config)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                _check_object(value, remedy)
                value.pop("compile_config", None)
            for name, each in value.items():
                if name.endswith("shape"):
                    _check_shape(name, each)
                stack.append((name, each))
        elif isinstance(value, list):
            stack.extend((key, each) for each in value)
        elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
            if key not in _IDENTIFIERS:
                raise InputError(f"the entry {_shown(key)} of its config is too large")


def _check_object(value: dict[str, Any], remedy: str) -> None:
    """Check one object: the class that it names, and its place in a graph."""
    name, inner = value["class_name"], value.get("config")
    if name == "__lambda__":
        raise InputError("it contains the code of a Python lambda, which is not run")
    if isinstance(name, str) and name in _PLAIN:
        if name in _ARRAYS and (
            not isinstance(inner, dict) or inner.get("dtype") not in _DTYPES
        ):
            raise InputError("its config contains an array that is not of numbers")
        return
    # Keras reads an entry without a module or a config by the rules of Keras 2.
    if not isinstance(name, str) or not {"module", "config"} <= set(value):
        raise InputError(f"its config has an incomplete entry, {_shown(name)}")
    module = value["module"]
    if name == "function":
        name, registered = inner, inner
    else:
        registered = value.get("registered_name", name)
    if not _is_known(module, name, registered, value["class_name"] == "function"):
        full = f"{module}.{name}" if module else name
        if isinstance(module, str) and module.split(".")[0] == "keras":
            raise InputError(
                f"it names {_shown(full)}, which is not loaded from files because it "
                "may run code or read other files"
            )
        raise InputError(
            f"it contains {_shown(registered or full)}, which is not registered with "
            f"Keras; {remedy}"
        )
    nodes = value.get("inbound_nodes", [])
    if not isinstance(nodes, list) or not all(map(_is_symbolic, nodes)):
        raise InputError(f"its config computes on constants in {_shown(name)}")


def _is_known(module: Any, name: Any, registered: Any, function: bool) -> bool:
    """Return whether a class or function may be named."""
    if not isinstance(name, str) or not isinstance(module, str | None):
        return False
    if isinstance(registered, str):
        # A class of this package, or one registered by the user's code.
        if keras.saving.get_registered_object(registered) is not None:
            return True
    if function:
        return module in ("builtins", "keras.activations") and name in _ACTIVATIONS
    if module in _OPERATIONS:
        found = vars(importlib.import_module(module)).get(name)
        return (
            isinstance(found, type)
            and issubclass(found, keras.Operation)
            and found.__module__ == module
        )
    return name in _CLASSES.get(module or "", ())


def _is_symbolic(node: Any) -> bool:
    """Return whether a call in a graph uses only computed tensors and makes none."""
    if not isinstance(node, dict):
        return False
    found, stack = set(), [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            found.add(str(value.get("class_name")))
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return _SYMBOL in found and not found & _ARRAYS


def _check_shape(name: str, shape: Any) -> None:
    """Raise for invalid shapes, and for shapes that no instance has."""
    if isinstance(shape, list) and any(isinstance(n, list) for n in shape):
        for each in shape:
            _check_shape(name, each)
        return
    if shape is None or isinstance(shape, dict):
        return  # entries of dicts are checked separately
    sizes = shape if isinstance(shape, list) else [shape]
    for n in sizes:
        if n is not None and (type(n) is not int or n < -1):
            raise InputError(f"{_shown(name)} in its config has the size {_shown(n)}")
    if math.prod(n or 1 for n in sizes) > _MAX_PIXELS:
        raise InputError(f"{_shown(name)} in its config is too large: {_shown(shape)}")


def _shown(value: Any) -> str:
    """Return an untrusted value in a form that is safe to print."""
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 100 else text[:99] + "…"
