"""What the networks share that give each pixel a value or a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from symae_keras._utils.types import Shape, Tensor
from symae_keras._utils.validation import invalid, is_integer, sizes
from symae_keras.layers._stack import halved, keras_layer, normalization_layer
from symae_keras.models.base import AutoencoderBase, may_equal


class PixelwiseModel(AutoencoderBase):
    """Base of the networks from instances to maps of the same size.

    Their code is not small: it is all maps that the decoder is given, a tuple of
    tensors, so that `decode(encode(x))` is the output. With `n_classes` the output are
    probabilities `(batch, *sizes, n_classes)`, else instances.

    A subclass makes its layers and calls `_assemble`. It overrides `_maps`, the code of
    an input with a channel axis, and `_outputs`, the maps made of a code, which have
    `output_channels` channels.

    Args:
        instance_shape: Shape of one instance, channels last.
        n_classes: Number of classes, at least 2, or `None` for a network that gives
            instances.
        filters: Channels at each depth; all depths but the first halve the maps.
        spatial_axes: How many axes of an instance are axes of pixels. `None` takes
            instances as `(pixels,)`, `(pixels, channels)`, `(height, width, channels)`
            and `(depth, height, width, channels)`.
        normalization: See `AutoencoderBase`.
        seed: See `AutoencoderBase`.
    """

    #: Numbers of spatial axes that the layers of the network exist for.
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
        if not (n_classes is None or is_integer(n_classes, 2)):
            raise invalid("n_classes", "an integer of at least 2", n_classes)
        self.n_classes = None if n_classes is None else int(n_classes)
        self.filters = sizes("filters", filters, "(16, 32, 64)")
        self.spatial_axes = spatial_axes
        n_axes = len(self.instance_shape)
        self.rank = max(n_axes - 1, 1) if spatial_axes is None else int(spatial_axes)
        if self.rank not in self.ranks or n_axes not in (self.rank, self.rank + 1):
            raise ValueError(
                f"`{type(self).__name__}` takes instances with {self.ranks[0]} to "
                f"{self.ranks[-1]} axes of pixels and one of channels, which may be "
                "missing where `spatial_axes` tells. Received: instance_shape="
                f"{self.instance_shape}, spatial_axes={spatial_axes}"
            )
        lengths = [
            halved(n, len(self.filters) - 1) for n in self.instance_shape[: self.rank]
        ]
        #: Sizes of the maps at each depth, that of the instance first.
        self.sizes = tuple(zip(*lengths, strict=True))
        self.channels = (*self.instance_shape, 1)[self.rank]
        self.output_channels = self.n_classes or self.channels

    # === Layers ===

    def _layer(self, name: str, *arguments: Any, **options: Any) -> keras.Layer:
        """A layer of Keras, whose name has braces for the rank."""
        return keras_layer(
            name, *arguments, rank=self.rank, dtype=self.dtype_policy, **options
        )

    def _step(
        self, filters: int, kernel_size: int, normalization: str | None
    ) -> list[keras.Layer]:
        """A convolution, normalised per instance and activated."""
        return [
            self._layer("Conv{}D", filters, kernel_size, padding="same"),
            normalization_layer(normalization, filters, self.dtype_policy),
            keras.layers.Activation("relu", dtype=self.dtype_policy),
        ]

    def _crop(self, x: Tensor, depth: int) -> Tensor:
        """What an upsampling made too large, cut to the size at that depth."""
        sizes = self.sizes[depth]
        if tuple(x.shape[1:-1]) == sizes:
            return x
        return x[(slice(None), *(slice(0, n) for n in sizes))]

    def _assemble(self) -> None:
        """Build; the last thing that constructors do."""
        self.build((None, *self.instance_shape))

    def build(self, input_shape: Any = None) -> None:
        """Build everything from the shape of one instance, by symbolic calls."""
        x = keras.KerasTensor((None, *self.instance_shape), dtype=self._data_dtype)
        self._build_normalization(x.shape)
        code = self._maps(self._input_maps(x))
        self.code_shapes = tuple(tuple(each.shape[1:]) for each in code)
        self._code_dtypes = tuple(str(each.dtype) for each in code)
        self._outputs(code)
        self._track_terms()
        self.built = True

    # === Forward pass ===

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Instances, or probabilities of classes."""
        x, mask = self._unpack(inputs)
        return self.decode(self._maps(self._input_maps(x, mask, training)))

    def _input_maps(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        """Normalised instances with a channel axis, bad pixels filled."""
        return self._with_channels(self._normalize(self._checked(x, mask)))

    def _with_channels(self, x: Tensor) -> Tensor:
        return ops.expand_dims(x, -1) if len(x.shape) == self.rank + 1 else x

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _outputs(self, code: tuple[Tensor, ...]) -> Tensor:
        raise NotImplementedError

    # === Use ===

    def encode(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode instances to the maps that the decoder is given.

        Args:
            x: `(batch, *instance_shape)`.
            mask: Boolean, of the shape of `x`, True = good pixel. Bad pixels are given
                the value of the mean instance of `normalization`, or 0. Defaults to
                `None`.

        Returns:
            Tuple of tensors of the shapes `(batch, *code_shape)`, for each of
            `code_shapes`.
        """
        return self._maps(self._input_maps(x, mask))

    def decode(self, code: Sequence[Tensor]) -> Tensor:
        """Decode maps.

        Args:
            code: What `encode` returns.

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
        x = self._outputs(tuple(map(ops.convert_to_tensor, code, self._code_dtypes)))
        if self.n_classes is not None:
            return ops.softmax(ops.cast(x, self._data_dtype))
        return self._as_instances(x)

    def _as_instances(self, x: Tensor) -> Tensor:
        """Normalised maps in data units, in the shape of instances."""
        if len(self.instance_shape) == self.rank:
            x = ops.squeeze(x, -1)
        return self._denormalize(x)

    def reconstruct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode and decode, without noise or corruption.

        A network with classes reconstructs no instance: what it decodes are
        probabilities.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`.

        Returns:
            See `decode`.
        """
        return self.decode(self.encode(x, mask))

    def segment(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The most probable class of every pixel.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`. Bad pixels get a class, too.

        Returns:
            Integer labels `(batch, *sizes)`, from 0 to `n_classes - 1`.
        """
        if self.n_classes is None:
            raise ValueError(
                "This model gives instances and knows no classes: `segment` needs a "
                "model with `n_classes`."
            )
        return ops.cast(ops.argmax(self.reconstruct(x, mask), axis=-1), "int32")

    # === Losses ===

    def _blank_bad_pixels(
        self, inputs: Any, y: Tensor, y_pred: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make labels and probabilities agree where no channel is good."""
        if self.n_classes is None:
            return super()._blank_bad_pixels(inputs, y, y_pred)
        good = self._good(inputs)
        if good is None:
            return y, y_pred
        certain = ops.one_hot(0, self.n_classes, dtype=y_pred.dtype)
        y = ops.where(ops.reshape(good, ops.shape(y)), y, ops.zeros_like(y))
        return y, ops.where(ops.expand_dims(good, -1), y_pred, certain)

    def _good_arrays(
        self, x: Any, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give bad pixels the weight 0; blank, they would be right in every score."""
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
        """Mask `(batch, *sizes)` of the pixels with a good channel, if one is given."""
        mask = self._unpack(inputs)[1]
        if mask is None:
            return None
        good = ops.cast(self._with_channels(ops.cast(mask, "bool")), "int32")
        return ops.cast(ops.max(good, axis=-1), "bool")

    # === Keras protocol ===

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Shape of instances, or of their probabilities."""
        if isinstance(input_shape, Mapping):
            input_shape = input_shape["instances"]
        if self.n_classes is None:
            return (input_shape[0], *self.instance_shape)
        return (input_shape[0], *self.sizes[0], self.n_classes)
