"""Estimation of the delay of each trace, in samples."""

from __future__ import annotations

from typing import Any, Final

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras.layers.fourier_shift import FourierShift

#: Search range of each round, as a fraction of the window. The first round corrects
#: centroids by more than a period; the others refine the delay between samples.
_SEARCHED: Final = (8, 16, 16, 16)


@keras.saving.register_keras_serializable(package="symae_keras")
class ShiftEstimator(keras.layers.Layer):
    """Estimation of the delay of each trace of a gather, to a fraction of a sample.

    The initial delay is the centroid of the fourth power of the trace. Four rounds
    follow. Each round shifts the traces back and correlates them with their mean,
    whose waveform does not need to be known. A parabola through the largest correlation
    and its neighbours gives the correction. The mean delay of a gather stays the mean
    of the centroids. The layer has no weights. `FourierShift` aligns the traces with
    the negative delays, and restores them with the positive delays.

    Delays within one gather can be compared with each other. Between gathers with
    different waveforms, delays differ by an offset that all traces share. Traces with
    very different waveforms, for example because of overlapping arrivals, may be off by
    one period. A trace of zeros gets about the mean delay of its gather. The inputs
    receive gradients through centroids and parabolas, but not through the choice of
    the largest correlation.

    Call arguments:
        inputs: Tensor `(..., traces, samples)`, at least 16 samples.

    Output shape:
        `(..., traces)`: delays in samples from the middle of the window; positive means
        later. Always float32, because half precision is too coarse for fractions of a
        sample.

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
        # The phases of shifts need full precision, in half precision as well.
        self.shift = FourierShift(dtype="float32")

    def build(self, input_shape: Shape) -> None:
        """Build nothing: neither this layer nor the one inside it has weights."""

    def call(self, inputs: Tensor) -> Tensor:
        self._check(inputs.shape)
        x = ops.cast(inputs, "float32")
        tiny = keras.config.epsilon()
        largest = ops.max(ops.abs(x), axis=(-2, -1), keepdims=True)
        x = x / ops.where(largest > 0.0, largest, 1.0)
        samples = x.shape[-1]
        time = ops.arange(samples, dtype="float32") - 0.5 * (samples - 1)
        # With second powers, noise would pull weak traces to the middle.
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
        """Return the lag of each trace's largest correlation with the stack."""
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
        # The end points have only one neighbour.
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
        # The square root has no gradient at 0.
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
