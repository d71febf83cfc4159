"""Max pooling of one axis that remembers where the maxima were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.index_pooling import MaxPoolingWithIndices


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxPoolingWithIndices1D(MaxPoolingWithIndices):
    """Max pooling of one axis that gives maxima and where they were.

    `MaxUnpooling1D` takes both. Of equal numbers the first is the maximum, and it alone
    has the gradient.

    Args:
        pool_size: Length of the windows. Defaults to 2.
        strides: Step from one window to the next. Defaults to `pool_size`.
        padding: `"valid"` (default), where pixels that fill no window are dropped, or
            `"same"`, where windows reach over the ends; the padding is never the
            maximum.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`.

    Output shape:
        A pair of maxima and indices, both `(batch, windows, channels)`. Indices are
        int32 positions on the axis that was pooled.

    Example:
    >>> from keras import ops
    >>> x = ops.array([1.0, 5.0, 4.0, 4.0, 9.0])[None, :, None]
    >>> maxima, indices = MaxPoolingWithIndices1D(2)(x)
    >>> ops.convert_to_numpy(maxima)[0, :, 0].tolist()
    [5.0, 4.0]
    >>> ops.convert_to_numpy(indices)[0, :, 0].tolist()
    [1, 2]
    """

    rank = 1

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)
