"""Checks that tests of several layers share."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops


@pytest.fixture
def gradients(tf):
    """Return a function that computes gradients of a function with TensorFlow.

    Args of the function:
        function: The function to differentiate; if it is no scalar, its sum is used.
        *arguments: Its arguments, arrays.
        variables: Variables for additional gradients.
    """

    def run(function, *arguments, variables=()) -> list[np.ndarray | None]:
        tensors = [tf.convert_to_tensor(each) for each in arguments]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        found = tape.gradient(value, [*tensors, *variables])
        return [g if g is None else tf.convert_to_tensor(g).numpy() for g in found]

    return run


@pytest.fixture
def loss_gradients(gradients):
    """Return a function that computes gradients of the loss that a layer adds.

    Args of the function:
        layer: The layer.
        inputs: Its inputs, an array or a tuple of arrays, for which gradients are
            computed.
        variables: Variables for additional gradients.
        **keywords: Other arguments of the layer's call.
    """

    def run(layer, inputs, *, variables=(), **keywords) -> list[np.ndarray | None]:
        several = isinstance(inputs, tuple)

        def loss(*tensors):
            layer(tensors if several else tensors[0], **keywords)
            return layer.losses[0]

        return gradients(loss, *(inputs if several else [inputs]), variables=variables)

    return run


@pytest.fixture
def present():
    """Return a mask of seven instances."""
    return np.array([1, 0, 1, 1, 0, 0, 1], bool)


@pytest.fixture
def check_absent(present, request):
    """Return a function that checks that a layer's loss excludes absent instances.

    Args of the function:
        layer: A layer that adds a loss and accepts a `mask`.
        inputs: Array `(7, ...)`; values of absent instances are replaced by NaN.
        **keywords: Other arguments of the layer's call.
    """

    def run(layer, inputs, **keywords) -> None:
        def loss(x, mask) -> float:
            layer(ops.convert_to_tensor(x), mask=mask, **keywords)
            return float(ops.convert_to_numpy(layer.losses[0]))

        of_present, nobody = inputs[present], np.zeros(7, bool)
        junk = inputs.copy()
        junk[~present] = np.nan
        assert loss(junk, present) == pytest.approx(loss(of_present, None), rel=1e-5)
        assert loss(junk, nobody) == 0.0
        if keras.backend.backend() != "tensorflow":
            return
        gradients = request.getfixturevalue("loss_gradients")
        (expected,) = gradients(layer, of_present, **keywords)
        (found,) = gradients(layer, junk, mask=present, **keywords)
        (nothing,) = gradients(layer, junk, mask=nobody, **keywords)
        assert np.abs(expected).max() > 0.0
        np.testing.assert_allclose(found[present], expected, 1e-4, 1e-7)
        np.testing.assert_array_equal(found[~present], 0.0)
        np.testing.assert_array_equal(nothing, 0.0)

    return run
