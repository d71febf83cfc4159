"""Groups of very unequal sizes, which are never all padded to one size."""

import re

import numpy as np
import pytest

from symae_keras.cli._sources import describe_file, in_memory, read_groups
from symae_keras.cli.data import convert
from symae_keras.data import (
    GroupedData,
    RaggedRows,
    Shards,
    ShardWriter,
    UnevenGroups,
    check,
    group_by,
    load,
)
from symae_keras.data import ragged as ragged_module
from symae_keras.data.check import clean
from symae_keras.data.describe import describe
from symae_keras.data.grouping import gather_rows
from symae_keras.errors import InputError
from symae_keras.training import Training, data_variance, normalization, train

SIZES = np.array([3] * 40 + [400] + [2] * 9)
PIXELS = 5


@pytest.fixture
def bound(monkeypatch):
    """Set limits of 1,000 instances; the groups have 538, and 20,000 with padding."""

    def set_bound(instances=1000, n_bytes=4):
        monkeypatch.setattr(ragged_module, "PADDED_BYTES", instances * PIXELS * n_bytes)

    set_bound()
    return set_bound


def flat(seed=0, **more):
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(len(SIZES)), SIZES)
    rows = rng.permutation(len(star))
    x = rng.normal(size=(len(SIZES), PIXELS))[star] + rng.normal(size=(len(star), 1))
    arrays = {
        "x": x.astype("float32"),
        "group": np.array([f"star {k:02d}" for k in star]),
        "air": rng.normal(size=len(star)),
    }
    return {key: values[rows] for key, values in arrays.items()} | more


def rows_of(arrays):
    known = {"air": arrays["air"]}
    return gather_rows(arrays["x"], arrays["group"], metadata=known)


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "my.npz", **flat())
    return tmp_path / "my.npz"


@pytest.fixture
def padded():
    """Return the same groups, padded."""
    arrays = flat()
    return group_by(arrays["x"], arrays["group"])


# === The refusal ===


def test_padding_far_beyond_the_data_is_refused(bound, file):
    words = (
        "group 40 (id 'star 40') has 400 instances, but the median of the 50 groups is "
        "3; padding to one size would take 400 kB, 37 times the size of the data. "
        "Split that group"
    )
    arrays = flat()
    for make in (lambda: group_by(arrays["x"], arrays["group"]), lambda: load(file)):
        with pytest.raises(UnevenGroups, match=re.escape(words)) as error:
            make()
        assert len(error.value.groups) == 50
        assert error.value.groups.counts.sum() == SIZES.sum()
    assert str(error.value).startswith(f"{file}: group 40")


def test_little_padding_is_never_refused(bound):
    even = np.repeat(np.arange(500), 3)  # 1,500 instances, but nothing to pad
    assert group_by(np.ones((1500, PIXELS), "f4"), even).n_instances == 3
    bound(20_000)
    assert group_by(flat()["x"], flat()["group"]).n_instances == 400


def test_what_a_model_takes_whole_is_refused(bound, file, tmp_path):
    convert([file], tmp_path / "shards")
    for path in (file, tmp_path / "shards"):
        with pytest.raises(UnevenGroups) as error:
            in_memory(read_groups(path), path)
        words = f"{path}: group 40 (id 'star 40') has 400 instances"
        assert str(error.value).startswith(words)


# === Unpadded groups are the same groups ===


def equal(one, other):
    for name in ("present", "x", "ids", "pixel_mask", "weights"):
        np.testing.assert_equal(getattr(one, name), getattr(other, name), name)


def test_unpadded_groups_are_the_padded_ones(padded):
    rows = rows_of(flat())
    assert repr(rows) == "50 groups of 2 to 400 instances of shape (5,)"
    assert (rows.n_groups, rows.n_instances, rows.masks) == (50, 400, 1)
    equal(rows.load(), padded)
    equal(rows[30:45].load(), padded[30:45])
    equal(rows[30:40].load(), padded[30:40].take_instances(slice(3)))


def test_masks_and_weights_stay_with_their_rows():
    arrays = flat()
    good = np.random.default_rng(1).random(arrays["x"].shape) < 0.9
    weights = np.random.default_rng(2).random(arrays["x"].shape)
    rows = gather_rows(arrays["x"], arrays["group"], pixel_mask=good, weights=weights)
    groups, there = rows.load(), rows.present
    assert rows.masks == groups.masks == 2
    order = np.argsort(arrays["group"], kind="stable")
    np.testing.assert_array_equal(groups.x[there], arrays["x"][order])
    np.testing.assert_array_equal(groups.pixel_mask[there], good[order])
    np.testing.assert_allclose(groups.weights[there], weights[order], rtol=1e-6)
    assert rows.mean_weight == pytest.approx(weights[good].mean(), rel=1e-5)


def test_parts_follow_the_data(padded):
    rows = rows_of(flat())
    room = 60 * rows.instance_bytes
    parts = list(rows.parts(room))
    assert [first for first, _ in parts] == [0, 20, 40, 41]
    assert max(part.x.nbytes for _, part in parts) == 400 * rows.instance_bytes
    for first, part in parts:
        here = padded[first : first + len(part)]
        np.testing.assert_array_equal(part.x[part.present], here.x[here.present])
        np.testing.assert_array_equal(part.ids, here.ids)
    firsts = [first for first, _ in padded.parts(padded.x.nbytes // 3)]
    assert firsts == [0, 16, 32, 48]


def test_a_sample_takes_some_instances_of_large_groups():
    rows = rows_of(flat())
    sample = rows.sample(50 * 20 * rows.instance_bytes)
    assert len(sample) == 50 and sample.n_instances == 20
    np.testing.assert_array_equal(sample.counts, np.minimum(SIZES, 20))
    whole = rows[40].load()
    np.testing.assert_array_equal(sample.x[40], whole.x[0, ::20])
    np.testing.assert_array_equal(
        sample.instance_metadata["air"][40], whole.instance_metadata["air"][0, ::20]
    )
    small = rows.sample(10 * 12 * rows.instance_bytes, seed=2)
    assert "star 40" in small.ids  # this seed draws it
    assert small.x.shape == (10, 12, PIXELS)


def test_check_looks_at_all_rows():
    checked = check(rows_of(flat()), min_instances=2)
    assert isinstance(checked, RaggedRows) and checked.dtype == np.float32
    equal(checked.load(), check(rows_of(flat()).load()))
    with pytest.raises(InputError, match=r"9 of 50 .* group 41 \(id 'star 41'"):
        check(rows_of(flat()), min_instances=3)
    arrays = flat()
    arrays["x"][np.flatnonzero(arrays["group"] == "star 40")[123], 4] = np.inf
    words = "the first is at group 40 (id 'star 40'), instance 123, pixel 4."
    with pytest.raises(InputError, match=re.escape(words)):
        check(rows_of(arrays))
    with pytest.raises(InputError, match="all present values are 2"):
        check(rows_of(flat(x=np.full((SIZES.sum(), PIXELS), 2.0))))


def test_instances_without_a_good_pixel_are_left_out(caplog):
    arrays = flat()
    good = np.ones(arrays["x"].shape, bool)
    good[np.flatnonzero(arrays["group"] == "star 40")[:100]] = False
    rows = clean(gather_rows(arrays["x"], arrays["group"], pixel_mask=good))
    assert rows.counts[40] == 300 and "100 instances have no good pixel" in caplog.text


def test_describe(padded):
    rows = rows_of(flat())
    found, of_padded = rows.describe(), padded.describe()
    assert (found.smallest, found.median, found.largest) == (2, 3.0, 400)
    assert (found.n_present, found.n_missing) == (SIZES.sum(), 0)
    assert found.known == ("air",)
    assert found.variance_within == pytest.approx(of_padded.variance_within)
    assert describe(rows, rows[:40].load()).n_groups == 50


# === Files ===


def test_describe_and_convert_a_file(padded, bound, file, tmp_path):
    text = describe_file(file)
    assert text.startswith("50 groups of 2 to 400 instances of shape (5,); of a sample")
    convert([file], tmp_path / "shards", shard_mb=1)
    shards = Shards(tmp_path / "shards")
    np.testing.assert_array_equal(shards.counts, SIZES)
    np.testing.assert_array_equal(shards.ids, padded.ids)
    np.testing.assert_array_equal(shards[39:41].load().x, padded[39:41].x)
    assert shards.describe() == read_groups(file).describe()


def test_convert_names_the_group(bound, tmp_path):
    arrays = flat()
    arrays["x"][np.flatnonzero(arrays["group"] == "star 47")[1], 2] = np.inf
    np.savez(tmp_path / "my.npz", **arrays)
    words = "my.npz: 1 value is NaN or infinite; correct or mask them; the first is at "
    with pytest.raises(InputError) as error:
        convert([tmp_path / "my.npz"], tmp_path / "shards")
    assert f"{words}group 47 (id 'star 47'), instance 1, pixel 2." in str(error.value)


def test_training_takes_them(bound, file):
    keras = pytest.importorskip("keras")
    from symae_keras.models import SymAE

    groups = read_groups(file, min_instances=2)
    assert data_variance(groups) > 0
    part, held_out = groups.split(0.8)
    keras.utils.set_random_seed(0)
    model = SymAE((PIXELS,), normalization=normalization(part))
    training = Training(epochs=1, batch_size=16, instances=4)
    history = train(model, part, training, validation=held_out.sample())
    assert np.isfinite(history.history["val_loss"]).all()


def test_shards_of_uneven_groups_are_sampled(tmp_path):
    with ShardWriter(tmp_path / "shards") as writer:
        for _, part in rows_of(flat()).parts(1 << 20):
            writer.add(part)
    shards = Shards(tmp_path / "shards")
    sample = shards.sample(50 * 20 * shards.instance_bytes)
    equal(sample, rows_of(flat()).sample(50 * 20 * shards.instance_bytes))
    assert isinstance(sample, GroupedData)


def test_what_is_the_same_within_groups_is_known_of_groups():
    """Missing values are equal; names of instances stay instance metadata."""
    rows = {
        "a": np.array([1.0, np.nan, 1.0, np.nan]),
        "b": np.array(["x", "y", "z", "y"]),
        "instance": np.array([1, 1, 1, 1]),
    }
    groups = gather_rows(np.ones((4, 2)), ["m", "n", "m", "n"], metadata=rows)
    assert set(groups.known) == {"a"}
    padded = groups[1:].load()
    np.testing.assert_array_equal(padded.group_metadata["a"], [np.nan])
    assert set(padded.instance_metadata) == {"b", "instance"}
    again = RaggedRows.joined([groups.load()])
    np.testing.assert_array_equal(again.group_metadata["a"], [1.0, np.nan])
