"""How well traces of two surveys repeat each other, in the measures of the field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from symae_keras._utils.validation import is_integer
from symae_keras.data.groups import Array
from symae_keras.errors import InputError


def nrms(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Normalised root mean square (NRMS) difference of traces, in percent.

        NRMS = 200 rms(first - second) / (rms(first) + rms(second))

    It is 0 for equal traces, 141 for unrelated ones of equal power, and at most 200. A
    pair of traces without any signal has NaN.

    Args:
        first: Traces `(..., samples)`.
        second: Traces of the same shape, such as those of another survey.

    Returns:
        float64 array `(...)`.

    Raises:
        InputError: The shapes differ.

    Reference:
        - [Kragh & Christie, Seismic repeatability, normalized rms, and predictability,
          2002](https://doi.org/10.1190/1.1497316)

    Example:
    >>> trace = np.sin(np.arange(50.0))
    >>> nrms(trace, trace).item(), round(nrms(trace, -trace).item())
    (0.0, 200)
    """
    first, second = _pair(first, second)
    total = _rms(first) + _rms(second)
    there = np.where(total > 0.0, total, np.nan)
    return np.asarray(200.0 * _rms(first - second) / there)


def predictability(
    first: npt.ArrayLike, second: npt.ArrayLike, max_lag: int | None = None
) -> Array:
    """How well a filter could predict one trace from the other, from 0 to 1.

    With the autocorrelations `a`, `b` and the cross-correlation `c` of two traces, it
    is the sum of `c ** 2` over the sum of `a b`, over lags up to `max_lag`. Unlike
    `nrms`, it depends on no scale, and little on shifts by less than `max_lag`.

    Args:
        first: Traces `(..., samples)`.
        second: Traces of the same shape.
        max_lag: Largest lag in samples, below the number of samples. About the length
            of the wavelet; over all lags, both sums are equal. Defaults to `None`, a
            tenth of the samples.

    Returns:
        float64 array `(...)`, NaN for traces without any signal.

    Raises:
        InputError: The shapes differ, or `max_lag` is out of its range.

    Reference: see `nrms`.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> trace, other = rng.normal(size=(2, 500))
    >>> predictability(trace, 3.0 * trace).item(), predictability(trace, other) < 0.3
    (1.0, np.True_)
    """
    first, second = _pair(first, second)
    samples = first.shape[-1]
    lag = samples // 10 if max_lag is None else max_lag
    if not is_integer(lag, 0) or lag >= samples:
        raise InputError(
            f"max_lag must be an integer from 0 to {samples - 1}, below the number of "
            f"samples; received {max_lag}."
        )
    one, other = (np.fft.rfft(each, 2 * samples) for each in (first, second))

    def correlation(x: Array, y: Array) -> Array:
        lags = np.fft.irfft(x * np.conj(y), 2 * samples)
        return np.asarray(lags[..., np.r_[: lag + 1, -lag:0]])

    cross = np.sum(correlation(one, other) ** 2, axis=-1)
    own = np.sum(correlation(one, one) * correlation(other, other), axis=-1)
    return np.asarray(cross / np.where(own > 0.0, own, np.nan))


def _rms(x: Array) -> Array:
    return np.asarray(np.sqrt(np.mean(np.square(x), axis=-1)))


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    one, other = np.asarray(first, "float64"), np.asarray(second, "float64")
    if one.shape != other.shape or not one.shape or not one.shape[-1]:
        raise InputError(
            "Traces are compared one by one, in arrays (..., samples) of one shape; "
            f"received {one.shape} and {other.shape}."
        )
    return one, other
