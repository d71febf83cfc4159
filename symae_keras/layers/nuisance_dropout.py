"""Stochastic regularisation of the nuisance code."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from symae_keras.layers.training_noise import TrainingNoise
from symae_keras.typing import Tensor

_KINDS = ("gaussian", "bernoulli", "additive")


@keras.saving.register_keras_serializable(package="symae_keras")
class NuisanceDropout(TrainingNoise):
    """Makes a code an expensive channel by adding noise to it during training.

    With `s` the strength and `e ~ N(0, 1)` drawn afresh for every element:

    - `"gaussian"`: `x * (1 + s e)`; any `s >= 0`. Keras's `GaussianDropout` calls
      `s = 0.5` a rate of 0.2, since `s^2 = rate / (1 - rate)`.
    - `"bernoulli"`: inverted dropout, `x / (1 - s)` with probability `1 - s`, else 0;
      `0 <= s < 1`.
    - `"additive"`: `x + s e`; any `s >= 0`. Only meaningful on a bounded code: an
      unbounded one outgrows the noise.

    The strength is a non-trainable variable, so that `symae_keras.callbacks
    .NoiseSchedule` can anneal it during `fit` without retracing, and so that it is
    saved with the model. Outside of training the layer is the identity.

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
        if kind not in _KINDS:
            raise ValueError(
                "Invalid value received for argument `kind`. "
                f"Expected one of {_KINDS}. Received: kind={kind!r}"
            )
        self.kind = kind
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
        strength = float(strength)
        limit = 1.0 if self.kind == "bernoulli" else math.inf
        if not 0.0 <= strength < limit:
            raise ValueError(
                "Invalid value received for argument `strength`. Expected "
                f"0 <= strength < {limit} for {self.kind} noise. "
                f"Received: strength={strength}"
            )
        return strength

    def set_strength(self, strength: float) -> None:
        """Set the strength of the noise from now on.

        Args:
            strength: New strength; the limits of the constructor hold.
        """
        self.strength.assign(self._checked(strength))

    def _alter(self, inputs: Tensor) -> Tensor:
        shape, dtype = ops.shape(inputs), self.compute_dtype
        if self.kind == "bernoulli":
            # Drawn in float32: a coarse uniform would miss small rates.
            draw = keras.random.uniform(
                shape, dtype="float32", seed=self.seed_generator
            )
            keep = ops.cast(draw >= self.strength, "float32")
            # 1 - s would round to 0 in a coarser dtype.
            return inputs * ops.cast(keep / (1.0 - self.strength), dtype)
        strength = ops.cast(self.strength, dtype)
        noise = keras.random.normal(shape, dtype=dtype, seed=self.seed_generator)
        if self.kind == "additive":
            return inputs + strength * noise
        return inputs * (1.0 + strength * noise)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "strength": self.initial_strength,
        }
