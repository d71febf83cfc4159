import numpy as np
import pytest

from symae_keras.data import GroupedData, Shards, ShardWriter, instance_batches
from symae_keras.errors import InputError

COUNTS = np.array([1, 4, 0, 3, 2])
PRESENT = np.array(
    [[0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], bool
)


def numbered(**more):
    """The two pixels of an instance are its group and its place, counted from 1."""
    x = np.stack(np.indices(PRESENT.shape), axis=-1).astype("float32") + 1
    x[~PRESENT] = np.nan
    return GroupedData(x, mask=PRESENT, **more)


def pairs(dataset):
    """Group and place of all instances of an epoch, counted from 0."""
    rows = []
    for inputs, targets in dataset:
        np.testing.assert_array_equal(inputs, targets)
        rows.extend((targets.numpy() - 1).astype(int).tolist())
    return [tuple(row) for row in rows]


ALL = [tuple(row) for row in np.argwhere(PRESENT).tolist()]


def test_every_instance_once():
    dataset = instance_batches(numbered(), batch_size=4)
    assert dataset.cardinality() == 3
    inputs, targets = dataset.element_spec
    assert inputs.shape == targets.shape == (None, 2)
    assert [len(x) for x, _ in dataset] == [4, 4, 2]
    orders = [pairs(dataset) for _ in range(3)]
    assert all(sorted(each) == ALL for each in orders)
    assert len({str(each) for each in orders}) == 3


def test_without_shuffling_instances_come_in_order():
    dataset = instance_batches(numbered(), batch_size=3, shuffle=False)
    assert pairs(dataset) == pairs(dataset) == ALL


@pytest.mark.parametrize("per_group", [1, 2, 3, 9])
def test_groups_count_alike(per_group):
    dataset = instance_batches(numbered(), batch_size=5, per_group=per_group)
    assert dataset.cardinality() == -(-4 * per_group // 5)
    for _ in range(2):
        rows = pairs(dataset)
        assert set(rows) <= set(ALL)
        groups = np.array([group for group, _ in rows])
        np.testing.assert_array_equal(
            np.bincount(groups), np.where(COUNTS > 0, per_group, 0)
        )
        # Again only when all of a group have been given, so about as often each.
        for group in np.flatnonzero(COUNTS):
            times = [rows.count(each) for each in ALL if each[0] == group]
            assert max(times) - min(times) <= 1


def test_one_of_each_in_order_of_the_groups():
    dataset = instance_batches(numbered(), per_group=1, shuffle=False)
    epochs = [pairs(dataset) for _ in range(12)]
    assert all([group for group, _ in each] == [0, 1, 3, 4] for each in epochs)
    # The instance is drawn anew: 12 draws miss one of 4 with a probability of 13 %.
    assert len({each[1] for each in epochs}) > 2


def test_draws_depend_on_the_seed_alone():
    def two_epochs(seed):
        dataset = instance_batches(numbered(), per_group=2, seed=seed)
        return [pairs(dataset), pairs(dataset)]

    assert two_epochs(3) == two_epochs(3) != two_epochs(4)


@pytest.mark.parametrize("weighted", [True, False])
def test_pixel_masks_and_weights(weighted):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    good = rng.random(x.shape) < 0.7
    weights = rng.uniform(1, 9, x.shape).astype("float32") if weighted else None
    dirty = np.where(good, x, np.nan)
    groups = GroupedData(dirty, pixel_mask=good, weights=weights)
    ((inputs, targets, *more),) = instance_batches(groups, shuffle=False)
    good = good.reshape(12, 5)
    np.testing.assert_array_equal(inputs["mask"], good)
    np.testing.assert_array_equal(inputs["instances"], targets)
    np.testing.assert_array_equal(targets, np.where(good, x.reshape(12, 5), 0))
    assert len(more) == weighted
    if weighted:
        weights = np.where(good, weights.reshape(12, 5), 0)
        expected = weights / weights[good].mean()
        np.testing.assert_allclose(more[0], expected, rtol=1e-5)


def test_images():
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 1)).astype("float32")
    ((_, targets),) = instance_batches(GroupedData(x), shuffle=False)
    np.testing.assert_array_equal(targets, x.reshape(6, 4, 5, 1))


def test_shards_give_the_same_batches(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 4, 5)).astype("float32")
    mask = np.arange(4) < np.array([4, 1, 2, 3, 4, 2, 1])[:, None]
    groups = GroupedData(x, mask=mask, weights=np.arange(1.0, 6.0))
    with ShardWriter(tmp_path, shard_bytes=200) as writer:
        writer.add(groups)
    for per_group in (None, 2):
        for one, other in zip(
            instance_batches(groups, 4, per_group),
            instance_batches(Shards(tmp_path), 4, per_group),
            strict=True,
        ):
            for a, b in zip(one[1:], other[1:], strict=True):
                np.testing.assert_array_equal(a, b)
            for key in ("instances", "mask"):
                np.testing.assert_array_equal(one[0][key], other[0][key])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "at least 1; received 0 and None"),
        ({"per_group": 0}, "at least 1; received 128 and 0"),
    ],
)
def test_numbers_out_of_range(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        instance_batches(numbered(), **arguments)


@pytest.mark.parametrize("per_group", [None, 3])
def test_no_instances(per_group):
    groups = GroupedData(np.zeros((2, 3, 4)), mask=np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="at least one instance; received none"):
        instance_batches(groups, per_group=per_group)
