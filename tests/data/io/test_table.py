"""The reader of wide and long text tables."""

import csv
import io

import numpy as np
import pytest

from symae_keras.data import check, load
from symae_keras.data.io import _lines

LONG = """\
instance,value,Group,axis (nm),note
a,3,sun,402,x
a,6,moon,402,x
b,NaN,sun,402,x
a,1,sun,400,x
a,4,moon,400,x
b,7,sun,400,x
a,2,sun,401.5,x
a,,moon,401.5,x
b,8,sun,401.5,x
"""
X = [[[4, 0, 6], [0, 0, 0]], [[1, 2, 3], [7, 8, 0]]]
GOOD = [[[1, 0, 1], [0, 0, 0]], [[1, 1, 1], [1, 1, 0]]]


def save(folder, text, name="my.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def is_the_table(groups):
    assert groups.ids.tolist() == ["moon", "sun"]
    np.testing.assert_array_equal(groups.x, X)
    np.testing.assert_array_equal(groups.mask, [[True, False], [True, True]])
    np.testing.assert_array_equal(groups.pixel_mask, np.array(GOOD, bool))
    np.testing.assert_array_equal(groups.axis, [400, 401.5, 402])
    names = groups.instance_metadata["instance"]
    assert names.tolist() == [["a", ""], ["a", "b"]]
    check(groups)


@pytest.mark.parametrize(
    ("name", "delimiter"), [("my.csv", ","), ("MY.TXT", ";"), ("my.tsv", "\t")]
)
def test_wide(tmp_path, caplog, wide, name, delimiter):
    groups = load(save(tmp_path, wide.replace(",", delimiter), name))
    is_the_table(groups)
    assert groups.axis_label == "axis"
    known = groups.instance_metadata
    np.testing.assert_array_equal(known["snr"], [[20, 0], [10, 30]])
    assert set(known) == {"snr", "instance"}
    # Equal in all rows of each group.
    assert {k: v.tolist() for k, v in groups.group_metadata.items()} == {
        "site": ["south", "north"]
    }
    (record,) = caplog.records
    assert record.getMessage().endswith("2 missing values are masked.")


@pytest.mark.parametrize("seed", range(3))
def test_long_in_any_order(tmp_path, caplog, seed):
    header, *rows = LONG.splitlines(keepends=True)
    rows = np.random.default_rng(seed).permutation(rows).tolist()
    groups = load(save(tmp_path, header + "".join(rows)))
    is_the_table(groups)
    assert groups.axis_label == "axis (nm)"
    notes = [record.getMessage() for record in caplog.records]
    assert notes[0].endswith("columns that are not used: note.")
    assert notes[1].endswith("2 missing values are masked.") and len(notes) == 2


def test_text_as_spreadsheets_write_it(tmp_path, caplog, wide):
    text = wide.replace("\n", "\r\n").replace("sun", '"sun"') + "\r\n"
    is_the_table(load(save(tmp_path, text, encoding="utf-8-sig")))


def test_no_missing_pixels_need_no_mask(tmp_path, caplog):
    groups = load(save(tmp_path, "group,3,2\n10,1e-17,2\n9,3,4\n"))
    assert groups.pixel_mask is None and groups.mask is None
    # Numbers are sorted as numbers, and a decreasing axis is valid.
    assert groups.ids.tolist() == [9, 10] and groups.axis.tolist() == [3, 2]
    assert groups.x[1, 0, 0] == 1e-17 and caplog.records == []


def test_columns_become_numbers_where_all_cells_are(tmp_path, caplog):
    text = ",group,1,a,b,c,d,zip,n\n5,007,1,1,2.5,x,,01,1_0\n6,7,2,2,,3,,20,2\n"
    groups = load(save(tmp_path, text))
    assert groups.ids.tolist() == ["007", "7"]
    known = groups.group_metadata
    assert known["a"].dtype == np.int64 and known["b"].dtype == np.float64
    np.testing.assert_array_equal(known["b"], [2.5, np.nan])
    assert known["c"].tolist() == ["x", "3"] and known["d"].tolist() == ["", ""]
    # Numbers that a conversion would change are names.
    assert known["zip"].tolist() == ["01", "20"]
    assert known["n"].tolist() == ["1_0", "2"]
    (record,) = caplog.records
    assert record.getMessage().endswith("columns that are not used: 1 (no name).")


def test_group_column_by_name(tmp_path, refusal):
    path = save(tmp_path, "Star,group,1,2\n5,a,1,2\n5,b,3,4\n6,b,5,6\n")
    assert load(path).ids.tolist() == ["a", "b"]
    groups = load(path, group="star")
    assert groups.ids.tolist() == [5, 6]
    assert groups.instance_metadata["group"].tolist() == [["a", "b"], ["b", ""]]
    assert "no column planet; found Star, group, 1, 2; name" in refusal(path, "planet")


HEAD = "group,400,401\n"


def test_headers_with_a_unit(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("group,2nd run,1100 nm,1104.5 nm,1109nm\na,x,1,2,3\n", "utf-8")
    groups = load(path)
    assert groups.axis.tolist() == [1100.0, 1104.5, 1109.0]
    assert groups.axis_label == "axis (nm)"
    assert groups.group_metadata["2nd run"].tolist() == ["x"]


LONG_HEAD = "group,instance,axis,value\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty; expected a header"),
        ("\n\n", "the file is empty"),
        (HEAD, "a header but no rows"),
        (LONG_HEAD, "a header but no rows"),
        ("star,400\na,1\n", "no column group; found star, 400; name.*group="),
        ("group,a,b\nx,1,2\n", "no column is a pixel.*found group, a, b."),
        ("group,400,401,400\n", "line 1, the header: 2 columns have the name 400"),
        (
            "group,400,401,400.0\na,1,2,3\n",
            "line 1, the header: axis.*401 is followed by 400.0; sort the columns",
        ),
        ("group,400,403,402\na,1,2,3\n", "increase.*403 is followed by 402"),
        ("group,400,400.0\na,1,2\n", "400 is followed by 400.0"),
        ("group 400 401\na 1 2\n", "no column group; found group 400 401;"),
        ("from A\n" + HEAD + "a,1,2\n", "line 1, the header: no column group"),
        (
            "group,instance,axis,value,1\na,1,2,3,4\n",
            "instance, axis, value are the columns of a long table, and 1 the pixels",
        ),
        # Every line ends with a comma, so that "501.0," is a header.
        ("group;500.0;501.0,\na;1;2,\n", "column 3.*'501.0,', which is nearly"),
        (HEAD + "a,1,2\nb,1\n", "line 3 has 2 cells, but.*line 1, has 3; give each"),
        (HEAD + "a,1,5,2,5\n", "line 2 has 5 cells, but.*has 3; .*decimal comma"),
        (
            "\n" + HEAD + "a,1,2,\n",
            "line 3 has 4 cells.*2, has 3; remove the comma at the end of line 3",
        ),
        (
            "group;400;401;\na;1;2\n",
            "line 2 has 3 cells.*has 4; remove the semicolon at the end of line 1.",
        ),
        (HEAD + "a\0,1,2\n", "line 2 contains NUL characters.*save it as UTF-8"),
        (HEAD + "NaN,1,2\n", "line 2, column group, holds 'NaN'; fill it"),
        (HEAD + "a,1,2\n\nb,1,x1\n", "line 4, column 401, holds 'x1'; expected"),
        (HEAD + ",1,2\n", "line 2, column group, is empty"),
        (HEAD + 'a,1,"2\n', "line 2 cannot be read.*correct its quotes"),
        (
            "group,instance,1\na,1,0\nb,1,0\na,1,0\n",
            "line 4 repeats group a, instance 1 of line 2",
        ),
        ("group,instance,1\na,,0\n", "line 2, column instance, is empty"),
        (LONG_HEAD + "a,1,400,x\n", "line 2, column value, holds 'x'"),
        (LONG_HEAD + "a,1,x,1\n", "line 2, column axis, holds 'x'"),
        (LONG_HEAD + "a,1,,1\n", "line 2, column axis, is empty"),
        (LONG_HEAD + "a,1,nan,1\n", "line 2, column axis, holds 'nan'; fill"),
        (LONG_HEAD + "a,1,400,1\na,1\n", "line 3 has 2 cells"),
        (
            LONG_HEAD + "b,1,4,1\na,1,4,1\na,1,5,1\nb,1,4.0,1\n",
            "line 5 repeats axis 4.0 of group b, instance 1",
        ),
        (
            LONG_HEAD + "b,1,4,1\na,1,4,\na,1,5,1\n",
            "mixed lengths: group b, instance 1 has 1 values.*2 different values",
        ),
    ],
)
def test_unusable_tables(tmp_path, refusal, text, words):
    sentence = refusal(save(tmp_path, text))
    assert all(word in sentence for word in words.split(".*"))


def test_long_lists_and_cells_are_cut(tmp_path, refusal):
    text = "a," + ",".join(map(str, range(1000))) + "\n"
    sentence = refusal(save(tmp_path, text))
    assert "found a, 0, 1, 2, 3, 4, 5, 6 and 993 more;" in sentence
    sentence = refusal(save(tmp_path, HEAD + "a,1," + "x" * 1000))
    assert len(sentence) < 300 and "xxx...'" in sentence


def test_text_that_is_no_utf8(tmp_path, refusal):
    path = save(tmp_path, "group,1,é\na,1,2\n", encoding="latin-1")
    assert "cannot be read: byte 8 is no UTF-8 text; save" in refusal(path)
    path = save(tmp_path, "group,1,2\na,1,2\n", encoding="utf-16")
    assert "byte 0 is no UTF-8 text, it looks like UTF-16; save" in refusal(path)


def text_of(rows, delimiter=","):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


def table(*heads, cells=None, delimiter=","):
    """Write a table of two groups with given headers and, in both rows, given cells."""
    cells = range(1, len(heads) + 1) if cells is None else cells
    return text_of([["group", *heads], ["a", *cells], ["b", *cells]], delimiter)


@pytest.mark.parametrize(
    ("head", "value"),
    [
        *((" 501 ", 501), ("501\xa0", 501), ("+5.01e2", 501), ("501.", 501)),
        *(("501,0", 501), ("501,25", 501.25), ("50,1E+1", 501), (",501e3", 501)),
    ],
)
def test_headers_that_are_numbers(tmp_path, head, value):
    groups = load(save(tmp_path, table("500", head, "502")))
    assert groups.axis.tolist() == [500, value, 502]
    np.testing.assert_array_equal(groups.x, [[[1, 2, 3]]] * 2)


def test_minus_of_typesetters(tmp_path):
    text = table("\N{MINUS SIGN}1.0", "\N{MINUS SIGN}5e\N{MINUS SIGN}1", "0.5")
    text = text.replace("a,1", "a,\N{MINUS SIGN}1")
    groups = load(save(tmp_path, text))
    assert groups.axis.tolist() == [-1, -0.5, 0.5]
    assert groups.x[:, 0].tolist() == [[-1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    "head",
    [
        *("5O1.0", "501 nm", "501nm", "5.01d2", "501.0.1", "501..0", "5 01", "501_0"),
        *("1,000.5", "1,000,5", "1.000,5", "1 000", "0x1F5", "~501", "'501", "–501"),
        *("５０１", "٥٠١", "501\u200b", "NaN", "NA", "inf", "#REF!", "#N/A", "-", "?"),
    ],
)
def test_headers_that_are_nearly_numbers(tmp_path, refusal, head):
    # Pixels with a bad cell, or with only empty cells, are not lost.
    for place, cells in enumerate((["7", "8"], ["x", "1"], ["", "nan"])):
        rows = [["group", "500.0", "500.5", "501.0"], ["a", 1, 2, 3], ["b", 1, 2, 3]]
        for row, cell in zip(rows, [head, *cells], strict=True):
            row[place + 1] = cell
        sentence = refusal(save(tmp_path, text_of(rows)))
        where = f"line 1, column {place + 2}, has the header {head!r}, which is nearly"
        what = f"line 2 holds '{cells[0]}' in it" if cells[0] else "rows are empty"
        assert where in sentence and f"{what}; if it is a pixel, write" in sentence


@pytest.mark.parametrize("head", ["temp_1", "H2O", "site", "nm500.5", "X500.5"])
def test_numbers_between_the_pixels(tmp_path, refusal, head):
    sentence = refusal(save(tmp_path, table("500", head, "501")))
    assert f"column 3, has the header {head!r} next to the pixel 500, and" in sentence
    assert "if not, move it away from the pixels" in sentence
    # A column of text is not a pixel.
    groups = load(save(tmp_path, table("500", head, "501", cells=[1, "x", 2])))
    assert groups.group_metadata[head].tolist() == ["x", "x"]


@pytest.mark.parametrize(
    ("heads", "lost"),
    [
        ("500 500.5 nm501", "nm501"),
        ("500 500.5 X501.0", "X501.0"),
        ("l00.5 101.0 101.5", "l00.5"),
        ("O.5 1.0 1.5", "O.5"),
        ("wl_502 501 500", "wl_502"),
        ("n00.5 501.0 501.5", "n00.5"),
        ("500 501 n02", "n02"),
        ("500 S01", "S01"),
    ],
)
def test_headers_that_continue_the_axis(tmp_path, refusal, heads, lost):
    sentence = refusal(save(tmp_path, table(*heads.split())))
    assert f"has the header '{lost}' next to the pixel" in sentence


def test_names_with_digits_are_metadata(tmp_path, caplog):
    heads = ["temp_1", "sample2", "2nd run", "O18", "H2O"]
    groups = load(save(tmp_path, table(*heads, "500", "501", "CO2")))
    assert groups.axis.tolist() == [500, 501] and groups.x[0, 0].tolist() == [6, 7]
    assert set(groups.group_metadata) == {*heads, "CO2"}
    assert groups.group_metadata["2nd run"].tolist() == [3, 3]
    groups = load(save(tmp_path, table("2MASS", "500", "501", cells=["J0", 1, 2])))
    assert groups.group_metadata["2MASS"].tolist() == ["J0", "J0"]
    assert caplog.records == []


def test_columns_without_a_name(tmp_path, caplog, refusal):
    # A delimiter at the end of all lines.
    groups = load(save(tmp_path, "group,500,501,\na,1,2,\nb,3,4,\n"))
    assert groups.x[:, 0].tolist() == [[1, 2], [3, 4]]
    # The index of pandas, saved once or twice.
    for name in ("", "Unnamed: 0"):
        groups = load(save(tmp_path, f"{name},group,500\n3,a,1\n7,b,2\n"))
        assert groups.x[:, 0].tolist() == [[1], [2]] and not groups.group_metadata
    notes = [record.getMessage().rsplit(": ")[-1] for record in caplog.records]
    assert notes == ["4 (no name).", "1 (no name).", "1 (no name)."]
    for heads in (["500", "", "502"], ["500", "501", ""], ["", "501", "Unnamed: 3"]):
        k = heads.index("")
        words = f"line 1, column {k + 2}, has no name, but line 2 holds '{k + 1}'"
        assert words in refusal(save(tmp_path, table(*heads)))


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_decimal_commas(tmp_path, delimiter):
    rows = [
        ["group", "t", "500,0", "500,5", "501"],
        ["a", "21,5", "1,5", "1,234", "-2e-1"],
        ["b", "21,5", "", "7", "1,25E2"],
    ]
    groups = load(save(tmp_path, text_of(rows, delimiter)))
    assert groups.axis.tolist() == [500, 500.5, 501]
    assert groups.x[:, 0].tolist() == [[1.5, 1.234, -0.2], [0, 7, 125]]
    assert groups.pixel_mask[:, 0, 0].tolist() == [True, False]
    assert groups.group_metadata["t"].tolist() == [21.5, 21.5]


@pytest.mark.parametrize(
    ("columns", "delimiter"), [(1, ";"), (1, "\t"), (2, ";"), (5, "\t")]
)
def test_decimal_commas_in_all_numbers(tmp_path, columns, delimiter):
    heads = [f"{k},5" for k in range(columns)]
    groups = load(save(tmp_path, table(*heads, cells=heads, delimiter=delimiter)))
    assert groups.axis.tolist() == groups.x[1, 0].tolist()
    assert groups.axis.tolist() == [k + 0.5 for k in range(columns)]


def test_decimal_commas_of_a_long_table(tmp_path, refusal):
    text = LONG_HEAD + "a,1,400.5,1.25\na,1,401.0,\nb,1,400.5,2\nb,1,401.0,3\n"
    text = text.replace(",", ";").replace(".", ",")
    groups = load(save(tmp_path, text))
    assert groups.axis.tolist() == [400.5, 401]
    assert groups.x[:, 0].tolist() == [[1.25, 0], [2, 3]]
    sentence = refusal(save(tmp_path, text.replace("1,25", "1.25")))
    assert "line 2, column axis, holds '400,5' with a comma" in sentence
    assert "line 2, column value, holds '1.25' with a decimal point" in sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "group;500;501\na;2;1\nb;3;1,234\n",
            "line 3, column 501, holds '1,234', whose comma may be a decimal comma or",
        ),
        ("group;1,000;1,001\na;2;1\n", "line 1, column 2, holds '1,000', whose comma"),
        (
            "group;500;501\na;1,5;2.5\n",
            "line 2, column 500, holds '1,5' with a comma, but line 2, column 501, "
            "holds '2.5' with a decimal point; write all",
        ),
        ('group,500.5\na,"1,000"\n', "column 500.5, holds '1,000' with a comma"),
        ("group;500\na;1.000,5\n", "line 2, column 500, holds '1.000,5'; expected"),
        ('group,500\na,"1,000,5"\n', "line 2, column 500, holds '1,000,5'; expected"),
    ],
)
def test_commas_of_two_meanings(tmp_path, refusal, text, words):
    assert words in refusal(save(tmp_path, text))


def test_metadata_with_commas_are_text_beside_decimal_points(tmp_path):
    groups = load(save(tmp_path, table("at", "500.5", cells=["1,2", "3.5"])))
    assert groups.group_metadata["at"].tolist() == ["1,2", "1,2"]


@pytest.mark.parametrize(
    "cell",
    [
        *("1_5", "inf", "-Infinity", "0x1F", "٣", "３", "1,000.5", "1 000", "1.5d2"),
        *("1e", "--1", "5,", "NA", "N/A", "#N/A", "null", "-", "x", "1e999"),
    ],
)
def test_cells_that_are_no_numbers(tmp_path, refusal, cell):
    text = table("500", "501", cells=[2, cell], delimiter=";")
    sentence = refusal(save(tmp_path, text))
    assert sentence.startswith(f"line 2, column 501, holds {cell!r}; expected a finite")


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NAN", "-nan"])
def test_cells_that_are_missing(tmp_path, cell):
    groups = load(save(tmp_path, table("500", "501", cells=[2, cell])))
    assert groups.pixel_mask[:, 0].tolist() == [[True, False]] * 2


@pytest.mark.parametrize(
    ("above", "mark"),
    [
        *(("sep=;", ";"), ("SEP=\t", "\t"), ("sep=|", "|"), ('"sep=;"', ";")),
        ("# exported by the spectrometer, 2;3\n\n# twice", ","),
        ('"# exported by, hand"\n,,,\n \n', ","),
        ("\ufeffsep=;\r\n# a comment; with a mark", ";"),
    ],
)
def test_lines_above_the_header(tmp_path, above, mark, refusal):
    text = f"{above}\ngroup,500,501,502\na,1,2,3\n#b,4,5,6\n".replace(",", mark)
    groups = load(save(tmp_path, text))
    assert groups.axis.tolist() == [500, 501, 502]
    # Below the header, a name may start with "#".
    assert groups.ids.tolist() == ["#b", "a"] and groups.x[0, 0, 2] == 6
    # Line numbers refer to the file.
    line = text.splitlines().index(f"#b{mark}4{mark}5{mark}6") + 1
    sentence = refusal(save(tmp_path, text.replace("6", "x")))
    assert f"line {line}, column 502, holds 'x'" in sentence


def test_header_in_a_comment(tmp_path):
    groups = load(save(tmp_path, "# made\n# group,500,501\n# by me\na,1,2\nb,3,4\n"))
    assert groups.axis.tolist() == [500, 501]
    assert groups.x[:, 0].tolist() == [[1, 2], [3, 4]]


def test_rows_of_any_length(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 1, 20_000))
    axis = 4000 + 0.05 * np.arange(20_000)
    rows = [["group", *axis.tolist()], ["a", *x[0, 0]], ["b", *x[1, 0]]]
    text = "".join(";".join(map(str, row)) + "\n" for row in rows)
    groups = load(save(tmp_path, text))
    np.testing.assert_array_equal(groups.x, x)
    np.testing.assert_array_equal(groups.axis, axis)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('a,1,2\n"b",1,2,3\n', "line 3 has 4 cells, but the first line, line 1, has 3"),
        ('a,1,2\n"b",1\n', "line 3 has 2 cells, but the first line, line 1, has 3"),
        ('a,1,"2"3\n', "line 2 cannot be read: ',' expected after '\"'; correct its"),
        ('"a\n\nb",1,2\n\nc,1,x\n', "line 6, column 401, holds 'x'"),
        ('"a\n\nb",1,"2\n3"\n', "line 2, column 401, holds '2\\n3'"),
    ],
)
def test_quotes(tmp_path, refusal, rows, words):
    """pandas itself would read all except the last two as numbers."""
    assert words in refusal(save(tmp_path, HEAD + rows))
    name = load(save(tmp_path, HEAD + '"a ""\n\nb""",1,"2"\n')).ids
    assert name.tolist() == ['a "\n\nb"']


def test_tables_are_read_part_by_part(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(_lines, "_PART", 6)  # two rows
    rows = ["a;1;2", "a;3.5;4", "", "b;5;-nan", "b;\N{MINUS SIGN}7;8", "c;9;1e1"]
    text = "group;400;401\n" + "\n".join(rows)
    groups = load(save(tmp_path, text))
    assert groups.ids.tolist() == ["a", "b", "c"]
    expected = [[1, 2], [3.5, 4], [5, 0], [-7, 8], [9, 10]]
    assert groups.x[groups.present].tolist() == expected
    assert (~groups.good_pixels)[groups.present].sum() == 1
    line_3 = "with a comma, but line 3, column 400, "
    for bad, words in (
        ("x", "column 401, holds 'x'; expected a finite number"),
        ("1;0", "has 4 cells, but the first line, line 1, has 3"),
        ("1,5", f"column 401, holds '1,5' {line_3}"),
        ("1,234", f"column 401, holds '1,234' {line_3}"),
    ):
        sentence = refusal(save(tmp_path, text.replace("1e1", bad)))
        assert sentence.startswith("line 7") and words in sentence
    commas = load(save(tmp_path, text.replace("3.5", "3,5"))).x
    np.testing.assert_array_equal(commas, groups.x)
