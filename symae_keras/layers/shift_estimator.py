"""Finds by how many samples each trace is delayed."""

from __future__ import annotations

from typing import Any, Final

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras.layers.fourier_shift import FourierShift

#: Parts of the window that correlations are searched within, one a round: the first
#: corrects centroids by more than a period, the others settle between samples.
_SEARCHED: Final = (8, 16, 16, 16)


@keras.saving.register_keras_serializable(package="symae_keras")
class ShiftEstimator(keras.layers.Layer):
    """Finds the delay of each trace of a gather, to a fraction of a sample.

    It starts from the time at which the fourth power of a trace is centred. In four
    rounds, traces are then shifted back, and correlated with their mean, whose waveform
    need not be known; a parabola through the largest correlation and its neighbours
    gives the correction. The delays of a gather keep the mean of the centroids. The
    layer has no weights. `FourierShift` with the negative delays aligns the traces, and
    with the delays puts them back.

    Delays of one gather can be compared with each other. Between gathers of different
    waveforms, they differ by a number that all traces share. Traces whose waveforms
    differ much, by overlapping arrivals for instance, may be a period off. A trace of
    zeros has about the mean delay of its gather. Gradients reach the inputs through
    centroids and parabolas, not through the choice of the largest correlation.

    Call arguments:
        inputs: Tensor `(..., traces, samples)`, at least 16 samples.

    Output shape:
        `(..., traces)`: delays in samples, from the middle of the window, later is
        positive. Always float32, since half precision has no digits for
        fractions.

    Raises:
        ValueError: Inputs have fewer than 2 axes, or fewer than 16 samples.

    Source: iterated alignment by cross-correlation with the stack, as for residual
    statics; J. C. VanDecar & R. S. Crosson, Bulletin of the Seismological Society of
    America 80 (1990), 150-169, correlate pairs of traces.

    Example:
    >>> import numpy as np
    >>> time = np.arange(64) - 31.5
    >>> pulse = np.exp(-0.1 * (time - np.array([[0.0], [2.5], [-2.5]])) ** 2)
    >>> delay = ShiftEstimator()(pulse.astype("float32"))
    >>> ops.convert_to_numpy(delay).round(2) + 0.0
    array([ 0. ,  2.5, -2.5], dtype=float32)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.autocast = False
        # The phases of shifts need all digits, in half precision as well.
        self.shift = FourierShift(dtype="float32")

    def build(self, input_shape: Shape) -> None:
        """Nothing to build: neither this layer nor the one inside has weights."""

    def call(self, inputs: Tensor) -> Tensor:
        self._check(inputs.shape)
        x = ops.cast(inputs, "float32")
        tiny = keras.config.epsilon()
        largest = ops.max(ops.abs(x), axis=(-2, -1), keepdims=True)
        x = x / ops.where(largest > 0.0, largest, 1.0)
        samples = x.shape[-1]
        time = ops.arange(samples, dtype="float32") - 0.5 * (samples - 1)
        # Second powers would draw weak traces to the middle, by their noise.
        weight = ops.square(ops.square(x / (self._norm(x) + tiny)))
        delay = ops.sum(weight * time, axis=-1) / (ops.sum(weight, axis=-1) + tiny)
        mean = ops.mean(delay, axis=-1, keepdims=True)
        for part in _SEARCHED:
            delay = delay + self._correction(x, delay, samples // part, tiny)
            delay = delay - ops.mean(delay, axis=-1, keepdims=True) + mean
        return delay

    def _correction(
        self, x: Tensor, delay: Tensor, searched: int, tiny: float
    ) -> Tensor:
        """Lags of the largest correlation of each trace with the stack."""
        aligned = self.shift(x, -delay)
        aligned = aligned / (self._norm(aligned) + tiny)
        stack = ops.mean(aligned, axis=-2, keepdims=True)
        length = 2 * x.shape[-1]
        real, imaginary = ops.rfft(aligned, fft_length=length)
        of_stack, turned = ops.rfft(stack, fft_length=length)
        lags = ops.irfft(
            (
                real * of_stack + imaginary * turned,
                imaginary * of_stack - real * turned,
            ),
            fft_length=length,
        )
        near = ops.concatenate(
            [lags[..., length - searched :], lags[..., : searched + 1]], axis=-1
        )
        # The ends have one neighbour only.
        inner = ops.cast(ops.argmax(near[..., 1:-1], axis=-1), "int32") + 1
        before, top, after = (
            ops.take_along_axis(near, (inner + step)[..., None], axis=-1)[..., 0]
            for step in (-1, 0, 1)
        )
        bend = 2.0 * top - before - after
        between = 0.5 * (after - before) / ops.where(bend > tiny, bend, 1.0)
        between = ops.clip(between, -1.0, 1.0)
        return ops.cast(inner - searched, "float32") + between

    def _norm(self, x: Tensor) -> Tensor:
        # The root of 0 has no gradient.
        square = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return ops.sqrt(ops.maximum(square, 1e-12))

    def _check(self, input_shape: Shape) -> None:
        samples = input_shape[-1] if len(input_shape) > 1 else None
        if samples is None or samples < 16:
            raise ValueError(
                "`ShiftEstimator` expects inputs `(..., traces, samples)` with a known "
                "number of samples, at least 16. "
                f"Received: inputs.shape={tuple(input_shape)}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check(input_shape)
        return tuple(input_shape[:-1])

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype="float32")
