"""Folders of spectra."""

import numpy as np
import pytest

from symae_keras.data import check, load

X = np.random.default_rng(0).normal(size=(3, 4))
AXIS = np.array([400.0, 401, 403, 406])
NAMES = ("star-b_02", "star-a_1", "star-b_01")


def lines(values, axis=AXIS, delimiter=",", weights=None):
    columns = [axis, values] if weights is None else [axis, values, weights]
    rows = [
        delimiter.join(map(repr, map(float, row))) for row in zip(*columns, strict=True)
    ]
    return "\n".join(rows) + "\n"


def save(folder, texts, suffix=".csv"):
    for name, text in zip(NAMES, texts, strict=True):
        (folder / f"{name}{suffix}").write_text(text)
    return folder


def is_the_folder(groups, suffix):
    assert groups.ids.tolist() == ["star-a", "star-b"]
    np.testing.assert_array_equal(groups.x, [[X[1], 0 * X[0]], [X[2], X[0]]])
    np.testing.assert_array_equal(groups.mask, [[True, False], [True, True]])
    assert groups.instance_metadata["file"].tolist() == [
        [f"star-a_1{suffix}", ""],
        [f"star-b_01{suffix}", f"star-b_02{suffix}"],
    ]


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".dat", ".TSV"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "  "])
@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("", "axis"),
        ("# made by hand, 400 1\n\n", "axis"),
        ("wavelength{0}flux\n", "wavelength"),
    ],
)
def test_text(tmp_path, caplog, suffix, delimiter, header, label):
    header = header.format(delimiter)
    texts = [header + lines(x, delimiter=delimiter) for x in X]
    (tmp_path / ".hidden").write_text("nothing")
    groups = load(save(tmp_path, texts, suffix))
    is_the_folder(groups, suffix)
    np.testing.assert_array_equal(groups.axis, AXIS)
    assert groups.axis_label == label
    assert groups.pixel_mask is None and groups.weights is None
    assert caplog.records == []
    check(groups)


def test_weights_and_missing_pixels(tmp_path, caplog):
    weights = np.arange(12.0).reshape(3, 4)
    texts = [lines(x, weights=w) for x, w in zip(X, weights, strict=True)]
    texts[1] = texts[1].replace(repr(float(X[1, 2])), "")
    groups = load(save(tmp_path, texts))
    bad = ~groups.pixel_mask & groups.present[..., None]
    assert np.argwhere(bad).tolist() == [[0, 0, 2]]
    assert groups.x[0, 0, 2] == 0 and "1 missing values are masked." in caplog.text
    np.testing.assert_array_equal(groups.weights[0], [[4, 5, 0, 7], [0] * 4])
    np.testing.assert_array_equal(groups.weights[1], weights[[2, 0]])


def test_npy(tmp_path):
    for name, x in zip(NAMES, X, strict=True):
        np.save(tmp_path / f"{name}.npy", x)
    groups = load(tmp_path)
    is_the_folder(groups, ".npy")
    assert groups.axis is None


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_fits(tmp_path, suffix):
    fits = pytest.importorskip("astropy.io.fits")
    header = fits.Header({"CRVAL1": 5.0, "CDELT1": 0.5, "CRPIX1": 1, "CUNIT1": "um"})
    for name, x in zip(NAMES, X, strict=True):
        fits.PrimaryHDU(x, header).writeto(tmp_path / f"{name}{suffix}")
    groups = load(tmp_path)
    is_the_folder(groups, suffix)
    assert groups.axis.tolist() == [5, 5.5, 6, 6.5]
    assert groups.axis_label == "axis (um)" and groups.x.dtype.isnative


def test_group_by_another_expression(tmp_path, refusal):
    save(tmp_path, map(lines, X))
    groups = load(tmp_path, group=r"_0?(\d)$")
    assert groups.ids.tolist() == ["1", "2"]
    assert groups.mask.tolist() == [[True, True], [True, False]]
    assert "star-a_1.csv does not match _(0.), which" in refusal(tmp_path, "_(0.)")
    assert "with one capture group" in refusal(tmp_path, "_0.$")
    assert "is no regular expression: missing )" in refusal(tmp_path, "(a")


def test_a_name_without_a_group(tmp_path, refusal):
    save(tmp_path, map(lines, X))
    (tmp_path / "sun.csv").write_text(lines(X[0]))
    assert r"sun.csv does not match ^(.+)[_-][^_-]*$, which" in refusal(tmp_path)


GOOD = lines(X[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "star-b_02.csv: it is empty; expected rows of an axis value"),
        ("# a\n", "star-b_02.csv: it is empty"),
        ("a,b\n", "star-b_02.csv: it is empty"),
        (lines(X[0], AXIS + 1), "star-b_02.csv is on another axis than star-a_1.csv"),
        (
            lines(X[0, :3], AXIS[:3]),
            "mixed lengths: star-b_02.csv has 3 pixels, but star-a_1.csv",
        ),
        (lines(X[0], AXIS[::-1]), "star-b_02.csv is on another axis"),
        (lines(X[0], [1, 3, 2, 4]), "star-b_02.csv: axis must.*3 is followed by 2"),
        (lines(X[0], [1, 1, 2, 4]), "star-b_02.csv: axis must.*1 is followed by 1"),
        (lines(X[0], [1, 2, np.nan, 4]), "star-b_02.csv: axis must hold finite real"),
        (GOOD + "500,a\n", "star-b_02.csv: line 5 holds 'a'; expected a finite number"),
        ("400,inf\n", "star-b_02.csv: line 1 holds 'inf'"),
        (GOOD + "500\n", "star-b_02.csv: line 5 has 1 cells; expected 2"),
        ("1,2,3,4\n", "star-b_02.csv: line 1 has 4 cells; expected 2"),
        (
            lines(X[0], weights=AXIS),
            "only one of star-a_1.csv and star-b_02.csv has a third column",
        ),
    ],
)
def test_unusable_texts(tmp_path, refusal, text, words):
    sentence = refusal(save(tmp_path, [text, GOOD, GOOD]))
    assert all(word in sentence for word in words.split(".*"))


def test_other_files(tmp_path, refusal):
    save(tmp_path, map(lines, X))
    np.save(tmp_path / "sun_1.npy", X[0])
    assert "sun_1.npy is of another kind than star-a_1.csv" in refusal(tmp_path)
    (tmp_path / "sun_1.npy").rename(tmp_path / "sun_1.xls")
    assert "sun_1.xls is no spectrum; expected files that end in" in refusal(tmp_path)
    (tmp_path / "sun_1.xls").unlink()
    (tmp_path / "star-b_02.csv").write_bytes(b"\xff\xfe1,2")
    words = "star-b_02.csv cannot be read: byte 0 is no UTF-8 text"
    assert words in refusal(tmp_path)


def test_unusable_arrays(tmp_path, refusal):
    np.save(tmp_path / "a_1.npy", X)
    assert "a_1.npy: expected one spectrum, real numbers" in refusal(tmp_path)
    np.save(tmp_path / "a_1.npy", np.array([{}, {}]))
    assert "a_1.npy: it holds pickled Python objects" in refusal(tmp_path)
    np.save(tmp_path / "a_1.npy", X[0])
    content = (tmp_path / "a_1.npy").read_bytes()
    for cut in (0, 5, len(content) - 3):
        (tmp_path / "a_1.npy").write_bytes(content[:cut])
        assert "a_1.npy cannot be read: " in refusal(tmp_path)


def test_unusable_fits(tmp_path, refusal):
    fits = pytest.importorskip("astropy.io.fits")
    fits.PrimaryHDU().writeto(tmp_path / "a_1.fits")
    assert "a_1.fits: it holds no image; expected a 1-D one" in refusal(tmp_path)
    fits.PrimaryHDU(X).writeto(tmp_path / "a_1.fits", overwrite=True)
    assert "a_1.fits: expected one spectrum" in refusal(tmp_path)
    fits.PrimaryHDU(X[0]).writeto(tmp_path / "a_1.fits", overwrite=True)
    content = (tmp_path / "a_1.fits").read_bytes()
    (tmp_path / "a_1.fits").write_bytes(content[:2890])
    assert "a_1.fits cannot be read: " in refusal(tmp_path)
