"""Reparametrised sampling of a diagonal Gaussian code, with its KL divergence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras.typing import Shape, Tensor

# exp(20) and exp(-20) are far from any useful variance and far from overflow.
_LOG_VARIANCE_LIMIT = 20.0


@keras.saving.register_keras_serializable(package="symae_keras")
class GaussianSampling(keras.Layer):
    """Samples `mean + exp(log_variance / 2) * e` and adds the KL divergence as a loss.

    The divergence from the standard normal prior,
    `KL = sum over the code of (mean^2 + variance - 1 - log_variance) / 2`, is averaged
    over everything but the code axis (masked instances left out), multiplied by the
    variable `kl_weight`, and given to `add_loss`. It is computed in float32, and log
    variances are clipped to [-20, 20]. Outside of training the mean is returned.

    Args:
        kl_weight: Initial weight of the divergence, a non-trainable variable that
            `symae_keras.callbacks.KLSchedule` can anneal. Defaults to 1.
        seed: Integer seed of the noise, or `None`.

    Call arguments:
        inputs: Pair `(mean, log_variance)` of tensors of one shape `(..., code)`.
        instance_mask: Boolean tensor of that shape without the code axis, or `None`.
        training: Whether to sample.

    Output shape:
        Same as the mean.

    Reference:
        - [Kingma & Welling, 2013](https://arxiv.org/abs/1312.6114), appendix B

    Example:
    >>> from keras import ops
    >>> layer = GaussianSampling()
    >>> mean = layer((ops.ones((4, 2)), ops.zeros((4, 2))))
    >>> float(layer.losses[0])
    1.0
    """

    def __init__(
        self, kl_weight: float = 1.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.initial_kl_weight = self._checked(kl_weight)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.kl_weight = self.add_weight(
            name="kl_weight",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.initial_kl_weight),
            trainable=False,
            autocast=False,
        )
        self.built = True

    @staticmethod
    def _checked(kl_weight: float) -> float:
        kl_weight = float(kl_weight)
        if not 0.0 <= kl_weight < float("inf"):
            raise ValueError(
                "Invalid value received for argument `kl_weight`. "
                f"Expected a finite number >= 0. Received: kl_weight={kl_weight}"
            )
        return kl_weight

    def set_kl_weight(self, kl_weight: float) -> None:
        """Set the weight of the divergence from now on.

        Args:
            kl_weight: New weight, finite and not negative.
        """
        self.kl_weight.assign(self._checked(kl_weight))

    def call(
        self,
        inputs: tuple[Tensor, Tensor],
        instance_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Sample when training, else return the mean; add the divergence."""
        mean, log_variance = (ops.cast(each, "float32") for each in inputs)
        log_variance = ops.clip(log_variance, -_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT)
        variance = ops.exp(log_variance)
        kl = 0.5 * ops.sum(ops.square(mean) + variance - 1.0 - log_variance, axis=-1)
        if instance_mask is None:
            kl = ops.mean(kl)
        else:
            present = ops.cast(instance_mask, "float32")
            kl = ops.sum(kl * present) / ops.maximum(ops.sum(present), 1.0)
        self.add_loss(self.kl_weight * kl)
        if not training:
            return ops.cast(mean, self.compute_dtype)
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        sample = mean + ops.exp(0.5 * log_variance) * noise
        return ops.cast(sample, self.compute_dtype)

    def compute_mask(
        self, inputs: tuple[Tensor, Tensor], previous_mask: Any
    ) -> Tensor | None:
        """The mask of the mean."""
        return previous_mask[0] if previous_mask is not None else None

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        """Shape of the mean."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "kl_weight": self.initial_kl_weight,
            "seed": self.seed,
        }
