"""The axis of FITS images from their world coordinates."""

import numpy as np
import pytest

from symae_keras.data import load

fits = pytest.importorskip("astropy.io.fits")

X = np.arange(24.0).reshape(2, 4, 3)


def image(folder, shape=X.shape, **header):
    unit = fits.PrimaryHDU(X.reshape(shape))
    for key, value in header.items():
        unit.header[key.replace("DC_FLAG", "DC-FLAG")] = value
    unit.writeto(folder / "my.fits", overwrite=True)
    return folder / "my.fits"


LINE = {"CRVAL1": 500.0, "CRPIX1": 1.0, "CDELT1": 0.5}
C = 299792458.0


@pytest.mark.parametrize(
    ("header", "axis", "label"),
    [
        ({**LINE, "CDELT1": 1.0, "PC1_1": 0.5}, [500, 500.5, 501], "axis"),
        ({**LINE, "CDELT1": 1.0, "CD1_1": 0.5}, [500, 500.5, 501], "axis"),
        ({**LINE, "CROTA2": 0.0, "PC1_2": 0.0}, [500, 500.5, 501], "axis"),
        ({**LINE, "CD2_2": 3.0, "CRVAL3": 4.0}, [500, 500.5, 501], "axis"),
        ({"CDELT1": 0.5}, [0.5, 1, 1.5], "axis"),
        ({"CD1_1": 2.0}, [2, 4, 6], "axis"),
        (
            {**LINE, "CTYPE1": "WAVE", "CUNIT1": "nm"},
            [500, 500.5, 501],
            "wavelength (nm)",
        ),
        (
            {**LINE, "CTYPE1": "AWAV", "CUNIT1": "Angstrom"},
            [500, 500.5, 501],
            "wavelength in air (Angstrom)",
        ),
        (
            {**LINE, "CTYPE1": "FREQ", "CUNIT1": "GHz"},
            [500, 500.5, 501],
            "freq (GHz)",
        ),
        ({**LINE, "CTYPE1": "PIXEL"}, [500, 500.5, 501], "pixel"),
        (
            {**LINE, "CTYPE1": "WAVE-LOG", "CUNIT1": "Angstroms"},
            500 * np.exp(np.arange(3) * 0.5 / 500),
            "wavelength (Angstroms)",
        ),
        (
            # Equal steps of frequency, as an axis of wavelengths in nm.
            {"CRVAL1": 500.0, "CRPIX1": 1.0, "CDELT1": 0.5}
            | {"CTYPE1": "WAVE-F2W", "CUNIT1": "nm"},
            1e9 / (1e9 / 500 - np.arange(3) * 1e9 * 0.5 / 500**2),
            "wavelength (nm)",
        ),
        (
            {"CRVAL1": 2.0, "CRPIX1": 1.0, "CDELT1": 1.0, "DC_FLAG": 1}
            | {"CTYPE1": "LINEAR", "CUNIT1": "Angstrom"},
            [100, 1000, 10000],
            "axis (Angstrom)",
        ),
        (
            {**LINE, "CTYPE1": "FREQ-LSR", "CUNIT1": "kHz"},
            [500, 500.5, 501],
            "freq (kHz)",
        ),
    ],
)
def test_axis(tmp_path, header, axis, label):
    groups = load(image(tmp_path, **header))
    np.testing.assert_allclose(groups.axis, axis, rtol=1e-12)
    assert groups.axis_label == label


def test_no_axis(tmp_path):
    groups = load(image(tmp_path, CRVAL2=1.0, CDELT2=2.0, CUNIT1="nm"))
    assert groups.axis is None and groups.axis_label == "pixel"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({**LINE, "CTYPE1": "WAVE-TAB"}, "not linear (CTYPE1 WAVE-TAB, DC-FLAG miss"),
        ({**LINE, "CTYPE1": "WAVE-LOG", "DC_FLAG": 1}, "not linear (CTYPE1 WAVE-LOG"),
        ({**LINE, "CTYPE1": "LOG-LAM"}, "resample it, or keep it in a table"),
        ({**LINE, "CTYPE1": "MULTISPE"}, "not linear (CTYPE1 MULTISPE"),
        ({**LINE, "CTYPE1": "RA---TAN"}, "not linear (CTYPE1 RA---TAN"),
        ({**LINE, "CTYPE1": "WAVE-XYZ"}, "(CTYPE1 WAVE-XYZ) cannot be computed: "),
        (
            {**LINE, "CTYPE1": "WAVE-F2W", "CUNIT1": "furlong"},
            "cannot be computed: In CUNIT1",
        ),
        ({**LINE, "CDELT1": 0.0}, "cannot be computed: Linear transformation mat"),
        ({"CRVAL1": 400.0, "DC_FLAG": 1}, "axis must hold finite real numbers"),
        ({"CRVAL1": "a"}, "CRVAL1 must be a number; the header gives 'a'."),
        ({**LINE, "PC1_1": 1.0, "CD1_1": 1.0}, "both PC1_1 and CD1_1; delete"),
        ({**LINE, "PC1_2": 0.1}, "differs between rows, since PC1_2 is 0.1; resample"),
        ({**LINE, "CD1_1": 1.0, "CD1_3": 2.0}, "differs between rows, since CD1_3"),
        ({**LINE, "CROTA2": 10.0}, "differs between rows, since CROTA2 is 10.0"),
        (
            {**LINE, "CTYPE2": "WAVE", "CRVAL2": 1.0},
            "its axis 2 is the spectral one (CTYPE2 WAVE), but pixels run along axis 1",
        ),
        ({"CTYPE3": "FREQ", "CTYPE1": "RA---TAN"}, "axis 3 is the spectral one"),
    ],
)
def test_unusable_axes(tmp_path, refusal, header, words):
    assert words in refusal(image(tmp_path, **header))
