"""Delays and gains of anomalies compared with closed forms and simulated media."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.data.simulators import _rays
from symae_keras.layers import RytovKernel

_RECEIVERS = [[0.6, 0.0], [0.0, 0.6], [-0.6, 0.0], [0.0, -0.6]]
_PLACES = [[0.0, 0.0], [0.1, -0.2], [-0.25, 0.1]]
_SOURCES = np.array([[-0.9, 0.0], [0.2, 0.85]], "float32")


def _kernel(frequency: float = 10.0) -> RytovKernel:
    return RytovKernel(_RECEIVERS, _PLACES, width=0.1, frequency=frequency)


def _numpy(tensors) -> list[np.ndarray]:
    return [ops.convert_to_numpy(each) for each in tensors]


@pytest.mark.jax
def test_it_is_the_small_perturbation_of_the_simulator() -> None:
    """The kernel agrees at each frequency, and as the weighted mean over the band."""
    parts = np.array([0.6, 0.8, 1.0, 1.2, 1.4])
    weight = np.exp(-0.5 * ((parts - 1.0) / 0.3) ** 2)
    angular = 2.0 * np.pi * 10.0 * parts
    delay, gain = _numpy(_kernel()(_SOURCES, velocity=2.0))
    for index, place in enumerate(_PLACES):
        state = {
            "velocity": np.full(2, 2.0),
            "position": np.tile(place, (2, 1, 1)),
            "width": np.full((2, 1), 0.1),
            "strength": np.full((2, 1), 1e-4),
        }
        fields = [
            _rays.green(10.0 * parts, np.array(_RECEIVERS), each, _SOURCES)
            for each in (state, {**state, "strength": np.zeros((2, 1))})
        ]
        change = np.log(fields[0] / fields[1]) / 1e-4
        slope = -(change.imag * angular * weight).sum(-1) / (angular**2 * weight).sum()
        np.testing.assert_allclose(delay[:, index], slope, rtol=2e-3, atol=2e-5)
        expected = (change.real * weight).sum(-1) / weight.sum()
        np.testing.assert_allclose(gain[:, index], expected, rtol=2e-3, atol=2e-3)


@pytest.mark.jax
def test_high_frequencies_follow_the_ray() -> None:
    """The delay is the integral of slowness along the straight ray, the gain is 0."""
    delay, _ = _numpy(_kernel(2000.0)(_SOURCES[:1], velocity=2.0))
    ray = np.sqrt(2.0 * np.pi) * 0.1 / 2.0  # through the centre of the first anomaly
    np.testing.assert_allclose(delay[0, 0, 0], ray, rtol=1e-3)


@pytest.mark.jax
def test_it_turns_with_the_experiment() -> None:
    def turned(rows) -> np.ndarray:
        return np.asarray(rows) @ np.array([[0.8, 0.6], [-0.6, 0.8]])

    whole = _numpy(_kernel()(_SOURCES, velocity=2.0))
    other = RytovKernel(turned(_RECEIVERS), turned(_PLACES), 0.1, 10.0)
    again = _numpy(other(turned(_SOURCES).astype("float32"), velocity=2.0))
    for one, two in zip(whole, again, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_units() -> None:
    """Doubled lengths at half the frequency only double the delay."""
    delay, gain = _numpy(_kernel()(_SOURCES, velocity=2.0))
    larger = RytovKernel(
        2.0 * np.array(_RECEIVERS), 2.0 * np.array(_PLACES), 0.2, frequency=5.0
    )
    again = _numpy(larger(2.0 * _SOURCES, velocity=2.0))
    np.testing.assert_allclose(again[0], 2.0 * delay, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(again[1], gain, rtol=1e-3, atol=1e-4)


@pytest.mark.jax
def test_config_and_shapes() -> None:
    layer = _kernel()
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    sources = np.tile(_SOURCES, (3, 1, 1))
    for one, two in zip(
        _numpy(layer(sources, velocity=2.0)),
        _numpy(again(sources, velocity=2.0)),
        strict=True,
    ):
        assert one.shape == (3, 2, 3, 4)
        np.testing.assert_array_equal(one, two)
    assert layer.compute_output_shape((3, 2, 2)) == ((3, 2, 3, 4),) * 2


@pytest.mark.parametrize("value", [[], [1.0, 2.0], [[1.0]], [[np.nan, 0.0]], "word", 3])
def test_positions_are_pairs(value) -> None:
    with pytest.raises(ValueError, match="`receivers`. Expected pairs of numbers"):
        RytovKernel(value, _PLACES, 0.1, 10.0)
    with pytest.raises(ValueError, match="`places`. Expected pairs of numbers"):
        RytovKernel(_RECEIVERS, value, 0.1, 10.0)
