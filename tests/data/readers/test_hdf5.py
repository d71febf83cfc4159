"""HDF5 files."""

import h5py
import numpy as np
import pytest

from symae_keras.data import load

X = np.random.default_rng(0).normal(size=(3, 4, 5))


def save(folder, name="my.h5", **arrays):
    path = folder / name
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
    return path


@pytest.mark.parametrize("name", ["my.h5", "my.hdf5", "my.HDF"])
def test_grouped(tmp_path, caplog, name):
    mask = np.arange(4) < np.array([[4], [2], [1]])
    path = save(
        tmp_path,
        name,
        **{"x": X.astype(">f4"), "mask": mask, "ids": ["b", "a", "c"]},
        **{"pixel_mask": X > 0, "weights": np.abs(X), "axis": np.arange(5.0)},
        **{"depth": [1, 2, 3], "site": np.full((3, 4), b"north")},
    )
    with h5py.File(path, "a") as file:
        file["axis"].attrs["units"] = "nm"
    groups = load(path)
    assert groups.x.dtype == np.dtype("float32") and groups.x.dtype.isnative
    np.testing.assert_array_equal(groups.x, X.astype("float32"))
    np.testing.assert_array_equal(groups.mask, mask)
    np.testing.assert_array_equal(groups.pixel_mask, X > 0)
    np.testing.assert_allclose(groups.weights, np.abs(X), rtol=1e-6)
    assert groups.ids.tolist() == ["b", "a", "c"]
    assert groups.axis_label == "axis (nm)"
    assert groups.group_metadata["depth"].tolist() == [1, 2, 3]
    assert groups.instance_metadata["site"].tolist() == [["north"] * 4] * 3
    assert caplog.records == []


def test_flat_and_unused(tmp_path, caplog):
    path = save(
        tmp_path, x=X[0], star=["b", "a", "b", "b"], axis=np.arange(5), other=1.0
    )
    with h5py.File(path, "a") as file:
        file.create_group("more")
        file.attrs["axis_label"] = "frequency (Hz)"
    groups = load(path, group="star")
    assert groups.ids.tolist() == ["a", "b"]
    np.testing.assert_array_equal(groups.x[1], X[0, [0, 2, 3]])
    assert groups.axis_label == "frequency (Hz)"
    (record,) = caplog.records
    assert record.getMessage().endswith("keys that are not used: more, other.")


def test_axis_label_as_dataset(tmp_path):
    path = save(tmp_path, x=X, axis=np.arange(5), axis_label="time (s)")
    assert load(path).axis_label == "time (s)"
    assert load(save(tmp_path, x=X, axis=np.arange(5))).axis_label == "pixel"


def test_nan_stays_for_check(tmp_path):
    x = np.where(X > 1, np.nan, X)
    groups = load(save(tmp_path, x=x))
    np.testing.assert_array_equal(groups.x, x)
    assert groups.pixel_mask is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no key x, the instances; found no keys."),
        ({"y": X, "z": X}, "no key x, the instances; found y, z."),
        ({"x": X[0]}, "flat rows need the key group in a .npz or HDF5 file."),
        ({"x": h5py.Empty("f")}, "the key x holds no array of numbers or text."),
        ({"x": X[:0]}, "x is empty, shape (0, 4, 5)."),
        ({"x": X, "axis": [1, 2, 3, 5, 4]}, "5 is followed by 4"),
        ({"x": X, "axis": [1, 2, 3]}, "here (5,); received (3,)"),
        ({"x": np.full((2, 2, 2), b"a")}, "real numbers; received dtype"),
        ({"x": X[0], "group": [1, 2]}, "(4,); received shape (2,)"),
        ({"x": X, "mask": np.ones((4, 3))}, "(3, 4); received (4, 3)"),
    ],
)
def test_unusable_content(tmp_path, refusal, arrays, words):
    assert words in refusal(save(tmp_path, **arrays))


def test_a_shape_without_data(tmp_path, refusal):
    path = tmp_path / "my.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**6, 10**6, 10**3), "float32")
    words = "cannot be read: /x has the shape (1000000, 1000000, 1000), but 0 bytes."
    assert words in refusal(path)


def test_no_key_of_that_name(tmp_path, refusal):
    path = save(tmp_path, x=X[0], group=np.zeros(4))
    assert "no key star; found group; name the key" in refusal(path, "star")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9])
def test_truncated(tmp_path, refusal, keep):
    path = save(tmp_path, x=X)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    assert "cannot be read: " in refusal(path)
