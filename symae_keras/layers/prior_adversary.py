"""An adversary that makes codes look like draws from a normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from symae_keras.layers.gradient_reversal import GradientReversal
from symae_keras.layers.loss_term import LossTerm, blank_absent, mean_of_present
from symae_keras.layers.seed import SeedGenerator
from symae_keras.layers.stack import build_chain, call_chain
from symae_keras.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="symae_keras")
class PriorAdversary(LossTerm):
    """Trains a discriminator of codes and draws from N(0, 1), and the codes against it.

    With as many draws `p` as codes `z`, and the discriminator's logit `d`, the loss is
    the binary cross-entropy

        (mean softplus(-d(p)) + mean softplus(d(z))) / 2.

    The discriminator minimises it, and what made the codes maximises it: they reach the
    discriminator through a `GradientReversal`. The one value that is logged is thus
    `log 2 = 0.693` when the discriminator cannot tell the two apart, and falls to 0 as
    it can.

    The gradient of `softplus(d(z))` fades where the discriminator is sure, and codes
    that it has found out would never come back. So, as is usual for adversaries, the
    codes get the gradient of `-softplus(-d(z))` in its place, which has the same
    direction for each code and is the larger the surer the discriminator is. What they
    minimise is `strength * mean softplus(-d(z))`.

    The codes are handed on as they are. The draws are made outside of training too, and
    the logits become losses in float32.

    Args:
        units: Sizes of the hidden layers of the discriminator. Defaults to `(64, 64)`.
        strength: Factor of the gradient for the codes; the discriminator learns at its
            own pace whatever it is. Defaults to 1.
        seed: Integer seed of the draws, or `None`.
        term_name: Name of the loss in the history. Defaults to `"adversary_loss"`.

    Call arguments:
        inputs: Tensor `(batch, ..., code)`.
        instance_mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent
            instances do not count, nor do as many draws.

    Output shape:
        Same as the input.

    Reference:
        - [Makhzani et al., Adversarial autoencoders,
          2015](https://arxiv.org/abs/1511.05644)
        - [Ganin & Lempitsky, Unsupervised domain adaptation by backpropagation,
          2015](https://arxiv.org/abs/1409.7495): the reversed gradient
        - [Goodfellow et al., Generative adversarial networks,
          2014](https://arxiv.org/abs/1406.2661), section 3: the gradient that does not
          fade

    Example:
    >>> from keras import ops
    >>> layer = PriorAdversary(units=(), seed=0)
    >>> layer.build((None, 2))
    >>> _ = layer.discriminator[-1].kernel.assign([[0.0], [0.0]])
    >>> codes = layer(ops.ones((4, 2)))
    >>> round(float(layer.losses[0]), 4)
    0.6931
    """

    def __init__(
        self,
        units: Sequence[int] = (64, 64),
        strength: float = 1.0,
        seed: int | None = None,
        term_name: str = "adversary_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(term_name, **kwargs)
        dtype = self.dtype_policy
        self.units = tuple(units)
        self.reversal = GradientReversal(strength, dtype=dtype)
        self.strength = self.reversal.strength
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.discriminator = [
            *(
                keras.layers.Dense(n, activation="gelu", dtype=dtype)
                for n in self.units
            ),
            keras.layers.Dense(1, dtype=dtype),
        ]

    def build(self, input_shape: Shape) -> None:
        """Build the discriminator on the code axis."""
        build_chain(self.discriminator, tuple(input_shape))

    def call(self, inputs: Tensor, instance_mask: Tensor | None = None) -> Tensor:
        """Hand on the codes; add the loss."""
        codes = blank_absent(inputs, instance_mask)
        draws = keras.random.normal(
            ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        of_draws = self._logits(ops.cast(draws, self.compute_dtype))
        of_codes = self._logits(ops.stop_gradient(codes))
        again = self._logits(self.reversal(codes))
        # Softplus, since the logarithm of a sigmoid that rounds to 0 is infinite.
        cross_entropy = ops.softplus(-of_draws) + ops.softplus(of_codes)
        # 0 in value, and in its gradient for the discriminator: only that for the codes
        # is left.
        misled = ops.softplus(-of_codes) - ops.softplus(-again)
        self.add_term(mean_of_present(0.5 * cross_entropy + misled, instance_mask))
        return inputs

    def _logits(self, codes: Tensor) -> Tensor:
        return ops.cast(call_chain(self.discriminator, codes), "float32")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Same as the codes."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return {
            **super().get_config(),
            "units": self.units,
            "strength": self.strength,
            "seed": self.seed,
            "term_name": self.term_name,
        }
