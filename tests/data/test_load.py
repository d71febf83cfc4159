import io
import logging
import re
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symae_keras.data import GroupedData, check, load
from symae_keras.data.io import _assemble as assemble
from symae_keras.errors import InputError

X = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")


def save(folder, name="my.npz", **arrays):
    path = folder / name
    np.savez(path, **arrays)
    return path


def refusal(path):
    """Return the error message of `load` for a file."""
    with pytest.raises(InputError) as error:
        load(path)
    sentence = str(error.value)
    assert str(path) in sentence and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("dtype", [bool, int])
def test_grouped_npz(tmp_path, caplog, dtype):
    mask = np.arange(4) < np.array([[4], [2], [1]])
    arrays = {"ids": ["b", "a", "c"], "pixel_mask": X > -1, "axis": [5, 4, 3, 2, 1]}
    of_groups = {"depth": np.arange(3)}
    of_instances = {"airmass": np.ones((3, 4)), "site": np.full((3, 4), "north")}
    path = save(
        tmp_path,
        **{"x": X, "mask": mask.astype(dtype), "weights": np.arange(5.0)},
        **{"axis_label": "wavelength (nm)", **arrays, **of_groups, **of_instances},
    )
    groups = load(str(path))
    assert groups.mask.dtype == bool
    for name, expected in {"x": X, "mask": mask, **arrays}.items():
        np.testing.assert_array_equal(getattr(groups, name), expected)
    weights = np.broadcast_to(groups.weights, X.shape)
    np.testing.assert_array_equal(weights, np.broadcast_to(np.arange(5), X.shape))
    assert groups.axis_label == "wavelength (nm)"
    np.testing.assert_equal(groups.group_metadata, of_groups)
    np.testing.assert_equal(groups.instance_metadata, of_instances)
    assert caplog.records == []


def test_plain_grouped_npz(tmp_path):
    groups = load(save(tmp_path, x=X))
    assert groups.mask is None and groups.axis is None and groups.ids is None
    assert groups.axis_label == GroupedData(X).axis_label


def test_npy_is_mapped(tmp_path):
    path = tmp_path / "My.NPY"
    with path.open("wb") as file:
        np.save(file, X)
    x = load(path).x
    np.testing.assert_array_equal(x, X)
    while x.base is not None and not isinstance(x, np.memmap):
        x = x.base
    assert isinstance(x, np.memmap) and not x.flags.writeable


def test_flat_npz(tmp_path, caplog):
    star, good, air = np.array(["b", "a", "b", "b"]), X[0] > 0, np.arange(4.0)
    path = save(
        tmp_path,
        **{"x": X[0], "Star": star, "pixel_mask": good, "weights": np.arange(5.0)},
        **{"airmass": air, "site": np.array([b"n", b"s", b"n", b"e"])},
        **{"group": [9, 8, 9, 9], "axis": np.arange(5)},
    )
    groups = load(path, group="star")
    rows = [[1, 0, 0], [0, 2, 3]]
    present = groups.present
    assert groups.ids.tolist() == ["a", "b"]
    # Equal in all rows of each group.
    assert groups.group_metadata["group"].tolist() == [8, 9]
    np.testing.assert_array_equal(groups.mask, [[True, False, False], [True] * 3])
    np.testing.assert_array_equal(groups.axis, np.arange(5))
    for found, flat in (
        (groups.x, X[0]),
        (groups.pixel_mask, good),
        (groups.weights, np.broadcast_to(np.arange(5.0), (4, 5))),
        (groups.instance_metadata["airmass"], air),
        (groups.instance_metadata["site"], np.array(["n", "s", "n", "e"])),
    ):
        np.testing.assert_array_equal(found[present], flat[rows][present])
        assert not found[0, 1:].astype(bool).any()
    assert caplog.records == []
    with pytest.raises(InputError, match=r"no key planet; found Star, airmass"):
        load(path, group="planet")


HOLES = np.where(X > 1, np.nan, X)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".npy"])
def test_nan_is_masked_in_all_formats(tmp_path, caplog, suffix):
    path = tmp_path / f"my{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = HOLES
    else:
        np.save(path, HOLES) if suffix == ".npy" else np.savez(path, x=HOLES)
    groups = load(path)
    good = np.isfinite(HOLES)
    np.testing.assert_array_equal(groups.pixel_mask, good)
    np.testing.assert_array_equal(groups.x[good], X[good])
    np.testing.assert_array_equal(check(groups).x, np.where(good, X, 0))
    assert f"{(~good).sum()} missing values are masked" in caplog.text


def test_nan_of_flat_rows(tmp_path):
    weights = np.arange(1.0, 6.0)
    groups = load(save(tmp_path, x=HOLES[0], group=[2, 1, 2, 2], weights=weights))
    good = np.isfinite(HOLES[0])[[0, 2, 3]]
    np.testing.assert_array_equal(groups.pixel_mask[1], good)
    np.testing.assert_array_equal(groups.x[1], np.where(good, X[0, [0, 2, 3]], 0))
    np.testing.assert_array_equal(groups.weights[1], np.where(good, weights, 0))


def test_nan_leaves_an_npy_file_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(assemble, "_PART", 7)
    for x in (HOLES, np.asfortranarray(HOLES), X):
        np.save(tmp_path / "my.npy", x)
        groups = load(tmp_path / "my.npy")
        assert isinstance(groups.x, np.memmap)
        np.testing.assert_array_equal(groups.x, x)
        good = np.broadcast_to(groups.good_pixels, x.shape)
        np.testing.assert_array_equal(good, np.isfinite(x))
    assert groups.pixel_mask is None


def test_nan_that_is_masked_already(tmp_path, caplog):
    good = np.isfinite(HOLES)
    groups = load(save(tmp_path, x=HOLES, pixel_mask=good))
    np.testing.assert_array_equal(groups.pixel_mask, good)
    np.testing.assert_array_equal(groups.x, np.where(good, X, 0))
    x = X.copy()
    x[1, 2:] = np.nan
    groups = load(save(tmp_path, x=x, mask=[[1] * 4, [1, 1, 0, 0], [1] * 4]))
    assert groups.pixel_mask is None and caplog.records == []


@pytest.mark.parametrize("name", ["pixel_mask", "weights"])
def test_nan_in_masks_and_weights(tmp_path, caplog, name):
    values = np.ones(X.shape)
    values[0, 1, 2] = np.nan
    groups = load(save(tmp_path, x=X, **{name: values}))
    np.testing.assert_array_equal(groups.good_pixels, np.isfinite(values))
    np.testing.assert_array_equal(groups.x, X)
    assert "1 missing value is masked" in caplog.text


def test_infinity_is_no_missing_value(tmp_path):
    x = X.copy()
    x[0, 1, 2] = np.inf
    groups = load(save(tmp_path, x=x))
    assert groups.pixel_mask is None
    with pytest.raises(InputError, match="infinite.* instance 1, pixel 2"):
        check(groups)


def test_names_in_an_archive(tmp_path, caplog):
    path = save(tmp_path, x=X)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "nothing")
    load(path)
    assert "keys that are not used: notes.txt." in caplog.text
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x", "nothing")
    assert "it contains two arrays x; keep one" in refusal(path)


def test_flipped_bits_in_an_archive(tmp_path):
    path = save(tmp_path, x=X)
    content = path.read_bytes().replace(X[1].tobytes(), (-X[1]).tobytes())
    path.write_bytes(content)
    assert "cannot be read: Bad CRC-32 for file 'x.npy'" in refusal(path)


def test_groups_of_an_npy_file_have_no_name(tmp_path):
    np.save(tmp_path / "my.npy", X)
    with pytest.raises(
        InputError, match="no names, so there is no star; save x and star"
    ):
        load(tmp_path / "my.npy", group="star")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_integers_are_converted_and_said_so(tmp_path, caplog, dtype):
    path = save(tmp_path, x=np.ones((2, 2, 2), dtype))
    assert load(path).x.dtype == np.float32
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("symae_keras", logging.WARNING)
    assert f"x holds {dtype}; converted to float32" in record.getMessage()


def test_unused_keys_are_said_so(tmp_path, caplog):
    load(save(tmp_path, x=X, masks=np.ones((4, 3)), extra=np.array([None])))
    (record,) = caplog.records
    assert record.getMessage().endswith("keys that are not used: masks, extra.")


ONES = np.ones((3, 4))
FLAT = {"x": X[0], "group": np.zeros(4)}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"y": X, "z": X}, "no key x, the instances; found y, z."),
        ({}, "found no keys."),
        ({"x": X[0]}, "received shape (4, 5); flat rows need the key group"),
        ({"x": X[0, 0], "group": np.zeros(5)}, "at least two; received shape (5,)"),
        ({"x": X[0], "group": np.zeros(3)}, "shape (4,); received shape (3,)"),
        ({**FLAT, "mask": ONES}, "keep one"),
        ({**FLAT, "ids": ONES}, "keep one"),
        (
            {**FLAT, "weights": ONES[0]},
            "weights must have the shape of x, here (4, 5), or .* received (4,)",
        ),
        ({"x": X, "ids": ["a", "b"]}, "each of the 3 groups; received 2"),
        ({"x": X[:0]}, "x is empty, shape (0, 4, 5)"),
        ({"x": X[:, :, :0]}, "x is empty, shape (3, 4, 0)"),
        ({"x": X.astype(complex)}, "real numbers; received dtype complex128"),
        ({"x": np.full((2, 2, 2), "1.0")}, "real numbers; received dtype <U3"),
        ({"x": X.astype(object)}, "pickled Python objects"),
        ({"x": X, "mask": ONES.T}, "(3, 4); received (4, 3)"),
        ({"x": X, "mask": ONES * 2}, "other values of dtype float64"),
        ({"x": X, "mask": [[1] * 4, [0] * 4, [0] * 4]}, "2 of 3 groups.* group 1;"),
        (
            {"x": X, "mask": [[1] * 4, [0] * 4, [1] * 4], "ids": [7, 17, 27]},
            "1 of 3 groups have no present instance, the first is the group 17;",
        ),
        (
            {"x": X, "ids": np.array(["a", "b", None])},
            "the key ids contains pickled Python objects.*dtype=str",
        ),
        (
            {"x": np.zeros((2, 2), [("a", "f4")])},
            "the key x contains records with named fields; save each field under a",
        ),
        ({"x": X.astype("M8[s]")}, "real numbers; received dtype datetime64[s]"),
        ({"x": X, "axis": np.arange(4)}, "here (5,); received (4,)"),
        ({"x": X, "axis": np.full(5, np.inf)}, "axis must contain finite real numbers"),
        ({"x": X, "axis": np.full(5, "a")}, "received dtype <U1"),
        ({"x": X, "axis": [1, 2, 4, 3, 5]}, "increase or .* 4 is followed by 3; sort"),
        ({"x": X, "axis": [5, 4, 3, 3, 1]}, "3 is followed by 3"),
        ({"x": X, "axis": np.array([1, 2, 3, 2, 1], "uint8")}, "3 is followed by 2"),
        ({"x": X, "axis_label": [1, 2]}, "axis_label must be one text"),
    ],
)
def test_unusable_content(tmp_path, arrays, sentence):
    pattern = ".*".join(re.escape(part) for part in sentence.split(".*"))
    assert re.search(pattern, refusal(save(tmp_path, **arrays)))


def test_unusable_paths(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.npz")
    assert "the folder is empty" in refusal(tmp_path)
    for name, suffix in (("my.xls", ".xls"), ("my", "(none)")):
        (tmp_path / name).write_text("1,2", encoding="utf-8")
        sentence = refusal(tmp_path / name)
        assert f"the suffix {suffix} is not supported; supported are .npz, " in sentence
        assert ".csv, " in sentence and "folders of spectra" in sentence
    (tmp_path / "a").mkdir()
    assert "files, such as my, and folders, such as a" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize("content", [b"", b"P", b"PK\x03\x04", b"\x93NUMPY", b"junk"])
def test_no_numpy_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert "cannot be read: " in refusal(path)


def test_pickles_are_never_run(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}]))
    assert "pickled Python objects, which are refused" in refusal(path)


def files():
    """Make a stored archive, a compressed one and a plain array, as bytes."""
    for write in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        write(buffer, x=X, mask=np.ones((3, 4), bool))
        yield ".npz", buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, X)
    yield ".npy", buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "content"), list(files()), ids=["npz", "zipped", "npy"]
)
@settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_is_one_sentence_or_harmless(tmp_path, suffix, content, data):
    damaged = bytearray(content)
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 3))):
        # Damage the headers, which affects the parsers most.
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
        if place < len(damaged):
            damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(damaged)
    try:
        groups = load(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert groups.x.ndim >= 3 and groups.x.size > 0
