import csv
import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras.data import GroupedData, load, save, simulate_exposures
from symae_keras.data.io._cells import is_missing
from symae_keras.errors import InputError


def test_npz_holds_everything(tmp_path, ragged):
    groups = ragged()
    save(groups, tmp_path / "new" / "my.npz")
    found = load(tmp_path / "new" / "my.npz")
    for name in ("x", "mask", "pixel_mask", "ids", "axis"):
        np.testing.assert_array_equal(getattr(found, name), getattr(groups, name))
        assert getattr(found, name).dtype == getattr(groups, name).dtype
    good = groups.good_pixels
    np.testing.assert_array_equal(found.weights[good], groups.weights[good])
    for name in ("group_metadata", "instance_metadata", "axis_label"):
        np.testing.assert_equal(getattr(found, name), getattr(groups, name))
    assert os.listdir(tmp_path / "new") == ["my.npz"]


def test_npz_of_images_and_of_simulations(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 1))
    save(GroupedData(x), tmp_path / "images.npz")
    found = load(tmp_path / "images.npz")
    np.testing.assert_array_equal(found.x, x)
    assert found.mask is None and found.axis is None and found.ids is None
    stars = simulate_exposures(3, 2)
    save(stars, tmp_path / "stars.npz")
    found = load(tmp_path / "stars.npz")
    np.testing.assert_array_equal(found.x, stars.x)
    assert not found.group_metadata and found.axis_label == stars.axis_label


@pytest.mark.parametrize("name", ["file", "allow_pickle", "stream"])
def test_npz_takes_any_name_of_metadata(tmp_path, name):
    values = np.array([["a", "b"], ["c", "d"]])
    groups = GroupedData(np.ones((2, 2, 5)), instance_metadata={name: values})
    save(groups, tmp_path / "my.npz")
    found = load(tmp_path / "my.npz").instance_metadata[name]
    np.testing.assert_array_equal(found, values)


def same_as_table(found, groups):
    """Check that groups were read from a table, sorted by their names."""
    groups = groups[np.argsort(groups.ids)]
    for name in ("ids", "present", "x", "pixel_mask", "axis"):
        # Exactly equal: numbers are written with all digits.
        np.testing.assert_array_equal(getattr(found, name), getattr(groups, name))
    there = groups.present
    for key, values in groups.instance_metadata.items():
        np.testing.assert_array_equal(
            found.instance_metadata[key][there], values[there]
        )


def test_csv_holds_what_is_known_of_groups(tmp_path, caplog):
    """Group metadata are repeated in each row and read as group metadata again."""
    known = {"depth": np.array([0.5, np.nan]), "kind": np.array(["=1", "b"])}
    of_instances = {"night": np.array([[1, 2], [1, 1]])}
    groups = GroupedData(
        np.arange(12.0).reshape(2, 2, 3),
        ids=np.array([3, 5]),
        group_metadata=known,
        instance_metadata=of_instances,
        axis=np.arange(3.0),
    )
    for turn in range(2):
        save(groups, tmp_path / f"{turn}.csv")
        groups = load(tmp_path / f"{turn}.csv")
        np.testing.assert_equal(groups.group_metadata, known)
        assert list(groups.instance_metadata) == ["night", "instance"]
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()
    assert caplog.records == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_csv_holds_a_row_an_instance(tmp_path, dtype, ragged):
    groups = ragged(5, ids=["a", "b,c", 'd"e', "007", "é"], weights=None)
    x = np.where(groups.pixel_mask, groups.x.astype(dtype) / 3, 0)
    groups = dataclasses.replace(groups, x=x, axis=np.array([0.1, 1 / 3, 1e3]))
    save(groups, tmp_path / "my.csv")
    found = load(tmp_path / "my.csv")
    same_as_table(found, groups)
    places = np.broadcast_to(np.arange(4), (5, 4))[found.present]
    names = found.instance_metadata["instance"][found.present]
    np.testing.assert_array_equal(names, places)


def test_csv_is_what_a_table_program_expects(tmp_path):
    """Bad pixels and pixels of weight 0 are empty; absent instances are left out."""
    x = np.array([[[1.5, 2.0, 2.5], [0.0, 0.0, 0.0], [3.0, 4.0, 5.0]]])
    good = np.ones(x.shape, bool)
    good[0, 0, 1] = False
    groups = GroupedData(
        x,
        mask=[[True, False, True]],
        pixel_mask=good,
        weights=np.array([2.0, 1.0, 0.0]),
    )
    save(groups, tmp_path / "my.csv")
    with (tmp_path / "my.csv").open(newline="", encoding="utf-8") as text:
        assert list(csv.reader(text)) == [
            ["group", "instance", "0", "1", "2"],
            ["0", "0", "1.5", "", ""],
            ["0", "2", "3.0", "4.0", ""],
        ]
    found = load(tmp_path / "my.csv")
    np.testing.assert_array_equal(found.x, np.where(found.pixel_mask, x[:, [0, 2]], 0))
    np.testing.assert_array_equal(found.instance_metadata["instance"], [[0, 2]])


@pytest.mark.parametrize("names", [["x", "y"], [10, 7], ["7.5", "8"]])
def test_a_table_that_was_read_can_be_written_again(tmp_path, names):
    """The round trip includes names of instances."""
    x = np.arange(12.0).reshape(2, 2, 3)
    instance = np.array([names, names])
    known = {"instance": instance}
    groups = GroupedData(x, ids=[3, 5], instance_metadata=known, axis=np.arange(3.0))
    for turn in range(2):
        path = tmp_path / f"{turn}.csv"
        save(groups, path)
        groups = load(path)
    np.testing.assert_array_equal(groups.x, x)
    np.testing.assert_array_equal(groups.ids, [3, 5])
    np.testing.assert_array_equal(groups.instance_metadata["instance"], instance)
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()


@given(
    value=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    step=st.floats(1e-3, 1e6),
    suffix=st.sampled_from([".csv", ".npz"]),
)
def test_any_float_comes_back(tmp_path_factory, value, step, suffix):
    x = np.full((1, 1, 2), value, "float32")
    path = tmp_path_factory.mktemp("save") / f"my{suffix}"
    save(GroupedData(x, axis=np.array([-step, step])), path)
    found = load(path)
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.axis, [-step, step])


X, ONES = np.ones((2, 2, 3)), np.ones((2, 2))
TWICE = np.array([["a", "b"], ["c", "c"]])


def noted(*names, values=ONES):
    """Make metadata of instances with given names."""
    return {"instance_metadata": dict.fromkeys(names, values)}


@pytest.mark.parametrize(
    ("more", "name", "sentence"),
    [
        ({}, "my.txt", r"suffix .txt; give one of .npz, .csv"),
        ({}, "my", r"suffix \(none\)"),
        ({"x": np.ones((2, 2, 4, 4))}, "my.csv", r"\(4, 4\).*use the suffix .npz"),
        ({"ids": np.array(["a", "a"])}, "my.csv", "2 groups have the name a"),
        ({"ids": np.array(["a", ""])}, "my.csv", "One of the groups has the name ''"),
        ({"ids": np.array(["a", "NaN"])}, "my.csv", "has the name 'NaN', which is"),
        (
            noted("instance", values=TWICE),
            "my.csv",
            "2 instances of group 1 have the name c,",
        ),
        (noted("axis (nm)", "value"), "my.csv", "Metadata have the name 'value'"),
        (noted(""), "my.csv", "Metadata have the name ''"),
        ({"axis": np.array([1.0, 3, 2])}, "my.csv", "3 is followed by 2"),
        *(
            (noted(key), "my.csv", key)
            for key in ("group", "500.5", "5OO nm", "501,5", "Unnamed: 0")
        ),
        *((noted(key), "my.npz", key) for key in ("Group", "x", "weights")),
        *(
            ({**noted("a"), "group_metadata": {"a": [1, 2]}}, f"my.{end}", "'a'")
            for end in ("csv", "npz")
        ),
        ({"group_metadata": {"instance": [1, 2]}}, "my.csv", "'instance'"),
    ],
)
def test_what_could_not_be_read_again_is_refused(tmp_path, more, name, sentence):
    groups = GroupedData(**{"x": X, **more})
    with pytest.raises(InputError, match=sentence):
        save(groups, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_what_a_table_has_no_place_for_is_said(tmp_path, caplog, ragged):
    known = {"air": np.ones((5, 4)), "pair": np.ones((5, 4, 2))}
    groups = ragged(5, ids=np.arange(5), instance_metadata=known)
    save(groups, tmp_path / "my.npz")
    assert caplog.records == []
    save(groups, tmp_path / "my.csv")
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "my.csv: a table cannot hold group metadata colour, instance metadata pair, "
        "weights; an .npz file can."
    )


ODD = [
    *("007", "1e5", "1_5", "=cmd|' /C calc'!A0", "+49 30", "-", "-x", "@SUM(A1)", "'"),
    *("'=x", "''=x", "'tis", " leading", "trailing ", "\ttab", "a,b", "c;d", 'e"f'),
    *("ü", "＝x", "#1", "sep=;", "line\nbreak", "NA", "None", "1,5", "\u22121x"),
]


@pytest.mark.parametrize("part", range(3))
def test_odd_text_in_a_table_comes_back(tmp_path, caplog, part):
    """Draw names of groups and instances, and metadata with their names."""
    names = np.roll(ODD, part)
    x = np.random.default_rng(0).normal(size=(len(ODD), 2, 3))
    good = np.random.default_rng(1).random(x.shape) < 0.7
    good[..., part] = True
    groups = GroupedData(
        np.where(good, x, 0),
        ids=names,
        pixel_mask=good,
        instance_metadata={
            "instance": np.stack([names, np.roll(names, 1)], axis=1),
            "=note": np.stack([np.roll(names, 2), np.roll(names, 3)], axis=1),
            " a;b\n": np.array([["-1.5", "x"]] * len(ODD)),
            "number": np.linspace(-1, 1, 2 * len(ODD)).reshape(-1, 2),
            "count": np.arange(2 * len(ODD)).reshape(-1, 2) - 7,
        },
        axis=np.array([-1e-5, 0.1, 1e22]),
    )
    save(groups, tmp_path / "my.csv")
    found = load(tmp_path / "my.csv")
    same_as_table(found, groups)
    assert set(found.instance_metadata) == set(groups.instance_metadata)
    # A spreadsheet program would run none of the cells.
    with (tmp_path / "my.csv").open(newline="", encoding="utf-8") as text:
        cells = [cell for row in csv.reader(text) for cell in row]
    assert not [c for c in cells if c.lstrip()[:1] in ("=", "@", "＝", "+")]
    assert "'=note" in cells and "'-x" in cells and "-1.5" in cells and "-7" in cells


@given(
    text=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0")
        ).filter(lambda text: not is_missing(text) and text not in ("0", "1")),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_any_text_comes_back(tmp_path_factory, text):
    values = np.array([text], dtype=object).astype(str)
    note = np.array([[f"{value}x" for value in text]])
    groups = GroupedData(
        np.ones((1, 2, 2)),
        ids=values[0, :1],
        instance_metadata={"instance": values, "note": note},
    )
    path = tmp_path_factory.mktemp("save") / "my.csv"
    save(groups, path)
    found = load(path)
    # "5" is read as 5, and "05" as "05".
    assert [str(name) for name in found.ids] == [text[0]]
    assert found.instance_metadata["instance"].astype(str)[0].tolist() == text
    assert found.instance_metadata["note"].tolist() == note.tolist()


def test_tables_of_many_pixels(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 1, 30_000)).astype("float32")
    axis = 4000 + 0.05 * np.arange(30_000)
    save(GroupedData(x, axis=axis), tmp_path / "long.csv")
    found = load(tmp_path / "long.csv")
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.axis, axis)


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "my.csv"
    path.write_text("old", encoding="utf-8")
    bad = noted("a", values=np.array([["\ud800", ""], ["", ""]]))
    with pytest.raises(UnicodeEncodeError):
        save(GroupedData(X, **bad), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["my.csv"]
    save(GroupedData(X), path)
    assert load(path).x.shape == (2, 2, 3)


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="my.npz cannot be written"):
        save(GroupedData(X), tmp_path / "file" / "my.npz")


def test_table_of_whole_wavelengths_and_another_group_column(tmp_path):
    groups = GroupedData(np.ones((2, 1, 2)), axis=np.array([1100.0, 1104.0]))
    save(groups, tmp_path / "my.csv", group="sample")
    lines = (tmp_path / "my.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "sample,instance,1100,1104"
    assert load(tmp_path / "my.csv", group="sample").ids.tolist() == [0, 1]
    with pytest.raises(InputError, match="'sample', which is reserved"):
        save(
            dataclasses.replace(groups, group_metadata={"sample": np.arange(2)}),
            tmp_path / "twice.csv",
            group="sample",
        )
