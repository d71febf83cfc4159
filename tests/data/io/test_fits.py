"""FITS tables and images, and the axis of images from world coordinates."""

import sys

import numpy as np
import pytest

from symae_keras.data import check, load

fits = pytest.importorskip("astropy.io.fits")

FLUX = np.random.default_rng(0).normal(size=(4, 5))
WAVE = np.array([400.0, 401, 403, 406, 410])
STARS = ["b", "a", "b", "b"]
ROWS = [[1], [0, 2, 3]]


def column(name, values, **keywords):
    values = np.asarray(values)
    kind = {"f": "D", "i": "J", "b": "L"}.get(values.dtype.kind, "4A")
    size = values.shape[1] if values.ndim == 2 else ""
    return fits.Column(name, f"{size}{kind}", array=values, **keywords)


def table(folder, *columns, name="my.fits"):
    path = folder / name
    unit = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path, overwrite=True)
    return path


def image(folder, x, *more, name="my.fits", **header):
    path = folder / name
    unit = fits.PrimaryHDU(x)
    for key, value in header.items():
        unit.header[key.replace("DC_FLAG", "DC-FLAG")] = value
    fits.HDUList([unit, *more]).writeto(path, overwrite=True)
    return path


def same_rows(groups, found, flat):
    for k, rows in enumerate(ROWS):
        assert not found[k, len(rows) :].astype(bool).any()
        np.testing.assert_array_equal(found[k, : len(rows)], flat[rows])
    np.testing.assert_array_equal(groups.present, [[True, False, False], [True] * 3])


@pytest.mark.parametrize("name", ["my.fits", "my.FIT", "my.fits.gz", "my.fz"])
def test_table(tmp_path, caplog, name):
    good = FLUX > -1
    flux = np.where(FLUX > 1, np.nan, FLUX)
    ivar = np.where(good, np.abs(FLUX).astype("float32"), np.nan)
    path = table(
        tmp_path,
        column("FLUX", flux),
        column("Object", STARS),
        column("wavelength", np.tile(WAVE, (4, 1)), unit="Angstrom"),
        column("ivar", ivar),
        column("pixel_mask", good),
        column("airmass", np.arange(4)),
        column("site", ["n", "s", "n", "e"]),
        column("more", FLUX),
        name=name,
    )
    groups = load(path)
    good = good & np.isfinite(flux)
    assert groups.ids.tolist() == ["a", "b"]
    assert groups.x.dtype == np.dtype("float64") and groups.x.dtype.isnative
    same_rows(groups, groups.x, np.where(np.isfinite(flux), flux, 0))
    same_rows(groups, groups.pixel_mask, good)
    same_rows(groups, groups.weights, np.where(good, ivar, 0))
    same_rows(groups, groups.instance_metadata["airmass"], np.arange(4))
    assert groups.instance_metadata["site"].tolist() == [["s", "", ""], ["n", "n", "e"]]
    np.testing.assert_array_equal(groups.axis, WAVE)
    assert groups.axis_label == "wavelength (Angstrom)"
    notes = [record.getMessage() for record in caplog.records]
    assert notes[0].endswith(f"{np.isnan(flux).sum()} missing values are masked.")
    assert notes[1].endswith("columns that are not used: more.") and len(notes) == 2
    check(groups)


@pytest.mark.parametrize("unit", [None, "log10(Angstrom)", "Angstrom"])
def test_plain_table_with_logarithms(tmp_path, caplog, unit):
    logs = np.tile(np.log10(WAVE), (4, 1))
    path = table(
        tmp_path,
        column("x", FLUX),
        column("star", [2, 1, 2, 2]),
        column("loglam", logs, unit=unit),
    )
    groups = load(path, group="STAR")
    assert groups.ids.tolist() == [1, 2] and groups.ids.dtype.isnative
    same_rows(groups, groups.x, FLUX)
    assert groups.pixel_mask is None and groups.weights is None
    np.testing.assert_allclose(groups.axis, WAVE)
    assert groups.axis_label == "wavelength (Angstrom)"[: 23 if unit else 10]
    assert caplog.records == []


def test_integers_and_rows_of_variable_length(tmp_path, caplog, refusal):
    rows = np.empty(3, object)
    rows[:] = [np.arange(2), np.arange(2) + 3, np.arange(2)]
    group = column("group", [1, 1, 2])
    groups = load(table(tmp_path, fits.Column("value", "PJ()", array=rows), group))
    np.testing.assert_array_equal(groups.x, [[[0, 1], [3, 4]], [[0, 1], [0, 0]]])
    assert "x holds int32; converted" in caplog.text
    rows[2] = np.arange(4)
    path = table(tmp_path, fits.Column("value", "PJ()", array=rows), group)
    assert "mixed lengths: the column value has 2 values in row 1, but 4 in row 3" in (
        refusal(path)
    )


def test_grouped_image(tmp_path, caplog, refusal):
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
    x[1, 2, 3] = np.nan
    good = np.ones(x.shape, "uint8")
    good[0, 0, 0] = 0
    path = image(
        tmp_path,
        x,
        fits.ImageHDU(good, name="PIXEL_MASK"),
        fits.ImageHDU(np.full(x.shape, 2.0), name="IVAR"),
        fits.ImageHDU(x, name="MODEL"),
        CRVAL1=500.0,
        CDELT1=-0.5,
        CRPIX1=2.0,
        CTYPE1="WAVE",
        CUNIT1="nm",
    )
    groups = load(path)
    good[1, 2, 3] = 0
    np.testing.assert_array_equal(groups.x, np.nan_to_num(x))
    assert groups.x.dtype.isnative and groups.ids is None
    np.testing.assert_array_equal(groups.pixel_mask, good.astype(bool))
    weights = np.full(x.shape, 2.0)
    weights[1, 2, 3] = 0  # where a value is missing
    np.testing.assert_array_equal(groups.weights, weights)
    np.testing.assert_array_equal(groups.axis, [500.5, 500, 499.5, 499, 498.5])
    assert groups.axis_label == "wavelength (nm)"
    notes = [record.getMessage() for record in caplog.records]
    assert notes[0].endswith("images that are not used: MODEL.")
    assert notes[1].endswith("1 missing value is masked.")
    assert "leave group= out" in refusal(path, "star")


@pytest.mark.parametrize("pack", [False, True])
def test_rows_of_an_image_and_a_table(tmp_path, pack):
    beside = fits.BinTableHDU.from_columns(
        [column("group", STARS), column("airmass", np.arange(4))]
    )
    if pack:
        packed = fits.CompImageHDU(FLUX.astype("float32"), compression_type="GZIP_1")
        packed.header["CRVAL1"], packed.header["CD1_1"] = 10.0, 2.0
        path = image(tmp_path, None, packed, beside, name="my.fits.fz")
    else:
        weights = fits.ImageHDU(np.abs(FLUX), name="WEIGHTS")
        path = image(tmp_path, FLUX.astype("float32"), weights, beside)
    groups = load(path)
    same_rows(groups, groups.x, FLUX.astype("float32"))
    same_rows(groups, groups.instance_metadata["airmass"], np.arange(4))
    assert groups.ids.tolist() == ["a", "b"]
    if pack:
        assert groups.axis.tolist() == [12, 14, 16, 18, 20]
        assert groups.axis_label == "axis" and groups.weights is None
    else:
        same_rows(groups, groups.weights, np.abs(FLUX).astype("float32"))
        assert groups.axis is None and groups.axis_label == "pixel"


def waves(*values):
    return column("wavelength", np.array(values, float))


GROUP, Y = column("group", [1, 1]), column("flux", FLUX[:2, :2])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([GROUP], "no table with a column flux, x, spectrum or value, and no image"),
        ([GROUP], "found the columns group."),
        ([Y, waves([1, 2], [1, 2])], "no column group or object; found flux, wave"),
        (
            [GROUP, column("flux", [1.0, 2])],
            "one number per row; expected one spectrum",
        ),
        ([GROUP, Y, waves([1, 2], [1, 3])], "differs between row 1 and row 2; resamp"),
        ([GROUP, Y, waves([2, 2], [2, 2])], "2 is followed by 2"),
        ([GROUP, Y, waves([1, np.inf], [1, np.inf])], "axis must contain finite real"),
        ([GROUP, Y, waves([1, 2, 3], [1, 2, 3])], "here (2,); received (3,)"),
        ([GROUP, Y, column("wavelength", [1.0, 2])], "must have one axis per row"),
        ([GROUP, Y, column("Mask", FLUX[:2, :2] > 0)], "Mask is ambiguous, because"),
        ([GROUP, Y, column("ivar", FLUX[:2, :3])], "weights must have the shape of x"),
        ([GROUP, Y, column("pixel_mask", FLUX[:2, :2])], "must hold True (good)"),
        ([column("group", np.zeros(0, int)), column("flux", FLUX[:0])], "x is empty"),
    ],
)
def test_unusable_tables(tmp_path, refusal, columns, words):
    assert words in refusal(table(tmp_path, *columns))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (None, "and no image; found neither."),
        (FLUX, "no table column group or object; found none"),
        (FLUX[0], "the axes (groups, instances, pixels) or (rows, pixels)"),
    ],
)
def test_unusable_images(tmp_path, refusal, x, words):
    assert words in refusal(image(tmp_path, x))


def test_ambiguous_mask_image(tmp_path, refusal):
    mask = fits.ImageHDU(np.zeros((1, 4, 5), "uint8"), name="MASK")
    sentence = refusal(image(tmp_path, FLUX[None], mask))
    assert (
        "image MASK is ambiguous, because it marks good pixels in some files"
        in sentence
    )
    assert "rename it to pixel_mask, with 1 = good" in sentence


def test_group_column_of_another_name(tmp_path, refusal):
    path = table(tmp_path, column("flux", FLUX), column("group", STARS))
    assert "no column star; found flux, group; name the column" in refusal(path, "star")


def test_without_astropy(tmp_path, refusal, monkeypatch):
    path = table(tmp_path, GROUP, Y)
    monkeypatch.setitem(sys.modules, "astropy.io.fits", None)
    words = 'needs astropy; install it with: pip install "symae_keras[data]".'
    assert words in refusal(path)


# === The axis of images ===

X = np.arange(24.0).reshape(2, 4, 3)
LINEAR = [500, 500.5, 501]


def line(kind="", unit="", **more):
    """Make the header of an axis; without further cards, it is `LINEAR`."""
    named = {"CTYPE1": kind, "CUNIT1": unit}
    given = {key: value for key, value in named.items() if value}
    return {"CRVAL1": 500.0, "CRPIX1": 1.0, "CDELT1": 0.5, **given, **more}


@pytest.mark.parametrize(
    ("header", "axis", "label"),
    [
        (line(CDELT1=1.0, PC1_1=0.5), LINEAR, "axis"),
        (line(CDELT1=1.0, CD1_1=0.5), LINEAR, "axis"),
        (line(CROTA2=0.0, PC1_2=0.0), LINEAR, "axis"),
        (line(CD2_2=3.0, CRVAL3=4.0), LINEAR, "axis"),
        ({"CDELT1": 0.5}, [0.5, 1, 1.5], "axis"),
        ({"CD1_1": 2.0}, [2, 4, 6], "axis"),
        ({"CRVAL2": 1.0, "CDELT2": 2.0, "CUNIT1": "nm"}, None, "pixel"),
        (line("WAVE", "nm"), LINEAR, "wavelength (nm)"),
        (line("AWAV", "Angstrom"), LINEAR, "wavelength in air (Angstrom)"),
        (line("FREQ", "GHz"), LINEAR, "freq (GHz)"),
        (line("FREQ-LSR", "kHz"), LINEAR, "freq (kHz)"),
        (line("PIXEL"), LINEAR, "pixel"),
        (
            line("WAVE-LOG", "Angstroms"),
            500 * np.exp(np.arange(3) * 0.5 / 500),
            "wavelength (Angstroms)",
        ),
        (
            # Equal steps of frequency, converted to wavelengths in nm.
            line("WAVE-F2W", "nm"),
            1e9 / (1e9 / 500 - np.arange(3) * 1e9 * 0.5 / 500**2),
            "wavelength (nm)",
        ),
        (
            line("LINEAR", "Angstrom", CRVAL1=2.0, CDELT1=1.0, DC_FLAG=1),
            [100, 1000, 10000],
            "axis (Angstrom)",
        ),
    ],
)
def test_axis(tmp_path, header, axis, label):
    groups = load(image(tmp_path, X, **header))
    assert groups.axis_label == label and (groups.axis is None) == (axis is None)
    if axis is not None:
        np.testing.assert_allclose(groups.axis, axis, rtol=1e-12)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (line("WAVE-TAB"), "not linear (CTYPE1 WAVE-TAB, DC-FLAG miss"),
        (line("WAVE-LOG", DC_FLAG=1), "not linear (CTYPE1 WAVE-LOG"),
        (line("LOG-LAM"), "resample it, or keep it in a table"),
        (line("MULTISPE"), "not linear (CTYPE1 MULTISPE"),
        (line("RA---TAN"), "not linear (CTYPE1 RA---TAN"),
        (line("WAVE-XYZ"), "(CTYPE1 WAVE-XYZ) cannot be computed: "),
        (line("WAVE-F2W", "furlong"), "cannot be computed: In CUNIT1"),
        (line(CDELT1=0.0), "cannot be computed: Linear transformation mat"),
        ({"CRVAL1": 400.0, "DC_FLAG": 1}, "axis must contain finite real numbers"),
        ({"CRVAL1": "a"}, "CRVAL1 must be a number; the header gives 'a'."),
        (line(PC1_1=1.0, CD1_1=1.0), "both PC1_1 and CD1_1; delete"),
        (line(PC1_2=0.1), "differs between rows, since PC1_2 is 0.1; resample"),
        (line(CD1_1=1.0, CD1_3=2.0), "differs between rows, since CD1_3"),
        (line(CROTA2=10.0), "differs between rows, since CROTA2 is 10.0"),
        (
            line(CTYPE2="WAVE"),
            "its axis 2 is the spectral axis (CTYPE2 WAVE), but pixels",
        ),
        ({"CTYPE3": "FREQ", "CTYPE1": "RA---TAN"}, "axis 3 is the spectral axis"),
    ],
)
def test_unusable_axes(tmp_path, refusal, header, words):
    assert words in refusal(image(tmp_path, X, **header))
