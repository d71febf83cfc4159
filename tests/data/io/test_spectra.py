"""The reader of folders of spectra."""

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
        (folder / f"{name}{suffix}").write_text(text, encoding="utf-8")
    return folder


def is_the_folder(groups, suffix):
    assert groups.ids.tolist() == ["star-a", "star-b"]
    np.testing.assert_array_equal(groups.x, [[X[1], 0 * X[0]], [X[2], X[0]]])
    np.testing.assert_array_equal(groups.mask, [[True, False], [True, True]])
    assert groups.instance_metadata["file"].tolist() == [
        [f"star-a_1{suffix}", ""],
        [f"star-b_01{suffix}", f"star-b_02{suffix}"],
    ]


@pytest.mark.parametrize(
    ("suffix", "delimiter"),
    [(".csv", ","), (".txt", ";"), (".dat", "  "), (".TSV", "\t")],
)
@pytest.mark.parametrize(
    "header", ["", "# made by hand, 400 1\n\n", "wavelength{0}flux\n"]
)
def test_text(tmp_path, caplog, suffix, delimiter, header):
    above = header.format(delimiter)
    texts = [above + lines(x, delimiter=delimiter) for x in X]
    (tmp_path / ".hidden").write_text("nothing", encoding="utf-8")
    groups = load(save(tmp_path, texts, suffix))
    is_the_folder(groups, suffix)
    np.testing.assert_array_equal(groups.axis, AXIS)
    assert groups.axis_label == ("wavelength" if "wave" in header else "axis")
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
    assert groups.x[0, 0, 2] == 0 and "1 missing value is masked." in caplog.text
    np.testing.assert_array_equal(groups.weights[0], [[4, 5, 0, 7], [0] * 4])
    np.testing.assert_array_equal(groups.weights[1], weights[[2, 0]])


@pytest.mark.parametrize("suffix", [".npy", ".fits", ".fits.gz"])
def test_arrays_and_images(tmp_path, suffix):
    cards = {"CRVAL1": 5.0, "CDELT1": 0.5, "CRPIX1": 1, "CUNIT1": "um"}
    for name, x in zip(NAMES, X, strict=True):
        if suffix == ".npy":
            np.save(tmp_path / f"{name}.npy", x)
        else:
            fits = pytest.importorskip("astropy.io.fits")
            unit = fits.PrimaryHDU(x, fits.Header(cards))
            unit.writeto(tmp_path / f"{name}{suffix}")
    groups = load(tmp_path)
    is_the_folder(groups, suffix)
    assert groups.x.dtype.isnative
    if suffix == ".npy":
        assert groups.axis is None
    else:
        assert groups.axis.tolist() == [5, 5.5, 6, 6.5]
        assert groups.axis_label == "axis (um)"


def test_group_by_another_expression(tmp_path, refusal):
    save(tmp_path, map(lines, X))
    groups = load(tmp_path, group=r"_0?(\d)$")
    assert groups.ids.tolist() == ["1", "2"]
    assert groups.mask.tolist() == [[True, True], [True, False]]
    assert "star-a_1.csv does not match _(0.), which" in refusal(tmp_path, "_(0.)")
    assert "with one capture group" in refusal(tmp_path, "_0.$")
    assert "is not a regular expression: missing )" in refusal(tmp_path, "(a")
    (tmp_path / "sun.csv").write_text(lines(X[0]), encoding="utf-8")
    assert r"sun.csv does not match ^(.+)[_-][^_-]*$, which" in refusal(tmp_path)


GOOD = lines(X[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ": the file is empty; expected a header and rows."),
        ("# a\n", ": the file is empty"),
        ("a,b\n", ": the file has a header but no rows"),
        (lines(X[0], AXIS + 1), " has a different axis from star-a_1.csv"),
        (lines(X[0, :3], AXIS[:3]), " has 3 pixels, but star-a_1.csv.*mixed lengths"),
        (lines(X[0], AXIS[::-1]), " has a different axis"),
        (lines(X[0], [1, 3, 2, 4]), ": axis must.*3 is followed by 2"),
        (lines(X[0], [1, 1, 2, 4]), ": axis must.*1 is followed by 1"),
        (lines(X[0], [1, 2, np.nan, 4]), ": axis must contain finite real"),
        (GOOD + "500,a\n", ": line 5, column 2, holds 'a'; expected a finite"),
        ("400,inf\n", ": line 1, column 2, holds 'inf'"),
        (GOOD + "500\n", ": line 5 has 1 cells, but the first line, line 1, has 2;"),
        ("1,2,3,4\n", ": line 1 has 4 cells; expected 2"),
        (lines(X[0], weights=AXIS), " has a third column.*star-a_1.csv"),
        ("0,1\n500,1\n501,2\n", ": .*0 and 1, may contain column numbers"),
        ("400;1,234\n401;2\n", ": line 1, column 2, holds '1,234', whose comma may"),
        ("400,1\n401,1,5\n", ": line 2 has 3 cells.*decimal comma"),
        ("x,y\n500,1,\n", ": line 2 has 3 .*remove the comma at the end of line 2."),
        ("x,y,err\n1,1,0\n2,1,-1\n", ": line 2, column err, and all values below are"),
        ("x,y,ivar\n1,1,0\n2,1,-1\n", ": line 3, column ivar, is negative; an inv"),
        ("x,y,err\n1,1,1\n2,1,1e-30\n", ": line 3, column err, is too small"),
    ],
)
def test_unusable_texts(tmp_path, refusal, text, words):
    sentence = refusal(save(tmp_path, [text, GOOD, GOOD]))
    assert all(word in sentence for word in f"star-b_02.csv{words}".split(".*"))


def folder(path, text, other=None, suffix=".csv"):
    """Make a folder with one group of two spectra."""
    for name, content in (("a_1", text), ("a_2", other or text)):
        (path / f"{name}{suffix}").write_text(content, encoding="utf-8")
    return path


ROWS = [["500", "1", "0.1"], ["501", "2", "0.5"], ["503", "4", "2"]]
PAIRS = [row[:2] for row in ROWS]


def columns(header, rows=ROWS, delimiter=","):
    header = [header] if header else []
    return "".join(f"{line}\n" for line in [*header, *map(delimiter.join, rows)])


def notes(caplog):
    return [record.getMessage().split(": ", 1)[1] for record in caplog.records]


@pytest.mark.parametrize("index", ["", "No", "nr.", "Index", "Unnamed: 0", "#", "row"])
def test_row_numbers_are_not_used(tmp_path, caplog, index):
    rows = [[str(k), *pair] for k, pair in enumerate(PAIRS)]
    header = f"{index},Wavelength (nm),absorbance"
    if index == "#":  # at the start of a line, it would make a comment
        header = f"Wavelength (nm),absorbance,{index}"
        rows = [[*row[1:], row[0]] for row in rows]
    groups = load(folder(tmp_path, columns(header, rows)))
    assert groups.x[0].tolist() == [[1, 2, 4]] * 2 and groups.weights is None
    assert groups.axis.tolist() == [500, 501, 503]
    assert groups.axis_label == "Wavelength (nm)"
    named = index if index not in ("", "Unnamed: 0") else "1 (no name)"
    assert notes(caplog) == [f"columns that are not used: {named}."]


@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers_without_a_name(tmp_path, refusal, start):
    rows = [[str(k + start), *pair] for k, pair in enumerate(PAIRS)]
    sentence = refusal(folder(tmp_path, columns("", rows)))
    assert (
        "a_1.csv: column 1 counts the rows, so it is probably not the axis" in sentence
    )
    pairs = [row[:2] for row in rows]
    sentence = refusal(folder(tmp_path, columns("something,flux", pairs)))
    assert "a_1.csv: column something counts the rows" in sentence
    # Pixel numbers can be an axis.
    groups = load(folder(tmp_path, columns("pixel,flux", pairs)))
    assert groups.axis.tolist() == [start, start + 1, start + 2]


#: Names of a third column, by the resulting weights of the column in `ROWS`.
NAMES_OF_WEIGHTS = {
    "uncertainty, Flux_err, fluxerr, sigma, std dev, e_flux, ±, error of the flux": (
        [100, 4, 0.25]
    ),
    "variance, flux var": [10, 2, 0.5],
    "ivar, Weights, weight, inv_var, inverse variance (1/Jy^2)": [0.1, 0.5, 2],
    "error (%), relative error, err^2, 2 sigma, snr, rel_err": None,
    "wavelength error, sky, sky flux, mask": None,
}


@pytest.mark.parametrize(
    ("name", "weights"),
    [(name, w) for names, w in NAMES_OF_WEIGHTS.items() for name in names.split(", ")],
)
def test_third_column_by_its_name(tmp_path, caplog, name, weights):
    groups = load(folder(tmp_path, columns(f"wavelength,flux,{name}")))
    assert groups.x[0].tolist() == [[1, 2, 4]] * 2
    if weights is None:
        assert groups.weights is None
        assert notes(caplog) == [f"columns that are not used: {name}."]
        return
    np.testing.assert_allclose(groups.weights[0], [weights] * 2, rtol=1e-6)
    said = {100: ["standard deviation"], 10: ["variance"], 0.1: []}[weights[0]]
    assert notes(caplog) == [
        f"column {name} is read as the {what}; weights are inverse variances."
        for what in said
    ]


@pytest.mark.parametrize("header", ["# wave, flux, err", "# wave  flux err"])
def test_names_in_a_comment_are_cut_in_any_way(tmp_path, header):
    above = f"# made by hand, at night\n{header}\n#"
    for delimiter in ", ;\t":
        groups = load(folder(tmp_path, columns(above, delimiter=delimiter)))
        np.testing.assert_allclose(groups.weights[0, 0], [100, 4, 0.25], rtol=1e-6)
        assert groups.axis_label == "wave"


def test_other_comments_are_text(tmp_path, caplog):
    text = columns("# flux, calibrated", PAIRS) + "# end, of file\n"
    groups = load(folder(tmp_path, text))
    assert groups.axis.tolist() == [500, 501, 503] and groups.axis_label == "axis"
    assert caplog.records == []


def test_third_column_without_a_name_is_said(tmp_path, caplog):
    groups = load(folder(tmp_path, columns("")))
    np.testing.assert_allclose(groups.weights[0, 0], [0.1, 0.5, 2], rtol=1e-6)
    assert notes(caplog) == [
        "column 3 of files without a header is read as the inverse variance."
    ]


def test_uncertainties_that_are_none(tmp_path, caplog):
    rows = [["500", "1", "0"], ["501", "2", ""], ["502", "3", "-1"], ["503", "", "1"]]
    text = columns("wavelength,flux,err", [*rows, ["504", "5", "0.5"]])
    groups = load(folder(tmp_path, text))
    assert groups.weights[0].tolist() == [[0, 0, 0, 0, 4]] * 2
    assert groups.good_pixels[0, 0].tolist() == [False] * 4 + [True]
    assert notes(caplog)[1:] == [
        "6 values without a positive uncertainty get the weight 0.",
        "2 missing values are masked.",
    ]


@pytest.mark.parametrize(
    ("header", "axis"),
    [
        ("intensity,wavelength,sky", 1),
        ("wavelength,sample 7,error", 0),
        ("2theta,counts,err", 0),
        ("1/cm,%T,sd", 0),
        ("Raman shift [1/cm],Counts per second,channel", 0),
        ("energy,pixel value,pixel", 0),
        ("x,y,dy", 0),
    ],
)
def test_columns_by_their_names(tmp_path, header, axis):
    groups = load(folder(tmp_path, columns(header)))
    assert groups.axis.tolist() == [[500, 501, 503], [1, 2, 4]][axis]
    assert groups.x[0, 0].tolist() == [[1, 2, 4], [500, 501, 503]][axis]
    assert groups.axis_label == header.split(",")[axis]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a,b,c", "no column has a name of an axis, such as wavel.*found a, b, c;"),
        ("wavelength,a,b", "no column has a name of values, such as flux"),
        ("wavelength,index,err", "no column has a name of values"),
        ("No,flux,err", "no column has a name of an axis"),
        ("flux,error,ivar", "no column has a name of an axis"),
        ("wavelength,wavenumber,flux", "wavelength, wavenumber can each be the axis"),
        ("wavelength,flux,absorbance", "flux, absorbance can each be the value"),
        ("wave,err_low,err_high", "err_high can each be the standard deviation"),
        ("flux,wave,flux", "2 columns have the name flux"),
        ("5OO,1,0.1", "no column has a name of an axis.*found 5OO, 1, 0.1"),
        ("1_0,1,0.1", "found 1_0, 1, 0.1"),
        (",0,1", "found (no name), 0, 1"),
    ],
)
def test_headers_that_cannot_be_understood(tmp_path, refusal, header, words):
    sentence = refusal(folder(tmp_path, columns(header)))
    assert sentence.startswith("a_1.csv: line 1, the header: ")
    assert all(word in sentence for word in words.split(".*"))


@pytest.mark.parametrize("header", ["", "sep={0}\n", "wavelength{0}flux\n"])
@pytest.mark.parametrize("mark", [";", "\t", "  ", " "])
def test_decimal_commas(tmp_path, header, mark):
    mark = "|" if "sep" in header and mark == "  " else mark
    text = header + "500,25{0}1,5\n\n500,5{0}1,125\n501{0}2\n"
    groups = load(folder(tmp_path, text.format(mark), suffix=".txt"))
    assert groups.axis.tolist() == [500.25, 500.5, 501]
    assert groups.x[0].tolist() == [[1.5, 1.125, 2]] * 2


def test_units_behind_names_where_spaces_are_marks(tmp_path):
    text = "Wavelength (nm)  Intensity [a. u.]\n" + columns("", PAIRS, "   ")
    groups = load(folder(tmp_path, text, suffix=".dat"))
    assert groups.axis_label == "Wavelength (nm)"
    assert groups.x[0, 0].tolist() == [1, 2, 4]


def test_marks_at_the_end_of_lines(tmp_path, caplog):
    for text in ("500,1,\n501,2,\n", "wavelength,flux,\n500,1,\n501,2,\n"):
        groups = load(folder(tmp_path, text))
        assert groups.x[0, 0].tolist() == [1, 2] and groups.weights is None
    assert notes(caplog) == ["columns that are not used: 3 (no name)."] * 2


def test_axes_of_other_units(tmp_path, refusal):
    text = columns("wavelength (nm),flux", PAIRS)
    sentence = refusal(folder(tmp_path, text, text.replace("nm", "um")))
    assert "the axis of a_2.csv has the name wavelength (um), but" in sentence


def test_other_files(tmp_path, refusal):
    save(tmp_path, map(lines, X))
    np.save(tmp_path / "sun_1.npy", X[0])
    assert "sun_1.npy has a different file type from star-a_1.csv" in refusal(tmp_path)
    (tmp_path / "sun_1.npy").rename(tmp_path / "sun_1.xls")
    assert "sun_1.xls is not a spectrum; expected files that end in" in refusal(
        tmp_path
    )
    (tmp_path / "sun_1.xls").unlink()
    (tmp_path / "star-b_02.csv").write_bytes(b"\xff\xfe1,2")
    words = "star-b_02.csv cannot be read: byte 0 is no UTF-8 text"
    assert words in refusal(tmp_path)


def test_unusable_arrays(tmp_path, refusal):
    path = tmp_path / "a_1.npy"
    np.save(path, X)
    assert "a_1.npy: expected one spectrum, real numbers" in refusal(tmp_path)
    np.save(path, np.array([{}, {}]))
    assert "a_1.npy: it contains pickled Python objects" in refusal(tmp_path)
    np.save(path, X[0])
    content = path.read_bytes()
    for cut in (0, 5, len(content) - 3):
        path.write_bytes(content[:cut])
        assert "a_1.npy cannot be read: " in refusal(tmp_path)


def test_unusable_fits(tmp_path, refusal):
    fits = pytest.importorskip("astropy.io.fits")
    path = tmp_path / "a_1.fits"
    fits.PrimaryHDU().writeto(path)
    assert "a_1.fits: it contains no image; expected a 1-D image" in refusal(tmp_path)
    fits.PrimaryHDU(X).writeto(path, overwrite=True)
    assert "a_1.fits: expected one spectrum" in refusal(tmp_path)
    fits.PrimaryHDU(X[0]).writeto(path, overwrite=True)
    path.write_bytes(path.read_bytes()[:2890])
    assert "a_1.fits cannot be read: " in refusal(tmp_path)
