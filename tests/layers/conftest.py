"""Checks that tests of several layers share."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops


@pytest.fixture
def gradients(tf):
    """A function that returns the gradients of a function, by TensorFlow's tape.

    Args of the function:
        function: What is differentiated; if it is no scalar, the sum of it.
        *arguments: Its arguments, arrays.
        variables: What else gradients are taken for.
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
    """A function that returns the gradients of the loss that a layer adds.

    Args of the function:
        layer: The layer.
        inputs: Its inputs, an array or a tuple of arrays; gradients are taken for each.
        variables: What else gradients are taken for.
        **keywords: What else the layer is called with.
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
    """Which of seven instances there are."""
    return np.array([1, 0, 1, 1, 0, 0, 1], bool)


@pytest.fixture
def check_absent(present, request):
    """A function that checks that absent instances count in no loss of a layer.

    Args of the function:
        layer: A layer that adds a loss and takes a `mask`.
        inputs: Array `(7, ...)`; what the absent of these hold is replaced by NaN.
        **keywords: What else the layer is called with.
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
