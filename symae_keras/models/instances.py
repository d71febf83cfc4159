"""Base classes of models of single instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import (
    integer,
    invalid,
    positive,
    positive_or_none,
    sizes,
)
from symae_keras.layers._random import SeedGenerator
from symae_keras.layers._stack import halved, keras_layer, normalization_layer
from symae_keras.layers.penalties import LossTerm
from symae_keras.models.base import AutoencoderBase, may_equal


class InstanceAutoencoder(AutoencoderBase):
    """Base class of autoencoders of single instances.

    This class implements the plain autoencoder. Subclasses override the parts that
    differ: `_numbers_each` (the number of encoder outputs per code element), `_code`
    (the code without noise) and `_training_code` (the code that `call` decodes, where
    losses are added).

    Args:
        code_dim: Size of the code, to which a linear layer projects the output of the
            encoder. `None` uses the output of a custom encoder as the code, with any
            shape.

    The other arguments are those of `AutoencoderBase`.
    """

    #: Number of encoder outputs per code element.
    _numbers_each = 1
    #: Whether the output of a custom encoder may be the code, with `code_dim=None`.
    _any_code = True

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int | None = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, encoder, decoder, normalization, seed, **kwargs
        )
        size: Any = code_dim
        if size is not None or not self._any_code:
            size = positive("code_dim", size)
        self.code_dim: int | None = size

    def _assemble(self) -> None:
        """Make the networks and build them; constructors call this last."""
        dim = self.code_dim
        if dim is None and isinstance(self.encoder, str):
            expected = "a positive integer, or None with a custom `encoder`"
            raise invalid("code_dim", expected, None)
        size = None if dim is None else dim * self._numbers_each
        self.instance_encoder = self._make_encoder(size or 1)
        self.code_head: list[keras.Layer] = []
        if size is not None and not isinstance(self.encoder, str):
            dtype = self.dtype_policy
            self.code_head = [
                keras_layer("Flatten", dtype=dtype),
                keras.layers.Dense(size, dtype=dtype, name="code"),
            ]
        self.instance_decoder = self._make_decoder(self.instance_encoder)
        self.build((None, *self.instance_shape))

    def build(self, input_shape: Any = None) -> None:
        # Symbolic calls build the layers. Layers that only `_training_code` calls must
        # be built where they are made.
        x = keras.KerasTensor((None, *self.instance_shape), dtype=self.compute_dtype)
        self._build_normalization(x.shape)
        code = self._code(x)
        self.code_shape: tuple[int, ...] = tuple(int(n) for n in code.shape[1:])
        decoded = self.instance_decoder(code)
        self._check_decoded(tuple(decoded.shape[1:]))
        self._track_terms()
        self.built = True

    # === Forward pass ===

    def _of_groups(self, groups: Any) -> tuple[Any, Any]:
        """Return the present instances."""
        present, good = groups.present, groups.good_pixels
        pixels = groups.masks == 2
        return groups.x[present], good[present] if pixels else None

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        x, mask = self._unpack(inputs)
        x = self._inputs(x, mask, training)
        return self._decoded(self._training_code(x, training, self._present(mask)))

    def _inputs(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = False
    ) -> Tensor:
        """Return normalised instances for the encoder, with bad pixels filled."""
        return self._normalize(self._corrupt(self._checked(x, mask), training))

    @staticmethod
    def _present(mask: Tensor | None) -> Tensor | None:
        """Return the mask of instances; one without a good pixel is absent."""
        if mask is None:
            return None
        return ops.any(ops.cast(mask, "bool"), axis=tuple(range(1, len(mask.shape))))

    def _corrupt(self, x: Tensor, training: bool | None) -> Tensor:
        """Corrupt the input in data units, as a denoising autoencoder does."""
        return x

    def _features(self, x: Tensor) -> Tensor:
        """Return the output of the encoder, `code_dim * _numbers_each` values."""
        x = self.instance_encoder(x)
        for layer in self.code_head:
            x = layer(x)
        return x

    def _code(self, x: Tensor) -> Tensor:
        """Return the code of normalised instances, without noise."""
        return self._features(x)

    def _training_code(
        self, x: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return the code of normalised instances that `call` decodes; add losses.

        Instances where `mask`, boolean `(batch,)`, is False are excluded from losses.
        """
        return self._code(x)

    # === Use ===

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode instances, without noise.

        Args:
            x: `(batch, *instance_shape)`; or a `symae_keras.data.GroupedData`, whose
                present instances and masks are used, in the order of
                `groups.x[groups.present]`.
            mask: Boolean, of the shape of `x`, True = good pixel. Bad pixels get the
                value of the mean instance of `normalization`, or 0. Defaults to
                `None`.

        Returns:
            Tensor `(batch, code_dim)`, or `(batch, *code_shape)` if the encoder
            determines the shape of the code. `decode` accepts this tensor.
        """
        return self._compiled("_encoded", (1, 1), *self._accepted(x, mask))

    def _encoded(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._code(self._inputs(x, mask))

    def decode(self, code: Tensor) -> Tensor:
        """Decode codes.

        Args:
            code: Codes from `encode`, or other codes of the same shape.

        Returns:
            Instances in data units, `(batch, *instance_shape)`.
        """
        code = ops.convert_to_tensor(code, dtype=self.compute_dtype)
        if not may_equal(tuple(code.shape[1:]), self.code_shape):
            raise ValueError(
                f"This model decodes codes of shape {self.code_shape}, in arrays "
                f"(batch, *code_shape). Received: shape {tuple(code.shape)}"
            )
        return self._compiled("_decoded", (1,), code)

    def _decoded(self, code: Any) -> Tensor:
        return self._denormalize(self.instance_decoder(code))

    def reconstruct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode and decode, without noise or corruption.

        Args:
            x: `(batch, *instance_shape)`, or `GroupedData`, see `encode`.
            mask: See `encode`. Bad pixels are reconstructed from the good ones.

        Returns:
            Tensor `(batch, *instance_shape)`. For segmentation networks, class
            probabilities.
        """
        return self._compiled("_reconstructed", (1, 1), *self._accepted(x, mask))

    def _reconstructed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._decoded(self._encoded(x, mask))

    # === Keras protocol ===

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if isinstance(input_shape, Mapping):
            input_shape = input_shape["instances"]
        return (input_shape[0], *self.instance_shape)


class GenerativeAutoencoder(InstanceAutoencoder):
    """Base class of autoencoders of single instances with codes of prior N(0, 1).

    A subclass draws codes in `_training_code`, or makes the layer `matching`. This
    layer returns the codes of a batch and adds a loss for their distance from samples
    of N(0, 1); its `mask` excludes absent instances. The arguments are those of
    `InstanceAutoencoder`, but `code_dim` is always an integer.
    """

    _any_code = False
    # No default: on PyTorch, which stores layers separately, it would hide the layer.
    matching: LossTerm

    def _assemble(self) -> None:
        self.sample_generator = SeedGenerator(self.seed)
        if hasattr(self, "matching"):
            self.matching.build((None, self.code_dim))
        super()._assemble()

    def _training_code(
        self, x: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        code = self._code(x)
        if not hasattr(self, "matching"):
            return code
        return self.matching(code, mask=mask)

    def sample(self, n_samples: int) -> Tensor:
        """Draw codes from the prior and decode them.

        Args:
            n_samples: Number of instances.

        Returns:
            Tensor `(n_samples, *instance_shape)`.
        """
        code = keras.random.normal(
            (n_samples, self.code_dim), dtype="float32", seed=self.sample_generator
        )
        return self.decode(code)


class PixelwiseModel(InstanceAutoencoder):
    """Base class of networks that map instances to maps of the same size.

    The code of these networks is not small: it is a tuple of all maps that the decoder
    receives, so that `decode(encode(x))` is the output. With `n_classes`, the outputs
    are probabilities `(batch, *sizes, n_classes)`, otherwise instances.

    A subclass makes its layers and calls `_assemble`. It overrides `_code`, which
    computes the code of an input with a channel axis, and `_outputs`, which computes
    maps with `output_channels` channels from a code.

    Args:
        instance_shape: See `AutoencoderBase`, also for `normalization` and `seed`.
        n_classes: Number of classes, at least 2, or `None` for a network that outputs
            instances.
        filters: Channels at each depth; all depths except the first halve the maps.
        spatial_axes: Number of pixel axes of an instance. `None` expects instances
            `(pixels,)`, `(pixels, channels)`, `(height, width, channels)` or
            `(depth, height, width, channels)`.
    """

    #: Numbers of spatial axes that the layers of the network support.
    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        instance_shape: Sequence[int],
        n_classes: int | None,
        filters: Sequence[int],
        spatial_axes: int | None,
        normalization: keras.Layer | None,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, normalization=normalization, seed=seed, **kwargs
        )
        self.n_classes = (
            None if n_classes is None else integer("n_classes", n_classes, least=2)
        )
        self.filters = sizes("filters", filters, "(16, 32, 64)")
        self.spatial_axes = positive_or_none("spatial_axes", spatial_axes)
        n_axes = len(self.instance_shape)
        self.rank = self.spatial_axes or max(n_axes - 1, 1)
        if self.rank not in self.ranks or n_axes not in (self.rank, self.rank + 1):
            raise ValueError(
                "Invalid value received for argument `spatial_axes`. "
                f"`{type(self).__name__}` takes instances with {self.ranks[0]} to "
                f"{self.ranks[-1]} axes of pixels and one of channels, which may be "
                "missing if `spatial_axes` is given. Received: instance_shape="
                f"{self.instance_shape}, spatial_axes={spatial_axes}"
            )
        lengths = [
            halved(n, len(self.filters) - 1) for n in self.instance_shape[: self.rank]
        ]
        #: Sizes of the maps at each depth; the first is that of the instance.
        self.sizes = tuple(zip(*lengths, strict=True))
        self.channels = (*self.instance_shape, 1)[self.rank]
        self.output_channels = self.n_classes or self.channels

    # === Layers ===

    def _layer(self, name: str, *arguments: Any, **options: Any) -> keras.Layer:
        """Make a Keras layer; its name has braces for the rank."""
        return keras_layer(
            name, *arguments, rank=self.rank, dtype=self.dtype_policy, **options
        )

    def _step(
        self, filters: int, kernel_size: int, normalization: str | None
    ) -> list[keras.Layer]:
        """Make a convolution with normalisation per instance and activation."""
        convolution = self._layer("Conv{}D", filters, kernel_size, padding="same")
        return [convolution, *self._activated(filters, normalization)]

    def _activated(
        self, filters: int, normalization: str | None = "group"
    ) -> list[keras.Layer]:
        return [
            normalization_layer(normalization, filters, self.dtype_policy),
            self._layer("Activation", "relu"),
        ]

    def _crop(self, x: Tensor, depth: int) -> Tensor:
        """Crop an upsampled map that is too large to the size at that depth."""
        sizes = self.sizes[depth]
        if tuple(x.shape[1:-1]) == sizes:
            return x
        return x[(slice(None), *(slice(0, n) for n in sizes))]

    def _assemble(self) -> None:
        """Build the model; constructors call this last."""
        self.build((None, *self.instance_shape))

    def build(self, input_shape: Any = None) -> None:
        x = keras.KerasTensor((None, *self.instance_shape), dtype=self._data_dtype)
        self._build_normalization(x.shape)
        code = self._code(self._inputs(x))
        self.code_shapes = tuple(tuple(each.shape[1:]) for each in code)
        self._code_dtypes = tuple(str(each.dtype) for each in code)
        self._outputs(code)
        self._track_terms()
        self.built = True

    # === Forward pass ===

    def _inputs(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = False
    ) -> Tensor:
        return self._with_channels(super()._inputs(x, mask, training))

    def _with_channels(self, x: Tensor) -> Tensor:
        return ops.expand_dims(x, -1) if len(x.shape) == self.rank + 1 else x

    def _code(self, x: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _outputs(self, code: tuple[Tensor, ...]) -> Tensor:
        raise NotImplementedError

    # === Use ===

    def decode(self, code: Sequence[Tensor]) -> Tensor:
        """Decode maps.

        Args:
            code: Output of `encode`, a tuple of tensors `(batch, *code_shape)`, one per
                entry of `code_shapes`.

        Returns:
            Instances in data units, `(batch, *instance_shape)`, or probabilities
            `(batch, *sizes, n_classes)`.
        """
        shapes = tuple(tuple(each.shape[1:]) for each in code)
        if len(shapes) != len(self.code_shapes) or not all(
            map(may_equal, shapes, self.code_shapes)
        ):
            raise ValueError(
                "This model decodes what `encode` returns, arrays (batch, *code_shape) "
                f"of the shapes {self.code_shapes}. Received: {shapes}"
            )
        maps = map(ops.convert_to_tensor, code, self._code_dtypes)
        return self._compiled("_decoded_maps", (1,) * len(code), *maps)

    def _decoded_maps(self, *code: Tensor) -> Tensor:
        return self._decoded(code)

    def _decoded(self, code: tuple[Tensor, ...]) -> Tensor:
        x = self._outputs(code)
        if self.n_classes is not None:
            return ops.softmax(ops.cast(x, self._data_dtype))
        return self._as_instances(x)

    def _as_instances(self, x: Tensor) -> Tensor:
        """Return normalised maps in data units, in the shape of instances."""
        if len(self.instance_shape) == self.rank:
            x = ops.squeeze(x, -1)
        return self._denormalize(x)

    def segment(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the most probable class of every pixel.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`. Bad pixels get a class, too.

        Returns:
            Integer labels `(batch, *sizes)`, from 0 to `n_classes - 1`.
        """
        if self.n_classes is None:
            raise ValueError(
                "This model outputs instances, not classes: `segment` needs a model "
                "with `n_classes`."
            )
        return ops.cast(ops.argmax(self.reconstruct(x, mask), axis=-1), "int32")

    # === Losses ===

    def _batches(self, method: str, groups: Any, *args: Any, **kwargs: Any) -> Any:
        if method != "predict" and self.n_classes is not None:
            raise ValueError(
                f"`{method}` of a model with `n_classes` needs labels, which "
                f"{type(groups).__name__} does not contain. Pass arrays of instances "
                "and labels."
            )
        return super()._batches(method, groups, *args, **kwargs)

    def _blank_bad_pixels(
        self, inputs: Any, y: Tensor, y_pred: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make labels and probabilities agree where no channel is good."""
        if self.n_classes is None:
            return super()._blank_bad_pixels(inputs, y, y_pred)
        good = self._good(inputs)
        if good is not None:
            certain = ops.one_hot(0, self.n_classes, dtype=y_pred.dtype)
            y = ops.where(ops.reshape(good, ops.shape(y)), y, ops.zeros_like(y))
            y_pred = ops.where(ops.expand_dims(good, -1), y_pred, certain)
        if self.rank == 2 and keras.backend.backend() == "torch":
            # Keras moves the classes to axis 1. PyTorch then computes no gradient of
            # its loss, because the images are not contiguous
            # (https://github.com/pytorch/pytorch/issues/175084).
            moved = ops.moveaxis(y_pred, -1, 1)
            contiguous = ops.reshape(ops.reshape(moved, (-1,)), ops.shape(moved))
            y_pred = ops.moveaxis(contiguous, 1, -1)
        return y, y_pred

    def _good_arrays(
        self, x: Any, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give bad pixels the weight 0; blanked, they would improve all metrics."""
        if self.n_classes is None:
            return super()._good_arrays(x, y, y_pred, sample_weight)
        good = self._good(x)
        if good is None:
            return y, y_pred, sample_weight
        weight = ops.cast(good, "float32")
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, "float32")
        return y, y_pred, weight

    def _good(self, inputs: Any) -> Tensor | None:
        """Return the mask `(batch, *sizes)` of pixels with a good channel, if given."""
        mask = self._unpack(inputs)[1]
        if mask is None:
            return None
        good = ops.cast(self._with_channels(ops.cast(mask, "bool")), "int32")
        return ops.cast(ops.max(good, axis=-1), "bool")

    # === Keras protocol ===

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = super().compute_output_shape(input_shape)
        if self.n_classes is None:
            return shape
        return (shape[0], *self.sizes[0], self.n_classes)
