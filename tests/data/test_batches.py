"""The sampler, and batches of groups and of instances."""

import keras
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from symae_keras.data import (
    GroupedData,
    RaggedRows,
    Sampler,
    Shards,
    ShardWriter,
    batches,
    check,
    instance_batches,
)
from symae_keras.errors import InputError

# Shrinking would build hundreds of datasets before a failure is reported.
quick = settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
seeds = st.integers(0, 2**31)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# === The sampler ===


@st.composite
def presents(draw):
    """Masks of up to 12 groups of up to 6 instances; some groups may be empty."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(seeds))
    return rng.random(shape) < draw(st.sampled_from([0.3, 0.8, 1.0]))


def epoch_of(sampler, epoch):
    return [sampler.draw(epoch, step) for step in range(len(sampler))]


def groups_of(sampler, epoch):
    return np.concatenate([draw.group for draw in epoch_of(sampler, epoch)])


@given(
    present=presents(),
    data=st.data(),
    seed=seeds,
    epoch=st.integers(0, 1000),
    shuffle=st.booleans(),
)
def test_every_group_once_and_present_instances_first(
    present, data, seed, epoch, shuffle
):
    n_groups, total = present.shape
    size = data.draw(st.integers(1, n_groups + 1))
    count = data.draw(st.integers(1, total))
    draws = epoch_of(Sampler(present, size, count, seed, shuffle), epoch)
    assert [len(d.group) for d in draws[:-1]] == [size] * (len(draws) - 1)
    group, place, there = map(np.concatenate, zip(*draws, strict=True))
    assert sorted(group) == list(range(n_groups))
    if not shuffle:
        np.testing.assert_array_equal(group, np.arange(n_groups))
    assert place.shape == there.shape == (n_groups, count)
    # Without replacement: no place is drawn twice.
    assert (np.diff(np.sort(place, axis=1), axis=1) > 0).all()
    np.testing.assert_array_equal(there, present[group[:, None], place])
    # All present instances come before absent ones.
    wanted = np.minimum(present[group].sum(axis=1), count)
    np.testing.assert_array_equal(there, np.arange(count) < wanted[:, None])


@given(present=presents(), shuffle=st.booleans())
def test_all_instances_come_in_order(present, shuffle):
    for draw in epoch_of(Sampler(present, 3, None, shuffle=shuffle), 5):
        assert (draw.place == np.arange(present.shape[1])).all()
        np.testing.assert_array_equal(draw.present, present[draw.group])


@given(data=st.data(), seed=seeds, balanced=st.booleans())
def test_a_draw_depends_on_epoch_and_step_alone(data, seed, balanced):
    present = np.random.default_rng(0).random((10, 6)) < 0.8
    classes = np.arange(10) % 3 if balanced else None
    worn, new = (Sampler(present, 3, (2, 5), seed, classes=classes) for _ in range(2))
    calls = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=8)
    for epoch, step in data.draw(calls):
        worn.draw(epoch, step)
    same(worn.draw(2, 1), new.draw(2, 1))


@pytest.mark.parametrize("shuffle", [True, False])
def test_epochs_steps_and_seeds_differ(shuffle):
    present = np.ones((30, 12), bool)
    draws = [
        Sampler(present, 15, 6, seed, shuffle).draw(epoch, step)
        for seed, epoch, step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert len({str(each.place.tolist()) for each in draws}) == len(draws)
    if shuffle:
        assert len({str(each.group.tolist()) for each in draws}) == len(draws)


def test_every_instance_is_as_likely():
    """Compute chi-square of the counts: with 11 degrees of freedom, p(31.3) = 0.1 %."""
    sampler = Sampler(np.ones((100, 12), bool), 16, 3)
    places = [draw.place.ravel() for n in range(8) for draw in epoch_of(sampler, n)]
    counts = np.bincount(np.concatenate(places), minlength=12)
    expected = counts.sum() / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    size=st.integers(1, 7),
    seed=seeds,
)
def test_classes_have_equal_shares(counts, size, seed):
    # Labels that are not sorted and not numbers.
    classes = np.repeat(np.array(list("dbeca"))[: len(counts)], counts)
    classes = np.random.default_rng(seed).permutation(classes)
    sampler = Sampler(np.ones((len(classes), 2), bool), size, 1, seed, classes=classes)
    group = groups_of(sampler, 0)
    assert len(group) == len(classes)
    times = np.bincount(group, minlength=len(classes))
    inside = [times[classes == each] for each in np.unique(classes)]
    shares = [each.sum() for each in inside]
    assert max(shares) - min(shares) <= 1
    assert all(each.max() - each.min() <= 1 for each in inside)


def test_which_groups_of_a_frequent_class_come_changes():
    classes = np.array([0] * 9 + [1])
    sampler = Sampler(np.ones((10, 1), bool), 4, 1, classes=classes)
    seen = [frozenset(groups_of(sampler, epoch)) for epoch in range(8)]
    assert len(set(seen)) > 1 and frozenset().union(*seen) == set(range(10))


def test_each_class_is_in_turn_the_one_that_has_more():
    classes = np.array([0, 0, 0, 1, 1, 1, 1])
    sampler = Sampler(np.ones((7, 1), bool), 7, 1, classes=classes)
    shares = [np.bincount(classes[groups_of(sampler, n)]).tolist() for n in range(12)]
    assert {tuple(each) for each in shares} == {(3, 4), (4, 3)}


def test_missing_labels_are_a_class_of_their_own():
    classes = np.array([0.0, 0.0, 0.0, 0.0, np.nan, np.nan])
    sampler = Sampler(np.ones((6, 1), bool), 6, 1, classes=classes)
    times = np.bincount(groups_of(sampler, 0), minlength=6)
    assert times[:4].sum() == times[4:].sum() == 3


@given(data=st.data(), seed=seeds)
def test_random_numbers_of_instances_stay_within_bounds(data, seed):
    least = data.draw(st.integers(1, 4))
    most = data.draw(st.integers(least, 5))
    sampler = Sampler(np.ones((8, 5), bool), 1, (least, most), seed)
    draws = [draw for epoch in range(12) for draw in epoch_of(sampler, epoch)]
    # 96 draws miss one of 5 numbers with a probability of about 2e-9.
    assert {draw.place.shape[1] for draw in draws} == set(range(least, most + 1))


def test_numpy_integers_are_integers():
    present = np.ones((4, 5), bool)
    same(Sampler(present, 2, np.int64(3)).draw(0, 0), Sampler(present, 2, 3).draw(0, 0))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"present": np.ones((0, 3), bool)}, "at least one group; received none"),
        ({"batch_size": 0}, "batch_size must be at least 1; received 0"),
        ({"instances": 0}, "between 1 and the 3 instances.*received 0"),
        ({"instances": 4}, "between 1 and the 3 instances.*received 4"),
        ({"instances": (0, 2)}, r"received \(0, 2\)"),
        ({"instances": (2, 4)}, r"received \(2, 4\)"),
        ({"instances": (3, 2)}, r"received \(3, 2\)"),
        ({"classes": [1, 2]}, r"each of the 5 groups; received shape \(2,\)"),
        ({"classes": np.ones((5, 2))}, r"received shape \(5, 2\)"),
        ({"classes": range(5), "shuffle": False}, "need shuffle=True"),
    ],
)
def test_errors_of_the_sampler(more, sentence):
    arguments = {"present": np.ones((5, 3), bool), "instances": 2, **more}
    with pytest.raises(InputError, match=sentence):
        Sampler(**arguments)


# === Batches of groups ===


def spoiled(groups):
    """Set all masked values to NaN, so that any use of them is noticed."""
    groups.x[~np.broadcast_to(groups.good_pixels, groups.x.shape)] = np.nan
    return groups


def numbered(*shape, mask=None):
    """Make instances of two pixels, their group and place, counted from 1."""
    x = np.stack(np.indices(shape), axis=-1).astype("float32") + 1
    return spoiled(GroupedData(x, mask=mask))


def arrays_of(dataset):
    """Return the batches of one epoch as flat lists of arrays."""
    return [[a.numpy() for a in keras.tree.flatten(batch)] for batch in dataset]


def same_batches(one, other):
    for a, b in zip(one, other, strict=True):
        same(a, b)


@quick
@given(present=presents(), data=st.data(), seed=seeds, shuffle=st.booleans())
def test_batches_are_what_the_sampler_draws(present, data, seed, shuffle):
    n_groups, total = present.shape
    size = data.draw(st.integers(1, n_groups + 1))
    count = data.draw(st.none() | st.integers(1, total))
    groups = numbered(n_groups, total, mask=present)
    dataset = batches(groups, size, count, seed, shuffle)
    sampler = Sampler(present, size, count, seed, shuffle)
    assert dataset.cardinality() == len(sampler) == -(-n_groups // size)
    for epoch in range(2):
        for (inputs, targets), draw in zip(
            dataset, epoch_of(sampler, epoch), strict=True
        ):
            x = groups.x[draw.group[:, None], draw.place]
            x = np.where(draw.present[..., None], x, np.float32(0))
            assert set(inputs) == {"instances", "mask"}
            same(
                [inputs["instances"].numpy(), targets.numpy(), inputs["mask"].numpy()],
                [x, x, draw.present],
            )


def test_unmasked_data_come_as_arrays():
    dataset = batches(numbered(40, 12), batch_size=16, instances=8)
    for (inputs, targets), size in zip(dataset, (16, 16, 8), strict=True):
        assert targets.shape == (size, 8, 2)
        np.testing.assert_array_equal(inputs, targets)
    inputs, targets = dataset.element_spec
    assert inputs.shape == targets.shape == (None, 8, 2)
    assert targets.dtype == "float32"


def test_images_and_other_floats():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6, 2))
    groups = GroupedData(x)
    for dataset, shape in (
        (batches(groups, instances=None, shuffle=False), x.shape),
        (instance_batches(groups, shuffle=False), (12, 5, 6, 2)),
    ):
        ((_, targets),) = dataset
        same([targets.numpy()], [x.astype("float32").reshape(shape)])


@pytest.mark.parametrize("make", [batches, instance_batches])
@pytest.mark.parametrize("without", [["weights"], ["pixel_mask"], []])
def test_pixel_masks_and_weights(make, without, ragged):
    """Bad pixels and their weights are 0, and the mean weight is 1."""
    groups = spoiled(ragged(**dict.fromkeys(without)))
    rows, more = groups.present, {}
    if make is batches:
        rows, more = slice(None), {"instances": None}
    dataset = make(groups, batch_size=4, shuffle=False, **more)
    good = groups.good_pixels[rows]
    assert dataset.element_spec[0]["mask"].shape == (None, *good.shape[1:])
    found = map(np.concatenate, zip(*arrays_of(dataset), strict=True))
    instances, mask, targets, *others = found
    x = np.where(good, groups.x[rows], np.float32(0))
    same([instances, mask, targets], [x, good, x])
    assert len(others) == ("weights" not in without)
    for found in others:
        mean = groups.weights[groups.good_pixels].mean(dtype="float64")
        assert found.dtype == np.float32
        expected = np.where(good, groups.weights[rows] / mean, 0.0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert found[good].mean(dtype="float64") == pytest.approx(1.0, rel=1e-5)


def test_weights_of_faint_spectra_do_not_overflow():
    x = np.random.default_rng(0).normal(size=(4, 3, 5)) * 1e-18
    groups = GroupedData(x, weights=np.full(5, 3e37))
    (_, _, weights), *_ = batches(groups, batch_size=4, instances=3)
    np.testing.assert_allclose(weights, 1.0, rtol=1e-6)


def test_balance_by_key_and_by_array():
    label = np.array([7] * 12 + [8] * 2)
    groups = GroupedData(numbered(14, 4).x, group_metadata={"label": label})
    by_key = arrays_of(batches(groups, instances=2, balance="label"))
    same_batches(by_key, arrays_of(batches(groups, instances=2, balance=label)))
    names = np.concatenate([x[:, 0, 0] for x, _ in by_key]).astype(int) - 1
    assert sorted(label[names]) == [7] * 7 + [8] * 7
    with pytest.raises(InputError, match="'lable'; they have label"):
        batches(groups, instances=2, balance="lable")


@settings(quick, max_examples=5)
@given(count=st.integers(1, 3), seed=seeds, size=st.sampled_from([3, 4, 9]))
def test_workers_see_together_what_one_would(ragged, count, seed, size):
    groups = spoiled(ragged(11))
    arguments = {"batch_size": size, "instances": (2, 4), "seed": seed}
    assume(11 % size >= count)  # otherwise the last batch is too small
    whole = batches(groups, **arguments)
    workers = [batches(groups, **arguments, shard=(n, count)) for n in range(count)]
    for _ in range(2):
        parts = zip(*map(arrays_of, workers), strict=True)
        joined = [map(np.concatenate, zip(*each, strict=True)) for each in parts]
        same_batches(arrays_of(whole), joined)


def test_first_epoch_goes_on_exactly():
    groups = numbered(10, 6)
    arguments = {"batch_size": 4, "instances": (1, 6), "seed": 5}
    dataset = batches(groups, **arguments)
    epochs = [arrays_of(dataset) for _ in range(4)]
    resumed = batches(groups, **arguments, first_epoch=2)
    same_batches(arrays_of(resumed), epochs[2])
    same_batches(arrays_of(resumed), epochs[3])


def test_epochs_may_overlap():
    """A second iteration that starts before the first one ends does not change it."""
    groups = numbered(40, 6)
    dataset, both = (batches(groups, batch_size=2, instances=3) for _ in range(2))
    expected = [[x for x, _ in arrays_of(dataset)] for _ in range(2)]
    pairs = list(zip(both, both, strict=True))
    together = [[a.numpy() for a, _ in pair] for pair in zip(*pairs, strict=True)]
    # Either of the two iterations may get the first number.
    if (together[0][0] != expected[0][0]).any():
        expected = expected[::-1]
    np.testing.assert_array_equal(together, expected)


def test_a_random_number_of_instances():
    dataset = batches(numbered(40, 6), batch_size=2, instances=(2, 4))
    assert dataset.element_spec[1].shape == (None, None, 2)
    assert {x.shape[1] for x, _ in arrays_of(dataset)} == {2, 3, 4}


@pytest.mark.parametrize(
    "without",
    [
        ["mask", "pixel_mask", "weights"],
        ["pixel_mask", "weights"],
        ["pixel_mask"],
        ["weights"],
        [],
    ],
)
def test_shards_and_rows_give_the_same_batches(without, ragged, tmp_path):
    groups = check(spoiled(ragged(**dict.fromkeys(without))))
    with ShardWriter(tmp_path, shard_bytes=60) as writer:
        writer.add(groups)
    assert len(list(tmp_path.glob("*.x.npy"))) > 2
    sources = Shards(tmp_path), RaggedRows.joined([groups])
    assert {source.masks for source in sources} == {groups.masks}
    kinds = [{"instances": n, "balance": np.arange(9) % 2} for n in (3, (1, 4), None)]
    for make, more in [
        *((batches, each) for each in kinds),
        *((instance_batches, {"per_group": count}) for count in (None, 2)),
    ]:
        expected = make(groups, batch_size=4, seed=2, **more)
        for source in sources:
            found = make(source, batch_size=4, seed=2, **more)
            assert found.element_spec == expected.element_spec
            for step in range(int(expected.cardinality())):
                same(
                    *(
                        keras.tree.flatten(d.batch_at(1, step))
                        for d in (found, expected)
                    )
                )


EMPTY = {"groups": GroupedData(np.zeros((2, 3, 4)), mask=np.zeros((2, 3)))}


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (batches, {"batch_size": 0}, "batch_size must be at least 1; received 0"),
        (batches, {"shard": (1, 1)}, r"number of a worker.*received \(1, 1\)"),
        (batches, {"shard": (-1, 2)}, r"number of a worker.*received \(-1, 2\)"),
        (batches, {"shard": (0, 0)}, r"number of a worker.*received \(0, 0\)"),
        (batches, {"batch_size": 4, "shard": (0, 3)}, "has 2 groups, too few for 3"),
        (instance_batches, {"batch_size": 0}, "at least 1; received 0 and None"),
        (instance_batches, {"per_group": 0}, "at least 1; received 128 and 0"),
        (instance_batches, EMPTY, "at least one instance; received none"),
        (instance_batches, {**EMPTY, "per_group": 3}, "one instance; received none"),
    ],
)
def test_numbers_out_of_range(make, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        make(**{"groups": numbered(6, 8), **arguments})


# === Batches of instances ===

COUNTS = np.array([1, 4, 0, 3, 2])
PRESENT = np.array(
    [[0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], bool
)
ALL = [tuple(row) for row in np.argwhere(PRESENT).tolist()]
SOME = numbered(*PRESENT.shape, mask=PRESENT)


def pairs(dataset):
    """Return group and place of all instances of an epoch, counted from 0."""
    rows = []
    for inputs, targets in dataset:
        np.testing.assert_array_equal(inputs, targets)
        rows.extend((targets.numpy() - 1).astype(int).tolist())
    return [tuple(row) for row in rows]


def test_every_instance_once():
    dataset = instance_batches(SOME, batch_size=4)
    assert dataset.cardinality() == 3
    inputs, targets = dataset.element_spec
    assert inputs.shape == targets.shape == (None, 2)
    assert [len(x) for x, _ in dataset] == [4, 4, 2]
    orders = [pairs(dataset) for _ in range(3)]
    assert all(sorted(each) == ALL for each in orders)
    assert len({str(each) for each in orders}) == 3


def test_without_shuffling_instances_come_in_order():
    dataset = instance_batches(SOME, batch_size=3, shuffle=False)
    assert pairs(dataset) == pairs(dataset) == ALL


@pytest.mark.parametrize("per_group", [1, 2, 3, 9])
def test_groups_count_alike(per_group):
    dataset = instance_batches(SOME, batch_size=5, per_group=per_group)
    assert dataset.cardinality() == -(-4 * per_group // 5)
    for _ in range(2):
        rows = pairs(dataset)
        assert set(rows) <= set(ALL)
        times = np.bincount([group for group, _ in rows])
        np.testing.assert_array_equal(times, np.where(COUNTS > 0, per_group, 0))
        # Instances repeat only after all instances of the group have appeared.
        for group in np.flatnonzero(COUNTS):
            times = [rows.count(each) for each in ALL if each[0] == group]
            assert max(times) - min(times) <= 1


def test_one_of_each_in_order_of_the_groups():
    dataset = instance_batches(SOME, per_group=1, shuffle=False)
    epochs = [pairs(dataset) for _ in range(12)]
    assert all([group for group, _ in each] == [0, 1, 3, 4] for each in epochs)
    # The instance is drawn again: 12 draws miss one of 4 with a probability of 13 %.
    assert len({each[1] for each in epochs}) > 2


def test_draws_depend_on_the_seed_alone():
    def two_epochs(seed):
        dataset = instance_batches(SOME, per_group=2, seed=seed)
        return [pairs(dataset), pairs(dataset)]

    assert two_epochs(3) == two_epochs(3) != two_epochs(4)
