"""Folding against a loop over the instances."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.layers import Conv1DEncoder, PerInstance


def _conv() -> keras.Layer:
    return keras.Sequential(
        [keras.layers.Conv1D(3, 3, activation="gelu"), keras.layers.Flatten()]
    )


@pytest.mark.jax
@pytest.mark.parametrize("instances", [1, 4])
def test_equals_a_loop_over_instances(instances, rng) -> None:
    x = rng.normal(size=(2, instances, 7, 2)).astype("float32")
    inner = _conv()
    folded = PerInstance(inner)(x)
    looped = ops.stack([inner(x[:, t]) for t in range(instances)], axis=1)
    np.testing.assert_allclose(folded, looped, atol=1e-6)


@pytest.mark.jax
def test_equals_time_distributed(rng) -> None:
    x = rng.normal(size=(2, 3, 9)).astype("float32")
    inner = Conv1DEncoder(4, filters=(3,))
    np.testing.assert_allclose(
        PerInstance(inner)(x), keras.layers.TimeDistributed(inner)(x), atol=1e-6
    )


@pytest.mark.jax
def test_training_reaches_the_layer_inside(rng) -> None:
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    layer = PerInstance(keras.layers.BatchNormalization(momentum=0.0))
    trained = np.asarray(layer(x, training=True))
    # Statistics are over all instances of all groups.
    np.testing.assert_allclose(trained.mean(axis=(0, 1)), 0.0, atol=1e-5)
    np.testing.assert_allclose(
        layer.layer.moving_mean.value, x.mean(axis=(0, 1)), atol=1e-5
    )
    assert len(layer.trainable_weights) == 2
    assert len(layer.non_trainable_weights) == 2


@pytest.mark.jax
def test_losses_of_the_layer_inside_are_kept() -> None:
    layer = PerInstance(keras.layers.Dense(2, activity_regularizer="l2"))
    layer(ops.ones((2, 3, 4)))
    assert len(layer.losses) == 1


class OnlyCall(keras.layers.Layer):
    """The least that Keras asks of a layer: no `build`, no output shape."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(4)

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.jax
def test_takes_a_layer_with_nothing_but_call(rng) -> None:
    x = rng.normal(size=(2, 3, 5)).astype("float32")
    layer = PerInstance(OnlyCall())
    assert layer(keras.KerasTensor((None, None, 5))).shape == (None, None, 4)
    assert len(layer.trainable_weights) == 2
    np.testing.assert_allclose(layer(x)[:, 1], layer.layer(x[:, 1]), atol=1e-6)


@pytest.mark.jax
def test_rejects_flat_data() -> None:
    with pytest.raises(ValueError, match=r"rank 3 or more.*\(4, 5\)"):
        PerInstance(keras.layers.Dense(2))(ops.ones((4, 5)))


def test_axes_unknown_when_traced(tf, rng) -> None:
    """One trace serves every number of groups and instances."""
    layer = PerInstance(_conv())
    layer.build((None, None, 7, 2))
    traces = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, 7, 2), tf.float32)])
    def apply(x):
        y = layer(x)
        traces.append(y.shape)
        return y

    for groups, instances in ((2, 3), (5, 1), (1, 8)):
        x = rng.normal(size=(groups, instances, 7, 2)).astype("float32")
        np.testing.assert_allclose(apply(x), layer(x), atol=1e-6)
    assert [tuple(each) for each in traces] == [(None, None, 15)]
