"""Max pooling that also returns the positions of the maxima, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import choice, one_each

Sizes = int | Sequence[int]


class _Windows(keras.Layer):
    """Base class of layers with pooling windows."""

    rank: ClassVar[int]

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = one_each("pool_size", pool_size, self.rank, "per axis")
        strides = self.pool_size if strides is None else strides
        self.strides = one_each("strides", strides, self.rank, "per axis")
        self.padding = choice("padding", padding, ("valid", "same"))

    def _checked(self, shape: Shape, name: str) -> tuple[int, ...]:
        """Return the sizes of the spatial axes, which must be known."""
        sizes = tuple(shape[1:-1])
        if len(sizes) != self.rank or None in sizes:
            raise ValueError(
                f"`{type(self).__name__}` expects {name} of shape (batch, "
                f"*sizes, channels) with {self.rank} known sizes. "
                f"Received: shape {tuple(shape)}"
            )
        return tuple(int(n) for n in sizes if n is not None)

    def _n_windows(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the number of windows per axis; below 1 if none fits."""
        if self.padding == "same":
            return tuple(-(-n // s) for n, s in zip(sizes, self.strides, strict=True))
        each = zip(sizes, self.pool_size, self.strides, strict=True)
        return tuple((n - k) // s + 1 for n, k, s in each)

    def _before(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the padding before each axis; if it is odd, the end has one more."""
        if self.padding == "valid":
            return (0,) * self.rank
        windows = self._n_windows(sizes)
        each = zip(sizes, windows, self.pool_size, self.strides, strict=True)
        return tuple(max((w - 1) * s + k - n, 0) // 2 for n, w, k, s in each)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }


class MaxPoolingWithIndices(_Windows):
    """Max pooling of any rank that also returns the position of each maximum."""

    def build(self, input_shape: Shape) -> None:
        sizes = self._checked(tuple(input_shape), "inputs")
        if min(self._n_windows(sizes)) < 1:
            raise ValueError(
                f"`{type(self).__name__}` expects inputs of at least one window of "
                f"pool_size={self.pool_size}. Received: shape {tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        sizes = self._checked(tuple(inputs.shape), "inputs")
        windows, before = self._n_windows(sizes), self._before(sizes)
        padded = inputs
        for axis in range(self.rank):
            spanned = (windows[axis] - 1) * self.strides[axis] + self.pool_size[axis]
            behind = spanned - sizes[axis] - before[axis]
            padded = _repeat_edges(padded, axis + 1, before[axis], max(behind, 0))
        best = positions = None
        # One element per window at a time, for all windows at once.
        for offset in product(*map(range, self.pool_size)):
            each = zip(offset, windows, self.strides, strict=True)
            slices = [slice(o, o + (w - 1) * s + 1, s) for o, w, s in each]
            values = padded[(slice(None), *slices)]
            here = self._positions(offset, sizes)
            if best is None:
                best = values
                positions = ops.zeros_like(values, dtype="int32") + here
                continue
            # Only larger values replace, so the first of equal values stays. It alone
            # receives the gradient, which `ops.max` would divide on TensorFlow.
            larger = ops.logical_or(values > best, ops.isnan(values))
            best = ops.where(larger, values, best)
            positions = ops.where(larger, here, positions)
        return best, positions

    def _positions(self, offset: Sequence[int], sizes: Sequence[int]) -> Tensor:
        """Return the flat input position of the element `offset` of every window."""
        axes = []
        each = zip(
            offset,
            sizes,
            self._n_windows(sizes),
            self.strides,
            self._before(sizes),
            strict=True,
        )
        for o, n, w, s, before in each:
            # The padding repeats the edge and has the position of the edge.
            axes.append(np.clip(np.arange(w) * s + o - before, 0, n - 1))
        flat = np.ravel_multi_index(np.ix_(*axes), tuple(sizes))
        return ops.convert_to_tensor(flat[None, ..., None], dtype="int32")

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape]:
        sizes = self._checked(tuple(input_shape), "inputs")
        shape = (input_shape[0], *self._n_windows(sizes), input_shape[-1])
        return shape, shape

    def compute_output_spec(self, inputs: Any) -> tuple[Any, Any]:
        values, positions = self.compute_output_shape(inputs.shape)
        return (
            keras.KerasTensor(values, dtype=self.compute_dtype),
            keras.KerasTensor(positions, dtype="int32"),
        )


class MaxUnpooling(_Windows):
    """Max unpooling of any rank."""

    def build(self, input_shape: tuple[Shape, Shape]) -> None:
        values, indices = (tuple(shape) for shape in input_shape)
        self._checked(values, "values")
        if values[1:] != indices[1:]:
            raise ValueError(
                f"`{type(self).__name__}` expects indices of the shape of the values, "
                f"{values}. Received: indices of shape {indices}"
            )

    def call(
        self, inputs: tuple[Tensor, Tensor], output_size: Sizes | None = None
    ) -> Tensor:
        values, indices = inputs
        sizes = self._output_sizes(tuple(values.shape), output_size)
        own = np.arange(np.prod(sizes), dtype="int32").reshape((1, *sizes, 1))
        # Without a scatter: every position reads the windows that it lies in.
        values = self._at_positions(values, sizes, 0)
        indices = self._at_positions(indices, sizes, -1)
        overlaps = [
            -(-k // s) for k, s in zip(self.pool_size, self.strides, strict=True)
        ]
        outputs = ops.zeros_like(values[self._looking((0,) * self.rank, sizes)])
        # In row-major order, so that the last window wins.
        for window in product(*map(range, overlaps)):
            view = self._looking(window, sizes)
            outputs = ops.where(indices[view] == own, values[view], outputs)
        return outputs

    def _at_positions(self, x: Tensor, sizes: Sequence[int], fill: int) -> Tensor:
        """Repeat each window's value over its stride; windows that overlap have room.

        Afterwards, the windows that a position lies in are one stride apart.
        """
        padding = [(0, 0)]
        each = zip(
            self.pool_size, self.strides, self._before(sizes), sizes, strict=True
        )
        for axis, (k, s, before, n) in enumerate(each, start=1):
            behind = before + n - s * x.shape[axis]
            x = ops.repeat(x, s, axis=axis) if s > 1 else x
            padding.append(((-(-k // s) - 1) * s, max(behind, 0)))
        return ops.pad(x, [*padding, (0, 0)], constant_values=fill)

    def _looking(
        self, window: Sequence[int], sizes: Sequence[int]
    ) -> tuple[slice, ...]:
        """Return slices that map every position to one of its windows, first = 0."""
        each = zip(window, self.strides, self._before(sizes), sizes, strict=True)
        starts = [(before + w * s, n) for w, s, before, n in each]
        return (slice(None), *(slice(start, start + n) for start, n in starts))

    def _output_sizes(self, shape: Shape, output_size: Sizes | None) -> tuple[int, ...]:
        windows = self._checked(shape, "values")
        if output_size is None:
            each = zip(windows, self.pool_size, self.strides, strict=True)
            if self.padding == "same":
                return tuple(w * s for w, _, s in each)
            return tuple((w - 1) * s + k for w, k, s in each)
        sizes = one_each("output_size", output_size, self.rank, "per axis")
        if self._n_windows(sizes) != windows:
            raise ValueError(
                "Invalid value received for argument `output_size`. Expected a size "
                f"that is pooled to {windows}. Received: output_size={output_size}, "
                f"which is pooled to {self._n_windows(sizes)}"
            )
        return sizes

    def compute_output_shape(
        self, input_shape: tuple[Shape, Shape], output_size: Sizes | None = None
    ) -> Shape:
        values = tuple(input_shape[0])
        return (values[0], *self._output_sizes(values, output_size), values[-1])

    def compute_output_spec(
        self, inputs: tuple[Any, Any], output_size: Sizes | None = None
    ) -> Any:
        """Return the output spec; Keras does not pass `output_size` to the shape."""
        shapes = (inputs[0].shape, inputs[1].shape)
        shape = self.compute_output_shape(shapes, output_size)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)


def _repeat_edges(x: Tensor, axis: int, before: int, behind: int) -> Tensor:
    """Pad one axis with its first and its last element.

    A window never lies in the padding alone. A repeated edge therefore neither changes
    the maximum of a window nor becomes its first maximum.
    """
    if not before and not behind:
        return x
    lead = (slice(None),) * axis
    first, last = x[(*lead, slice(0, 1))], x[(*lead, slice(-1, None))]
    return ops.concatenate([*[first] * before, x, *[last] * behind], axis=axis)


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxPoolingWithIndices1D(MaxPoolingWithIndices):
    """Max pooling of one axis that returns the maxima and their positions.

    Both are inputs of `MaxUnpooling1D`. Of equal values, the first is the maximum, and
    it alone receives the gradient.

    Args:
        pool_size: Length of the windows. Defaults to 2.
        strides: Step from one window to the next. Defaults to `pool_size`.
        padding: `"valid"` (default) drops pixels that fill no window. `"same"` lets
            windows extend beyond the ends; the padding is never the maximum.

    Call arguments:
        inputs: Tensor `(batch, pixels, channels)`.

    Output shape:
        A pair of maxima and indices, both `(batch, windows, channels)`. Indices are
        int32 positions on the pooled axis.

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


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxPoolingWithIndices2D(MaxPoolingWithIndices):
    """Max pooling of images that returns the maxima and their positions.

    Both are inputs of `MaxUnpooling2D`. Of equal values, the first in row-major order
    is the maximum, and it alone receives the gradient.

    Args:
        pool_size: Size of the windows, an integer or `(height, width)`. Defaults to 2.
        strides: Step from one window to the next, an integer or `(rows, columns)`.
            Defaults to `pool_size`.
        padding: `"valid"` (default) drops pixels that fill no window. `"same"` lets
            windows extend beyond the borders; the padding is never the maximum.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Output shape:
        A pair of maxima and indices, both `(batch, rows, columns, channels)`. Indices
        are int32 positions in the flattened `height * width` pixels of the pooled
        image, separately for each instance and channel.

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


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxUnpooling1D(MaxUnpooling):
    """Max unpooling that puts each value where `MaxPoolingWithIndices1D` found it.

    All other positions are 0. If windows overlap and share a maximum, the value of the
    last of them is used, as in NumPy assignment.

    Args:
        pool_size: As in the pooling. Defaults to 2.
        strides: As in the pooling. Defaults to `pool_size`.
        padding: As in the pooling. Defaults to `"valid"`.

    Call arguments:
        inputs: Pair of values and indices, both `(batch, windows, channels)`. The
            values can differ from the maxima, for example if a decoder made them.
        output_size: Length before pooling. `None` (default) means
            `(windows - 1) * strides + pool_size` with "valid" padding and
            `windows * strides` with "same". Set it if the length was different, since
            the indices do not contain it.

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


@keras.saving.register_keras_serializable(package="symae_keras")
class MaxUnpooling2D(MaxUnpooling):
    """Max unpooling that puts each value where `MaxPoolingWithIndices2D` found it.

    All other positions are 0. If windows overlap and share a maximum, the value of the
    last of them in row-major order is used, as in NumPy assignment.

    Args:
        pool_size: As in the pooling. Defaults to 2.
        strides: As in the pooling. Defaults to `pool_size`.
        padding: As in the pooling. Defaults to `"valid"`.

    Call arguments:
        inputs: Pair of values and indices, both `(batch, rows, columns, channels)`.
            The values can differ from the maxima, for example if a decoder made them.
        output_size: `(height, width)` before pooling, or an integer for both. `None`
            (default) means `(rows - 1) * strides + pool_size` with "valid" padding
            and `rows * strides` with "same". Set it if the size was different, since
            the indices do not contain it.

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
