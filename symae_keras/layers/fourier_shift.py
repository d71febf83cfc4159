"""Time shifts by any number of samples, differentiable in the shift."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import choice, integer


@keras.saving.register_keras_serializable(package="symae_keras")
class FourierShift(keras.layers.Layer):
    """Shift of signals by any number of samples, with the Fourier transform.

    Sample `i` becomes `x(i - s)`: a positive shift `s` delays. Integer shifts are
    exact. Between samples, `x` is the band-limited interpolation of the signal. The
    layer has no weights; both the signals and the shifts receive gradients. A shift by
    `-s` undoes a shift by `s`, except for samples that left the window.

    The layer appends zeros before the transform, so that samples that leave at one end
    do not reappear at the other end. A fractional shift of a signal that does not fade
    towards its ends causes ringing there.

    Args:
        axis: Axis of the samples: -1 for `(..., samples)`, or -2 for
            `(..., samples, channels)`. Defaults to -1.
        padding: Number of zeros to append, not negative. Larger shifts wrap around.
            `None` (default) appends as many zeros as there are samples.

    Call arguments:
        inputs: Tensor `(..., samples)` or, with `axis=-2`, `(..., samples, channels)`.
        shift: Shifts in samples. Its axes are the first axes of `inputs`, before the
            samples: `(batch,)` for one shift per batch element,
            `(batch, instances)` for one per instance, `(batch, instances, receivers)`
            for one per trace. Axes of length 1 broadcast.

    Output shape:
        Same as `inputs`.

    Raises:
        ValueError: `axis` or `padding` is invalid, or `shift` has more axes than
            `inputs` has before the samples.

    Source: the shift theorem, R. N. Bracewell, The Fourier Transform and Its
    Applications, chapter 6.

    Example:
    >>> from keras import ops
    >>> pulse = ops.convert_to_tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    >>> moved = FourierShift()(pulse, ops.convert_to_tensor([2.0, -1.0]))
    >>> ops.convert_to_numpy(moved).round(3) + 0.0
    array([[0., 0., 0., 1.],
           [1., 0., 0., 0.]], dtype=float32)
    """

    def __init__(
        self, axis: int = -1, padding: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = choice("axis", axis, (-1, -2))
        self.padding = None if padding is None else integer("padding", padding, least=0)
        self.supports_masking = True
        self.autocast = False  # half precision cannot store a shift of 1000.3 samples

    def call(self, inputs: Tensor, shift: Tensor) -> Tensor:
        inputs, shift = ops.convert_to_tensor(inputs), ops.convert_to_tensor(shift)
        self._check(inputs.shape, shift.shape)
        # Fourier transforms and phases of many cycles need float32.
        signal, shift = ops.cast(inputs, "float32"), ops.cast(shift, "float32")
        if self.axis == -2:
            signal = ops.swapaxes(signal, -1, -2)
        samples = signal.shape[-1]
        padding = samples if self.padding is None else self.padding
        # This call of `irfft` inverts only transforms of even lengths.
        length = 2 * math.ceil((samples + padding) / 2)
        real, imaginary = ops.rfft(signal, fft_length=length)
        leading = len(shift.shape)
        for _ in range(len(signal.shape) - leading):
            shift = ops.expand_dims(shift, -1)
        cycles = ops.arange(length // 2 + 1, dtype="float32") / length
        # Whole cycles are subtracted, because sines of large numbers lose precision.
        turns = shift * cycles
        angle = (turns - ops.stop_gradient(ops.round(turns))) * (2.0 * math.pi)
        cosine, sine = ops.cos(angle), ops.sin(angle)
        moved = ops.irfft(
            (real * cosine + imaginary * sine, imaginary * cosine - real * sine),
            fft_length=length,
        )
        moved = moved[..., :samples]
        if self.axis == -2:
            moved = ops.swapaxes(moved, -1, -2)
        return ops.cast(moved, self.compute_dtype)

    def _check(self, inputs_shape: Shape, shift_shape: Shape) -> None:
        if len(inputs_shape) < 1 - self.axis or inputs_shape[self.axis] is None:
            raise ValueError(
                f"`FourierShift(axis={self.axis})` expects inputs with at least "
                f"{1 - self.axis} axes and a known number of samples. "
                f"Received: inputs.shape={tuple(inputs_shape)}"
            )
        leading = len(inputs_shape) + self.axis
        if not 1 <= len(shift_shape) <= leading:
            raise ValueError(
                f"`FourierShift(axis={self.axis})` expects a shift with 1 to {leading} "
                f"axes, the first axes of inputs of shape {tuple(inputs_shape)}. "
                f"Received: shift.shape={tuple(shift_shape)}"
            )

    def compute_output_shape(self, inputs_shape: Shape, shift_shape: Shape) -> Shape:
        self._check(inputs_shape, shift_shape)
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "padding": self.padding}
