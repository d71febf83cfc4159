"""Base class of all models: networks, scaling, groups, presets, configs."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.compiled import CompiledMethods
from symae_keras._utils.presets import load_preset, save_preset
from symae_keras._utils.validation import invalid, is_integer, sizes
from symae_keras.errors import InputError
from symae_keras.layers.decoders import DenseDecoder
from symae_keras.layers.encoders import Conv1DEncoder, Conv2DEncoder, DenseEncoder
from symae_keras.layers.normalization import Standardization
from symae_keras.layers.penalties import LossTerm
from symae_keras.losses import PixelwiseLoss, leading_axes, one_per_sample
from symae_keras.models._copies import named_arguments

if TYPE_CHECKING:
    from symae_keras.data.axis import HasAxis

#: Key of the description of the normalisation in the weights of a model.
_NORMALIZATION = "normalization"
#: Key of the quantized parts in the config of a model.
_QUANTIZED = "quantized"
_ENCODERS = {"dense": DenseEncoder, "conv1d": Conv1DEncoder, "conv2d": Conv2DEncoder}


class AutoencoderBase(keras.Model):
    """Base class of all models; see `InstanceAutoencoder` and `GroupedAutoencoder`.

    `get_config` returns the arguments that the constructor was called with, by name. It
    includes those that a subclass passes on in `*args` and `**kwargs`.

    Args:
        instance_shape: Shape of one instance, channels last.
        encoder: `"dense"`, `"conv1d"`, `"conv2d"`, or a layer or model on instances.
        decoder: A layer from a code to one instance, or `None` to mirror the encoder.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance, or `None`.
        seed: Integer seed of all random numbers in the model, or `None`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        model: Self = super().__new__(cls, *args, **kwargs)
        # Hidden from Keras, which would treat layers in it as layers of the model. It
        # is in a function, because Keras saves layers in containers.
        given = functools.partial(named_arguments, cls, args, kwargs)
        object.__setattr__(model, "_given", given)
        return model

    #: Name of the loss given to `compile` in the history; layers add other terms.
    compiled_loss_name = "reconstruction_loss"

    def __init__(
        self,
        instance_shape: Sequence[int],
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        instance_shape = sizes("instance_shape", instance_shape, "(256,)")
        for name, layer in (("decoder", decoder), ("normalization", normalization)):
            if not (layer is None or isinstance(layer, keras.Layer)):
                raise invalid(name, "a keras.Layer or None", repr(layer))
        if not (seed is None or is_integer(seed, 0)):
            raise invalid("seed", "an integer >= 0 or None", repr(seed))
        super().__init__(**kwargs)
        # Half precision may not hold the units of the data, so inputs are cast to it
        # only after they are normalised.
        self.autocast = False
        self.instance_shape = instance_shape
        self.encoder = one_of("encoder", encoder, tuple(_ENCODERS))
        self.decoder = decoder
        self.normalization = normalization
        self.seed = None if seed is None else int(seed)
        self._trackers: dict[str, keras.metrics.Mean] = {}
        # Hidden from Keras, which would track what it contains.
        object.__setattr__(self, "_compiled", CompiledMethods(self, instance_shape))

    # === Networks ===

    def _make_encoder(self, output_dim: int) -> keras.Layer:
        """Make the encoder; `output_dim` is used for encoders given by name."""
        if isinstance(self.encoder, str):
            return _ENCODERS[self.encoder](output_dim, dtype=self.dtype_policy)
        return self.encoder

    def _make_decoder(self, encoder: keras.Layer) -> keras.Layer:
        if self.decoder is not None:
            return self.decoder
        if hasattr(encoder, "mirror"):
            return encoder.mirror(self.instance_shape)
        return DenseDecoder(self.instance_shape, dtype=self.dtype_policy)

    def _check_decoded(self, shape: Shape) -> None:
        if tuple(shape) != self.instance_shape:
            raise ValueError(
                "`decoder` must give instances of the shape `instance_shape="
                f"{self.instance_shape}`. Received: {tuple(shape)}"
            )

    # === Inputs ===

    @staticmethod
    def _unpack(inputs: Any) -> tuple[Tensor, Tensor | None]:
        if not isinstance(inputs, Mapping):
            return inputs, None
        if "instances" not in inputs or set(inputs) - {"instances", "mask"}:
            raise ValueError(
                "A dict of inputs must have the key 'instances' and may have 'mask'. "
                f"Received: keys {sorted(inputs)}"
            )
        return inputs["instances"], inputs.get("mask")

    def _accepted(self, x: Any, mask: Any = None) -> tuple[Tensor, Tensor | None]:
        """Return instances and their mask as tensors of the right shapes."""
        x, mask = self._arrays(x, mask)
        if not may_equal(tuple(x.shape[1:]), self.instance_shape):
            raise ValueError(
                f"This model takes instances of shape {self.instance_shape}, in arrays "
                f"(batch, *instance_shape). Received: shape {tuple(x.shape)}"
            )
        if mask is None:
            return x, None
        mask = ops.cast(ops.convert_to_tensor(mask), "bool")
        if not may_equal(mask.shape, x.shape):
            raise ValueError(
                "`mask` must have the shape of the instances, True = good pixel, here "
                f"{tuple(x.shape)}. Received: mask of shape {tuple(mask.shape)}"
            )
        return x, mask

    def _checked(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return instances of the right shape, with bad pixels filled."""
        x, mask = self._accepted(x, mask)
        return x if mask is None else self._fill(x, mask)

    def _arrays(self, x: Any, mask: Any) -> tuple[Tensor, Any]:
        """Convert an array, or `GroupedData` with its masks."""
        if isinstance(x, np.ma.MaskedArray):
            x, mask = _without_mask(x, mask)
        if not is_groups(x):
            return self._tensor(x), mask
        if not hasattr(x, "model_mask"):
            raise ValueError(
                f"This method takes groups in memory. Received: a {type(x).__name__}; "
                "load all or some groups with `groups[:100].load()`, or pass "
                "`symae_keras.data.batches(groups, ...)` to `predict`."
            )
        if mask is not None:
            raise ValueError(
                f"A {type(x).__name__} already has masks. Received: also `mask`; pass "
                "the array `groups.x` with that mask instead."
            )
        x, mask = self._of_groups(x)
        return self._tensor(x), mask

    def _of_groups(self, groups: Any) -> tuple[Any, Any]:
        """Return the arrays of groups that this model uses, and their mask."""
        raise NotImplementedError

    def _tensor(self, x: Any) -> Tensor:
        """Convert an array of data, or raise for other objects."""
        if not hasattr(x, "shape"):
            # Keras converts any sequence, and never finishes for some of them.
            if not isinstance(x, (list, tuple)):
                raise ValueError(
                    "This model takes arrays or tensors. "
                    f"Received: an object of class {type(x).__name__}"
                )
            x = np.asarray(x)
        return ops.convert_to_tensor(x, dtype=self._data_dtype)

    def _fill(self, x: Tensor, mask: Tensor) -> Tensor:
        """Replace masked values by the mean instance, or by 0 without one.

        Masked values may be NaN, which a weight of 0 would not remove.
        """
        mean: Any = 0.0 if self.normalization is None else self._mean_and_scale()[0]
        return ops.where(mask, x, ops.cast(mean, x.dtype))

    # === Scaling ===

    @property
    def input_dtype(self) -> str:
        """Float dtype of the inputs of an exported model."""
        return self._data_dtype

    @property
    def _data_dtype(self) -> str:
        """Float dtype of values in data units, never half precision."""
        return str(keras.backend.result_type(self.compute_dtype, "float32"))

    def _build_normalization(self, shape: Shape) -> None:
        if self.normalization is not None and not self.normalization.built:
            self.normalization.build(shape)

    def _normalize(self, x: Tensor) -> Tensor:
        """Convert data to the units of the networks and to their dtype."""
        if isinstance(self.normalization, Standardization):
            x = self.normalization(x)
        elif self.normalization is not None:
            # Written out: in half precision, Keras's layer casts before it divides.
            mean, scale = self._mean_and_scale()
            x = (ops.cast(x, self._data_dtype) - mean) / scale
        return ops.cast(x, self.compute_dtype)

    def _denormalize(self, x: Tensor) -> Tensor:
        """Convert back to data units; half precision only without a normalisation."""
        if self.normalization is None:
            return x
        if isinstance(self.normalization, Standardization):
            return self.normalization.inverse(x)
        mean, scale = self._mean_and_scale()
        return ops.cast(x, self._data_dtype) * scale + mean

    def _mean_and_scale(self) -> tuple[Tensor, Tensor]:
        """Return the offset and the divisor of the normalisation."""
        layer: Any = self.normalization
        if isinstance(layer, Standardization):
            return layer.mean_and_scale(self._data_dtype)
        moments = layer.mean, layer.variance
        if hasattr(layer, "adapt_mean"):
            # Use the weights directly: Keras computes other values from them, which are
            # constants in functions that were compiled before weights were loaded.
            weights = layer.adapt_mean, layer.adapt_variance
            pairs = zip(weights, moments, strict=True)
            moments = tuple(ops.reshape(w, each.shape) for w, each in pairs)
        mean, variance = (ops.cast(each, self._data_dtype) for each in moments)
        return mean, ops.sqrt(ops.maximum(variance, 1e-14))

    # === Training ===

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Train the model; see `keras.Model.fit`.

        Args:
            x: Arrays or a dataset, as for `keras.Model`; or groups (`GroupedData`,
                `Shards`, `RaggedRows`), which are their own targets. Models of groups
                train on all instances of each group, and models of single instances on
                all present instances. Masks and pixel weights are used.
                `symae_keras.data.batches` draws different instances in every epoch.
            y: Targets of arrays.
            batch_size: Groups or instances per batch. Defaults to 32.
            **kwargs: Further arguments of `keras.Model.fit`. `validation_data` may be
                groups, too.
        """
        held_out = kwargs.get("validation_data")
        if is_groups(held_out):
            size = kwargs.pop("validation_batch_size", None) or batch_size
            kwargs["validation_data"] = self._batches("fit", held_out, size)
        if is_groups(x):
            _refuse_beside(x, y, kwargs)
            shuffle = kwargs.pop("shuffle", True)
            first = kwargs.get("initial_epoch", 0)
            x = self._batches("fit", x, batch_size, shuffle, first)
            # The order is already random.
            batch_size, kwargs["shuffle"] = None, False
        return super().fit(x, y, batch_size, **kwargs)

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Compute losses and metrics; see `keras.Model.evaluate`, and `fit` for groups.

        Args:
            x: Arrays, a dataset, or groups, see `fit`.
            y: Targets of arrays.
            batch_size: Groups or instances per batch. Defaults to 32.
            **kwargs: Further arguments of `keras.Model.evaluate`.
        """
        if is_groups(x):
            _refuse_beside(x, y, kwargs)
            x, batch_size = self._batches("evaluate", x, batch_size), None
        return super().evaluate(x, y, batch_size, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Reconstruct instances; see `keras.Model.predict`.

        Args:
            x: Arrays, a dataset, or groups. Models of single instances reconstruct
                the present ones, in the order of `groups.x[groups.present]`.
            batch_size: Groups or instances per batch. Defaults to 32.
            **kwargs: Further arguments of `keras.Model.predict`.
        """
        if is_groups(x):
            x, batch_size = self._batches("predict", x, batch_size), None
        return super().predict(x, batch_size, **kwargs)

    #: The function of `symae_keras.data` that makes batches of groups for the model.
    _batching = "instance_batches"

    def _batches(
        self,
        method: str,
        groups: Any,
        batch_size: int | None,
        shuffle: bool = False,
        first_epoch: int = 0,
    ) -> Any:
        """Return a dataset of all instances of groups, for a method of Keras."""
        from symae_keras import data

        batches = getattr(data, self._batching)
        seed = self.seed or 0
        size = 32 if batch_size is None else batch_size
        return batches(groups, size, None, seed, shuffle, first_epoch=first_epoch)

    # === Loss terms ===

    def _track_terms(self) -> None:
        """Make one metric for each logged value; `build` calls this last."""
        terms = [each for each in self._flatten_layers() if isinstance(each, LossTerm)]
        names = [
            self.compiled_loss_name,
            *(n for each in terms for n in each.logged_names),
        ]
        if terms and not self._trackers:
            self._trackers = {name: keras.metrics.Mean(name) for name in names}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Compute the loss of Keras over good pixels, and log its parts.

        This method adds nothing to the loss: terms that an overridden `compute_loss`
        adds would not be scaled by the number of replicas.
        """
        sample_weight = self._checked_weights(y_pred, sample_weight)
        y, y_pred = self._blank_bad_pixels(x, y, y_pred)
        compared = self._compared(x, y, y_pred, sample_weight)
        loss = super().compute_loss(x, *compared, training)
        if self._trackers:
            # Undo the scaling by the number of replicas, as Keras does for its own log.
            share = self._aggregate_additional_loss(ops.ones((), "float32"))
            added = sum(ops.cast(each, "float32") for each in self.losses)
            compiled = ops.cast(loss, "float32") / share - added
            values = {self.compiled_loss_name: compiled}
            for layer in self._flatten_layers():
                if isinstance(layer, LossTerm):
                    values |= layer.take_logged()
            samples = ops.shape(keras.tree.flatten(y_pred)[0])[0]
            for name, value in values.items():
                self._trackers[name].update_state(value, sample_weight=samples)
        return loss

    def _compared(
        self, inputs: Any, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return targets, outputs and weights for the loss, in data units."""
        return y, y_pred, sample_weight

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Compute the metrics of Keras over good pixels, with the loss weights."""
        sample_weight = self._checked_weights(y_pred, sample_weight)
        arrays = self._good_arrays(x, y, y_pred, sample_weight)
        return dict(super().compute_metrics(x, *arrays))

    def _good_arrays(
        self, x: Any, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return targets, outputs and weights for metrics, with masks applied."""
        return *self._blank_bad_pixels(x, y, y_pred), sample_weight

    def _blank_bad_pixels(
        self, inputs: Any, y: Tensor, y_pred: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make target and output equal where a mask of pixels is False.

        This removes masked pixels from every loss, for any order of reduced axes.
        """
        mask = self._unpack(inputs)[1]
        if mask is None or len(mask.shape) != len(y_pred.shape):
            return y, y_pred
        mask = ops.cast(mask, "bool")
        return ops.where(mask, y, 0.0), ops.where(mask, y_pred, 0.0)

    def _checked_weights(
        self, y_pred: Tensor, sample_weight: Tensor | None
    ) -> Tensor | None:
        """Return weights of groups, instances or pixels in the form for the loss."""
        if sample_weight is None:
            return None
        weight = leading_axes(sample_weight, y_pred.shape)
        if weight.shape[-1] == 1:
            return one_per_sample(weight, y_pred)
        if not isinstance(self.loss, PixelwiseLoss):
            raise ValueError(
                "Weights of pixels need a loss with one value per pixel, one of "
                "symae_keras.losses such as RelativeMeanSquaredError; Keras's own "
                f"losses average over the last axis first. Received: loss={self.loss!r}"
            )
        return weight

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Metrics of this model.

        Metrics of an inner model, such as a pretrained encoder, are not included. They
        have the same names and would hide those of this model in the history.
        """
        inside = {
            id(metric)
            for layer in self._flatten_layers(include_self=False)
            if isinstance(layer, keras.Model)
            for metric in layer.metrics
        }
        return [each for each in super().metrics if id(each) not in inside]

    # === Presets ===

    @classmethod
    def from_preset(cls, preset: str | PathLike[str]) -> Self:
        """Load a trained model of this class, as `symae_keras.zoo.load` does.

        Args:
            preset: A name from `symae_keras.zoo.list()`, a folder, or
                `"hf://user/name"`; see `symae_keras.zoo.load`.

        Returns:
            The model, not compiled.

        Raises:
            InputError: There is no such preset, it cannot be loaded without running
                code, or it contains a model of another class.
        """
        model = load_preset(preset)
        if not isinstance(model, cls):
            raise InputError(
                f"The preset {preset} holds a {type(model).__name__}, not a "
                f"{cls.__name__}; symae_keras.zoo.load loads models of any class."
            )
        return model

    def save_to_preset(
        self,
        folder: str | PathLike[str],
        half: bool = False,
        data: HasAxis | None = None,
    ) -> Path:
        """Save the model as a preset; see `symae_keras.zoo.save_preset`.

        Args:
            folder: The folder to make; an existing folder is not overwritten.
            half: Whether to store matrices and kernels in float16. Defaults to False.
            data: The training groups, whose axis is saved with the model. Defaults to
                `None`, no axis.

        Returns:
            The folder, which `from_preset` and Keras itself can load.

        Raises:
            InputError: The folder is not empty or cannot be made.
        """
        return save_preset(self, folder, half, data)

    # === Keras protocol ===

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        config = {k: serialize(v) for k, v in self._given().items()}
        config |= super().get_config()
        # The constructor does not quantize layers, but files contain their weights.
        modes = {
            str(place): part.quantization_mode
            for place, part in enumerate(self._flatten_layers())
            if getattr(part, "quantization_mode", None) is not None
        }
        return {**config, _QUANTIZED: modes} if modes else config

    def save_own_variables(self, store: Any) -> None:
        """Save the weights of the model itself, and describe its normalisation."""
        super().save_own_variables(store)
        text = self._kind_of_normalization()
        store[_NORMALIZATION] = np.frombuffer(text.encode("utf-8"), "uint8")

    def load_own_variables(self, store: Any) -> None:
        """Load the weights of the model itself.

        Raises:
            ValueError: The weights belong to a model with another normalisation, which
                they do not contain.
        """
        own = {key: store[key] for key in store.keys()}
        saved, here = own.pop(_NORMALIZATION, None), self._kind_of_normalization()
        # Files of version 0.1 have no description.
        if saved is not None:
            text = np.asarray(saved, "uint8").tobytes().decode("utf-8")
            if text != here:
                raise ValueError(
                    "These weights are of a model with another `normalization`, and "
                    "would give outputs in other units: make the model with the same "
                    f"one. Weights: normalization={text}; model: normalization={here}"
                )
        super().load_own_variables(own)

    def _kind_of_normalization(self) -> str:
        """Describe the normalisation without its weights, to compare model and file."""
        layer = self.normalization
        if layer is None:
            return "None"
        name = type(layer).__name__
        if layer.weights:
            shapes = [tuple(each.shape) for each in layer.weights]
            return " ".join([name, *map(str, shapes)])
        config = layer.get_config()
        for key in ("name", "dtype", "trainable"):
            config.pop(key, None)
        text = json.dumps(config, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
        return f"{name} with the constants {digest}"

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        read = keras.saving.deserialize_keras_object
        config = dict(config)
        modes = config.pop(_QUANTIZED, {})
        arguments = {k: read(v, custom_objects) for k, v in config.items()}
        if "dtype" in config:  # Keras accepts a serialised policy directly
            arguments["dtype"] = config["dtype"]
        model = cls(**arguments)
        parts = list(model._flatten_layers())
        for place, mode in modes.items():
            if parts[int(place)].quantization_mode is None:
                parts[int(place)].quantize(mode)
        return model


def one_of(
    name: str, value: str | keras.Layer, names: tuple[str, ...]
) -> str | keras.Layer:
    """Return a name if it is allowed, or a layer, or raise an error."""
    if value in names if isinstance(value, str) else isinstance(value, keras.Layer):
        return value
    raise invalid(name, f"one of {names} or a keras.Layer", repr(value))


def _without_mask(x: Any, mask: Any) -> tuple[Any, Any]:
    """Return a masked array as a plain array and its mask, True = good pixel.

    Keras would use the values under the mask as data.
    """
    good = ~np.ma.getmaskarray(x)
    x = x.filled(0)
    if good.all():
        return x, mask
    if mask is not None:
        given = np.asarray(ops.convert_to_numpy(mask), bool)
        good &= given.reshape(given.shape + (1,) * (good.ndim - given.ndim))
    return x, good


def is_groups(x: Any) -> bool:
    """Return whether data are groups of this package, in memory or on disk."""
    # By their attributes, because models do not import the readers of files.
    return hasattr(x, "instance_shape") and hasattr(x, "present")


def _refuse_beside(groups: Any, y: Any, others: Mapping[str, Any]) -> None:
    if y is not None or others.get("sample_weight") is not None:
        raise ValueError(
            f"A {type(groups).__name__} already has targets and weights. Received: "
            "also `y` or `sample_weight`; pass the arrays `groups.x` with them instead."
        )


def may_equal(one: Shape, other: Shape) -> bool:
    """Return whether two shapes are equal in all known axes."""
    return len(one) == len(other) and all(
        a == b for a, b in zip(one, other, strict=True) if None not in (a, b)
    )
