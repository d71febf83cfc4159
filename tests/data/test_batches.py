import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from symae_keras.data import GroupedData, Shards, ShardWriter, batches, check
from symae_keras.errors import InputError

# Shrinking would build hundreds of datasets before a failure is shown.
quick = settings(
    deadline=None, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


def numbered(groups, instances, mask=None):
    """The two pixels of an instance are its group and its place, counted from 1."""
    x = np.stack(np.indices((groups, instances)), axis=-1).astype("float32") + 1
    if mask is not None:
        x[~mask] = np.nan
    return GroupedData(x, mask=mask)


def epoch(dataset):
    """All targets of one epoch, checked against the inputs; and all masks."""
    targets, masks = [], []
    for inputs, target in dataset:
        target = target.numpy()
        if isinstance(inputs, dict):
            assert set(inputs) == {"instances", "mask"}
            masks.append(inputs["mask"].numpy())
            inputs = inputs["instances"]
        np.testing.assert_array_equal(inputs.numpy(), target)
        targets.append(target)
    return np.concatenate(targets), np.concatenate(masks) if masks else None


@st.composite
def masks(draw):
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    return draw(
        st.lists(
            st.lists(st.booleans(), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        ).map(np.array)
    )


@quick
@given(data=st.data(), mask=masks(), seed=st.integers(0, 2**31), shuffle=st.booleans())
def test_each_epoch_draws_present_instances_without_replacement(
    data, mask, seed, shuffle
):
    n_groups, total = mask.shape
    wanted = data.draw(st.integers(1, total))
    size = data.draw(st.integers(1, n_groups + 1))
    make = lambda: batches(numbered(n_groups, total, mask), size, wanted, seed, shuffle)  # noqa: E731
    dataset, twin = make(), make()
    assert dataset.cardinality() == -(-n_groups // size)
    for _ in range(2):
        x, m = epoch(dataset)
        assert x.shape == (n_groups, wanted, 2) and m.shape == (n_groups, wanted)
        np.testing.assert_array_equal(x[~m], 0.0)
        seen = []
        for group, drawn, there in zip(range(n_groups), x, m, strict=True):
            if not shuffle:
                assert (drawn[there, 0] == group + 1).all()
            if not there.any():
                continue
            # Present ones first, as many as there are, all of one group, no repeats.
            assert there.tolist() == sorted(there, reverse=True)
            (name,) = set(drawn[there, 0].astype(int) - 1)
            places = drawn[there, 1].astype(int) - 1
            assert len(places) == min(wanted, mask[name].sum())
            assert len(set(places)) == len(places) and mask[name, places].all()
            seen.append(name)
        assert sorted(seen) == np.flatnonzero(mask.any(axis=1)).tolist()
        np.testing.assert_array_equal(x, epoch(twin)[0])


def test_unmasked_data_come_as_arrays():
    groups = numbered(40, 12)
    dataset = batches(groups, batch_size=16, instances=8)
    sizes = [target.shape for _, target in dataset]
    assert sizes == [(16, 8, 2), (16, 8, 2), (8, 8, 2)]
    inputs, targets = dataset.element_spec
    assert inputs.shape == targets.shape == (None, 8, 2)
    assert targets.dtype == "float32"


def test_epochs_differ_in_groups_and_in_instances():
    dataset = batches(numbered(50, 12), instances=6, seed=0)
    first, second = epoch(dataset)[0], epoch(dataset)[0]
    assert (first[:, 0, 0] != second[:, 0, 0]).any()
    for x in (first, second):
        assert sorted(x[:, 0, 0]) == list(range(1, 51))
    first, second = (x[np.argsort(x[:, 0, 0])] for x in (first, second))
    same = [
        set(a) == set(b) for a, b in zip(first[..., 1], second[..., 1], strict=True)
    ]
    # One of 924 draws, so about 0.05 of 50 groups repeat their set by chance.
    assert sum(same) < 3


def test_instances_are_drawn_afresh_without_shuffling_too():
    dataset = batches(numbered(50, 12), instances=6, shuffle=False)
    first, second = epoch(dataset)[0], epoch(dataset)[0]
    np.testing.assert_array_equal(first[..., 0], second[..., 0])
    assert (first[..., 1] != second[..., 1]).mean() > 0.8


def test_seeds_differ_and_the_global_seed_does_not_stop_repetition():
    import tensorflow as tf

    groups = numbered(30, 8)
    make = lambda seed: epoch(batches(groups, instances=4, seed=seed))[0]  # noqa: E731
    assert (make(0) != make(1)).any()
    tf.random.set_seed(0)
    try:
        np.testing.assert_array_equal(make(0), make(0))
    finally:
        tf.random.set_seed(None)


def test_every_instance_is_as_likely():
    """Chi-square of the counts: 11 degrees of freedom, so 31.3 is the 0.1 % point."""
    dataset = batches(numbered(100, 12), instances=3, seed=0)
    places = np.concatenate([epoch(dataset)[0][..., 1] for _ in range(8)])
    counts = np.bincount(places.astype(int).ravel(), minlength=13)[1:]
    expected = places.size / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3


def test_all_instances_in_order():
    mask = np.array([[True, False, True], [False, True, True], [True, True, False]])
    groups = numbered(3, 3, mask)
    dataset = batches(groups, batch_size=2, instances=None, shuffle=False)
    x, m = epoch(dataset)
    np.testing.assert_array_equal(m, mask)
    np.testing.assert_array_equal(x, np.where(mask[..., None], groups.x, 0))
    shuffled = batches(groups, batch_size=2, instances=None, seed=1)
    orders = {tuple(epoch(shuffled)[1].ravel()) for _ in range(8)}
    assert len(orders) > 1


def test_images_and_other_floats():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6, 2))
    dataset = batches(GroupedData(x), instances=None, shuffle=False)
    got, _ = epoch(dataset)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x.astype("float32"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"instances": 5}, "between 1 and the 4 instances.* received 5"),
        ({"instances": 0}, "received 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; received 0"),
    ],
)
def test_numbers_out_of_range(more, sentence):
    with pytest.raises(InputError, match=sentence):
        batches(numbered(3, 4), **{"instances": 4, **more})


def test_no_groups():
    with pytest.raises(InputError, match="at least one group"):
        batches(numbered(3, 4)[:0], instances=4)


# === Pixel masks and weights ===


def with_pixels(groups=9, instances=5, **which):
    """Ragged groups; bad pixels hold NaN, so that they would be noticed."""
    rng = np.random.default_rng(1)
    shape = groups, instances, 6
    x = rng.normal(size=shape).astype("float32")
    mask = np.arange(instances) < rng.integers(1, instances + 1, groups)[:, None]
    more = {}
    if which.get("pixel_mask"):
        more["pixel_mask"] = rng.random(shape) < 0.8
    if which.get("weights"):
        weights = rng.uniform(1, 9, shape).astype("float32")
        more["weights"] = np.where(rng.random(shape) < 0.9, weights, 0)
    made = GroupedData(x, mask=mask, ids=np.arange(groups), **more)
    x[~np.broadcast_to(made.good_pixels, shape)] = np.nan
    return made


def arrays_of(dataset):
    """The batches of one epoch as flat lists of arrays."""
    import keras

    return [[a.numpy() for a in keras.tree.flatten(batch)] for batch in dataset]


def same_batches(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for first, second in zip(a, b, strict=True):
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second)


def test_pixel_masks_have_the_shape_of_x():
    groups = with_pixels(pixel_mask=True)
    dataset = batches(groups, batch_size=4, instances=None, shuffle=False)
    inputs, targets = dataset.element_spec
    assert inputs["mask"].shape == targets.shape == (None, 5, 6)
    x, m = epoch(dataset)
    np.testing.assert_array_equal(m, groups.good_pixels)
    np.testing.assert_array_equal(x, np.where(groups.good_pixels, groups.x, 0))


@pytest.mark.parametrize("masked", [True, False])
def test_weights_are_1_in_the_mean_and_0_behind_masks(masked):
    groups = with_pixels(pixel_mask=masked, weights=True)
    good = groups.good_pixels
    parts = list(batches(groups, batch_size=4, instances=None, shuffle=False))
    m = np.concatenate([inputs["mask"] for inputs, _, _ in parts])
    x = np.concatenate([targets for _, targets, _ in parts])
    w = np.concatenate([weights for _, _, weights in parts])
    assert w.shape == x.shape and w.dtype == np.float32 and m.dtype == bool
    np.testing.assert_array_equal(m, good)
    np.testing.assert_array_equal(x, np.where(good, groups.x, 0))
    np.testing.assert_array_equal(w[~good], 0.0)
    mean = groups.weights[good].mean(dtype="float64")
    np.testing.assert_allclose(w[good], groups.weights[good] / mean, rtol=1e-5)
    assert w[good].mean(dtype="float64") == pytest.approx(1.0, rel=1e-5)


def test_weights_of_faint_spectra_do_not_overflow():
    x = np.random.default_rng(0).normal(size=(4, 3, 5)) * 1e-18
    groups = GroupedData(x, weights=np.full(5, 3e37))
    (_, _, weights), *_ = batches(groups, batch_size=4, instances=3)
    np.testing.assert_allclose(weights, 1.0, rtol=1e-6)


# === Balance, workers, epochs, numbers of instances ===


def test_balance_by_key_and_by_array():
    label = np.array([7] * 12 + [8] * 2)
    groups = GroupedData(numbered(14, 4).x, group_metadata={"label": label})
    by_key = arrays_of(batches(groups, instances=2, balance="label"))
    same_batches(by_key, arrays_of(batches(groups, instances=2, balance=label)))
    names = np.concatenate([x[:, 0, 0] for x, _ in by_key]).astype(int) - 1
    assert sorted(label[names]) == [7] * 7 + [8] * 7
    plain = arrays_of(batches(groups, instances=2))
    assert len({x[0, 0] for batch in plain for x in batch[0]}) == 14
    with pytest.raises(InputError, match="'lable'.*there is label"):
        batches(groups, instances=2, balance="lable")


@settings(quick, max_examples=5)
@given(
    count=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    size=st.sampled_from([3, 4, 9]),
)
def test_workers_see_together_what_one_would(count, seed, size):
    groups = with_pixels(groups=11, pixel_mask=True, weights=True)
    arguments = {"batch_size": size, "instances": (2, 4), "seed": seed}
    if 11 % size and 11 % size < count:
        with pytest.raises(InputError, match=f"has 2 groups, too few for {count}"):
            batches(groups, **arguments, shard=(0, count))
        return
    whole = batches(groups, **arguments)
    workers = [batches(groups, **arguments, shard=(n, count)) for n in range(count)]
    for _ in range(2):
        parts = zip(*map(arrays_of, workers), strict=True)
        joined = [map(np.concatenate, zip(*each, strict=True)) for each in parts]
        same_batches(arrays_of(whole), joined)


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_workers_that_are_not_there(shard):
    with pytest.raises(InputError, match="number of a worker.*received"):
        batches(numbered(6, 4), instances=2, shard=shard)


def test_first_epoch_goes_on_exactly():
    groups = numbered(10, 6)
    arguments = {"batch_size": 4, "instances": (1, 6), "seed": 5}
    dataset = batches(groups, **arguments)
    epochs = [arrays_of(dataset) for _ in range(4)]
    resumed = batches(groups, **arguments, first_epoch=2)
    same_batches(arrays_of(resumed), epochs[2])
    same_batches(arrays_of(resumed), epochs[3])


def test_epochs_may_overlap():
    """A second iteration that begins before the first ends does not disturb it."""
    groups = numbered(40, 6)
    make = lambda: batches(groups, batch_size=2, instances=3)  # noqa: E731
    dataset, both = make(), make()
    first, second = arrays_of(dataset), arrays_of(dataset)
    pairs = list(zip(both, both, strict=True))
    together = [[a.numpy() for a, _ in pair] for pair in zip(*pairs, strict=True)]
    expected = [[batch[0] for batch in each] for each in (first, second)]
    # Which of the two got the first number is not said.
    if (together[0][0] != expected[0][0]).any():
        expected = expected[::-1]
    np.testing.assert_array_equal(together, expected)


def test_a_random_number_of_instances():
    dataset = batches(numbered(40, 6), batch_size=2, instances=(2, 4))
    assert dataset.element_spec[1].shape == (None, None, 2)
    sizes = {x.shape[1] for x, _ in arrays_of(dataset)}
    assert sizes == {2, 3, 4}


# === Shards ===


@pytest.mark.parametrize(
    "which",
    [{}, {"pixel_mask": True}, {"weights": True}, {"pixel_mask": 1, "weights": 1}],
)
def test_shards_give_the_same_batches(which, tmp_path):
    groups = with_pixels(**which)
    with ShardWriter(tmp_path, shard_bytes=200) as writer:
        writer.add(check(groups))
    shards = Shards(tmp_path)
    assert len(list(tmp_path.glob("*.x.npy"))) > 2 and shards.masks == groups.masks
    for more in ({"instances": 3}, {"instances": (1, 5)}, {"instances": None}):
        arguments = {"batch_size": 4, "seed": 2, "balance": np.arange(9) % 2, **more}
        same_batches(
            arrays_of(batches(shards, **arguments)),
            arrays_of(batches(groups, **arguments)),
        )


def test_shards_without_padding_have_no_mask(tmp_path):
    groups = numbered(6, 4)
    with ShardWriter(tmp_path) as writer:
        writer.add(groups)
    shards = Shards(tmp_path)
    same_batches(
        arrays_of(batches(shards, instances=2)), arrays_of(batches(groups, instances=2))
    )
