"""Checks and descriptions of data before training."""

import numpy as np
import pytest

from symae_keras.data import (
    GroupedData,
    ShardWriter,
    batches,
    check,
    instance_batches,
)
from symae_keras.data.check import clean
from symae_keras.errors import InputError


def noise(dtype="float32", shape=(4, 3, 5)):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def test_good_data_pass_unchanged():
    x = noise()
    groups = check(GroupedData(x, ids=np.arange(4), axis=np.arange(5)))
    assert groups.x is x and groups.mask is None
    np.testing.assert_array_equal(groups.ids, np.arange(4))


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4"])
def test_other_floats_become_native_float32(dtype):
    x = noise(dtype)
    groups = check(GroupedData(x))
    assert groups.x.dtype == np.dtype("float32") and groups.x.dtype.isnative
    np.testing.assert_array_equal(groups.x, x.astype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("behind", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("name", ["mask", "pixel_mask", "weights"])
def test_what_is_masked_may_be_anything(dtype, behind, name):
    x = noise()
    good = np.random.default_rng(1).random(x.shape[: 2 if name == "mask" else 3]) < 0.7
    good[:, 0] = True
    shown = good[..., None] if name == "mask" else good
    with np.errstate(over="ignore"):
        dirty = np.where(shown, x, behind).astype(dtype)
    given = dirty.copy()
    groups = check(GroupedData(dirty, **{name: good}))
    np.testing.assert_array_equal(groups.x, np.where(shown, x, 0))
    np.testing.assert_array_equal(getattr(groups, name), good)
    np.testing.assert_array_equal(dirty, given)  # only a copy was changed


BESIDE = np.ones((4, 3, 5))
BESIDE[0, 0, 0] = 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("more", [{}, {"pixel_mask": BESIDE}, {"weights": 3 * BESIDE}])
def test_non_finite_values_are_named(bad, more):
    x = noise()
    x[2, 1, 3] = x[2, 1, 4] = x[3, 0, 0] = bad
    if more:
        x[0, 0, 0] = bad
    sentence = (
        "^the data: 3 values are NaN or infinite; correct or mask them; the first is "
        "at group 2, instance 1, pixel 3.$"
    )
    with pytest.raises(InputError, match=sentence):
        check(GroupedData(x, **more))


def test_one_bad_pixel_of_an_image():
    x = noise(shape=(4, 3, 6, 6, 1))
    x[1, 2, 4, 5, 0] = np.nan
    with pytest.raises(InputError, match=r"1 value is NaN.* pixel \(4, 5, 0\)"):
        check(GroupedData(x))


def test_overflow_is_named():
    x = noise("float64")
    x[1, 0, 2] = -1e39
    with pytest.raises(InputError, match="my.npz: 1 value is too large.*pixel 2"):
        check(GroupedData(x), source="my.npz")


def test_too_few_instances():
    mask = np.arange(3) < np.array([[3], [1], [3], [2]])
    groups = GroupedData(noise(), mask=mask)
    assert len(check(groups, min_instances=1)) == 4
    sentence = (
        "my.npz: 2 of 4 groups have fewer than 3 present instances; the first is "
        "group 1 with 1."
    )
    with pytest.raises(InputError, match=sentence):
        check(groups, min_instances=3, source="my.npz")


@pytest.mark.parametrize(
    ("name", "shape"), [("mask", (4, 3)), ("pixel_mask", (4, 3, 5))]
)
def test_a_group_behind_its_mask(name, shape):
    good = np.ones(shape, bool)
    good[2] = False
    with pytest.raises(InputError, match="1 of 4 groups.* group 2 with 0"):
        check(GroupedData(noise(), **{name: good}))


@pytest.mark.parametrize("shape", [(0, 3, 5), (4, 0, 5), (4, 3, 0)])
def test_empty_data(shape):
    with pytest.raises(InputError, match="x is empty, shape"):
        check(GroupedData(np.zeros(shape, "float32")))


def test_constant_data():
    mask = np.ones((4, 3), bool)
    mask[0, 0] = False
    x = np.full((4, 3, 5), 2.5)
    hidden, first = x.copy(), x.copy()
    hidden[0, 0] = first[..., 0] = 7.0
    for groups in (
        GroupedData(x),
        GroupedData(hidden, mask=mask),
        GroupedData(first, pixel_mask=np.arange(5) > 0),
    ):
        with pytest.raises(InputError, match="all present values are 2.5"):
            check(groups)
    hidden[1, 1, 1] = 2.6
    assert len(check(GroupedData(hidden, mask=mask))) == 4


def test_blank_instances_count_as_absent_and_are_said(caplog):
    good = np.ones((4, 3, 5), bool)
    good[1, 2] = good[3, 0] = good[0, 1, :4] = False
    mask = np.ones((4, 3), bool)
    mask[1, 2] = False  # is already absent
    groups = GroupedData(noise(), mask=mask, pixel_mask=good)
    groups = check(groups, source="my.npz")
    np.testing.assert_array_equal(groups.mask, good.any(axis=-1))
    assert caplog.messages == [
        "my.npz: 1 instances have no good pixel; they count as absent."
    ]
    with pytest.raises(InputError, match="2 of 4 groups.* group 1 with 2"):
        check(groups, min_instances=3)


# === Values around a large offset ===


def around(offset, deviation=1.0, shape=(30, 4, 16)):
    return offset + deviation * np.random.default_rng(0).normal(size=shape)


def test_differences_that_float32_rounds_off_are_refused(tmp_path):
    groups = GroupedData(around(1e7))
    words = (
        "my.npz: values that differ by about 1 around 10000000 are rounded by about "
        "0.29 in float32; subtract 10000000 from x in float64 first, and add it to the "
        "output of the model."
    )
    for make in (check, clean):
        with pytest.raises(InputError) as error:
            make(groups, source="my.npz")
        assert str(error.value) == words
    for make in (batches, instance_batches, ShardWriter(tmp_path).add):
        with pytest.raises(InputError, match="subtract 10000000 from x in float64"):
            make(groups)
    ready = check(GroupedData(groups.x - 1e7))
    np.testing.assert_allclose(ready.x, groups.x - 1e7, rtol=1e-6)
    # Each pixel may have a different offset.
    with pytest.raises(InputError, match="subtract the mean of each pixel from x"):
        check(GroupedData(around(0) + 1e7 * np.arange(16)))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (around(1e7), "refused"),
        (around(-3e5, 0.1), "refused"),
        (around(1e5), "noted"),
        (around(1e3), "nothing"),
        (around(1e30, 1e29), "nothing"),
        (around(1e7).astype("float32"), "nothing"),  # already rounded to float32
        (np.rint(around(5e7, 3)).astype("int64"), "refused"),
        (np.rint(around(5e4, 30)).astype("uint16"), "nothing"),
        (around(0) + 1e7 * np.arange(16), "refused"),
        (around(0) * 10.0 ** np.arange(16), "nothing"),  # one scale for all pixels
        (np.full((3, 4, 5), 0.1) + np.arange(5), "nothing"),  # constant pixels
    ],
)
def test_what_is_said_of_rounding(x, says, caplog):
    try:
        check(GroupedData(x))
        found = "noted" if "are rounded by about" in caplog.text else "nothing"
    except InputError as error:
        found = "refused" if "are rounded by about" in str(error) else str(error)
    assert found == says


def test_masked_values_do_not_count_as_offset():
    x = around(1.0)
    x[:, 0] = 1e20
    mask = np.ones((30, 4), bool)
    mask[:, 0] = False
    assert check(GroupedData(x, mask=mask)).x[:, 1:].std() == pytest.approx(1, rel=0.1)


def test_sentences_name_ids():
    ids = np.array(["sun", "moon", "star"])
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    x[1, 1, 2] = np.nan
    with pytest.raises(InputError, match=r"group 1 \(id 'moon'\), instance 1, pixel 2"):
        check(GroupedData(x, ids=ids))
    with pytest.raises(InputError, match="at group 101, instance 1"):
        clean(GroupedData(x), first=100)
    mask = np.array([[True, True], [True, True], [True, False]])
    with pytest.raises(InputError, match=r"first is group 2 \(id 'star'\) with 1"):
        check(GroupedData(np.abs(x) > 0, mask=mask, ids=ids), min_instances=2)


# === Description ===


def simulated(between, within, groups=400, instances=6, seed=0):
    """Make normal instances around normal states, and a mask.

    Every other group has one instance fewer.
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
    """With 20,000 numbers, the standard error of the variance is 1 %."""
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


def variances(**arguments):
    found = GroupedData(**arguments).describe()
    return found.variance_between, found.variance_within, found.missing_pixels


def test_bad_pixels_do_not_count():
    x, mask = simulated(2.0, 1.0, groups=60)
    between, within, _ = variances(x=x, mask=mask)
    wide = np.concatenate([x, np.full_like(x, np.nan)], axis=-1)
    gaps = np.arange(100) < 50
    for more in ({"pixel_mask": gaps}, {"weights": gaps * 3.0}):
        found = variances(x=wide, mask=mask, **more)
        assert found == pytest.approx((between, within, 0.5))


def test_groups_without_a_pixel_do_not_count_there():
    """Groups in which a pixel is masked are ignored for this pixel."""
    x, mask = simulated(1.0, 5.0, groups=60)
    good = np.repeat(np.arange(60) % 2 == 0, 6).reshape(60, 6, 1)
    found = variances(x=x, mask=mask, pixel_mask=good)
    assert found[:2] == pytest.approx(variances(x=x[::2], mask=mask[::2])[:2])


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
        "missing: 5.0 % of pixels",
    ]
    assert lines[2].startswith("variance between groups 0")


def test_nothing_of_note_is_printed_in_three_lines():
    # The means -2 and 2 have the variance 8, of which 2 / 2 is chance.
    x = np.array([[[-3.0], [-1.0]], [[1.0], [3.0]]]) + 100
    assert str(GroupedData(x).describe()).splitlines() == [
        "2 groups of 2 instances of shape (1,), 4 instances in all, no state known",
        "missing: 0.0 % of pixels",
        "variance between groups 7, within groups 2 (of 9.0)",
    ]


STATES = noise(shape=(50, 1, 20))


@pytest.mark.parametrize(
    ("x", "mask", "warning"),
    [
        (noise(shape=(50, 4, 20)), None, "groups differ by no more than chance"),
        (0.2 * STATES[::-1] + noise(shape=(50, 4, 20)), None, "groups explain only 4"),
        (STATES + 1e-3 * noise(shape=(50, 4, 20)), None, "there is no nuisance"),
        (np.full((4, 3, 5), 0.1), None, "all instances are equal"),
        (np.full((4, 3, 5), -0.1), None, "all instances are equal"),
        (
            STATES + noise(shape=(50, 4, 20)),
            np.arange(4) < np.repeat([4, 1, 4, 4, 4], 10)[:, None],
            "10 groups have fewer than 2 instances, so a model cannot learn nuisances "
            "from them; the first is group 10 (id 'star 10')",
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
