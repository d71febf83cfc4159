import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from symae_keras.data import GroupedData, batches
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
