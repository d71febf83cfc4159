"""Lossless bytes, and rates compared with information theory."""

from __future__ import annotations

import math

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import (
    RateDistortion,
    compress_codes,
    decompress_codes,
    rate_distortion,
)

pytest.importorskip("constriction", reason="compression needs constriction")


@hypothesis.given(
    hypothesis.extra.numpy.arrays(
        "float32",
        hypothesis.extra.numpy.array_shapes(min_dims=2, max_dims=4, max_side=7),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    st.sampled_from([1e-3, 0.3, 1.0, 1e5]),
)
def test_round_trip_is_exact(codes, step) -> None:
    restored = decompress_codes(compress_codes(codes, step))
    assert restored.dtype == np.float32
    expected = (np.rint(codes.astype("float64") / step) * step).astype("float32")
    np.testing.assert_array_equal(restored, expected)


def test_size_is_the_entropy(rng) -> None:
    """Levels of known probabilities: 1/2, 1/4, 1/8, 1/8 have 1.75 bits."""
    codes = rng.choice(4, p=[0.5, 0.25, 0.125, 0.125], size=(20_000, 2))
    bits = 8 * len(compress_codes(codes, 1.0)) / codes.size
    assert bits == pytest.approx(1.75, abs=0.02)
    constant = np.ones((20_000, 2))
    assert len(compress_codes(constant, 1.0)) < 60


def test_gaussian_codes_follow_the_theory_of_fine_rounding(rng) -> None:
    """Bits h - log2(step), and the error step^2 / 12 of a uniform distribution."""
    x = rng.normal(size=(60_000, 2))
    x /= x.std(axis=0)
    curve = rate_distortion(lambda x: x, lambda code: code, x, [0.5, 0.25])
    entropy = 0.5 * math.log2(2.0 * math.pi * math.e)
    expected = 2 * (entropy - np.log2(curve.steps))
    np.testing.assert_allclose(curve.bits, expected, atol=0.06)
    np.testing.assert_allclose(curve.errors, curve.steps**2 / 12, rtol=0.02)


@pytest.mark.jax
def test_decoders_see_rounded_codes_only(rng) -> None:
    seen = []

    def decode(code):
        seen.append(code)
        return code

    rate_distortion(lambda x: x, decode, rng.normal(size=(40, 3)), [0.5])
    rounded = np.concatenate(seen)
    np.testing.assert_array_equal(rounded, np.rint(2 * rounded) / 2)


def test_bits_between_points() -> None:
    """Interpolate linearly in decibels; a worse point with more bits has no effect."""
    curve = RateDistortion(
        steps=np.array([1.0, 0.5, 0.25]),
        bits=np.array([10.0, 20.0, 30.0]),
        errors=np.array([0.1, 0.001, 0.002]),
    )
    assert curve.bits_at(0.01) == pytest.approx(15.0)
    assert curve.bits_at(0.1) == pytest.approx(10.0)
    assert curve.bits_at(0.0005) == math.inf


@pytest.mark.parametrize(
    ("codes", "step", "message"),
    [
        (np.zeros((3, 2)), 0.0, "step must be a positive number; received 0.0"),
        (np.zeros((3, 2)), float("nan"), "step must be"),
        (np.zeros(3), 1.0, r"received shape \(3,\)"),
        (np.zeros((0, 3)), 1.0, "at least one row"),
        (np.array([[np.nan]]), 1.0, "must be finite"),
        (np.array([[1e30]]), 1e-3, "too small"),
    ],
)
def test_refused(codes, step, message) -> None:
    with pytest.raises(InputError, match=message):
        compress_codes(codes, step)
