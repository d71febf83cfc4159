"""Bases of the models of single instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
from keras import ops

from symae_keras._utils.types import Shape, Tensor
from symae_keras._utils.validation import positive
from symae_keras.layers._random import SeedGenerator
from symae_keras.layers._stack import keras_layer
from symae_keras.layers.corruption import (
    BlockCorruption,
    GaussianCorruption,
    MaskingCorruption,
    SaltAndPepper,
)
from symae_keras.layers.penalties import LossTerm
from symae_keras.models.base import AutoencoderBase, may_equal


class InstanceAutoencoder(AutoencoderBase):
    """Base of the autoencoders of single instances.

    A subclass overrides `_numbers_each` (how many numbers the encoder gives for each of
    the code), `_code` (the code without noise) and `_training_code` (the code that is
    decoded in `call`, where losses are added), as far as it differs from the plain
    autoencoder, which is what this class does.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code; `None` takes the output of an encoder of one's own
            as the code, whatever its shape.
        encoder: See `AutoencoderBase`. A layer of one's own is followed by a linear
            layer to `code_dim`.
        decoder: See `AutoencoderBase`; from a code to one instance.
        normalization: See `AutoencoderBase`.
        seed: See `AutoencoderBase`.
    """

    #: Numbers that the encoder gives for each number of the code.
    _numbers_each = 1

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int | None = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, encoder, decoder, normalization, seed, **kwargs
        )
        self.code_dim = None if code_dim is None else positive("code_dim", code_dim)
        if self.code_dim is None and isinstance(self.encoder, str):
            raise ValueError(
                "`code_dim=None` takes the output of your own `encoder` as the code; "
                f"with encoder={self.encoder!r}, give a size."
            )

    def _assemble(self) -> None:
        """Make the networks and build; the last thing that constructors do."""
        dim = self.code_dim
        size = None if dim is None else dim * self._numbers_each
        self.instance_encoder = self._make_encoder(size or 1)
        self.code_head: list[keras.Layer] = []
        if size is not None and not isinstance(self.encoder, str):
            dtype = self.dtype_policy
            self.code_head = [
                keras_layer("Flatten", dtype=dtype),
                keras.layers.Dense(size, dtype=dtype, name="code"),
            ]
        self.instance_decoder = self._make_decoder(self.instance_encoder)
        self.build((None, *self.instance_shape))

    def build(self, input_shape: Any = None) -> None:
        """Build everything from the shape of one instance, by symbolic calls.

        Layers that only `_training_code` calls are to be built where they are made.
        """
        x = keras.KerasTensor((None, *self.instance_shape), dtype=self.compute_dtype)
        self._build_normalization(x.shape)
        code = self._code(x)
        self.code_shape: tuple[int, ...] = tuple(int(n) for n in code.shape[1:])
        decoded = self.instance_decoder(code)
        self._check_decoded(tuple(decoded.shape[1:]))
        self._track_terms()
        self.built = True

    # === Forward pass ===

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Reconstruct every instance."""
        x, mask = self._unpack(inputs)
        x = self._normalize(self._corrupt(self._checked(x, mask), training))
        return self.decode(self._training_code(x, training, self._present(mask)))

    @staticmethod
    def _present(mask: Tensor | None) -> Tensor | None:
        """Mask of instances; one without a good pixel is absent."""
        if mask is None:
            return None
        return ops.any(ops.cast(mask, "bool"), axis=tuple(range(1, len(mask.shape))))

    def _corrupt(self, x: Tensor, training: bool | None) -> Tensor:
        """What a denoising autoencoder does to its input, in data units."""
        return x

    def _features(self, x: Tensor) -> Tensor:
        """Output of the encoder, `code_dim * _numbers_each` numbers."""
        x = self.instance_encoder(x)
        for layer in self.code_head:
            x = layer(x)
        return x

    def _code(self, x: Tensor) -> Tensor:
        """Code of normalised instances, without noise."""
        return self._features(x)

    def _training_code(
        self,
        x: Tensor,
        training: bool | None = None,
        instance_mask: Tensor | None = None,
    ) -> Tensor:
        """Code of normalised instances as `call` decodes it; losses are added here.

        Those where `instance_mask`, boolean `(batch,)`, is False count in no loss.
        """
        return self._code(x)

    # === Use ===

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode instances, without noise.

        Args:
            x: `(batch, *instance_shape)`.
            mask: Boolean, of the shape of `x`, True = good pixel. Bad pixels are given
                the value of the mean instance of `normalization`, or 0. Defaults to
                `None`.

        Returns:
            Tensor `(batch, code_dim)`, or `(batch, *code_shape)` where the encoder
            gives the code its shape.
        """
        return self._code(self._normalize(self._checked(x, mask)))

    def decode(self, code: Tensor) -> Tensor:
        """Decode codes.

        Args:
            code: What `encode` returns, or made up.

        Returns:
            Instances in data units, `(batch, *instance_shape)`.
        """
        code = ops.convert_to_tensor(code, dtype=self.compute_dtype)
        if not may_equal(tuple(code.shape[1:]), self.code_shape):
            raise ValueError(
                f"This model decodes codes of shape {self.code_shape}, in arrays "
                f"(batch, *code_shape). Received: shape {tuple(code.shape)}"
            )
        return self._denormalize(self.instance_decoder(code))

    def reconstruct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode and decode, without noise or corruption.

        Args:
            x: `(batch, *instance_shape)`.
            mask: See `encode`. Bad pixels are reconstructed from the good ones.

        Returns:
            Tensor of the shape of `x`.
        """
        return self.decode(self.encode(x, mask))

    # === Keras protocol ===

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Shape of the instances given."""
        if isinstance(input_shape, Mapping):
            input_shape = input_shape["instances"]
        return (input_shape[0], *self.instance_shape)


class GenerativeAutoencoder(InstanceAutoencoder):
    """Base of the autoencoders of single instances whose codes have the prior N(0, 1).

    Args:
        instance_shape: See `InstanceAutoencoder`.
        code_dim: Size of the code.
        encoder: See `InstanceAutoencoder`.
        decoder: See `InstanceAutoencoder`.
        normalization: See `InstanceAutoencoder`.
        seed: Integer seed of all draws, or `None`.
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int,
        encoder: str | keras.Layer,
        decoder: keras.Layer | None,
        normalization: keras.Layer | None,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        if code_dim is None:
            raise ValueError("`code_dim` must be a positive integer. Received: None")
        super().__init__(
            instance_shape, code_dim, encoder, decoder, normalization, seed, **kwargs
        )
        self.sample_generator = SeedGenerator(seed)

    def sample(self, n_samples: int) -> Tensor:
        """New instances, decoded from codes that are drawn from the prior.

        Args:
            n_samples: How many.

        Returns:
            Tensor `(n_samples, *instance_shape)`.
        """
        code = keras.random.normal(
            (n_samples, self.code_dim), dtype="float32", seed=self.sample_generator
        )
        return self.decode(code)


class PriorMatchingAutoencoder(GenerativeAutoencoder):
    """Base of the autoencoders that match the codes of a batch to draws from N(0, 1).

    A subclass makes `matching`, a layer that hands on codes and adds a loss of those
    that its `instance_mask` leaves. Each instance has one code without noise, unlike
    that of a `VAE`.

    Args:
        instance_shape: See `InstanceAutoencoder`.
        code_dim: Size of the code.
        encoder: See `InstanceAutoencoder`.
        decoder: See `InstanceAutoencoder`.
        normalization: See `InstanceAutoencoder`.
        seed: Integer seed of all draws, or `None`.
    """

    matching: LossTerm

    def _assemble(self) -> None:
        self.matching.build((None, self.code_dim))
        super()._assemble()

    def _training_code(
        self,
        x: Tensor,
        training: bool | None = None,
        instance_mask: Tensor | None = None,
    ) -> Tensor:
        return self.matching(self._code(x), mask=instance_mask)


CORRUPTIONS: Final = {
    "gaussian": GaussianCorruption,
    "masking": MaskingCorruption,
    "salt_and_pepper": SaltAndPepper,
    "block": BlockCorruption,
}


def make_corruption(
    corruption: str | keras.Layer,
    spatial_axes: int | None,
    seed: int | None,
    dtype: Any,
) -> keras.Layer:
    """A corruption that acts on data units.

    Args:
        corruption: A name, or a layer, which is returned as it is.
        spatial_axes: See `BlockCorruption`.
        seed: Integer seed of a corruption given by name, or `None`.
        dtype: Dtype policy of a corruption given by name.
    """
    if not isinstance(corruption, str):
        return corruption
    options: dict[str, Any] = {"seed": seed, "dtype": dtype}
    if corruption == "block":
        options["spatial_axes"] = spatial_axes
    layer = CORRUPTIONS[corruption](**options)
    layer.autocast = False  # half precision may not hold data units
    return layer
