"""Groups: the container, its splits, and grouping of rows and images."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symae_keras.data import GroupedData, bag_by_label, group_by
from symae_keras.errors import InputError
from symae_keras.layers import MedianNormalization


def numbered(groups=6, instances=4, **more):
    """Make groups whose pixel values encode group, instance and pixel number."""
    x = np.arange(groups * instances * 3, dtype="float32")
    return GroupedData(x.reshape(groups, instances, 3), **more)


def test_sizes():
    groups = GroupedData(np.zeros((6, 4, 5, 5, 1), "float32"))
    assert (groups.n_groups, len(groups), groups.n_instances) == (6, 6, 4)
    assert groups.instance_shape == (5, 5, 1)
    assert groups.present.shape == (6, 4) and groups.present.all()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"x": np.zeros((4, 5))}, r"received shape \(4, 5\).*group_by"),
        ({"mask": np.ones((6, 3))}, r"\(6, 4\); received \(6, 3\)"),
        ({"mask": np.full((6, 4), "False")}, "other values of dtype <U5"),
        ({"mask": np.full((6, 4), np.nan)}, "other values of dtype float64"),
        ({"state": {"a": np.zeros(5)}}, r"state\['a'\].*\(6,\).*\(5,\)"),
        ({"nuisance": {"b": np.zeros((6, 3))}}, r"nuisance\['b'\].*\(6, 4\).*\(6, 3\)"),
        ({"ids": np.arange(5)}, "each of the 6 groups; received 5"),
        ({"axis": np.arange(4)}, r"\(3,\); received \(4,\)"),
        ({"axis": np.ma.array(np.arange(3), mask=[0, 0, 1])}, r"axis\[2\] is missing"),
        ({"pixel_mask": np.ones(4)}, r"pixel_mask.*\(6, 4, 3\).*received \(4,\)"),
        ({"pixel_mask": np.ones((6, 4))}, r"pixel_mask.*received \(6, 4\)"),
        ({"pixel_mask": np.full(3, 0.5)}, "pixel_mask must hold True"),
        ({"weights": np.ones((2, 6, 4, 3))}, r"weights.*received \(2, 6, 4, 3\)"),
        ({"weights": np.array([1.0, -1.0, 1.0])}, "not negative"),
        ({"weights": np.array([1.0, np.nan, 1.0])}, "finite in float32"),
        ({"weights": np.array([1.0, 1e39, 1.0])}, "finite in float32"),
        ({"weights": np.array(list("abc"))}, "weights.*dtype <U1"),
        ({"group_metadata": {"a": np.ones(4)}}, r"group_metadata\['a'\].*\(6,\)"),
        ({"instance_metadata": {"a": [1] * 6}}, r"instance_metadata\['a'\].*\(6, 4\)"),
    ],
)
def test_misfits_are_refused(more, sentence):
    with pytest.raises(InputError, match=sentence):
        GroupedData(**{"x": np.zeros((6, 4, 3), "float32"), **more})


def test_an_integer_selects_one_group_and_iteration_ends():
    groups = numbered()
    np.testing.assert_array_equal(groups[-1].x, groups.x[5:])
    assert [int(g.x[0, 0, 0]) for g in groups] == [0, 12, 24, 36, 48, 60]
    with pytest.raises(IndexError):
        groups[6]


def test_split_divides_by_state():
    groups = numbered(groups=50)
    train, test = groups.split(train=0.8, seed=3)
    assert (len(train), len(test)) == (40, 10)
    both = np.concatenate([train.x, test.x])
    np.testing.assert_array_equal(np.sort(both[:, 0, 0]), groups.x[:, 0, 0])
    again, _ = groups.split(train=0.8, seed=3)
    other, _ = groups.split(train=0.8, seed=4)
    np.testing.assert_array_equal(train.x, again.x)
    assert (train.x != other.x).any()


def test_measured_data_have_no_virtual_instances():
    with pytest.raises(InputError, match="only simulated data have them"):
        numbered().virtual(0, 0, 0)


def test_pickles_and_compares_by_identity():
    groups = numbered()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(groups)).x, groups.x)
    assert groups == groups and groups != numbered()


# === Pixel masks, weights, metadata ===


@pytest.fixture
def groups(ragged):
    """Make groups with all fields."""
    known = {"state": {"a": np.arange(6)}, "nuisance": {"b": np.ones((6, 4))}}
    return ragged(6, **known)


OF_GROUPS = ("ids", "state", "group_metadata")
OF_INSTANCES = ("x", "mask", "pixel_mask", "weights", "nuisance", "instance_metadata")


def fields(groups, names):
    """Return all arrays of groups by name, including those in dictionaries."""
    arrays = {}
    for name in names:
        value = getattr(groups, name)
        arrays |= value if isinstance(value, dict) else {name: value}
    return arrays


@pytest.mark.parametrize("shape", [(3,), (1, 3), (6, 1, 1), (4, 1), (6, 4, 3)])
def test_pixel_masks_and_weights_broadcast_over_instances(shape):
    rng = np.random.default_rng(0)
    good, weights = rng.random(shape) < 0.5, rng.random(shape)
    groups = numbered(pixel_mask=good, weights=weights)
    np.testing.assert_array_equal(groups.pixel_mask, np.broadcast_to(good, (6, 4, 3)))
    assert groups.weights.shape == (6, 4, 3) and groups.weights.dtype == np.float32
    np.testing.assert_allclose(groups.weights, np.broadcast_to(weights, (6, 4, 3)))
    # Nothing is repeated in memory.
    assert np.shares_memory(groups.pixel_mask, good)


def test_good_pixels_and_what_models_take():
    mask = np.tile([True, True, False, True], (6, 1))
    gaps, weights = np.array([True, False, True]), np.array([0.0, 2.0, 3.0])
    plain, ragged = numbered(), numbered(mask=mask)
    assert (plain.masks, plain.model_mask, plain.mean_weight) == (0, None, None)
    np.testing.assert_array_equal(plain.good_pixels, np.ones((6, 4, 1), bool))
    assert ragged.masks == 1 and ragged.model_mask is ragged.mask
    np.testing.assert_array_equal(ragged.good_pixels, mask[..., None])
    for more, good in (
        ({"pixel_mask": gaps}, gaps),
        ({"weights": weights}, weights > 0),
        ({"pixel_mask": gaps, "weights": weights}, [False, False, True]),
    ):
        groups = numbered(mask=mask, **more)
        assert groups.masks == 2
        np.testing.assert_array_equal(groups.good_pixels, mask[..., None] & good)
        np.testing.assert_array_equal(groups.model_mask, groups.good_pixels)


def test_mean_weight_is_that_of_good_pixels(monkeypatch, groups):
    monkeypatch.setattr("symae_keras.data.groups._GROUPS_AT_ONCE", 4)
    expected = groups.weights[groups.good_pixels].mean()
    assert groups.mean_weight == pytest.approx(expected)
    assert numbered(weights=np.zeros(3)).mean_weight == 1.0
    assert numbered(weights=np.full(3, 3e38)).mean_weight == pytest.approx(3e38)


def test_gather(groups):
    group, place = np.array([4, 0]), np.array([[3, 1], [0, 0]])
    x, good, weights = groups.gather(group, place)
    for row in range(2):
        for column in range(2):
            of = group[row], place[row, column]
            np.testing.assert_array_equal(x[row, column], groups.x[of])
            np.testing.assert_array_equal(good[row, column], groups.good_pixels[of])
            np.testing.assert_array_equal(weights[row, column], groups.weights[of])


def test_everything_follows_selection(groups):
    everything = fields(groups, OF_GROUPS + OF_INSTANCES)
    for index in (slice(1, 4), [4, 0], np.arange(6) % 2 == 0):
        part = groups[index]
        expected = {k: v[index] for k, v in everything.items()}
        np.testing.assert_equal(fields(part, OF_GROUPS + OF_INSTANCES), expected)
        np.testing.assert_array_equal(part.axis, groups.axis)
        assert part.mean_weight == pytest.approx(part.weights[part.good_pixels].mean())
    part = groups.take_instances([2, 0])
    expected = {k: v[:, [2, 0]] for k, v in fields(groups, OF_INSTANCES).items()}
    np.testing.assert_equal(fields(part, OF_INSTANCES), expected)
    np.testing.assert_equal(fields(part, OF_GROUPS), fields(groups, OF_GROUPS))
    assert part.group_metadata is groups.group_metadata and part.state is groups.state


def test_slices_are_views(groups):
    for part in (groups[2:5], groups[-1], groups.take_instances(slice(1, 3))):
        for name, values in fields(part, OF_INSTANCES).items():
            assert np.shares_memory(values, fields(groups, OF_INSTANCES)[name])
    gaps = np.array([True, False, True])
    assert np.shares_memory(numbered(pixel_mask=gaps)[1:3].pixel_mask, gaps)


def test_memory_maps_stay_on_disk(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, numbered().x)
    groups = GroupedData(np.load(path, mmap_mode="r"))
    for part in (groups, groups[1:3], groups[0], groups.take_instances(slice(2))):
        assert isinstance(part.x, np.memmap) and np.shares_memory(part.x, groups.x)
    copy = groups[[4, 1]].x
    assert not np.shares_memory(copy, groups.x)
    np.testing.assert_array_equal(copy, numbered().x[[4, 1]])


# === Stratified split ===


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4).filter(
        lambda counts: max(counts) > 1
    ),
    train=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
    of_each=st.integers(1, 3),
)
def test_a_split_has_the_share_of_states_in_each_class(counts, train, seed, of_each):
    """Draw classes of states; `of_each` groups of each state, in random order."""
    order = np.random.default_rng(seed).permutation(sum(counts) * of_each)
    ids = np.repeat(np.arange(sum(counts)), of_each)[order]
    kind = np.repeat(np.repeat(np.arange(len(counts)), counts), of_each)[order]
    groups = numbered(len(ids), 1, ids=ids, group_metadata={"kind": kind})
    for stratify, sizes in (("kind", counts), (None, [sum(counts)])):
        first, second = groups.split(train, seed, stratify)
        assert len(first) and len(second) and len(first) + len(second) == len(ids)
        assert not set(first.ids) & set(second.ids)
        kinds = first.group_metadata["kind"] * (stratify is not None)
        for number, count in enumerate(sizes):
            there = len(set(first.ids[kinds == number]))
            share = np.clip(round(train * count), 1, max(count - 1, 1))
            assert there == share
    by_key, by_array = (groups.split(train, seed, each)[0] for each in ("kind", kind))
    np.testing.assert_array_equal(by_key.x, by_array.x)


def test_missing_labels_are_a_class_of_their_own():
    kind = np.array([0.0] * 10 + [np.nan] * 10)
    first, _ = numbered(20, state={"kind": kind}).split(0.5, stratify="kind")
    assert np.isnan(first.state["kind"]).sum() == 5 and len(first) == 10


PAIRS = {"ids": np.array(list("aabbcc")), "state": {"b": np.arange(6)}}


@pytest.mark.parametrize(
    ("more", "arguments", "sentence"),
    [
        ({}, {"train": 1.0}, "between 0 and 1; received 1.0"),
        ({"ids": np.zeros(6)}, {}, "at least two states; received 1"),
        (PAIRS, {"stratify": "a"}, "'a'.*they have b"),
        ({}, {"stratify": "a"}, "'a'.*none"),
        (PAIRS, {"stratify": [1, 1, 2, 3, 1, 1]}, "state b are in the classes 2 and 3"),
        (PAIRS, {"stratify": np.zeros(5)}, r"the 6 groups; received shape \(5,\)"),
        (PAIRS, {"stratify": [1, 1, 2, 2, 3, 3]}, "the 3 states a different class"),
    ],
)
def test_split_errors(more, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        numbered(**more).split(**arguments)


# === Layers over instances ===


def test_median_normalization_of_all_instances(groups):
    normal = groups.map_instances(MedianNormalization())
    assert normal.weights is None and normal.render is None
    np.testing.assert_array_equal(normal.pixel_mask, groups.pixel_mask)
    for n, t in np.argwhere(groups.present):
        good = groups.good_pixels[n, t]
        if not good.any():
            continue
        x = groups.x[n, t, good]
        expected = x / (np.median(x) or 1.0)
        np.testing.assert_allclose(normal.x[n, t, good], expected, rtol=1e-6)


def test_a_function_of_unmasked_instances():
    groups = numbered()
    np.testing.assert_array_equal(groups.map_instances(np.negative).x, -groups.x)
    np.testing.assert_array_equal(groups.x, numbered().x)


def test_functions_that_change_the_shape_are_refused():
    groups = numbered(axis=np.arange(3.0), mask=np.ones((6, 4), bool))
    with pytest.raises(InputError, match=r"axis must have the shape.*\(2,\)"):
        groups.map_instances(lambda x: x[..., :2])


def test_repr_is_one_short_line():
    x = np.random.default_rng(0).normal(size=(300, 5, 64)).astype("float32")
    assert repr(GroupedData(x)) == (
        "GroupedData(300 groups of 5 instances of shape (64,), float32)"
    )
    groups = GroupedData(
        x,
        mask=np.arange(5) < np.arange(300)[:, None] % 5 + 1,
        ids=np.arange(300),
        weights=np.ones(64),
        state={"depth": np.zeros(300)},
        instance_metadata={f"a long name {k}": x[:, :, k] for k in range(60)},
        axis=np.linspace(400, 900, 64),
        axis_label="wavelength (nm)",
    )
    text = repr(groups)
    assert text.startswith(
        "GroupedData(300 groups of 1 to 5 instances of shape (64,), float32; mask; "
        "weights; ids; state depth; instance_metadata a long name 0, "
    )
    assert text.endswith(" and 52 more; axis wavelength (nm) from 400.0 to 900.0)")
    assert len(text) < 500 and str(groups) == text
    assert repr(groups[:0]).startswith("GroupedData(0 groups of 5 instances")


# === Groups of rows, and bags of images ===


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
    """Make images whose first pixels encode the row number, and shuffled labels."""
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
