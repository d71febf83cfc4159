import pickle

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError


def numbered(groups=6, instances=4, **more):
    """Groups whose pixels tell their group, their instance and their place."""
    x = np.arange(groups * instances * 3, dtype="float32")
    return GroupedData(x.reshape(groups, instances, 3), **more)


def test_sizes():
    groups = GroupedData(np.zeros((6, 4, 5, 5, 1), "float32"))
    assert (groups.n_groups, len(groups), groups.n_instances) == (6, 6, 4)
    assert groups.instance_shape == (5, 5, 1)
    assert groups.present.shape == (6, 4) and groups.present.all()


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_integers_become_float32_unscaled(dtype):
    groups = GroupedData(np.ones((2, 2, 2), dtype))
    assert groups.x.dtype == np.float32
    np.testing.assert_array_equal(groups.x, 1.0)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"x": np.zeros((4, 5))}, r"received shape \(4, 5\).*group_by"),
        ({"x": np.zeros((2, 2, 2), complex)}, "real numbers; received dtype complex"),
        ({"x": np.full((2, 2, 2), "1")}, "real numbers; received dtype <U1"),
        ({"mask": np.ones((6, 3))}, r"\(6, 4\); received \(6, 3\)"),
        ({"mask": np.full((6, 4), "False")}, "other values of dtype <U5"),
        ({"mask": np.full((6, 4), np.nan)}, "other values of dtype float64"),
        ({"state": {"a": np.zeros(5)}}, r"state\['a'\].*\(6,\).*\(5,\)"),
        ({"nuisance": {"b": np.zeros((6, 3))}}, r"nuisance\['b'\].*\(6, 4\).*\(6, 3\)"),
        ({"ids": np.arange(5)}, "each of the 6 groups; received 5"),
        ({"axis": np.arange(4)}, r"\(3,\); received \(4,\)"),
    ],
)
def test_misfits_are_refused(more, sentence):
    more = {"x": np.zeros((6, 4, 3), "float32"), **more}
    with pytest.raises(InputError, match=sentence):
        GroupedData(**more)


def test_selecting_groups_keeps_everything_aligned():
    rng = np.random.default_rng(0)
    groups = numbered(
        mask=rng.uniform(size=(6, 4)) < 0.5,
        state={"a": np.arange(6)},
        nuisance={"b": np.arange(24).reshape(6, 4)},
        ids=np.array(list("abcdef")),
        axis=np.arange(3.0),
    )
    for index in (slice(1, 4), [4, 0], np.arange(6) % 2 == 0):
        part = groups[index]
        np.testing.assert_array_equal(part.x, groups.x[index])
        np.testing.assert_array_equal(part.mask, groups.mask[index])
        np.testing.assert_array_equal(part.state["a"], np.arange(6)[index])
        np.testing.assert_array_equal(part.nuisance["b"], groups.nuisance["b"][index])
        np.testing.assert_array_equal(part.ids, groups.ids[index])
        np.testing.assert_array_equal(part.axis, groups.axis)


def test_an_integer_selects_one_group_and_iteration_ends():
    groups = numbered()
    np.testing.assert_array_equal(groups[-1].x, groups.x[5:])
    assert [int(g.x[0, 0, 0]) for g in groups] == [0, 12, 24, 36, 48, 60]
    with pytest.raises(IndexError):
        groups[6]


def test_take_instances():
    groups = numbered(
        mask=np.tile([True, True, False, True], (6, 1)),
        nuisance={"b": np.arange(24).reshape(6, 4)},
        state={"a": np.arange(6)},
    )
    part = groups.take_instances([3, 2])
    np.testing.assert_array_equal(part.x, groups.x[:, [3, 2]])
    np.testing.assert_array_equal(part.mask, np.tile([True, False], (6, 1)))
    np.testing.assert_array_equal(part.nuisance["b"], groups.nuisance["b"][:, [3, 2]])
    assert part.state is groups.state


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


def test_split_keeps_equal_ids_together():
    ids = np.repeat(np.arange(10), 3)
    for seed in range(5):
        train, test = numbered(groups=30, ids=ids).split(train=0.5, seed=seed)
        assert (len(train), len(test)) == (15, 15)
        assert not set(train.ids) & set(test.ids)


@pytest.mark.parametrize("train", [0.001, 0.999])
def test_split_leaves_no_part_empty(train):
    first, second = numbered().split(train=train)
    assert min(len(first), len(second)) == 1


def test_split_errors():
    with pytest.raises(InputError, match="between 0 and 1; received 1.0"):
        numbered().split(train=1.0)
    with pytest.raises(InputError, match="at least two states; received 1"):
        numbered(ids=np.zeros(6)).split()


def test_measured_data_have_no_virtual_instances():
    with pytest.raises(InputError, match="only simulated data do"):
        numbered().virtual(0, 0, 0)


def test_pickles_and_compares_by_identity():
    groups = numbered()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(groups)).x, groups.x)
    assert groups == groups and groups != numbered()
