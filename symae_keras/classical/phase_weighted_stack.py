"""Phase-weighted stack of signals."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from symae_keras._utils.arrays import Codes
from symae_keras._utils.validation import is_number
from symae_keras.classical._base import CodedReference, check_finite
from symae_keras.classical._paired import check_whole
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


class PhaseWeightedStack(CodedReference):
    """Mean of the signals of a group, weighted by the coherence of their phases.

    With the phase `phi[t]` of the analytic signal of each instance, at each pixel,

        C = mean_t x[t] |mean_t exp(i phi[t])|^power      N[t] = x[t] - C

    and `D(C, N[t]) = C + N[t]`. Signals that are incoherent between the instances are
    suppressed more than in the mean; the waveforms of coherent signals are distorted.
    Signals should oscillate around 0. With the power 0, the method is `MeanSwap`. It
    learns nothing.

    Args:
        power: Power of the phase weight, >= 0. Defaults to 2.

    Attributes:
        instance_shape_: Shape of one instance, `(pixels,)` or `(pixels, channels)`.

    Reference:
        - [Schimmel & Paulssen, Noise reduction and detection of weak, coherent signals
          through phase-weighted stacks,
          1997](https://doi.org/10.1111/j.1365-246X.1997.tb05664.x)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> signal = np.sin(2.0 * np.pi * np.arange(64) / 16.0)
    >>> noise = np.random.default_rng(0).normal(size=(1, 50, 64))
    >>> model = PhaseWeightedStack().fit(GroupedData(signal + noise))
    >>> stack = model.encode(0.0 * noise + signal).coherent[0]
    >>> bool(np.allclose(stack, signal))
    True
    """

    def __init__(self, power: float = 2.0) -> None:
        if not is_number(power) or power < 0.0:
            raise InputError(f"power must be a finite number >= 0; received {power}.")
        self.power = float(power)

    def fit(self, groups: GroupedData) -> Self:
        """Store the shape of the instances.

        Args:
            groups: Any groups.

        Returns:
            The object itself.

        Raises:
            InputError: Instances are not signals or not finite, or pixels are masked.
        """
        if len(groups.instance_shape) > 2:
            raise InputError(
                "A phase-weighted stack needs instances of the shape (pixels,) or "
                f"(pixels, channels); received {groups.instance_shape}."
            )
        check_whole(self, groups)
        check_finite(groups.x[groups.present])
        self.instance_shape_ = groups.instance_shape
        return self

    def _code_sizes(self) -> tuple[int, int]:
        pixels = math.prod(self.instance_shape_)
        return pixels, pixels

    def _encode(self, groups: GroupedData) -> Codes:
        from scipy.signal import hilbert

        check_whole(self, groups)
        present = groups.present.reshape(
            *groups.x.shape[:2], *(1,) * (groups.x.ndim - 2)
        )
        count = np.maximum(present.sum(axis=1), 1)
        x = np.where(present, groups.x, 0.0).astype("float64")
        analytic = hilbert(x, axis=2)
        size = np.abs(analytic)
        phasor = np.divide(analytic, size, out=np.zeros_like(analytic), where=size > 0)
        coherence = np.abs(phasor.sum(axis=1) / count)
        stack = x.sum(axis=1) / count * coherence**self.power
        deviations = np.where(present, x - stack[:, None], 0.0)
        flat = len(x), -1
        return Codes(stack.reshape(flat), deviations.reshape(*x.shape[:2], -1))

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        return coherent[:, None] + nuisance
