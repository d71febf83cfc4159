"""Conversion of masked arrays, tables, tensors and text to plain arrays."""

import re

import numpy as np
import pytest

from symae_keras.data import GroupedData, bag_by_label, batches, check, group_by
from symae_keras.errors import InputError

X = np.random.default_rng(0).normal(1, 0.1, size=(6, 4, 16)).astype("float32")
BAD = np.zeros(X.shape, bool)
BAD[0, 0, 3] = BAD[4, 2] = True
IDS = np.repeat(np.arange(6), 4)


class NAType:
    """Like `pandas.NA`, which is not equal to itself and has no truth value."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


NA = NAType()


class Table:
    """Common interface of DataFrame, Series and similar classes."""

    def __init__(self, *values, dtype=None):
        self.values = np.array(*values, dtype=dtype)

    def to_numpy(self):
        return self.values

    def __len__(self):
        return len(self.values)


def masked(fill=1e6):
    return np.ma.array(np.where(BAD, np.float32(fill), X), mask=BAD)


# === x ===


@pytest.mark.parametrize("fill", [1e6, np.nan, np.inf])
def test_a_masked_x_masks_pixels(fill):
    groups = GroupedData(masked(fill))
    assert type(groups.x) is np.ndarray and groups.x.dtype == np.float32
    np.testing.assert_array_equal(groups.pixel_mask, ~BAD)
    np.testing.assert_array_equal(groups.x, np.where(BAD, 0, X))
    assert check(groups).present.sum() == 23  # one instance has no good pixel
    for part in (groups[3:], groups.take_instances([2, 0])):
        np.testing.assert_array_equal(part.x == 0, ~part.pixel_mask)


def test_it_is_combined_with_a_given_mask():
    gaps = np.arange(16) > 2
    groups = GroupedData(masked(), pixel_mask=gaps)
    np.testing.assert_array_equal(groups.pixel_mask, gaps & ~BAD)


def test_group_by_keeps_the_mask_of_rows():
    order = np.random.default_rng(1).permutation(24)
    groups = group_by(masked().reshape(24, 16)[order], IDS[order])
    assert (~groups.pixel_mask).sum() == BAD.sum()
    np.testing.assert_array_equal(groups.x == 0, ~groups.pixel_mask)
    ((inputs, _),) = batches(groups, batch_size=6, instances=None, shuffle=False)
    np.testing.assert_array_equal(inputs["mask"], groups.pixel_mask)


def test_bags_keep_the_mask_of_images():
    images = np.ma.array(np.ones((6, 2, 2), "uint8"), mask=np.zeros((6, 2, 2), bool))
    images[4, 1, 0] = np.ma.masked
    bags = bag_by_label(images, [0, 0, 0, 1, 1, 1], bag_size=3)
    assert bags.x.shape == bags.pixel_mask.shape == (2, 3, 2, 2, 1)
    assert (~bags.pixel_mask).sum() == 1 and (bags.x == 0).sum() == 1


@pytest.mark.parametrize(
    "x",
    [
        list(masked()),
        [list(each) for each in masked()],
        Table(np.where(BAD, np.nan, X)),
        Table(np.where(BAD, NA, X.astype(object)), dtype=object),
        np.where(BAD, None, X.astype(object)),
        np.where(BAD, None, X.astype(object)).tolist(),
        [Table(each) for each in np.where(BAD, np.nan, X)],
        np.ma.array(X.astype(object), mask=BAD),
    ],
    ids=["list", "nested", "NaN", "NA", "None", "lists", "tables", "objects"],
)
def test_what_is_missing_in_other_containers_is_masked(x):
    groups = GroupedData(x)
    np.testing.assert_array_equal(groups.pixel_mask, ~BAD)
    np.testing.assert_allclose(groups.x, np.where(BAD, 0, X), rtol=1e-6)


def test_nothing_masked_needs_no_mask():
    groups = GroupedData(np.ma.array(X))
    assert groups.pixel_mask is None and groups.masks == 0
    assert GroupedData(np.ma.array(X, mask=np.zeros(X.shape))).pixel_mask is None


def test_nan_in_a_plain_array_is_refused_not_masked():
    with pytest.raises(InputError, match=r"1 value is NaN .* group 0, instance 0"):
        check(GroupedData(np.where(np.arange(X.size).reshape(X.shape) == 3, np.nan, X)))


def test_tensors():
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    tf = pytest.importorskip("tensorflow")
    for x in (
        torch.tensor(X, requires_grad=True),
        list(torch.tensor(X)),
        jax.numpy.asarray(X),
        tf.constant(X),
    ):
        np.testing.assert_array_equal(GroupedData(x).x, X)
    for half in (torch.tensor(X).bfloat16(), jax.numpy.asarray(X, "bfloat16")):
        np.testing.assert_allclose(GroupedData(half).x, X, rtol=1e-2)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame(np.where(BAD, np.nan, X).reshape(24, 16)).astype("Float64")
    ids = pandas.Series([f"star {k}" for k in IDS], dtype="string")
    groups = group_by(x, ids)
    np.testing.assert_array_equal(groups.pixel_mask, ~BAD)
    assert groups.ids.tolist() == [f"star {k}" for k in range(6)]
    assert group_by(x, ids.astype("category")).ids.tolist() == groups.ids.tolist()
    with pytest.raises(InputError, match=r"ids\[3\] is NaN or missing"):
        group_by(x, ids.where(ids.index != 3))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.full((2, 3, 4), "a"), "real numbers; received dtype <U1, such as 'a' (str"),
        (np.full((2, 3, 4), 1j), "real numbers; received dtype complex128."),
        ([[[1, 2], [3]]], "x cannot be converted to an array"),
        ([[[1.0, {}]]], "such as 1.0 (float) and {} (dict)"),
        (np.full((2, 3, 4), 2**60), "subtract a common offset first"),
    ],
)
def test_x_that_is_refused(x, words):
    with pytest.raises(InputError, match=re.escape(words)):
        GroupedData(x)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        *((1, dtype, "float32") for dtype in ("uint8", "int64", "bool")),
        (2**24, "int64", "float32"),
        (2**24 + 1, "int64", "float64"),
    ],
)
def test_integers_are_exact(value, dtype, expected):
    x = GroupedData(np.full((2, 3, 4), value, dtype)).x
    assert x.dtype == expected and (x == value).all()


# === Masks and weights ===


def test_masked_masks_and_weights():
    groups = GroupedData(
        X,
        mask=np.ma.array(np.ones((6, 4)), mask=BAD.all(axis=2)),
        pixel_mask=np.ma.array(np.ones(X.shape, bool), mask=BAD),
        weights=np.ma.array(np.ones(X.shape), mask=BAD),
    )
    np.testing.assert_array_equal(groups.mask, ~BAD.all(axis=2))
    np.testing.assert_array_equal(groups.pixel_mask, ~BAD)
    np.testing.assert_array_equal(groups.weights, ~BAD)


# === Ids and metadata ===


@pytest.mark.parametrize(
    "ids",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"], object),
        np.array([b"b", b"a", b"b"]),
        np.array([b"b", b"a", b"b"], object),
        np.array(["b", "a", "b"], np.dtypes.StringDType()),
        np.ma.array(["b", "a", "b"], mask=False),
        Table(["b", "a", "b"], dtype=object),
    ],
    ids=["list", "object", "bytes", "bytes objects", "StringDType", "masked", "table"],
)
def test_text_ids_of_any_kind(ids):
    groups = group_by(X[0, :3], ids)
    assert groups.ids.dtype.kind == "U" and groups.ids.tolist() == ["a", "b"]
    np.testing.assert_array_equal(groups.x[1], X[0, [0, 2]])
    assert GroupedData(X[:3], ids=ids).ids.tolist() == ["b", "a", "b"]


def test_numbers_as_objects_are_numbers():
    groups = group_by(X[0, :3], np.array([10, 9, 10], object))
    assert groups.ids.dtype == np.int64 and groups.ids.tolist() == [9, 10]


@pytest.mark.parametrize(
    "ids",
    [
        np.ma.array([1, 2, 3], mask=[0, 1, 0]),
        np.ma.array(["a", "b", "c"], mask=[0, 1, 0]),
        [1.0, np.nan, 2.0],
        ["a", None, "b"],
        ["a", np.nan, "b"],
        Table(["a", NA, "b"], dtype=object),
        np.array(["a", None, "b"], np.dtypes.StringDType(na_object=None)),
        np.array(["2026-01-01", "NaT", "2026-01-02"], "datetime64[D]"),
    ],
)
def test_a_missing_id_is_refused_with_its_row(ids):
    with pytest.raises(InputError, match=r"ids\[1\] is NaN or missing, but every row"):
        group_by(X[0, :3], ids)
    with pytest.raises(InputError, match=r"ids\[1\] is NaN or missing, but every gr"):
        GroupedData(X[:3], ids=ids)


def test_ids_of_mixed_kinds():
    words = "mixed kinds, such as 1 (int) and 'a' (str)."
    for ids in ([1, "a", 2], np.array([1, "a", 2], object)):
        with pytest.raises(InputError, match=re.escape(words)):
            group_by(X[0, :3], ids)
    with pytest.raises(InputError, match="labels must be all numbers or all text"):
        bag_by_label(np.zeros((3, 2, 2)), [1, "a", 1], bag_size=1)


def test_missing_metadata():
    known = {
        "air": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
        "site": np.ma.array(["north", "south", "west"], mask=[0, 1, 0]),
        "flag": Table([True, NA, False], dtype=object),
        "night": np.ma.array(np.arange(3).astype("M8[D]"), mask=[0, 1, 0]),
        "name": ["a", None, "c"],
    }
    found = GroupedData(X[:3], group_metadata=known).group_metadata
    np.testing.assert_array_equal(found["air"], [1, np.nan, 3])
    assert found["site"].tolist() == ["north", "", "west"]
    np.testing.assert_array_equal(found["flag"], [1, np.nan, 0])
    assert np.isnat(found["night"]).tolist() == [False, True, False]
    assert found["name"].tolist() == ["a", "", "c"]


def test_missing_classes_are_nan():
    kind = np.ma.array(np.arange(6) % 2, mask=np.arange(6) < 2)
    classes = GroupedData(X).classes(kind)
    np.testing.assert_array_equal(classes, [np.nan, np.nan, 0, 1, 0, 1])


def test_plain_arrays_are_not_copied():
    ids, objects = np.arange(2), np.array([{}, []], object)
    groups = GroupedData(X[:2], ids=ids, axis=X[0, 0], group_metadata={"a": objects})
    assert groups.ids is ids and groups.group_metadata["a"] is objects
    assert np.shares_memory(groups.x, X) and np.shares_memory(groups.axis, X)
