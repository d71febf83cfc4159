"""Tables of text, wide and long."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symae_keras.data import check, load
from symae_keras.errors import InputError

WIDE = """\
snr,group,400,instance,401.5,402,site
10,sun,1,a,2,3,north
20,moon,4,a,,6,south
30,sun,7,b,8,nan,north
"""
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


@pytest.mark.parametrize("name", ["my.csv", "MY.TXT", "my.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_wide(tmp_path, caplog, name, delimiter):
    groups = load(save(tmp_path, WIDE.replace(",", delimiter), name))
    is_the_table(groups)
    assert groups.axis_label == "axis"
    known = groups.instance_metadata
    np.testing.assert_array_equal(known["snr"], [[20, 0], [10, 30]])
    assert known["site"].tolist() == [["south", ""], ["north", "north"]]
    assert set(known) == {"snr", "site", "instance"}
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


def test_text_as_spreadsheets_write_it(tmp_path, caplog):
    text = WIDE.replace("\n", "\r\n").replace("sun", '"sun"') + "\r\n"
    is_the_table(load(save(tmp_path, text, encoding="utf-8-sig")))


def test_no_missing_pixels_need_no_mask(tmp_path, caplog):
    groups = load(save(tmp_path, "group,3,2\n10,1e-17,2\n9,3,4\n"))
    assert groups.pixel_mask is None and groups.mask is None
    # Numbers sort as numbers, and a falling axis is an axis.
    assert groups.ids.tolist() == [9, 10] and groups.axis.tolist() == [3, 2]
    assert groups.x[1, 0, 0] == 1e-17 and caplog.records == []


def test_columns_become_numbers_where_all_cells_are(tmp_path, caplog):
    text = "group,1,a,b,c,d,\n007,1,1,2.5,x,,0\n7,2,2,,3,,1\n"
    groups = load(save(tmp_path, text))
    assert groups.ids.tolist() == ["007", "7"]
    known = groups.instance_metadata
    assert known["a"].dtype == np.int64 and known["b"].dtype == np.float64
    np.testing.assert_array_equal(known["b"], [[2.5], [np.nan]])
    assert known["c"].tolist() == [["x"], ["3"]] and known["d"].tolist() == [[""], [""]]
    (record,) = caplog.records
    assert record.getMessage().endswith("columns that are not used: (no name).")


def test_group_column_by_name(tmp_path, refusal):
    path = save(tmp_path, "Star,group,1,2\n5,a,1,2\n5,b,3,4\n6,b,5,6\n")
    assert load(path).ids.tolist() == ["a", "b"]
    groups = load(path, group="star")
    assert groups.ids.tolist() == [5, 6]
    assert groups.instance_metadata["group"].tolist() == [["a", "b"], ["b", ""]]
    assert "no column planet; found Star, group, 1, 2; name" in refusal(path, "planet")


HEAD = "group,400,401\n"
LONG_HEAD = "group,instance,axis,value\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["the file is empty; expected a header"]),
        ("\n\n", ["the file is empty"]),
        (HEAD, ["a header but no rows"]),
        (LONG_HEAD, ["a header but no rows"]),
        ("star,400\na,1\n", ["no column group; found star, 400; name", "group="]),
        ("group,a,b\nx,1,2\n", ["no column is a pixel", "found group, a, b."]),
        ("group,400,401,400\n", ["2 columns are called 400"]),
        ("group,400,401,400.0\n", ["401 is followed by 400.0; sort the columns"]),
        ("group,400,403,402\na,1,2,3\n", ["increase", "403 is followed by 402"]),
        ("group,400,400.0\na,1,2\n", ["400 is followed by 400.0"]),
        ("group;400;400,5\na;1;2\n", ["the header 400,5 has a decimal comma"]),
        (HEAD + "a,1,2\nb,1\n", ["line 3 has 2 cells", "header has 3"]),
        (HEAD + "a,1,2,3\n", ["line 2 has 4 cells", "header has 3"]),
        (HEAD + "a,1,2\n\nb,1,x1\n", ["line 4, column 401, holds 'x1'; expected"]),
        (HEAD + "a,1,inf\n", ["line 2, column 401, holds 'inf'"]),
        (HEAD + "a,,1e999\n", ["line 2, column 401, holds '1e999'"]),
        (HEAD + ",1,2\n", ["line 2, column group, is empty"]),
        (HEAD + 'a,1,"2\n', ["line 2 cannot be read", "correct its quotes"]),
        (
            "group,instance,1\na,1,0\nb,1,0\na,1,0\n",
            ["line 4 gives group a, instance 1 again, after line 2"],
        ),
        ("group,instance,1\na,,0\n", ["line 2, column instance, is empty"]),
        (LONG_HEAD + "a,1,400,x\n", ["line 2, column value, holds 'x'"]),
        (LONG_HEAD + "a,1,x,1\n", ["line 2, column axis, holds 'x'"]),
        (LONG_HEAD + "a,1,,1\n", ["line 2, column axis, is empty"]),
        (LONG_HEAD + "a,1,nan,1\n", ["line 2 has no axis"]),
        (LONG_HEAD + "a,1,400,1\na,1\n", ["line 3 has 2 cells"]),
        (
            LONG_HEAD + "b,1,4,1\na,1,4,1\na,1,5,1\nb,1,4.0,1\n",
            ["line 5 gives axis 4.0 of group b, instance 1 again"],
        ),
        (
            LONG_HEAD + "b,1,4,1\na,1,4,\na,1,5,1\n",
            ["mixed lengths: group b, instance 1 has 1 values", "2 different values"],
        ),
    ],
)
def test_unusable_tables(tmp_path, refusal, text, words):
    sentence = refusal(save(tmp_path, text))
    for word in words:
        assert word in sentence


def test_long_lists_and_cells_are_cut(tmp_path, refusal):
    text = "a," + ",".join(map(str, range(1000))) + "\n"
    sentence = refusal(save(tmp_path, text))
    assert "found a, 0, 1, 2, 3, 4, 5, 6 and 993 more;" in sentence
    sentence = refusal(save(tmp_path, HEAD + "a,1," + "x" * 1000))
    assert len(sentence) < 300 and "xxx...'" in sentence


def test_text_that_is_no_utf8(tmp_path, refusal):
    path = save(tmp_path, "group,1,é\na,1,2\n", encoding="latin-1")
    assert "cannot be read: byte 8 is no UTF-8 text; save" in refusal(path)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), text=st.sampled_from([WIDE, LONG]))
def test_any_damage_is_one_sentence_or_harmless(tmp_path, text, data):
    damaged = bytearray(text.encode())
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged) - 1))]
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            place = data.draw(st.integers(0, len(damaged) - 1))
            damaged[place] = data.draw(st.sampled_from(b'\0",;\n\r\t1.e-\xff'))
    path = tmp_path / "damaged.csv"
    path.write_bytes(damaged)
    try:
        groups = load(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(groups.x).all() and groups.x.size > 0
