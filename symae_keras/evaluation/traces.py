"""Repeatability measures for the traces of two seismic surveys."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from symae_keras._utils.validation import is_integer
from symae_keras.data.groups import Array
from symae_keras.errors import InputError


def nrms(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Compute the normalised root mean square (NRMS) difference of traces, in percent.

        NRMS = 200 rms(first - second) / (rms(first) + rms(second))

    It is 0 for equal traces, 141 for unrelated traces of equal power, and at most 200.
    It is NaN if both traces are zero.

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
    """Compute the predictability of one trace from the other by a filter, from 0 to 1.

    For two traces with autocorrelations `a`, `b` and cross-correlation `c`, it is the
    sum of `c ** 2` divided by the sum of `a b`, over lags up to `max_lag`. Unlike
    `nrms`, it is independent of scale, and nearly independent of shifts below
    `max_lag`.

    Args:
        first: Traces `(..., samples)`.
        second: Traces of the same shape.
        max_lag: Largest lag in samples, less than the number of samples. Use about the
            length of the wavelet; over all lags, both sums are equal. Defaults to
            `None`, 10 % of the samples.

    Returns:
        float64 array `(...)`, NaN if a trace is zero.

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
            "Traces are compared pairwise, in arrays (..., samples) of the same shape; "
            f"received {one.shape} and {other.shape}."
        )
    return one, other
