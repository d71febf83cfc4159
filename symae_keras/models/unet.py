"""The U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import choice, invalid, positive
from symae_keras.layers._stack import call_chain
from symae_keras.models.base import one_of
from symae_keras.models.denoising_autoencoder import CORRUPTIONS, make_corruption
from symae_keras.models.instances import PixelwiseModel

#: Allowed corruptions per head; the first one is the default.
_CORRUPTIONS: dict[str, tuple[str, ...]] = {
    "denoising": ("gaussian", *sorted(set(CORRUPTIONS) - {"gaussian"})),
    "inpainting": ("block", "masking"),
}
_HEADS = (*_CORRUPTIONS, "segmentation")
_UPSAMPLINGS = ("transposed", "nearest")


@keras.saving.register_keras_serializable(package="symae_keras")
class UNet(PixelwiseModel):
    """U-Net: an encoder and a decoder whose maps of the same size are joined.

    Each depth has two convolutions. Between depths, max pooling halves the maps on the
    way down, and an upsampling doubles them on the way up, where they are joined with
    the maps from the way down. Any size is accepted: halved sizes are rounded up, and
    doubled maps that are too large are cropped. The head selects one of three tasks:

    - `"denoising"`: instances are corrupted during training only, and the loss compares
      the output with the clean ones: `fit(x, x)`.
    - `"inpainting"`: during training, `corruption` selects the pixels to blank, and the
      loss compares the output with the original pixels: `fit(x, x)`. After training,
      the network fills the pixels where `mask` is False. One additional channel per
      channel marks the given pixels for the network.
    - `"segmentation"`: the outputs are class probabilities per pixel. Fit the model to
      integer labels `(batch, *sizes)` with the loss
      `"sparse_categorical_crossentropy"`.

    For the first two heads, the input is joined again before the last convolution, so
    that correct values do not have to pass through the network. Their networks have no
    normalisation, because it would remove the scale of each instance. Segmentation
    networks have group normalisation, per instance.

    Args:
        instance_shape: Shape of one instance, channels last.
        head: `"denoising"` (default), `"inpainting"` or `"segmentation"`.
        n_classes: Number of classes, only for the head `"segmentation"`. Defaults to
            `None`.
        filters: Channels at each depth. Defaults to `(16, 32, 64)`.
        kernel_size: Size of the kernels. Defaults to 3.
        upsampling: `"transposed"` (default), a transposed convolution; or `"nearest"`,
            repeated pixels and a convolution, which avoids checkerboard artefacts.
        corruption: For the head `"denoising"`: `"gaussian"`, `"masking"`,
            `"salt_and_pepper"` or `"block"`, each with its default strength, or a layer
            called as `corruption(x, training=training)` in data units. For the head
            `"inpainting"`: `"block"`, `"masking"`, or a layer, which is called on ones;
            the values that it changes are blanked. `None` (default) means the first
            of these.
        spatial_axes: Number of pixel axes of an instance. `None` (default) expects
            instances `(pixels,)`, `(pixels, channels)`, `(height, width, channels)` or
            `(depth, height, width, channels)`; images without a channel axis need 2.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of a corruption that is set by name, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`, or a dict with `"instances"` and
            `"mask"`, boolean of the same shape, True = good pixel. Pixels without a
            good channel are excluded from the loss.
        training: Whether to corrupt the input.

    Output shape:
        `(batch, *instance_shape)`, or `(batch, *sizes, n_classes)` with the head
        `"segmentation"`.

    Reference:
        - [Ronneberger, Fischer & Brox, U-Net: convolutional networks for biomedical
          image segmentation, 2015](https://arxiv.org/abs/1505.04597)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(8, 16, 15, 1)).astype("float32")
    >>> model = UNet((16, 15, 1), "segmentation", n_classes=2, filters=(4, 8))
    >>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    >>> history = model.fit(x, x[..., 0] > 0, verbose=0)
    >>> tuple(model(x).shape), tuple(model.segment(x).shape)
    ((8, 16, 15, 2), (8, 16, 15))
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        head: str = "denoising",
        n_classes: int | None = None,
        filters: Sequence[int] = (16, 32, 64),
        kernel_size: int = 3,
        upsampling: str = "transposed",
        corruption: str | keras.Layer | None = None,
        spatial_axes: int | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        head = choice("head", head, _HEADS)
        if (head == "segmentation") != (n_classes is not None):
            expected = "an integer of at least 2 for the head 'segmentation' alone"
            raise invalid("n_classes", expected, f"{n_classes!r}, head={head!r}")
        maps = (instance_shape, n_classes, filters, spatial_axes)
        super().__init__(*maps, normalization, seed, **kwargs)
        self.head = head
        self.kernel_size = positive("kernel_size", kernel_size)
        self.upsampling = choice("upsampling", upsampling, _UPSAMPLINGS)
        self.corruption = corruption
        self.corrupt = self._make_corruption()
        self.down = [self._block(n) for n in self.filters]
        self.pool = self._layer("MaxPooling{}D", 2, padding="same")
        # From the second to last depth upwards.
        self.up = [self._upsampling(n) for n in self.filters[-2::-1]]
        self.joined = [self._block(n) for n in self.filters[-2::-1]]
        self.last = self._layer("Conv{}D", self.output_channels, 1)
        self._assemble()

    def _make_corruption(self) -> keras.Layer | None:
        if self.head == "segmentation":
            if self.corruption is not None:
                raise ValueError(
                    "`corruption` is for the heads 'denoising' and 'inpainting'. "
                    f"Received: head='segmentation', corruption={self.corruption!r}"
                )
            return None
        names = _CORRUPTIONS[self.head]
        chosen = names[0] if self.corruption is None else self.corruption
        chosen = one_of("corruption", chosen, names)
        return make_corruption(chosen, self.rank, self.seed, self.dtype_policy)

    def _block(self, filters: int) -> list[keras.Layer]:
        normalization = "group" if self.head == "segmentation" else None
        step = (filters, self.kernel_size, normalization)
        return [*self._step(*step), *self._step(*step)]

    def _upsampling(self, filters: int) -> list[keras.Layer]:
        if self.upsampling == "transposed":
            return [self._layer("Conv{}DTranspose", filters, 2, strides=2)]
        return [
            self._layer("UpSampling{}D", 2),
            self._layer("Conv{}D", filters, self.kernel_size, padding="same"),
        ]

    # === Forward pass ===

    def _inputs(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = False
    ) -> Tensor:
        if self.corrupt is None:
            return super()._inputs(x, mask, training)
        x, mask = self._arrays(x, mask)
        x = self._checked(x, mask)
        if self.head == "denoising":
            x = self.corrupt(x, training=training)
            return self._with_channels(self._normalize(x))
        given = ops.equal(self.corrupt(ops.ones_like(x), training=training), 1.0)
        if mask is not None:
            given = ops.logical_and(given, ops.cast(mask, "bool"))
        x = self._normalize(self._fill(x, given))
        maps = [x, ops.cast(given, x.dtype)]
        return ops.concatenate([self._with_channels(each) for each in maps], axis=-1)

    def _code(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the input, if it is joined again, and the maps of every depth."""
        code = [] if self.head == "segmentation" else [x]
        for depth, block in enumerate(self.down):
            x = call_chain(block, self.pool(x) if depth else x)
            code.append(x)
        return tuple(code)

    def _outputs(self, code: tuple[Tensor, ...]) -> Tensor:
        *maps, x = code
        depths = reversed(range(len(self.up)))
        for depth, up, joined in zip(depths, self.up, self.joined, strict=True):
            x = self._crop(call_chain(up, x), depth)
            x = call_chain(joined, ops.concatenate([maps.pop(), x], axis=-1))
        return self.last(ops.concatenate([*maps, x], axis=-1) if maps else x)
