"""Upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import choice, invalid, one_each, positive


class _Upsampling(keras.Layer):
    """Base class of layers that turn each pixel into a cell of pixels."""

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = positive("size", size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, channels = input_shape
        longer = (None if n is None else n * self.size for n in sizes)
        return (batch, *longer, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="symae_keras")
class SubPixel(_Upsampling):
    """Upsampling that moves channels to pixels, also known as pixel shuffle.

    With `r` pixel axes, the `channels * size**r` values of a pixel become a cell of
    `size**r` pixels with `channels` channels each. The values fill the cell in
    row-major order, first over its pixels, then over the channels. For images this is
    `keras.ops.depth_to_space`. Use it after a convolution that outputs that many
    channels.

    Args:
        size: Factor of every pixel axis. Defaults to 2.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`, `(batch, height, width, channels)`,
            or with more pixel axes.

    Output shape:
        That of the input, with every pixel axis `size` times as long and `size**r`
        times fewer channels.

    Reference:
        - [Shi et al., Real-time single image and video super-resolution using an
          efficient sub-pixel convolutional neural network,
          2016](https://arxiv.org/abs/1609.05158)

    Example:
    >>> from keras import ops
    >>> y = SubPixel(2)(ops.array([[[1.0, 2.0], [3.0, 4.0]]]))
    >>> ops.convert_to_numpy(y)[0, :, 0].tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    def build(self, input_shape: Shape) -> None:
        cell = self.size ** (len(input_shape) - 2)
        channels = input_shape[-1]
        if channels is None or channels % cell:
            raise ValueError(
                f"`SubPixel` expects a number of channels that is a multiple of {cell} "
                f"with size={self.size}. Received: shape {tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        return shuffled(inputs, self.size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        *longer, channels = super().compute_output_shape(input_shape)
        cell = self.size ** (len(longer) - 1)
        return (*longer, None if channels is None else channels // cell)


def shuffled(x: Tensor, size: int) -> Tensor:
    """Move channels to pixels, `size` along every pixel axis."""
    batch, *sizes, _ = ops.shape(x)
    rank = len(sizes)
    channels = x.shape[-1] // size**rank
    cells = ops.reshape(x, (batch, *sizes, *[size] * rank, channels))
    # Put each cell axis of (batch, *sizes, *cell, channels) next to its pixel axis.
    beside = [axis for n in range(1, rank + 1) for axis in (n, n + rank)]
    cells = ops.transpose(cells, (0, *beside, 2 * rank + 1))
    return ops.reshape(cells, (batch, *(n * size for n in sizes), channels))


@keras.saving.register_keras_serializable(package="symae_keras")
class BedOfNails(_Upsampling):
    """Upsampling with zeros: each value becomes the first one of a cell of zeros.

    A convolution after this layer has separate weights for each position in a cell,
    like a transposed convolution.

    Args:
        size: Factor of every pixel axis. Defaults to 2.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`, `(batch, height, width, channels)`,
            or with more pixel axes.

    Output shape:
        That of the input, with every pixel axis `size` times as long.

    Example:
    >>> from keras import ops
    >>> y = BedOfNails(2)(ops.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    >>> for row in ops.convert_to_numpy(y)[0, :, :, 0].tolist():
    ...     print(row)
    [1.0, 0.0, 2.0, 0.0]
    [0.0, 0.0, 0.0, 0.0]
    [3.0, 0.0, 4.0, 0.0]
    [0.0, 0.0, 0.0, 0.0]
    """

    def call(self, inputs: Tensor) -> Tensor:
        # Channels of zeros become the pixels between the values.
        rank, channels = len(inputs.shape) - 2, inputs.shape[-1]
        zeros = channels * (self.size**rank - 1)
        cells = ops.pad(inputs, ((0, 0),) * (rank + 1) + ((0, zeros),))
        return shuffled(cells, self.size)


class Cropped(keras.Layer):
    """Mixin that crops the output of a transposed convolution of Keras."""

    rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        output_padding: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        def one_an_axis(name: str, value: Any, least: int) -> tuple[int, ...]:
            return one_each(name, value, self.rank, "per axis", least)

        cropping = None
        if isinstance(padding, str):
            padding = choice("padding", padding, ("valid", "same"))
        else:
            cropping = one_an_axis("padding", padding, 0)
            # Without padding and with an output padding, Keras returns all pixels that
            # a kernel reaches, including those of the output padding.
            padding = "valid"
            output_padding = 0 if output_padding is None else output_padding
        if output_padding is not None:
            output_padding = one_an_axis("output_padding", output_padding, 0)
        super().__init__(
            positive("filters", filters),
            one_an_axis("kernel_size", kernel_size, 1),
            strides=one_an_axis("strides", strides, 1),
            padding=padding,
            output_padding=output_padding,
            **{"data_format": "channels_last", **kwargs},
        )
        if self.data_format != "channels_last":
            raise invalid("data_format", "'channels_last'", repr(self.data_format))
        #: Pixels to crop at either end of each axis; `None` if Keras crops.
        self.cropping = cropping

    def build(self, input_shape: Shape) -> None:
        sizes = self.compute_output_shape(tuple(input_shape))[1:-1]
        if any(n is not None and n < 1 for n in sizes):
            raise ValueError(
                f"`{type(self).__name__}` with padding={self._given()} leaves nothing "
                f"of an input of shape {tuple(input_shape)}. Use less padding."
            )
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        outputs = super().call(inputs)
        if self.cropping is None:
            return outputs
        kept = [slice(n, -n if n else None) for n in self.cropping]
        return outputs[(slice(None), *kept)]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the output shape; see the formula in `TransposedConv1D`."""
        batch, *sizes, channels = super().compute_output_shape(input_shape)
        if self.cropping is None:
            return (batch, *sizes, channels)
        each = zip(sizes, self.cropping, strict=True)
        kept = (None if n is None else n - 2 * cut for n, cut in each)
        return (batch, *kept, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self._given()}

    def _given(self) -> tuple[int, ...] | str:
        """Return the argument `padding`; the attribute belongs to Keras."""
        return str(self.padding) if self.cropping is None else self.cropping


@keras.saving.register_keras_serializable(package="symae_keras")
class TransposedConv1D(Cropped, keras.layers.Conv1DTranspose):
    """Transposed convolution of one axis, cropped by a number of pixels.

    Each pixel adds the kernel, times its value, to the output. The distance between
    kernels is `strides`. Then `padding` pixels are cropped at both ends, as in
    textbooks and PyTorch. The layer also accepts Keras's `padding="same"`, which crops
    the output to `strides` times the input length.

    Args:
        filters: Channels of the output.
        kernel_size: Length of the kernel.
        strides: Distance between kernels. Defaults to 1.
        padding: Pixels to crop at both ends, or `"valid"` or `"same"` as in
            `keras.layers.Conv1DTranspose`. Defaults to 0.
        output_padding: Additional pixels at the end, fewer than `strides`. `None`
            (default) means 0 if `padding` is a number, and Keras's choice if it is a
            name.
        **kwargs: Other arguments of `keras.layers.Conv1DTranspose`, such as
            `activation` and `use_bias`.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`.

    Output shape:
        `(batch, longer, filters)`. `n` pixels become
        `(n - 1) * strides - 2 * padding + kernel_size + output_padding`, or as in Keras
        if `padding` is a name.

    Reference:
        - [Dumoulin & Visin, A guide to convolution arithmetic for deep learning,
          2016](https://arxiv.org/abs/1603.07285)

    Example:
    >>> from keras import ops
    >>> layer = TransposedConv1D(2, kernel_size=3, strides=2, padding=1)
    >>> tuple(layer(ops.ones((4, 5, 1))).shape)
    (4, 9, 2)
    """

    rank = 1


@keras.saving.register_keras_serializable(package="symae_keras")
class TransposedConv2D(Cropped, keras.layers.Conv2DTranspose):
    """Transposed convolution of images, cropped by a number of pixels.

    Each pixel adds the kernel, times its value, to the output. The distance between
    kernels is `strides`. Then `padding` pixels are cropped at every side, as in
    textbooks and PyTorch. The layer also accepts Keras's `padding="same"`, which crops
    the output to `strides` times the input size.

    Args:
        filters: Channels of the output.
        kernel_size: Size of the kernel, an integer or `(height, width)`.
        strides: Distance between kernels, an integer or `(rows, columns)`. Defaults
            to 1.
        padding: Pixels to crop at every side, an integer or `(rows, columns)`; or
            `"valid"` or `"same"` as in `keras.layers.Conv2DTranspose`. Defaults to 0.
        output_padding: Additional pixels at the end of both axes, fewer than
            `strides`, an integer or `(rows, columns)`. `None` (default) means 0 if
            `padding` is a number, and Keras's choice if it is a name.
        **kwargs: Other arguments of `keras.layers.Conv2DTranspose`, such as
            `activation` and `use_bias`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Output shape:
        `(batch, higher, wider, filters)`. `n` pixels become
        `(n - 1) * strides - 2 * padding + kernel_size + output_padding`, or as in Keras
        if `padding` is a name.

    Reference:
        - [Dumoulin & Visin, A guide to convolution arithmetic for deep learning,
          2016](https://arxiv.org/abs/1603.07285)

    Example:
    >>> from keras import ops
    >>> layer = TransposedConv2D(2, kernel_size=3, strides=2, padding=1)
    >>> tuple(layer(ops.ones((4, 2, 5, 1))).shape)
    (4, 3, 9, 2)
    """

    rank = 2
