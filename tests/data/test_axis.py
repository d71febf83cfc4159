"""Axes: units, comparison, and the file that keeps one."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from symae_keras.data import Axis, GroupedData
from symae_keras.errors import InputError

NM = Axis(np.linspace(500.0, 515.0, 16), "wavelength (nm)")


def groups_on(axis: Axis | None) -> GroupedData:
    x = np.zeros((2, 3, 16))
    if axis is None:
        return GroupedData(x)
    return GroupedData(x, axis=axis.values, axis_label=axis.label)


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
def test_units_have_one_spelling(label, unit) -> None:
    assert Axis(NM.values, label).unit == unit


def test_repr_is_short() -> None:
    assert repr(NM) == "Axis(500 to 515, 16 pixels, wavelength (nm))"


def test_equal_up_to_rounding_of_a_file() -> None:
    step = 1.0
    assert NM.equals(Axis(NM.values + 0.04 * step, "axis"))
    assert not NM.equals(Axis(NM.values + 0.06 * step, "axis"))
    assert NM.equals(Axis(NM.values.astype("float32"), "wavelength (nanometre)"))
    # As many pixels, and as long, but of another unit.
    assert not NM.equals(Axis(NM.values, "wavelength (µm)"))
    assert not NM.equals(Axis(NM.values[:-1], NM.label))
    # An irregular axis is compared pixel by pixel, with its smallest step.
    uneven = Axis(np.array([1.0, 1.1, 5.0]))
    assert not uneven.equals(Axis(np.array([1.0, 1.1, 5.1])))


def test_a_single_pixel_has_no_step() -> None:
    one = Axis(np.array([500.0]))
    assert one.equals(Axis(np.array([500.1])))
    assert not one.equals(Axis(np.array([600.0])))


def test_check_accepts_the_same_axis(caplog) -> None:
    NM.check(groups_on(NM), "a.csv", "run")
    assert not caplog.records


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
def test_check_refuses_another_axis(other, words) -> None:
    with pytest.raises(InputError) as error:
        NM.check(groups_on(other), "a.csv", "run")
    assert words in str(error.value)


def test_data_without_an_axis_are_accepted_with_a_warning(caplog) -> None:
    with caplog.at_level(logging.WARNING, "symae_keras"):
        NM.check(groups_on(None), "a.npz", "run")
    assert "a.npz has no axis" in caplog.text


def test_round_trip(tmp_path) -> None:
    assert Axis.read(tmp_path) is None
    axis = Axis(np.linspace(1.0, 0.1, 7), "wavenumber (cm⁻¹)")
    axis.write(tmp_path)
    again = Axis.read(tmp_path)
    assert again is not None and again.label == axis.label
    np.testing.assert_array_equal(again.values, axis.values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        '{"label": "nm"}',
        '{"label": 3, "values": [1, 2]}',
        '{"label": "nm", "values": []}',
        '{"label": "nm", "values": [[1, 2]]}',
        '{"label": "nm", "values": [1, 1]}',
        '{"label": "nm", "values": [1, NaN]}',
        '{"label": "nm", "values": ["a", "b"]}',
        '{"label": ' + 5000 * "[" + 5000 * "]" + ', "values": [1, 2]}',
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text) -> None:
    (tmp_path / "axis.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="axis.json cannot be read") as error:
        Axis.read(tmp_path)
    assert "\n" not in str(error.value)
