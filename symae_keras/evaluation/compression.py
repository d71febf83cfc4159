"""Compression: codes as bytes, and the resulting error."""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from symae_keras._utils.arrays import INSTANCES_AT_ONCE, in_batches
from symae_keras._utils.optional import import_optional
from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.evaluation.redatuming import relative_error

#: Step, and length of the packed table that follows it.
_HEAD = struct.Struct("<dI")


def compress_codes(codes: Array, step: float) -> bytes:
    """Round codes to multiples of a step and pack them into bytes.

    Each component of the code has a histogram of its levels over all rows. A range
    coder (asymmetric numeral systems, from the library constriction) encodes it with
    the corresponding number of bits. The bytes include these histograms, so that they
    suffice to restore the rounded codes.

    Args:
        codes: `(rows, *code_shape)`, finite; the result of `model.encode(x)`, or
            indices of a `VQVAE` with `step=1`.
        step: Distance between two levels, in units of the code.

    Returns:
        The bytes, for `decompress_codes`.

    Raises:
        InputError: The codes are not finite, or the step is not positive.

    Reference:
        - [Duda, Asymmetric numeral systems, 2013](https://arxiv.org/abs/1311.2540)
        - [Bamler, Understanding entropy coding with asymmetric numeral systems,
          2022](https://arxiv.org/abs/2201.01741)

    Example:
    >>> codes = np.random.default_rng(0).normal(size=(4000, 3))
    >>> packed = compress_codes(codes, step=0.5)
    >>> round(8 * len(packed) / codes.size, 1)  # bits per number
    3.1
    >>> bool(np.abs(decompress_codes(packed) - codes).max() <= 0.25 + 1e-6)
    True
    """
    codes = np.asarray(codes, "float64")
    if not (math.isfinite(step) and step > 0.0):
        raise InputError(f"step must be a positive number; received {step}.")
    if codes.ndim < 2 or not len(codes):
        raise InputError(
            "codes must have the axes (rows, *code_shape) and at least one row; "
            f"received shape {codes.shape}."
        )
    if not np.isfinite(codes).all():
        raise InputError("codes must be finite; some are NaN or infinite.")
    levels = np.rint(codes.reshape(len(codes), -1) / step)
    if np.abs(levels).max() >= 2.0**53:
        raise InputError(f"step={step} is too small for codes of this size.")
    stream = import_optional("constriction", "uses", "Compression").stream
    coder = stream.stack.AnsCoder()
    tables = []
    # The decoder returns symbols in reverse order.
    for column in levels.T.astype("int64")[::-1]:
        values, symbols, counts = np.unique(
            column, return_inverse=True, return_counts=True
        )
        coder.encode_reverse(symbols.astype("int32"), _model(stream, counts))
        # Differences of levels are mostly 1.
        tables += [counts, np.diff(values, prepend=0), [len(values)]]
    table = _pack([codes.ndim, *codes.shape], *tables[::-1])
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    return _HEAD.pack(step, len(table)) + table + words


def decompress_codes(packed: bytes) -> Array:
    """Return the rounded codes from the result of `compress_codes`.

    Args:
        packed: The result of `compress_codes`.

    Returns:
        float32 array `(rows, *code_shape)` of multiples of the step.
    """
    step, size = _HEAD.unpack_from(packed)
    start = _HEAD.size + size
    numbers = _unpack(packed[_HEAD.size : start])
    shape = tuple(numbers[1 : 1 + numbers[0]])
    place = 1 + len(shape)
    stream = import_optional("constriction", "uses", "Compression").stream
    coder = stream.stack.AnsCoder(np.frombuffer(packed[start:], "<u4").astype("uint32"))
    levels = np.empty((math.prod(shape[1:]), shape[0]))
    for column in levels:
        n_values = numbers[place]
        values, counts = numbers[place + 1 :][: 2 * n_values].reshape(2, -1)
        symbols = coder.decode(_model(stream, counts), shape[0])
        column[:] = np.cumsum(values)[symbols]
        place += 1 + 2 * n_values
    return np.asarray(levels.T * step, "float32").reshape(shape)


@dataclasses.dataclass(frozen=True)
class RateDistortion:
    """Bits per instance against error, one point per step.

    Attributes:
        steps: Steps of the rounding.
        bits: Bits per instance, including histograms.
        errors: Mean squared errors over the variance of the instances.
    """

    steps: Array
    bits: Array
    errors: Array

    def bits_at(self, error: float) -> float:
        """Return interpolated bits per instance at an error, infinite if not reached.

        Args:
            error: Mean squared error over the variance.
        """
        order = np.argsort(self.bits)
        bits, errors = self.bits[order], np.minimum.accumulate(self.errors[order])
        if errors[-1] > error:
            return math.inf
        # The error in decibels is nearly linear in the bits.
        return float(np.interp(-np.log(error), -np.log(errors), bits))


def rate_distortion(
    encode: Callable[[Array], Any],
    decode: Callable[[Array], Any],
    x: Array,
    steps: Iterable[float],
) -> RateDistortion:
    """Measure the compressed size and the error of decoded instances for several steps.

    The decoder itself, like the components of a principal component analysis, is not
    part of the compressed size.

    Args:
        encode: Function from instances to codes, such as `model.encode`.
        decode: Function from codes to instances, such as `model.decode`.
        x: Instances `(rows, *instance_shape)` that neither function was trained on.
        steps: Steps of the rounding, see `compress_codes`.

    Returns:
        A `RateDistortion`.

    Example:
    >>> x = np.random.default_rng(0).normal(size=(4000, 3))
    >>> curve = rate_distortion(lambda x: x, lambda code: code, x, [1.0, 0.5])
    >>> curve.errors.round(3)
    array([0.083, 0.021])
    """
    codes = in_batches(encode, x, rows=INSTANCES_AT_ONCE)
    steps = np.array(list(steps), "float64")
    bits, errors = [], []
    for step in steps:
        packed = compress_codes(codes, step)
        rounded = decompress_codes(packed)
        restored = in_batches(decode, rounded, rows=INSTANCES_AT_ONCE)
        bits.append(8.0 * len(packed) / len(x))
        errors.append(relative_error(restored, x))
    return RateDistortion(steps, np.array(bits), np.array(errors))


def _model(stream: Any, counts: Array) -> Any:
    """Return the probability of each symbol, and a dummy: the coder needs two symbols.

    Counts are integers, so that encoder and decoder compute the same probabilities.
    """
    weights = np.append(counts, 0).astype("float64")
    return stream.model.Categorical(weights / weights.sum(), perfect=False)


def _pack(*numbers: Any) -> bytes:
    """Return integers with bytes sorted by significance, so that most bytes are 0."""
    joined = np.concatenate([np.asarray(each, "<i8") for each in numbers])
    return zlib.compress(joined.view("u1").reshape(-1, 8).T.tobytes(), 9)


def _unpack(packed: bytes) -> Array:
    planes = np.frombuffer(zlib.decompress(packed), "u1").reshape(8, -1)
    return np.ascontiguousarray(planes.T).view("<i8")[:, 0].astype("int64")
