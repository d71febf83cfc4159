"""Noise on codes."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.moved import renamed
from symae_keras._utils.validation import choice, not_negative, number
from symae_keras.layers._random import SeedGenerator, TrainingNoise
from symae_keras.layers.penalties import LossTerm, first


@keras.saving.register_keras_serializable(package="symae_keras")
class NuisanceDropout(TrainingNoise):
    """Noise on a code during training, which makes the code an expensive channel.

    `s` is the strength, and `e ~ N(0, 1)` is drawn anew for every element:

    - `"gaussian"`: `x * (1 + s e)`; any `s >= 0`. Keras's `GaussianDropout` calls
      `s = 0.5` a rate of 0.2, since `s^2 = rate / (1 - rate)`.
    - `"bernoulli"`: inverted dropout, `x / (1 - s)` with probability `1 - s`, else 0;
      `0 <= s < 1`.
    - `"additive"`: `x + s e`; any `s >= 0`. It is only useful on a bounded code,
      because an unbounded code can outgrow the noise.

    The strength is a non-trainable variable. It is saved with the model, and
    `symae_keras.callbacks.NoiseSchedule` can anneal it during `fit` without retracing.
    Outside of training, the layer is the identity.

    Args:
        kind: `"gaussian"` (default), `"bernoulli"` or `"additive"`.
        strength: Initial strength. Defaults to 0.5.
        seed: Integer seed of the noise, or `None`.

    Call arguments:
        inputs: Tensor of any shape.
        training: Whether to add noise.

    Output shape:
        Same as the input.

    Reference:
        - [Bharadwaj, Li & Demanet, 2021](https://arxiv.org/abs/2108.02537)
        - [Srivastava et al., Dropout, 2014](https://jmlr.org/papers/v15/srivastava14a.html)

    Example:
    >>> from keras import ops
    >>> layer = NuisanceDropout("gaussian", strength=0.5, seed=0)
    >>> code = ops.ones((2, 3, 8))
    >>> bool(ops.all(layer(code) == code))
    True
    >>> bool(ops.all(layer(code, training=True) == code))
    False
    """

    def __init__(
        self,
        kind: str = "gaussian",
        strength: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.kind = choice("kind", kind, ("gaussian", "bernoulli", "additive"))
        self.initial_strength = self._checked(strength)
        self.strength = self.add_weight(
            name="strength",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.initial_strength),
            trainable=False,
            autocast=False,
        )

    def _checked(self, strength: float) -> float:
        limit = 1.0 if self.kind == "bernoulli" else math.inf
        expected = f"0 <= strength < {limit} for {self.kind} noise"
        return number("strength", strength, expected, lambda x: 0.0 <= x < limit)

    def set_strength(self, strength: float) -> None:
        """Set the strength of the noise.

        Args:
            strength: New strength, within the same limits as in the constructor.
        """
        self.strength.assign(self._checked(strength))

    def _alter(self, inputs: Tensor) -> Tensor:
        shape, dtype = ops.shape(inputs), self.compute_dtype
        if self.kind == "bernoulli":
            keep = ops.cast(self._uniform(inputs) >= self.strength, "float32")
            # 1 - s would round to 0 in a lower precision.
            return inputs * ops.cast(keep / (1.0 - self.strength), dtype)
        strength = ops.cast(self.strength, dtype)
        noise = keras.random.normal(shape, dtype=dtype, seed=self.seed_generator)
        if self.kind == "additive":
            return inputs + strength * noise
        return inputs * (1.0 + strength * noise)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "strength": self.initial_strength,
        }


# exp(20) and exp(-20) are outside the useful range of variances, but do not overflow.
_LOG_VARIANCE_LIMIT = 20.0
# The largest number in half precision; a sample of such a variance may exceed it.
_LARGEST_HALF = 65504.0


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__call__", instance_mask="mask")
class GaussianSampling(LossTerm):
    """Sampling `mean + exp(log_variance / 2) * e`, with the KL divergence as a loss.

    For each element of the code, the divergence of the code from its prior is

        KL = (variance / prior_variance + (mean - prior_mean)^2 / prior_variance
              - 1 - log_variance + prior_log_variance) / 2.

    The default prior is a standard normal distribution. The divergence is averaged over
    all axes except the code axis (without masked instances), raised to at least
    `free_bits`, summed over the code, multiplied by the variable `kl_weight`, and
    passed to `add_loss`. It is computed in float32, and log variances are clipped to
    [-20, 20]. Outside of training, the layer returns the mean. Samples that exceed the
    largest float16 number are clipped to it.

    Args:
        kl_weight: Initial weight of the divergence (the beta of a beta-VAE), a
            non-trainable variable that `symae_keras.callbacks.KLSchedule` can anneal.
            Defaults to 1.
        seed: Integer seed of the noise, or `None`.
        free_bits: Free information per element of the code, in nats. A smaller mean
            divergence of an element counts as `free_bits`, so that it has no gradient.
            Defaults to 0.
        term_name: Name of the loss in the history. Defaults to `"kl_loss"`.

    Call arguments:
        inputs: Pair `(mean, log_variance)` of tensors of the same shape `(..., code)`.
        mask: Boolean tensor of that shape without the code axis, True = present, or
            `None`.
        prior: Pair `(mean, log_variance)` that broadcasts to that shape, or `None` for
            the standard normal distribution.
        per: Number, or scalar tensor, by which the sum of the divergences is divided
            instead of their count. A group has one code but many instances. To count
            its divergence once in a mean over instances, pass the number of instances.
        training: Whether to sample.

    Output shape:
        Same as the mean.

    Reference:
        - [Kingma & Welling, 2013](https://arxiv.org/abs/1312.6114), appendix B
        - [Higgins et al., beta-VAE, 2017](https://openreview.net/forum?id=Sy2fzU9gl)
        - [Kingma et al., 2016](https://arxiv.org/abs/1606.04934), appendix C.8: free
          bits, here for each element of the code

    Example:
    >>> from keras import ops
    >>> layer = GaussianSampling()
    >>> mean = layer((ops.ones((4, 2)), ops.zeros((4, 2))))
    >>> float(layer.losses[0])
    1.0
    """

    def __init__(
        self,
        kl_weight: float = 1.0,
        seed: int | None = None,
        free_bits: float = 0.0,
        term_name: str = "kl_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(term_name, **kwargs)
        self.initial_kl_weight = not_negative("kl_weight", kl_weight)
        self.free_bits = not_negative("free_bits", free_bits)
        self.seed = seed
        self.autocast = False  # everything is computed in float32
        self.seed_generator = SeedGenerator(seed)
        self.kl_weight = self.add_weight(
            name="kl_weight",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.initial_kl_weight),
            trainable=False,
            autocast=False,
        )
        self.built = True

    def set_kl_weight(self, kl_weight: float) -> None:
        """Set the weight of the divergence.

        Args:
            kl_weight: New weight, finite and not negative.
        """
        self.kl_weight.assign(not_negative("kl_weight", kl_weight))

    def call(
        self,
        inputs: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        prior: tuple[Tensor, Tensor] | None = None,
        per: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        mean, log_variance = _in_float32(inputs)
        kl = gaussian_divergence(mean, log_variance, prior)
        code_axis = len(kl.shape) - 1
        axes = tuple(range(code_axis))
        mask = first(mask)
        if mask is None:
            count = ops.cast(ops.prod(ops.shape(kl)[:code_axis]), "float32")
        else:
            present = ops.cast(mask, "float32")
            count = ops.maximum(ops.sum(present), 1.0)
            kl = kl * ops.expand_dims(present, -1)
        kl = ops.sum(kl, axis=axes) / count
        if self.free_bits > 0.0:
            kl = ops.maximum(kl, self.free_bits)
        total = ops.sum(kl)
        if per is not None:
            total = total * count / ops.cast(per, "float32")
        self.add_term(self.kl_weight * total)
        if not training:
            return self._in_compute_dtype(mean)
        noise = keras.random.normal(
            ops.shape(mean), dtype="float32", seed=self.seed_generator
        )
        sample = mean + ops.exp(0.5 * log_variance) * noise
        return self._in_compute_dtype(sample)

    def _in_compute_dtype(self, code: Tensor) -> Tensor:
        if self.compute_dtype == "float16":
            code = ops.clip(code, -_LARGEST_HALF, _LARGEST_HALF)
        return ops.cast(code, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kl_weight": self.initial_kl_weight,
            "seed": self.seed,
            "free_bits": self.free_bits,
            "term_name": self.term_name,
        }


def _in_float32(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    mean, log_variance = (ops.cast(each, "float32") for each in pair)
    return mean, ops.clip(log_variance, -_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT)


def gaussian_divergence(
    mean: Tensor, log_variance: Tensor, prior: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return the divergence of each code element from its prior, in nats."""
    if prior is None:
        variance = ops.exp(log_variance)
        return 0.5 * (ops.square(mean) + variance - 1.0 - log_variance)
    prior_mean, prior_log_variance = _in_float32(prior)
    log_ratio = log_variance - prior_log_variance
    distance = ops.square(mean - prior_mean) * ops.exp(-prior_log_variance)
    return 0.5 * (distance + ops.exp(log_ratio) - 1.0 - log_ratio)
