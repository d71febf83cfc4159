"""Resampling to another axis, compared with closed forms."""

import numpy as np
import pytest

from symae_keras.data import Axis, GroupedData, resample
from symae_keras.errors import InputError

OLD = np.array([500.0, 501.0, 503.0, 504.0, 507.0, 508.0])
NM = "wavelength (nm)"
#: Slope and offset of each of 2 x 3 spectra.
SLOPES = np.arange(6.0).reshape(2, 3, 1) - 2.0


def linear(values):
    return SLOPES * (values - 504.0) + 1.0


def on(values, label=NM, **known):
    return GroupedData(linear(values), axis=values, axis_label=label, **known)


NEW = np.array([500.5, 502.0, 502.25, 506.0, 508.0])


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("new_step", [1, -1])
def test_interpolation_is_exact_for_linear_spectra(step, new_step):
    axis = Axis(NEW[::new_step], NM)
    got = resample(on(OLD[::step]), axis)
    np.testing.assert_allclose(got.x, linear(axis.values), atol=1e-12)
    np.testing.assert_array_equal(got.axis, axis.values)
    assert got.pixel_mask is None and got.axis_label == NM
    assert got.x.dtype == np.float64


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("new_step", [1, -1])
def test_rebinning_conserves_the_integral(step, new_step):
    old = np.linspace(500.0, 530.0, 61)[::step]
    x = np.random.default_rng(0).normal(size=(2, 3, 61))
    # New pixels of width 3 whose edges coincide with edges of old pixels.
    new = np.arange(501.25, 530.0, 3.0)[::new_step]
    groups = GroupedData(x, axis=old, axis_label=NM)
    got = resample(groups, new, conserve_flux=True)
    assert got.pixel_mask is None
    inside = (old > new.min() - 1.5) & (old < new.max() + 1.5)
    totals = x[..., inside].sum(axis=-1) * 0.5
    np.testing.assert_allclose(got.x.sum(axis=-1) * 3.0, totals, atol=1e-12)
    # Each is the mean of its six old pixels.
    first = np.abs(old - new[0]) < 1.5
    assert first.sum() == 6
    np.testing.assert_allclose(got.x[..., 0], x[..., first].mean(axis=-1), atol=1e-12)


def test_rebinning_to_finer_pixels_repeats_values():
    groups = GroupedData(np.array([[[2.0, 6.0]]]), axis=[10.0, 12.0])
    got = resample(groups, [9.5, 10.5, 11.5, 12.5], conserve_flux=True)
    np.testing.assert_allclose(got.x, [[[2.0, 2.0, 6.0, 6.0]]])
    # A pixel halfway between two old pixels is their mean.
    got = resample(groups, [10.0, 11.0, 12.0], conserve_flux=True)
    np.testing.assert_allclose(got.x, [[[2.0, 4.0, 6.0]]])


@pytest.mark.parametrize("flux", [False, True])
def test_units_are_converted(flux):
    """Wavenumbers decrease with increasing wavelength."""
    wavenumbers = np.linspace(1e7 / 1800.0, 1e7 / 1200.0, 400)
    smooth = np.sin(np.linspace(0.0, 3.0, 400))
    groups = GroupedData(
        smooth[None, None], axis=wavenumbers, axis_label="wavenumber (cm-1)"
    )
    wavelengths = Axis(np.linspace(1300.0, 1700.0, 50), NM)
    got = resample(groups, wavelengths, conserve_flux=flux)
    exact = np.interp(1e7 / wavelengths.values, wavenumbers, smooth)
    np.testing.assert_allclose(got.x[0, 0], exact, atol=5e-4)
    assert got.axis_label == NM and got.pixel_mask is None


@pytest.mark.parametrize(
    ("label", "factor"),
    [("wavelength (um)", 1e-3), ("wavelength (µm)", 1e-3), ("lambda (Angstrom)", 10.0)],
)
def test_other_units_of_length(label, factor):
    got = resample(on(OLD), Axis(NEW * factor, label))
    np.testing.assert_allclose(got.x, linear(NEW), atol=1e-10)
    # A missing unit agrees with any unit, and the known unit is kept.
    assert resample(on(OLD), Axis(NEW)).axis_label == NM


def test_pixels_outside_are_masked():
    new = [499.0, 499.97, 504.0, 508.04, 509.0]
    got = resample(on(OLD), new)
    there = [False, True, True, True, False]
    np.testing.assert_array_equal(got.pixel_mask, np.broadcast_to(there, got.x.shape))
    assert not got.x[..., [0, -1]].any()
    # Less than half of the first new pixel is observed, more than half of the second.
    got = resample(on(np.arange(10.0)), [-2.6, -0.6, 1.4, 3.4], conserve_flux=True)
    assert got.pixel_mask[0, 0].tolist() == [False, False, True, True]
    got = resample(on(np.arange(10.0)), [-0.4, 1.6, 3.6], conserve_flux=True)
    assert got.pixel_mask is None


def test_masked_pixels_reach_no_other():
    bad = np.zeros((2, 3, 6), bool)
    bad[0, 1, 2] = True
    x = np.where(bad, np.nan, linear(OLD))
    groups = GroupedData(x, pixel_mask=~bad, axis=OLD, axis_label=NM)
    got = resample(groups, np.array([501.0, 502.0, 503.5, 504.0, 506.0]))
    good = [True, False, False, True, True]
    assert got.pixel_mask[0, 1].tolist() == good
    assert got.pixel_mask.sum() == 6 * 5 - 2
    np.testing.assert_allclose(
        got.x, np.where(got.pixel_mask, linear(got.axis), 0.0), atol=1e-12
    )
    # Rebinning uses the good part of a pixel.
    got = resample(
        GroupedData(
            [[[1.0, np.nan, 5.0]]], pixel_mask=[True, False, True], axis=range(3)
        ),
        [0.4, 1.3, 2.2],
        conserve_flux=True,
    )
    assert got.pixel_mask[0, 0].tolist() == [True, False, True]
    np.testing.assert_allclose(got.x[0, 0], [1.0, 0.0, 5.0])


def test_absent_instances_stay_absent():
    mask = np.array([[True, True, False], [True, True, True]])
    x = np.where(mask[..., None], linear(OLD), np.nan)
    got = resample(GroupedData(x, mask=mask, axis=OLD, axis_label=NM), NEW)
    np.testing.assert_array_equal(got.mask, mask)
    assert got.pixel_mask is None and not got.x[0, 2].any()
    np.testing.assert_allclose(got.x[mask], linear(NEW)[mask], atol=1e-12)


@pytest.mark.parametrize("flux", [False, True])
def test_weights_are_inverse_variances(flux):
    weights = np.array([4.0, 1.0, 0.0, 2.0])
    groups = GroupedData(np.ones((1, 2, 4)), weights=weights, axis=range(4))
    got = resample(groups, [0.0, 0.5], conserve_flux=flux)
    # The mean of variances 1/4 and 1 has the variance (1/4 + 1) / 4.
    mean = 4.0 / 1.25
    expected = [4.0, mean]
    np.testing.assert_allclose(got.weights[0], [expected, expected], rtol=1e-6)
    assert resample(groups, [1.5, 2.5]).weights.sum() == 0.0


def test_spectra_with_channels_and_metadata():
    x = np.stack([linear(OLD), -linear(OLD)], axis=-1).astype("float32")
    groups = GroupedData(
        x, ids=["a", "b"], group_metadata={"assay": np.arange(2.0)}, axis=OLD
    )
    got = resample(groups, NEW)
    assert got.x.dtype == np.float32 and got.instance_shape == (5, 2)
    np.testing.assert_allclose(got.x[..., 1], -linear(NEW), atol=1e-5)
    assert got.ids.tolist() == ["a", "b"]
    assert got.group_metadata["assay"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("groups", "axis", "words"),
    [
        (GroupedData(linear(OLD)), NEW, "have no axis, so they cannot be resampled"),
        (on(OLD), NEW[[0, 2, 1]], "The new axis must increase or decrease"),
        (on(OLD[[1, 0, 2, 3, 4, 5]]), NEW, "The axis of the groups must increase"),
        (on(OLD), [np.nan, 1.0], "The new axis must have finite values"),
        (on(OLD), Axis(NEW, "time (s)"), "An axis in nm cannot be converted to s"),
        (on(OLD), Axis(NEW, "wavelength (parsnip)"), "cannot be converted to parsnip"),
    ],
)
def test_errors_are_sentences(groups, axis, words):
    with pytest.raises(InputError, match=words):
        resample(groups, axis)


def test_rebinning_needs_two_pixels():
    with pytest.raises(InputError, match="axes of at least two pixels"):
        resample(on(OLD), [503.0], conserve_flux=True)
    np.testing.assert_allclose(resample(on(OLD), [503.0]).x, linear(np.array([503.0])))
