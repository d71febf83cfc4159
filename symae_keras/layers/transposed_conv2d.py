"""Transposed convolution of images with an exact size."""

from __future__ import annotations

import keras

from symae_keras.layers.transposed_conv import Cropped


@keras.saving.register_keras_serializable(package="symae_keras")
class TransposedConv2D(Cropped, keras.layers.Conv2DTranspose):
    """Transposed convolution of images, cropped by a number of pixels.

    Each pixel adds the kernel, times its value, to the output; kernels start `strides`
    apart. Then `padding` pixels are cut off every side, as textbooks and PyTorch
    count it. `keras.layers.Conv2DTranspose` with `padding="same"` cuts off what makes
    the output `strides` times as large, and cannot be told how much.

    Args:
        filters: Channels of the output.
        kernel_size: Size of the kernel, an integer or `(height, width)`.
        strides: Distance of the kernels, an integer or `(rows, columns)`. Defaults
            to 1.
        padding: Pixels cut off every side, an integer or `(rows, columns)`. Defaults
            to 0.
        output_padding: Pixels more at the end of both axes, fewer than `strides`, an
            integer or `(rows, columns)`. Defaults to 0.
        **kwargs: Other arguments of `keras.layers.Conv2DTranspose`, such as
            `activation` and `use_bias`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Output shape:
        `(batch, higher, wider, filters)`, `n` pixels becoming
        `(n - 1) * strides - 2 * padding + kernel_size + output_padding`.

    Reference:
        - [Dumoulin & Visin, A guide to convolution arithmetic for deep learning,
          2016](https://arxiv.org/abs/1603.07285)

    Example:
    >>> from keras import ops
    >>> layer = TransposedConv2D(2, kernel_size=3, strides=2, padding=1)
    >>> tuple(layer(ops.ones((4, 2, 5, 1))).shape)
    (4, 3, 9, 2)
    """
