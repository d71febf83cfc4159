"""Values of FITS files: nulls, scales, types, and rows of variable length."""

import numpy as np
import pytest

from symae_keras.data import load

fits = pytest.importorskip("astropy.io.fits")

FLUX = np.arange(12, dtype="i4").reshape(4, 3)
GROUPED = FLUX.reshape(2, 2, 3)
STARS = np.array(["a", "a", "b", "b"])


def write(folder, *columns, cards=(), group=STARS):
    """Make a table whose header gets cards that astropy does not see."""
    path = folder / "my.fits"
    if group is not None:
        form = "1J" if np.asarray(group).dtype.kind == "i" else "4A"
        columns = (fits.Column("group", form, array=group), *columns)
    fits.BinTableHDU.from_columns(columns).writeto(path, overwrite=True)
    if cards:
        with fits.open(path, mode="update", do_not_scale_image_data=True) as file:
            header = file[1].header.copy()
        for key, value in cards:
            header[key] = value
        content = path.read_bytes()
        start = content.index(b"XTENSION")
        old = fits.Header.fromstring(content[start:])
        data = start + len(old.tostring())
        path.write_bytes(content[:start] + header.tostring().encode() + content[data:])
    return path


def column(name, form, values, **keywords):
    return fits.Column(name, form, array=np.asarray(values), **keywords)


def of_any_length(rows):
    """Make an object for each row, for columns of variable length."""
    objects = np.empty(len(rows), object)
    objects[:] = list(rows)
    return objects


@pytest.mark.parametrize("form", ["3J", "3D", "PJ()", "QJ()", "PD()"])
def test_null_pixels_are_masked(tmp_path, caplog, form):
    good = (FLUX != 4) & (FLUX != 11)
    null = np.nan if "D" in form else -99
    flux = np.where(good, FLUX, null).astype("f8" if "D" in form else "i4")
    flux = flux if form.startswith("3") else of_any_length(flux)
    cards = [] if "D" in form else [("TNULL2", -99)]
    groups = load(write(tmp_path, fits.Column("flux", form, array=flux), cards=cards))
    good = good.reshape(2, 2, 3)
    np.testing.assert_array_equal(groups.pixel_mask, good)
    np.testing.assert_array_equal(groups.x, np.where(good, GROUPED, 0))
    assert "2 missing values are masked" in caplog.text


@pytest.mark.parametrize(
    ("null", "form", "values"),
    [
        (-1, "3J", np.where(FLUX == 4, -1, 1)),
        (255, "3B", np.where(FLUX == 4, 255, 1).astype("u1")),
        (None, "3D", np.where(FLUX == 4, np.nan, 1.0)),
    ],
)
@pytest.mark.parametrize("role", ["ivar", "weights", "pixel_mask"])
def test_null_masks_and_weights(tmp_path, caplog, role, null, form, values):
    plane = column(role, form, values, null=null)
    groups = load(write(tmp_path, column("flux", "3J", FLUX), plane))
    expected = GROUPED != 4
    np.testing.assert_array_equal(groups.good_pixels, expected)
    np.testing.assert_array_equal(groups.x, GROUPED)
    assert "1 missing value is masked" in caplog.text
    if role != "pixel_mask":
        np.testing.assert_array_equal(groups.weights, expected.astype("float32"))


def test_null_in_a_mask_of_bools(tmp_path, refusal):
    good = np.array([[True, True, False]] * 4)
    flux, mask = column("flux", "3J", FLUX), column("pixel_mask", "3L", good)
    path = write(tmp_path, flux, mask)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"TTF", b"\0TF", 1))
    expected = good.reshape(2, 2, 3)
    expected[0, 0, 0] = False
    np.testing.assert_array_equal(load(path).pixel_mask, expected)
    path.write_bytes(content.replace(b"TTF", b"\1\1F"))
    assert "the logical column pixel_mask (T or F) has the byte 1" in refusal(path)


@pytest.mark.parametrize(
    ("form", "ids", "null"),
    [
        ("1J", [1, 1, -5, 2], -5),
        ("4A", ["a", "a", "", "b"], None),
        ("1D", [1, 1, np.nan, 2], None),
    ],
)
def test_a_null_group_is_refused_with_its_row(tmp_path, refusal, form, ids, null):
    star = column("star", form, ids, null=null)
    path = write(tmp_path, star, column("flux", "3J", FLUX), group=None)
    sentence = refusal(path, "star")
    assert "row 3 of the column star is empty (null)" in sentence
    assert "fill it" in sentence


@pytest.mark.parametrize(("form", "null"), [("3D", np.nan), ("3J", 7)])
def test_a_null_axis_is_refused_with_its_row(tmp_path, refusal, form, null):
    waves = np.array([[1, 2, 3]] * 4, "f8" if form == "3D" else "i4")
    waves[1, 2] = null
    axis = column("wavelength", form, waves, null=7 if form == "3J" else None)
    path = write(tmp_path, column("flux", "3J", FLUX), axis)
    assert "row 2 of the column wavelength has NaN or null" in refusal(path)


def test_null_metadata(tmp_path):
    path = write(
        tmp_path,
        column("flux", "3J", FLUX),
        column("airmass", "1J", [-1, 2, 3, 4], null=-1),
        column("site", "3A", ["n", "", "s", "e"]),
        column("bit", "1X", np.array([[1], [0], [1], [1]], bool)),
    )
    known = load(path).instance_metadata
    np.testing.assert_array_equal(known["airmass"], [[np.nan, 2], [3, 4]])
    assert known["site"].tolist() == [["n", ""], ["s", "e"]]
    assert known["bit"].tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    ("x", "blank"),
    [
        (np.arange(12, dtype="i2").reshape(2, 2, 3), 5),
        # The stored value is 5 for 32773; astropy ignores BLANK here.
        (np.array([[[1, 32773, 60000], [4, 5, 6]]], "u2"), 32773),
    ],
)
def test_blank_pixels_of_an_image(tmp_path, x, blank):
    unit = fits.PrimaryHDU(x)
    unit.header["BLANK"] = 5
    unit.writeto(tmp_path / "my.fits")
    groups = load(tmp_path / "my.fits")
    np.testing.assert_array_equal(groups.pixel_mask, x != blank)
    np.testing.assert_array_equal(groups.x, np.where(x == blank, 0, x))


@pytest.mark.parametrize("kind", ["i2", "f4"])
def test_blank_pixels_of_a_compressed_image(tmp_path, kind):
    x = np.arange(480).reshape(2, 6, 40).astype(kind)
    if kind == "f4":
        x[0, 1, 2] = np.nan  # 42 before
    unit = fits.CompImageHDU(x, compression_type="GZIP_1", quantize_level=0)
    if kind == "i2":
        unit.header["BLANK"] = 42
    unit.writeto(tmp_path / "my.fits.fz")
    groups = load(tmp_path / "my.fits.fz")
    good = np.arange(480).reshape(2, 6, 40) != 42
    np.testing.assert_array_equal(groups.pixel_mask, good)
    np.testing.assert_array_equal(groups.x, np.where(good, x, 0))


def test_scaled_image(tmp_path):
    unit = fits.PrimaryHDU(np.arange(6, dtype="i2").reshape(1, 2, 3))
    unit.header["BSCALE"], unit.header["BZERO"] = 0.5, 10.0
    unit.writeto(tmp_path / "my.fits")
    groups = load(tmp_path / "my.fits")
    np.testing.assert_array_equal(groups.x, [[[10, 10.5, 11], [11.5, 12, 12.5]]])


@pytest.mark.parametrize(
    ("form", "stored", "cards", "expected"),
    [
        ("3I", [-32768, 0, 32767], {"TZERO": 32768}, [0, 32768, 65535]),
        ("3J", [-(2**31), 0, 5], {"TZERO": 2**31}, [0, 2**31, 2**31 + 5]),
        ("3B", [0, 128, 255], {"TZERO": -128}, [-128, 0, 127]),
        ("3I", [1, 2, 3], {"TSCAL": 0.5, "TZERO": 10}, [10.5, 11, 11.5]),
        ("3E", [1, 2, 3], {"TSCAL": 2.0}, [2, 4, 6]),
    ],
)
@pytest.mark.parametrize("variable", [False, True])
def test_scales(tmp_path, form, stored, cards, expected, variable):
    kind = {"I": "i2", "J": "i4", "B": "u1", "E": "f4"}[form[-1]]
    rows = np.array([stored] * 4, kind)
    if variable:
        form, rows = f"P{form[-1]}()", of_any_length(rows)
    cards = [(f"{key}2", value) for key, value in cards.items()]
    groups = load(write(tmp_path, fits.Column("flux", form, array=rows), cards=cards))
    # Exactly equal: integers that float32 would round become float64.
    np.testing.assert_array_equal(groups.x, np.broadcast_to(expected, (2, 2, 3)))


def test_variable_length_text_as_group(tmp_path):
    names = np.array(["sun", "moon", "sun", "mars"], object)
    group = fits.Column("group", "PA()", array=names)
    groups = load(write(tmp_path, group, column("flux", "3J", FLUX), group=None))
    assert groups.ids.tolist() == ["mars", "moon", "sun"]
    np.testing.assert_array_equal(groups.x[2], FLUX[[0, 2]])


@pytest.mark.parametrize("place", [(0, 10**6), (4, 2**30), (0, -1)])
def test_variable_length_beyond_the_end(tmp_path, refusal, place):
    path = write(tmp_path, fits.Column("flux", "PJ()", array=of_any_length(FLUX)))
    content = bytearray(path.read_bytes())
    at = 5760 + 4 + place[0]  # the first row, after its group
    content[at : at + 4] = np.array(place[1], ">i4").tobytes()
    path.write_bytes(content)
    assert "the column flux refers to values beyond the end" in refusal(path)


def test_columns_of_several_axes(tmp_path):
    x = np.arange(24, dtype="f4").reshape(4, 2, 3)
    groups = load(write(tmp_path, column("flux", "6E", x, dim="(3,2)")))
    np.testing.assert_array_equal(groups.x, x.reshape(2, 2, 2, 3))


def test_text_ends_at_a_zero_byte(tmp_path):
    path = write(tmp_path, column("flux", "3J", FLUX), group=["ab", "ab", "cd", "cd"])
    content = path.read_bytes().replace(b"ab\0\0", b"a\0zz", 1)
    path.write_bytes(content.replace(b"ab\0\0", b"a   "))
    assert load(path).ids.tolist() == ["a", "cd"]


def test_text_in_utf8(tmp_path, refusal):
    path = write(tmp_path, column("flux", "3J", FLUX), group=["abc", "abc", "cd", "cd"])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"abc", "äb".encode()))
    assert load(path).ids.tolist() == ["cd", "äb"]
    path.write_bytes(content.replace(b"abc", b"\xff\xfeb"))
    assert "the column group has text that is not UTF-8" in refusal(path)


def test_printed_table_of_groups(tmp_path, refusal):
    x = fits.PrimaryHDU(FLUX.astype("f4"))
    beside = fits.TableHDU.from_columns(
        [
            fits.Column("group", "I4", array=np.array([7, 7, 9, 9])),
            fits.Column("seeing", "F6.2", array=np.array([0.5, 1.25, -1, 2])),
            fits.Column("site", "A2", array=np.array(["n", "s", "", "e"])),
        ]
    )
    path = tmp_path / "my.fits"
    beside.header["TNULL2"] = "-1.00"
    fits.HDUList([x, beside]).writeto(path)
    groups = load(path)
    assert groups.ids.tolist() == [7, 9]
    np.testing.assert_array_equal(
        groups.instance_metadata["seeing"], [[0.5, 1.25], [np.nan, 2]]
    )
    assert groups.instance_metadata["site"].tolist() == [["n", "s"], ["", "e"]]
    path.write_bytes(path.read_bytes().replace(b"   7", b"    ", 1))
    assert "row 1 of the column group is empty" in refusal(path)


def test_other_units_are_mentioned(tmp_path, caplog):
    one = fits.BinTableHDU.from_columns(
        [column("group", "4A", STARS), column("flux", "3J", FLUX)]
    )
    two = fits.BinTableHDU.from_columns([column("flux", "3J", FLUX)], name="NIGHT2")
    error = fits.ImageHDU(FLUX, name="ERR")
    path = tmp_path / "my.fits"
    units = [fits.PrimaryHDU(), one, two, error, fits.ImageHDU(FLUX)]
    fits.HDUList(units).writeto(path)
    load(path)
    words = "tables and images that are not used: NIGHT2, ERR, number 4."
    assert words in caplog.text
    more = [fits.ImageHDU(FLUX[None], name=name) for name in ("UNCERT", "IVAR", "IVAR")]
    log = fits.BinTableHDU.from_columns([column("group", "4A", STARS)], name="LOG")
    units = [fits.PrimaryHDU(FLUX[None]), *more, log]
    fits.HDUList(units).writeto(path, overwrite=True)
    load(path)
    assert "images that are not used: UNCERT, IVAR." in caplog.text
    assert "tables that are not used: LOG." in caplog.text


def test_random_groups_are_no_image(tmp_path, refusal):
    header = fits.Header(
        [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 3), ("NAXIS1", 0), ("NAXIS2", 4)]
        + [("NAXIS3", 3), ("GROUPS", True), ("PCOUNT", 0), ("GCOUNT", 2)]
    )
    (tmp_path / "my.fits").write_bytes(header.tostring().encode() + bytes(2880))
    assert "and no image; found neither" in refusal(tmp_path / "my.fits")


def test_compressed_table(tmp_path, refusal):
    path = write(tmp_path, column("flux", "3J", FLUX), cards=[("ZTABLE", True)])
    assert "is compressed; unpack it with funpack" in refusal(path)
