"""SegNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from symae_keras import layers
from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import integer, positive
from symae_keras.layers._stack import call_chain
from symae_keras.models.instances import PixelwiseModel


@keras.saving.register_keras_serializable(package="symae_keras")
class SegNet(PixelwiseModel):
    """SegNet, whose decoder uses the positions of the encoder's maxima.

    At each depth there are two convolutions with group normalisation, per instance. On
    the way down, max pooling halves the maps and stores the position of each maximum.
    On the way up, max unpooling puts values back at these positions, and convolutions
    fill the gaps. The decoder receives only these positions and the smallest maps. The
    network therefore needs less memory than a `UNet`, which passes on the maps. Any
    size is accepted.

    Fit it to integer labels `(batch, *sizes)` with the loss
    `"sparse_categorical_crossentropy"`.

    Args:
        instance_shape: Shape of one instance, channels last.
        n_classes: Number of classes, at least 2.
        filters: Channels at each depth. Defaults to `(16, 32, 64)`.
        kernel_size: Size of the kernels. Defaults to 3.
        spatial_axes: Number of pixel axes of an instance, 1 or 2. `None` (default)
            expects instances `(pixels,)`, `(pixels, channels)` or
            `(height, width, channels)`; images without a channel axis need 2.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed. Not used: nothing in this model is random. Defaults to
            `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`, or a dict with `"instances"` and
            `"mask"`, boolean of the same shape, True = good pixel. Pixels without a
            good channel are excluded from the loss.

    Output shape:
        `(batch, *sizes, n_classes)`, probabilities.

    Reference:
        - [Badrinarayanan, Kendall & Cipolla, SegNet: a deep convolutional
          encoder-decoder architecture for image segmentation,
          2017](https://arxiv.org/abs/1511.00561)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(8, 16, 15, 1)).astype("float32")
    >>> model = SegNet((16, 15, 1), n_classes=2, filters=(4, 8))
    >>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    >>> history = model.fit(x, x[..., 0] > 0, verbose=0)
    >>> tuple(model(x).shape), tuple(model.segment(x).shape)
    ((8, 16, 15, 2), (8, 16, 15))
    """

    ranks = (1, 2)

    def __init__(
        self,
        instance_shape: Sequence[int],
        n_classes: int,
        filters: Sequence[int] = (16, 32, 64),
        kernel_size: int = 3,
        spatial_axes: int | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        n_classes = integer("n_classes", n_classes, least=2)
        maps = (instance_shape, n_classes, filters, spatial_axes)
        super().__init__(*maps, normalization, seed, **kwargs)
        self.kernel_size = positive("kernel_size", kernel_size)
        options = {"pool_size": 2, "padding": "same", "dtype": self.dtype_policy}
        pooling = getattr(layers, f"MaxPoolingWithIndices{self.rank}D")
        unpooling = getattr(layers, f"MaxUnpooling{self.rank}D")
        self.pool = [pooling(**options) for _ in self.filters[1:]]
        self.unpool = [unpooling(**options) for _ in self.filters[1:]]
        self.down = [self._block(n, n) for n in self.filters]
        # The second convolution of a depth outputs the channels of the next depth,
        # which is where the positions are.
        deeper = zip(self.filters[1:], self.filters, strict=False)
        self.up = [self._block(n, above) for n, above in deeper]
        self.top = self._block(self.filters[0], self.filters[0])
        self.last = self._layer("Conv{}D", self.n_classes, 1)
        self._assemble()

    def _block(self, *filters: int) -> list[keras.Layer]:
        steps = [self._step(n, self.kernel_size, "group") for n in filters]
        return [layer for step in steps for layer in step]

    def _code(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the smallest maps, then the positions, largest maps last."""
        positions: list[Tensor] = []
        for pool, block in zip(self.pool, self.down, strict=False):
            x, where = pool(call_chain(block, x))
            positions.insert(0, where)
        return (call_chain(self.down[-1], x), *positions)

    def _outputs(self, code: tuple[Tensor, ...]) -> Tensor:
        x, *positions = code
        depths = reversed(range(len(self.up)))
        for depth, where in zip(depths, positions, strict=True):
            x = call_chain(self.up[depth], x)
            x = self.unpool[depth]((x, where), output_size=self.sizes[depth])
        return self.last(call_chain(self.top, x))
