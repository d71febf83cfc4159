"""The identity, with a gradient of its own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import GradientReversal


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_nothing_is_rounded(policy, rng) -> None:
    layer = GradientReversal(strength=1e4, dtype=policy)
    x = ops.cast(rng.normal(size=(5, 3)).astype("float32"), layer.compute_dtype)
    assert bool(ops.all(layer(x) == x))


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_gradient_is_reversed(strength, tf, rng) -> None:
    x, weights = tf.constant(rng.normal(size=(2, 5, 3)), tf.float32)
    layer = GradientReversal(strength)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(weights * layer(x))
    np.testing.assert_array_equal(
        tape.gradient(y, x), -np.float32(strength) * weights.numpy()
    )


@pytest.mark.jax
def test_before_and_after_learn_the_opposite(rng) -> None:
    """One step of `fit`: what comes after makes the loss small, what is before large.

    The loss of `after * before` is `mean(after * before * x - y)`, so that the gradient
    is x for either factor while both are 1.
    """

    class Difference(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return y_pred - y_true

    before, after = (
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        for _ in range(2)
    )
    inputs = keras.Input((1,))
    model = keras.Model(inputs, after(GradientReversal(0.5)(before(inputs))))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=Difference())
    x = rng.uniform(1.0, 2.0, size=(8, 1)).astype("float32")
    model.fit(x, 0.0 * x, batch_size=8, verbose=0)
    later, earlier = (
        ops.convert_to_numpy(each.kernel)[0, 0] for each in (after, before)
    )
    assert later == pytest.approx(1 - 0.1 * x.mean())
    assert earlier == pytest.approx(1 + 0.05 * x.mean())
