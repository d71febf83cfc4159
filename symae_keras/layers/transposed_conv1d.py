"""Transposed convolution of one axis with an exact length."""

from __future__ import annotations

import keras

from symae_keras.layers.transposed_conv import Cropped


@keras.saving.register_keras_serializable(package="symae_keras")
class TransposedConv1D(Cropped, keras.layers.Conv1DTranspose):
    """Transposed convolution of one axis, cropped by a number of pixels.

    Each pixel adds the kernel, times its value, to the output; kernels start `strides`
    apart. Then `padding` pixels are cut off both ends, as textbooks and PyTorch
    count it. `keras.layers.Conv1DTranspose` with `padding="same"` cuts off what makes
    the output `strides` times as large, and cannot be told how much.

    Args:
        filters: Channels of the output.
        kernel_size: Length of the kernel.
        strides: Distance of the kernels. Defaults to 1.
        padding: Pixels cut off both ends. Defaults to 0.
        output_padding: Pixels more at the end, fewer than `strides`. Defaults to 0.
        **kwargs: Other arguments of `keras.layers.Conv1DTranspose`, such as
            `activation` and `use_bias`.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`.

    Output shape:
        `(batch, longer, filters)`, `n` pixels becoming
        `(n - 1) * strides - 2 * padding + kernel_size + output_padding`.

    Reference:
        - [Dumoulin & Visin, A guide to convolution arithmetic for deep learning,
          2016](https://arxiv.org/abs/1603.07285)

    Example:
    >>> from keras import ops
    >>> layer = TransposedConv1D(2, kernel_size=3, strides=2, padding=1)
    >>> tuple(layer(ops.ones((4, 5, 1))).shape)
    (4, 9, 2)
    """
