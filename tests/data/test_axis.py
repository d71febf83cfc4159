"""Axes: units, comparison, and storage in a file."""

import logging

import numpy as np
import pytest

from symae_keras.data import Axis, GroupedData
from symae_keras.errors import InputError

NM = Axis(np.linspace(500.0, 515.0, 16), "wavelength (nm)")


def groups_on(axis):
    return GroupedData(np.zeros((2, 3, 16)), axis=axis.values, axis_label=axis.label)


@pytest.mark.parametrize(
    ("label", "unit"),
    [
        ("wavelength (nm)", "nm"),
        ("wavelength (nanometers)", "nm"),
        ("wavelength [µm]", "um"),
        ("wavelength (μm)", "um"),
        ("lambda (Angstrom)", "angstrom"),
        ("lambda (\u212b)", "angstrom"),
        ("wavenumber (cm⁻¹)", "1/cm"),
        ("wavenumber (cm^-1)", "1/cm"),
        ("axis", ""),
        ("energy (keV)", "kev"),
    ],
)
def test_units_have_one_spelling(label, unit):
    assert Axis(NM.values, label).unit == unit


def test_repr_is_short():
    assert repr(NM) == "Axis(500 to 515, 16 pixels, wavelength (nm))"
    assert repr(Axis(NM.values)) == "Axis(500 to 515, 16 pixels)"


def test_equal_up_to_rounding_of_a_file():
    assert NM.equals(Axis(NM.values + 0.04, "axis"))
    assert not NM.equals(Axis(NM.values + 0.06, "axis"))
    assert NM.equals(Axis(NM.values.astype("float32"), "wavelength (nanometre)"))
    # The same number of pixels and the same range, but another unit.
    assert not NM.equals(Axis(NM.values, "wavelength (µm)"))
    assert not NM.equals(Axis(NM.values[:-1], NM.label))
    # An irregular axis is compared pixel by pixel, with its smallest step.
    uneven = Axis(np.array([1.0, 1.1, 5.0]))
    assert not uneven.equals(Axis(np.array([1.0, 1.1, 5.1])))
    # A single pixel has no step.
    one = Axis(np.array([500.0]))
    assert one.equals(Axis(np.array([500.1])))
    assert not one.equals(Axis(np.array([600.0])))


def test_check_accepts_the_same_axis_and_warns_of_none(caplog):
    NM.check(groups_on(NM), "a.csv", "run")
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "symae_keras"):
        NM.check(GroupedData(np.zeros((2, 3, 16))), "a.npz", "run")
    assert "a.npz has no axis" in caplog.text


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (NM.reversed(), "a.csv has the axis of run in reverse order, 515 to 500"),
        (
            Axis(NM.values + 300.0, NM.label),
            "a.csv is on the axis 800 to 815, 16 pixels, wavelength (nm), but run was "
            "trained on 500 to 515",
        ),
        (Axis(10.0 * NM.values, "wavelength (Å)"), "on the axis 5000 to 5150"),
    ],
)
def test_check_refuses_another_axis(other, words):
    with pytest.raises(InputError) as error:
        NM.check(groups_on(other), "a.csv", "run")
    assert words in str(error.value)


def test_round_trip(tmp_path):
    assert Axis.read(tmp_path) is None
    axis = Axis(np.linspace(1.0, 0.1, 7), "wavenumber (cm⁻¹)")
    axis.write(tmp_path)
    again = Axis.read(tmp_path)
    assert again is not None and again.label == axis.label
    np.testing.assert_array_equal(again.values, axis.values)


VALUES = ("[]", "[[1, 2]]", "[1, 1]", "[1, NaN]", '["a", "b"]')


@pytest.mark.parametrize(
    "text",
    [
        *("", "[1, 2]", '{"label": "nm"}', '{"label": 3, "values": [1, 2]}'),
        *(f'{{"label": "nm", "values": {values}}}' for values in VALUES),
        '{"label": ' + 5000 * "[" + 5000 * "]" + ', "values": [1, 2]}',
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "axis.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="axis.json cannot be read") as error:
        Axis.read(tmp_path)
    assert "\n" not in str(error.value)
