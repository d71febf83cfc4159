"""Max pooling of images that remembers where the maxima were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.index_pooling import MaxPoolingWithIndices


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxPoolingWithIndices2D(MaxPoolingWithIndices):
    """Max pooling of images that gives maxima and where they were.

    `MaxUnpooling2D` takes both. Of equal numbers the first in row-major order is the
    maximum, and it alone has the gradient.

    Args:
        pool_size: Size of the windows, an integer or `(height, width)`. Defaults to 2.
        strides: Step from one window to the next, an integer or `(rows, columns)`.
            Defaults to `pool_size`.
        padding: `"valid"` (default), where pixels that fill no window are dropped, or
            `"same"`, where windows reach over the borders; the padding is never the
            maximum.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Output shape:
        A pair of maxima and indices, both `(batch, rows, columns, channels)`. Indices
        are int32 positions in the flattened `height * width` pixels of the image that
        was pooled, for each instance and channel by itself.

    Reference:
        - [Zeiler & Fergus, Visualizing and understanding convolutional networks,
          2014](https://arxiv.org/abs/1311.2901)

    Example:
    >>> from keras import ops
    >>> x = ops.array([[1.0, 2.0, 7.0], [6.0, 3.0, 8.0]])[None, :, :, None]
    >>> maxima, indices = MaxPoolingWithIndices2D(2, strides=1)(x)
    >>> ops.convert_to_numpy(maxima)[0, :, :, 0].tolist()
    [[6.0, 8.0]]
    >>> ops.convert_to_numpy(indices)[0, :, :, 0].tolist()
    [[3, 5]]
    """

    rank = 2

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)
