import numpy as np
import pytest

from symae_keras.data import GroupedData


def simulated(between, within, groups=400, instances=6, seed=0):
    """Normal instances around normal states; one instance fewer in every other group.

    Also the mask that says so.
    """
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(groups, 1, 50)) * between**0.5
    x = states + rng.normal(size=(groups, instances, 50)) * within**0.5
    mask = np.ones((groups, instances), bool)
    mask[::2, -1] = False
    x[~mask] = 1e6
    return x, mask


@pytest.mark.parametrize(("between", "within"), [(4.0, 1.0), (0.5, 3.0), (1.0, 0.01)])
def test_variances_are_those_of_the_simulation(between, within):
    """20,000 numbers are known to 1 % of their variance, one standard deviation."""
    x, mask = simulated(between, within)
    found = GroupedData(x, mask=mask).describe()
    tolerance = 0.04 * (between + within / 5.5)
    assert found.variance_between == pytest.approx(between, abs=tolerance)
    assert found.variance_within == pytest.approx(within, rel=0.02)
    assert found.warnings == ()


def test_variances_of_balanced_groups_in_closed_form():
    x = np.random.default_rng(0).normal(size=(7, 4, 3))
    found = GroupedData(x).describe()
    within = x.var(axis=1, ddof=1).mean()
    means = x.mean(axis=1).var(axis=0, ddof=1).mean()
    assert found.variance_within == pytest.approx(within)
    assert found.variance_between == pytest.approx(max(means - within / 4, 0))


def test_bad_pixels_do_not_count():
    x, mask = simulated(2.0, 1.0, groups=60)
    plain = GroupedData(x, mask=mask).describe()
    wide = np.concatenate([x, np.full_like(x, np.nan)], axis=-1)
    gaps = np.arange(100) < 50
    for more in ({"pixel_mask": gaps}, {"weights": gaps * 3.0}):
        found = GroupedData(wide, mask=mask, **more).describe()
        assert found.variance_between == pytest.approx(plain.variance_between)
        assert found.variance_within == pytest.approx(plain.variance_within)
        assert found.missing_pixels == pytest.approx(0.5)


def test_groups_without_a_pixel_do_not_count_there():
    """Half of the groups say nothing of a pixel, as if they were not there."""
    x, mask = simulated(1.0, 5.0, groups=60)
    good = np.repeat(np.arange(60) % 2 == 0, 6).reshape(60, 6, 1)
    found = GroupedData(x, mask=mask, pixel_mask=good).describe()
    half = GroupedData(x[::2], mask=mask[::2]).describe()
    assert found.variance_between == pytest.approx(half.variance_between)
    assert found.variance_within == pytest.approx(half.variance_within)


def test_sizes_and_what_is_missing():
    mask = np.arange(5) < np.array([[5], [3], [1], [3]])
    good = np.ones((4, 5, 10), bool)
    good[0, 0, :6] = False
    groups = GroupedData(
        np.random.default_rng(0).normal(size=(4, 5, 10)),
        mask=mask,
        pixel_mask=good,
        ids=np.array(["a", "b", "a", "c"]),
        state={"depth": np.zeros(4)},
        instance_metadata={"airmass": np.ones((4, 5))},
    )
    found = groups.describe()
    assert (found.n_groups, found.n_states, found.instance_shape) == (4, 3, (10,))
    assert (found.smallest, found.median, found.largest) == (1, 3.0, 5)
    assert (found.n_present, found.n_missing) == (12, 8)
    assert found.missing_pixels == pytest.approx(6 / 120)
    assert found.known == ("depth", "airmass")
    lines = str(found).splitlines()
    assert lines[:2] == [
        "4 groups (3 states) of 1 to 5 (median 3) instances of shape (10,), 12 "
        "instances in all, known: depth, airmass",
        "missing: 8 instances, 5.0 % of pixels",
    ]
    assert lines[2].startswith("variance between groups 0")


def test_nothing_of_note_is_printed_in_three_lines():
    # The means -2 and 2 have the variance 8, of which 2 / 2 is chance.
    x = np.array([[[-3.0], [-1.0]], [[1.0], [3.0]]]) + 100
    assert str(GroupedData(x).describe()).splitlines() == [
        "2 groups of 2 instances of shape (1,), 4 instances in all, no state known",
        "missing: 0 instances, 0.0 % of pixels",
        "variance between groups 7, within groups 2 (of 9.0)",
    ]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    ("x", "mask", "warning"),
    [
        (normal(50, 4, 20), None, "groups differ by no more than chance"),
        (normal(50, 1, 20) + 1e-3 * normal(50, 4, 20), None, "there is no nuisance"),
        (np.full((4, 3, 5), 0.1), None, "all instances are equal"),
        (np.full((4, 3, 5), -0.1), None, "all instances are equal"),
        (
            normal(50, 1, 20) + normal(50, 4, 20),
            np.arange(4) < np.repeat([4, 1, 4, 4, 4], 10)[:, None],
            "10 groups have fewer than 2 instances, from which nothing can be learned "
            "about nuisances; the first is group 10 (id 'star 10')",
        ),
    ],
)
def test_warnings(x, mask, warning):
    names = [f"star {k}" for k in range(len(x))]
    found = GroupedData(x, mask=mask, ids=names).describe()
    assert len(found.warnings) == 1 and warning in found.warnings[0]
    assert f"warning: {found.warnings[0]}" == str(found).splitlines()[-1]


def test_of_large_data_a_part_is_looked_at(monkeypatch):
    x, mask = simulated(4.0, 1.0)
    monkeypatch.setattr("symae_keras.data.describe._NUMBERS", x.size // 4)
    found, part = GroupedData(x, mask=mask).describe(), GroupedData(x, mask=mask)[::4]
    assert found.variance_within == part.describe().variance_within
    assert (found.n_groups, found.n_present) == (400, mask.sum())


def test_no_groups_can_be_described():
    found = GroupedData(np.zeros((2, 3, 4)))[:0].describe()
    assert (found.n_groups, found.variance_within) == (0, 0.0)
