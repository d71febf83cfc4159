"""Upsampling of images that puts maxima back where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.index_pooling import MaxUnpooling


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxUnpooling2D(MaxUnpooling):
    """Puts each value where `MaxPoolingWithIndices2D` found its maximum.

    Everything else is 0. Where windows overlap and share a maximum, the value of the
    last of them in row-major order is taken, as NumPy's assignment does.

    Args:
        pool_size: As in the pooling. Defaults to 2.
        strides: As in the pooling. Defaults to `pool_size`.
        padding: As in the pooling. Defaults to `"valid"`.

    Call arguments:
        inputs: Pair of values and indices, both `(batch, rows, columns, channels)`.
            Values may be others than the maxima, such as those that a decoder made.
        output_size: `(height, width)` of what was pooled, or an integer for both.
            `None` (default) is `(rows - 1) * strides + pool_size` with "valid" padding
            and `rows * strides` with "same"; give it wherever the size was another,
            since the indices cannot tell.

    Output shape:
        `(batch, *output_size, channels)`.

    Reference:
        - [Zeiler & Fergus, Visualizing and understanding convolutional networks,
          2014](https://arxiv.org/abs/1311.2901)
        - [Badrinarayanan et al., SegNet: a deep convolutional encoder-decoder
          architecture for image segmentation, 2017](https://arxiv.org/abs/1511.00561)

    Example:
    >>> from keras import ops
    >>> from symae_keras.layers import MaxPoolingWithIndices2D
    >>> x = ops.array([[1.0, 2.0, 7.0], [6.0, 3.0, 8.0]])[None, :, :, None]
    >>> y = MaxUnpooling2D(2)(MaxPoolingWithIndices2D(2)(x), output_size=(2, 3))
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0], [6.0, 0.0, 0.0]]
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
