import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras.data.sampling import Sampler
from symae_keras.errors import InputError

seeds = st.integers(0, 2**31)


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


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


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
    sampler = Sampler(present, size, count, seed, shuffle)
    draws = epoch_of(sampler, epoch)
    assert [len(d.group) for d in draws[:-1]] == [size] * (len(draws) - 1)
    group = np.concatenate([d.group for d in draws])
    place = np.concatenate([d.place for d in draws])
    there = np.concatenate([d.present for d in draws])
    assert sorted(group) == list(range(n_groups))
    if not shuffle:
        np.testing.assert_array_equal(group, np.arange(n_groups))
    assert place.shape == there.shape == (n_groups, count)
    # Without replacement: no place comes twice.
    assert (np.diff(np.sort(place, axis=1), axis=1) > 0).all()
    np.testing.assert_array_equal(there, present[group[:, None], place])
    # As many present ones as there are, and before all absent ones.
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

    def make():
        return Sampler(present, 3, (2, 5), seed, classes=classes)

    calls = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=8)
    worn, target = make(), (2, 1)
    for epoch, step in data.draw(calls):
        worn.draw(epoch, step)
    same(worn.draw(*target), make().draw(*target))


def test_epochs_steps_and_seeds_differ():
    present = np.ones((30, 12), bool)

    def drawn(seed, epoch, step):
        draw = Sampler(present, 15, 6, seed).draw(epoch, step)
        return draw.group.tolist(), draw.place.tolist()

    draws = [drawn(0, 0, 0), drawn(1, 0, 0), drawn(0, 1, 0), drawn(0, 0, 1)]
    for kind in (0, 1):
        assert len({str(each[kind]) for each in draws}) == len(draws)


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    size=st.integers(1, 7),
    seed=seeds,
)
def test_classes_have_equal_shares(counts, size, seed):
    # Labels that are neither sorted nor numbers.
    classes = np.repeat(np.array(list("dbeca"))[: len(counts)], counts)
    classes = np.random.default_rng(seed).permutation(classes)
    sampler = Sampler(np.ones((len(classes), 2), bool), size, 1, seed, classes=classes)
    group = groups_of(sampler, 0)
    assert len(group) == len(classes)
    times = np.bincount(group, minlength=len(classes))
    shares = [times[classes == each].sum() for each in np.unique(classes)]
    assert max(shares) - min(shares) <= 1
    for each in np.unique(classes):
        inside = times[classes == each]
        assert inside.max() - inside.min() <= 1


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
    found = {
        draw.place.shape[1] for epoch in range(12) for draw in epoch_of(sampler, epoch)
    }
    # 96 draws miss one of 5 numbers with a probability of about 2e-9.
    assert found == set(range(least, most + 1))


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
def test_errors(more, sentence):
    arguments = {"present": np.ones((5, 3), bool), "instances": 2, **more}
    with pytest.raises(InputError, match=sentence):
        Sampler(**arguments)
