"""Transposed convolution whose padding is a number of pixels, of any rank.

`TransposedConv1D` and `TransposedConv2D` differ in the rank only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras.arguments import invalid, one_each
from symae_keras.typing import Shape, Tensor


class Cropped(keras.Layer):
    """Base that goes before a transposed convolution of Keras and crops its output."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        **kwargs: Any,
    ) -> None:
        # Without padding, and with the output padding told, Keras gives all pixels that
        # a kernel reaches, those of the output padding too.
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding="valid",
            output_padding=output_padding,
            **{"data_format": "channels_last", **kwargs},
        )
        if self.data_format != "channels_last":
            raise invalid("data_format", "'channels_last'", repr(self.data_format))
        # The attribute `padding` is Keras's own.
        self.cropping = one_each("padding", padding, self.rank, "an axis", least=0)

    def build(self, input_shape: Shape) -> None:
        """Check that something is left, and make the kernel."""
        sizes = self.compute_output_shape(tuple(input_shape))[1:-1]
        if any(n is not None and n < 1 for n in sizes):
            raise ValueError(
                f"`{type(self).__name__}` with padding={self.cropping} leaves nothing "
                f"of an input of shape {tuple(input_shape)}."
            )
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Transposed convolution without the padding."""
        outputs = super().call(inputs)
        kept = [slice(n, -n if n else None) for n in self.cropping]
        return outputs[(slice(None), *kept)]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`(n - 1) * strides - 2 * padding + kernel_size + output_padding`."""
        batch, *sizes, channels = super().compute_output_shape(input_shape)
        each = zip(sizes, self.cropping, strict=True)
        kept = (None if n is None else n - 2 * cut for n, cut in each)
        return (batch, *kept, channels)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "padding": self.cropping}
