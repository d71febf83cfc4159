"""Residual segmentation network, regularised by a variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import boolean, integer, not_negative, positive
from symae_keras.layers._stack import call_chain
from symae_keras.layers.noise import GaussianSampling
from symae_keras.layers.penalties import ReconstructionPenalty
from symae_keras.models.instances import PixelwiseModel


@keras.saving.register_keras_serializable(package="symae_keras")
class SegResNetVAE(PixelwiseModel):
    """Segmentation network whose encoder also feeds a variational autoencoder.

    The encoder consists of residual blocks and strided convolutions that halve the
    maps. It has two decoders. The first decoder outputs the classes; the maps of the
    encoder are added to its maps. The second decoder, the branch, reconstructs the
    input from a sampled code of the smallest maps alone. The encoder can therefore
    learn a lot even if few images are labelled. The loss is

        segmentation + reconstruction_weight * squared error
                     + kl_weight * KL(q(z | x) || N(0, 1)) / values of an instance,

    where the squared error is the mean over the normalised instance. All three parts
    are logged. Segmentation does not use the branch.

    Fit the model to integer labels `(batch, *sizes)` with the loss
    `"sparse_categorical_crossentropy"`. Blocks are normalised in groups of channels,
    per instance. Any size is accepted.

    Args:
        instance_shape: Shape of one instance, channels last.
        n_classes: Number of classes, at least 2.
        filters: Channels at each depth. Defaults to `(16, 32, 64)`.
        vae_branch: Whether there is a branch; the rest of the network is the same
            without it. Defaults to `True`.
        code_dim: Size of the code of the branch. Defaults to 128.
        reconstruction_weight: Weight of the squared error. Defaults to 0.1.
        kl_weight: Weight of the divergence in nats, twice that of the paper, whose
            divergence lacks the factor 1/2. Defaults to 0.2.
        spatial_axes: Number of pixel axes of an instance. `None` (default) expects
            instances `(pixels,)`, `(pixels, channels)`, `(height, width, channels)` or
            `(depth, height, width, channels)`; images and volumes without a channel
            axis need 2 or 3.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of the noise of the branch, or `None`.

    Call arguments:
        inputs: Tensor `(batch, *instance_shape)`, or a dict with `"instances"` and
            `"mask"`, boolean of the same shape, True = good pixel. Pixels without a
            good channel are excluded from the loss.
        training: Whether the code of the branch is sampled. Otherwise, it is the mean.

    Output shape:
        `(batch, *sizes, n_classes)`, probabilities.

    Reference:
        - [Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization,
          2018](https://arxiv.org/abs/1810.11654)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(4, 8, 9, 7, 1)).astype("float32")
    >>> model = SegResNetVAE((8, 9, 7, 1), n_classes=2, filters=(4, 8), seed=0)
    >>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    >>> sorted(model.fit(x, x[..., 0] > 0, verbose=0).history)
    ['kl_loss', 'loss', 'reconstruction_loss', 'segmentation_loss']
    >>> tuple(model.segment(x).shape), tuple(model.reconstruct_instances(x).shape)
    ((4, 8, 9, 7), (4, 8, 9, 7, 1))
    """

    compiled_loss_name = "segmentation_loss"
    code_dim: int

    def __init__(
        self,
        instance_shape: Sequence[int],
        n_classes: int,
        filters: Sequence[int] = (16, 32, 64),
        vae_branch: bool = True,
        code_dim: int = 128,
        reconstruction_weight: float = 0.1,
        kl_weight: float = 0.2,
        spatial_axes: int | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        n_classes = integer("n_classes", n_classes, least=2)
        maps = (instance_shape, n_classes, filters, spatial_axes)
        super().__init__(*maps, normalization, seed, **kwargs)
        self.vae_branch = boolean("vae_branch", vae_branch)
        self.code_dim = positive("code_dim", code_dim)
        self.reconstruction_weight = not_negative(
            "reconstruction_weight", reconstruction_weight
        )
        self.kl_weight = not_negative("kl_weight", kl_weight)
        self.first = self._conv(self.filters[0])
        self.halvings = [self._conv(n, strides=2) for n in self.filters[1:]]
        # As in the paper, the largest maps have only one block.
        counts = [1, *[2] * len(self.halvings)]
        self.down = [
            [self._block(n) for _ in range(count)]
            for n, count in zip(self.filters, counts, strict=True)
        ]
        self.up = self._decoder()
        self.last = [*self._activated(self.filters[0]), self._conv(self.n_classes, 1)]
        if self.vae_branch:
            self._make_branch()
        self._assemble()

    # === Layers ===

    def _conv(self, filters: int | None, size: int = 3, strides: int = 1) -> Any:
        return self._layer("Conv{}D", filters, size, strides=strides, padding="same")

    def _block(self, filters: int) -> list[keras.Layer]:
        """Make the residual branch of a block, which is added to its input."""
        step = [*self._activated(filters), self._conv(filters)]
        return [*step, *self._activated(filters), self._conv(filters)]

    def _decoder(self) -> list[tuple[list[keras.Layer], list[keras.Layer]]]:
        """Make an upsampling and a block for each depth, from the second to last up."""
        return [
            ([self._conv(n, 1), self._layer("UpSampling{}D", 2)], self._block(n))
            for n in self.filters[-2::-1]
        ]

    def _make_branch(self) -> None:
        deepest = self.filters[-1]
        size = tuple(-(-n // 2) for n in self.sizes[-1])
        channels = max(deepest // 4, 1)
        smallest = (*size, channels)
        self.to_code = [
            *self._activated(deepest),
            self._conv(channels, strides=2),
            self._layer("Flatten"),
            self._layer("Dense", 2 * self.code_dim),
        ]
        self.from_code = [
            self._layer("Dense", math.prod(smallest), activation="relu"),
            self._layer("Reshape", smallest),
            self._conv(deepest, 1),
            self._layer("UpSampling{}D", 2),
        ]
        self.branch = self._decoder()
        last = self._conv(self.channels, 1)
        self.branch_last = [*self._activated(self.filters[0]), last]
        per_number = 1.0 / math.prod(self.instance_shape)
        self.sampling = GaussianSampling(
            self.kl_weight * per_number, self.seed, dtype=self.dtype_policy
        )
        weight = self.reconstruction_weight
        self.penalty = ReconstructionPenalty(weight, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        if self.vae_branch and not self.built:
            smallest = (None, *self.sizes[-1], self.filters[-1])
            maps = keras.KerasTensor(smallest, dtype=self.compute_dtype)
            with keras.name_scope("vae_branch"):
                self._regenerated(self._posterior(maps)[0])
        super().build(input_shape)

    # === Forward pass ===

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        x, mask = self._unpack(inputs)
        x = self._inputs(x, mask, training)
        code = self._code(x)
        if self.vae_branch:
            present, posterior = self._present(mask), self._posterior(code[-1])
            if mask is not None:
                mask = self._with_channels(ops.cast(mask, "bool"))
            sample = self.sampling(posterior, mask=present, training=training)
            self.penalty((x, self._regenerated(sample)), pixel_mask=mask)
        return self._decoded(code)

    def _code(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of every depth."""
        code: list[Tensor] = []
        for halve, blocks in zip([self.first, *self.halvings], self.down, strict=True):
            x = halve(x)
            for block in blocks:
                x = x + call_chain(block, x)
            code.append(x)
        return tuple(code)

    def _outputs(self, code: tuple[Tensor, ...]) -> Tensor:
        *skips, x = code
        return call_chain(self.last, self._enlarged(self.up, x, skips))

    def _enlarged(self, decoder: Any, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Enlarge maps to the first depth and add the maps of the encoder, if given."""
        depths = reversed(range(len(decoder)))
        for depth, (up, block) in zip(depths, decoder, strict=True):
            x = self._crop(call_chain(up, x), depth)
            if skips:
                x = x + skips[depth]
            x = x + call_chain(block, x)
        return x

    def _posterior(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the code of the branch."""
        return tuple(ops.split(call_chain(self.to_code, maps), 2, axis=-1))

    def _regenerated(self, code: Tensor) -> Tensor:
        """Decode the code of the branch to normalised instances with a channel axis."""
        x = self._crop(call_chain(self.from_code, code), len(self.filters) - 1)
        return call_chain(self.branch_last, self._enlarged(self.branch, x, ()))

    # === Use ===

    def reconstruct_instances(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reconstruct instances with the branch, without noise.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`.

        Returns:
            Tensor of the shape of `x`, in data units.
        """
        if not self.vae_branch:
            raise ValueError(
                "This model has no branch that reconstructs instances. Make it with "
                "`vae_branch=True`."
            )
        mean, _ = self._posterior(self.encode(x, mask)[-1])
        return self._as_instances(self._regenerated(mean))
