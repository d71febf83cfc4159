"""The reader of HDF5 files."""

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


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no key x, the instances; found no keys."),
        ({"x": X[0]}, "flat rows need the key group in a .npz or HDF5 file."),
        ({"x": h5py.Empty("f")}, "the key x contains no array of numbers or text."),
        ({"x": np.full((2, 2, 2), b"a")}, "real numbers; received dtype"),
    ],
)
def test_unusable_content(tmp_path, refusal, arrays, words):
    assert words in refusal(save(tmp_path, **arrays))


def test_a_shape_without_data(tmp_path, refusal):
    path = tmp_path / "my.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**6, 10**6, 10**3), "float32")
    words = "x has the shape (1000000, 1000000, 1000), 4000000000000000 bytes, but"
    assert f"{words} the file contains 0" in refusal(path)


def test_keys_that_are_not_there(tmp_path, refusal):
    path = save(tmp_path, x=X[0], group=np.zeros(4))
    assert "no key star; found group; name the key" in refusal(path, "star")
    path = save(tmp_path, **{"data/x": X})
    assert "no key x, the instances; found data, data/x." in refusal(path)


def virtual(file, source, name="x"):
    layout = h5py.VirtualLayout(X.shape, "f8")
    layout[...] = h5py.VirtualSource(source, "x", X.shape)
    file.create_virtual_dataset(name, layout, fillvalue=0.5)


def growing(file):
    """A virtual dataset that opens its sources when its shape is read."""
    layout = h5py.VirtualLayout((3, 4), "f8", maxshape=(None, 4))
    source = h5py.VirtualSource("other.h5", "rows", (3, 4), maxshape=(None, 4))
    layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("x", layout)


def external(file, name="x"):
    file.create_dataset(name, (2, 3, 4), "u1", external=[("secret", 0, 24)])


def through_a_link(file):
    file["away"] = h5py.ExternalLink("other.h5", "/")
    file["x"] = h5py.SoftLink("/away/x")


def in_a_circle(file):
    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("x")


def references(kind):
    def make(file):
        file["data"] = X
        ref = file["data"].ref if kind is h5py.ref_dtype else file["data"].regionref[:1]
        file.create_dataset("x", data=np.array([ref] * 3, kind))

    return make


def holding(item):
    return lambda file: file.__setitem__("x", item)


NO_ARRAY = "contains no array of numbers or text"
ELSEWHERE = "which is not read; copy the values into a dataset of this file"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external, f"stores its values in another file, {ELSEWHERE}"),
        (
            lambda f: virtual(f, "other.h5"),
            "is a virtual dataset, which may read other",
        ),
        (lambda f: virtual(f, "nowhere.h5"), "is a virtual dataset"),
        (growing, "is a virtual dataset"),
        (
            holding(h5py.ExternalLink("other.h5", "x")),
            f"is a link to another file, {ELSEWHERE}",
        ),
        (through_a_link, "is a link to another file"),
        (in_a_circle, "is a soft link that leads to itself"),
        (holding(h5py.SoftLink("/no/x")), "is a soft link to nothing"),
        (references(h5py.ref_dtype), NO_ARRAY),
        (references(h5py.regionref_dtype), NO_ARRAY),
        (lambda f: f.create_group("x/y"), "is a group; move its datasets to the root"),
        (lambda f: f.create_dataset("x", (3,), h5py.vlen_dtype("f8")), NO_ARRAY),
        (holding(np.zeros((2, 3, 4), [("a", "f4")])), NO_ARRAY),
    ],
)
def test_no_other_file_is_read(tmp_path, refusal, monkeypatch, make, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"PRIVATE-KEY-" * 2)
    save(tmp_path, "other.h5", x=X, rows=X[0])
    with h5py.File(tmp_path / "my.h5", "w") as file:
        make(file)
    assert refusal(tmp_path / "my.h5").startswith(f"the key x {words}")


def test_what_is_elsewhere_is_not_used(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "other.h5", x=X)
    path = save(tmp_path, x=X, **{"deep/er/y": X})
    with h5py.File(path, "a") as file:
        virtual(file, "other.h5", "v")
        external(file, "raw")
        file["away"] = h5py.ExternalLink("other.h5", "x")
        file["lost"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(load(path).x, X)
    words = "keys that are not used: away, deep, deep/er, deep/er/y, lost, raw, v."
    assert words in caplog.text


def test_links_inside_the_file(tmp_path):
    path = save(tmp_path, **{"data/x": X, "data/names": ["a", "b", "c"]})
    with h5py.File(path, "a") as file:
        file["x"], file["ids"] = h5py.SoftLink("/data/x"), h5py.SoftLink("same/names")
        file["same"] = h5py.SoftLink("./data")
    groups = load(path)
    np.testing.assert_array_equal(groups.x, X)
    assert groups.ids.tolist() == ["a", "b", "c"]


def test_a_filter_that_is_missing(tmp_path, refusal, monkeypatch):
    path = tmp_path / "my.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=X, compression="lzf")
    np.testing.assert_array_equal(load(path).x, X)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda _: False)
    words = "the key x is compressed with the filter lzf, number 32000, which this h5py"
    assert words in refusal(path)


@pytest.mark.parametrize("length", [None, 3, 9])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_ids_of_any_kind_of_text(tmp_path, length, encoding):
    names = ["a", "bé", "c"] if encoding == "utf-8" else ["a", "b", "c"]
    stored = [name.encode() for name in names]
    dtype = h5py.string_dtype(encoding, length)
    path = save(tmp_path, x=X, ids=np.array(stored, dtype))
    assert load(path).ids.tolist() == names


@pytest.mark.parametrize("dtype", ["S1", h5py.string_dtype()])
def test_text_that_is_not_utf8(tmp_path, refusal, dtype):
    path = save(tmp_path, x=X, ids=np.array([b"a", b"\xff", b"c"], dtype))
    assert "ids contains text that is not UTF-8" in refusal(path)
