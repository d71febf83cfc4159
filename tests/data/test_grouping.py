import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symae_keras.data import bag_by_label, group_by
from symae_keras.errors import InputError


@settings(max_examples=60)
@given(st.lists(st.integers(-3, 5), min_size=1, max_size=40))
def test_group_by_round_trip(ids):
    x = np.arange(2 * len(ids), dtype="float64").reshape(-1, 2)
    groups = group_by(x, ids)
    assert groups.ids.tolist() == sorted(set(ids))
    for k, name in enumerate(groups.ids):
        rows = x[np.array(ids) == name]
        present = groups.present[k]
        np.testing.assert_array_equal(groups.x[k, present], rows)
        assert present.tolist() == [True] * len(rows) + [False] * (
            groups.n_instances - len(rows)
        )
        np.testing.assert_array_equal(groups.x[k, ~present], 0.0)
    sizes = np.unique(ids, return_counts=True)[1]
    assert groups.n_instances == sizes.max()
    assert (groups.mask is None) == (len(set(sizes)) == 1)


def test_group_by_text_ids_and_images():
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
    groups = group_by(x, ["sun", "moon", "sun", "moon"])
    assert groups.ids.tolist() == ["moon", "sun"] and groups.mask is None
    np.testing.assert_array_equal(groups.x, x[[[1, 3], [0, 2]]])


@pytest.mark.parametrize(
    ("x", "ids", "sentence"),
    [
        (np.zeros((0, 3)), [], "at least one row; received none"),
        (np.zeros(3), [0, 1, 1], r"at least two; received shape \(3,\)"),
        (np.zeros((3, 2)), [0, 1], r"shape \(3,\); received shape \(2,\)"),
        (np.zeros((3, 2)), [[0], [1], [1]], r"received shape \(3, 1\)"),
        (np.full((3, 2), "a"), [0, 1, 1], "real numbers"),
    ],
)
def test_group_by_refuses(x, ids, sentence):
    with pytest.raises(InputError, match=sentence):
        group_by(x, ids)


def numbered_images(counts):
    """Images whose first pixels spell their row number; labels in shuffled order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(0).permutation(labels)
    images = np.zeros((len(labels), 2, 3), "uint8")
    images[:, 0, 0] = np.arange(len(labels)) % 256
    images[:, 0, 1] = np.arange(len(labels)) // 256
    return images, labels


def rows_of(bags):
    pixels = np.rint(bags.x[..., 0] * 255).astype(int)
    return pixels[:, :, 0, 0] + 256 * pixels[:, :, 0, 1]


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(5, 30), min_size=1, max_size=4),
    bag_size=st.integers(1, 5),
    n_bags=st.none() | st.integers(1, 60),
    seed=st.integers(0, 3),
)
def test_bags_hold_distinct_images_of_one_label(counts, bag_size, n_bags, seed):
    images, labels = numbered_images(counts)
    bags = bag_by_label(images, labels, bag_size, n_bags, seed)
    rows = rows_of(bags)
    np.testing.assert_array_equal(
        labels[rows], np.repeat(bags.state["label"][:, None], bag_size, axis=1)
    )
    assert all(len(set(bag)) == bag_size for bag in rows)
    drawn = np.bincount(bags.state["label"], minlength=len(counts))
    assert drawn.max() - drawn.min() <= 1
    if n_bags is None:
        assert drawn.max() == min(counts) // bag_size
    else:
        assert len(bags) == n_bags
    once = (drawn <= np.array(counts) // bag_size).all()
    if once:
        assert len(np.unique(rows)) == rows.size and bags.ids is None
    else:
        np.testing.assert_array_equal(bags.ids, bags.state["label"])
    if len(np.unique(bags.ids)) > 1 or (once and len(bags) > 1):
        train, test = bags.split(0.5, seed=seed)
        assert not set(rows_of(train).ravel()) & set(rows_of(test).ravel())


def test_images_drawn_again_are_used_evenly_in_new_company():
    images, labels = numbered_images([20, 20])
    rows = rows_of(bag_by_label(images, labels, bag_size=10, n_bags=12))
    np.testing.assert_array_equal(np.bincount(rows.ravel()), 3)
    assert len({frozenset(bag) for bag in rows.tolist()}) == 12


def test_bags_are_mixed_and_follow_the_seed():
    images, labels = numbered_images([200, 200])
    bags = bag_by_label(images, labels, bag_size=10, seed=0)
    assert 0 < bags.state["label"][:20].sum() < 20
    again = bag_by_label(images, labels, bag_size=10, seed=0)
    other = bag_by_label(images, labels, bag_size=10, seed=1)
    np.testing.assert_array_equal(bags.x, again.x)
    assert (rows_of(bags) != rows_of(other)).any()


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", 7 / 255), ("float64", 7), ("int32", 7)]
)
def test_channels_and_scale(channels, dtype, expected):
    images = np.full((8, 4, 5, *channels), 7, dtype)
    bags = bag_by_label(images, ["a"] * 4 + ["b"] * 4, bag_size=2)
    assert bags.x.shape == (4, 2, 4, 5, *(channels or (1,)))
    assert bags.x.dtype == np.float32
    np.testing.assert_array_equal(bags.x, np.float32(expected))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((np.zeros((4, 3)), [0] * 4), r"\(rows, height, width\[, channels\]\)"),
        ((np.zeros((0, 3, 3)), []), "at least one image"),
        ((np.zeros((4, 3, 3)), [0] * 3), r"labels must have one entry for each image"),
        ((np.zeros((4, 3, 3)), [0, 0, 0, 1], 2), "Label 1 has 1 images.* bag of 2"),
        ((np.zeros((4, 3, 3)), [0] * 4, 0), "received 0 and None"),
        ((np.zeros((4, 3, 3)), [0] * 4, 2, 0), "received 2 and 0"),
        ((np.zeros((4, 3, 3), complex), [0] * 4, 2), "real numbers"),
    ],
)
def test_bag_by_label_refuses(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        bag_by_label(*arguments)
