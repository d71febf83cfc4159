"""Upsampling of one axis that puts maxima back where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.layers.index_pooling import MaxUnpooling


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxUnpooling1D(MaxUnpooling):
    """Puts each value where `MaxPoolingWithIndices1D` found its maximum.

    Everything else is 0. Where windows overlap and share a maximum, the value of the
    last of them is taken, as NumPy's assignment does.

    Args:
        pool_size: As in the pooling. Defaults to 2.
        strides: As in the pooling. Defaults to `pool_size`.
        padding: As in the pooling. Defaults to `"valid"`.

    Call arguments:
        inputs: Pair of values and indices, both `(batch, windows, channels)`. Values
            may be others than the maxima, such as those that a decoder made.
        output_size: Length of what was pooled. `None` (default) is
            `(windows - 1) * strides + pool_size` with "valid" padding and
            `windows * strides` with "same"; give it wherever the length was another,
            since the indices cannot tell.

    Output shape:
        `(batch, output_size, channels)`.

    Example:
    >>> from keras import ops
    >>> from symae_keras.layers import MaxPoolingWithIndices1D
    >>> x = ops.array([1.0, 5.0, 4.0, 4.0, 9.0])[None, :, None]
    >>> y = MaxUnpooling1D(2)(MaxPoolingWithIndices1D(2)(x), output_size=5)
    >>> ops.convert_to_numpy(y)[0, :, 0].tolist()
    [0.0, 5.0, 4.0, 0.0, 0.0]
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
