"""The data sets of the leaderboard."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from symae_keras.data.simulators.replicates import NOISE, simulate_replicates
from symae_keras.errors import InputError
from symae_keras.evaluation import SETS, linear_mean_swap, redatuming_error
from symae_keras.evaluation.sets import check_sets

# === Replicates ===


@pytest.mark.parametrize("constant_band", [False, True])
def test_replicates_are_virtual_instances_and_noise(constant_band) -> None:
    groups = simulate_replicates(50, 4, seed=3, constant_band=constant_band)
    own, instance = np.indices((50, 4))
    noise = groups.x - groups.virtual(own, own, instance)
    assert noise.std() == pytest.approx(NOISE, rel=0.02)
    assert abs(noise.mean()) < 3 * NOISE / np.sqrt(noise.size)
    assert groups.virtual(0, 1, 2).dtype == np.float32
    again = simulate_replicates(50, 4, seed=3, constant_band=constant_band)
    assert np.array_equal(groups.x, again.x)


def test_replicates_follow_their_formula() -> None:
    """A band without nuisances has its nominal height; each nuisance has its effect."""
    groups = simulate_replicates(1, 1, seed=0)
    x = groups.axis
    state = {"heights": np.array([[0.0, 1.0, 0.0]])}
    still = {
        "shift": np.zeros(1),
        "scatter": np.zeros(1),
        "baseline": np.zeros((1, 3)),
    }
    band = np.exp(-0.5 * (x / 0.1) ** 2)
    for change, expected in (
        ({}, band),
        ({"shift": np.array([0.1])}, np.exp(-0.5 * ((x - 0.1) / 0.1) ** 2)),
        ({"scatter": np.array([np.log(2.0)])}, 2.0 * band),
        ({"baseline": np.array([[1.0, 2.0, 3.0]])}, band + 1 + 2 * x + 3 * x**2),
    ):
        found = groups.render(state, still | change)[0]
        assert np.allclose(found, expected, atol=1e-6)


# === Sets ===


def test_small_has_30_samples_and_other_ones_to_judge_by() -> None:
    train, test = SETS["small"].load(True)
    assert train.x.shape == (30, 4, 200) and len(test) == 100
    assert not np.isin(train.state["heights"], test.state["heights"]).any()
    assert len(SETS["small"].load(False)[1]) > len(test)


@pytest.mark.large
@pytest.mark.parametrize("name", ["exposures", "identifiable", "shapes"])
def test_simulated_sets_know_the_truth(name) -> None:
    train, test = SETS[name].load(True)
    assert SETS[name].file is None and len(train) >= 1000
    assert train.instance_shape == test.instance_shape
    assert test.virtual(0, 1, 2).shape == test.instance_shape
    assert not np.array_equal(train.x[: len(test)], test.x)


@pytest.fixture
def tablets(rng) -> dict[str, np.ndarray]:
    x = rng.normal(size=(12, 1, 30)) + 0.1 * rng.normal(size=(12, 2, 30))
    split = np.array(["train"] * 7 + ["transfer"] + ["test"] * 4)
    return {"x": x.astype("float32"), "split": split}


def test_swaps_of_tablets_were_measured(tablets, tmp_path) -> None:
    np.savez(tmp_path / "t.npz", **tablets)
    train, test = SETS["tablets"].load(tmp_path / "t.npz", False)
    assert (len(train), len(test)) == (7, 4)
    own, instrument = np.indices((4, 2))
    others = np.array([1, 2, 3, 0])[:, None]
    assert np.array_equal(test.virtual(others, own, instrument), test.x[others[:, 0]])
    # Also for a part of the groups.
    assert np.array_equal(test[2:].virtual(1, 0, 1), test.x[3, 1])
    # Only the best-fitting quadratic is subtracted.
    axis = np.linspace(-1.0, 1.0, 30)
    off = tablets["x"][:7] - train.x
    fitted = np.polynomial.Polynomial.fit(axis, tablets["x"][0, 1], 2)(axis)
    assert np.allclose(off[0, 1], fitted, atol=1e-5)
    # The linear swap is exact except for half of the instrument effect per tablet.
    swapped = linear_mean_swap(test, others[:, 0])
    difference = test.x[:, 0] - test.x[:, 1]
    expected = (difference[others[:, 0]] - difference) / 2
    assert np.allclose(test.x[others[:, 0]][:, 0] - swapped[:, 0], expected, atol=1e-6)


def test_tablets_without_a_split_are_split(tablets, tmp_path) -> None:
    np.savez(tmp_path / "t.npz", x=tablets["x"])
    train, test = SETS["tablets"].load(tmp_path / "t.npz", False)
    assert len(train) + len(test) == 12 and len(test) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": np.ones((12, 3, 30))}, r"x \(tablets, 2, pixels\); received x of shape"),
        ({"x": np.full((12, 2, 30), np.nan)}, "values are missing"),
        ({"split": np.array(["train"] * 12)}, "split must be 'train' or 'test'"),
    ],
)
def test_other_tablets_are_refused(tablets, tmp_path, change, sentence) -> None:
    np.savez(tmp_path / "t.npz", **{**tablets, **change})
    with pytest.raises(InputError, match=sentence):
        SETS["tablets"].load(tmp_path / "t.npz", False)


def test_bags_hold_images_of_one_class(tmp_path, rng) -> None:
    for split, rows in (("train", 400), ("t10k", 80)):
        labels = np.arange(rows, dtype=np.uint8) % 2
        images = rng.integers(0, 100, (rows, 3, 3), dtype=np.uint8)
        images += 150 * labels[:, None, None]
        head = struct.pack(">4B3i", 0, 0, 8, 3, *images.shape)
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">4Bi", 0, 0, 8, 1, rows)
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    train, test = SETS["bags"].load(tmp_path, False)
    assert (len(train), train.n_instances, len(test)) == (2, 200, 4)
    bright = test.x.min(axis=(1, 2, 3, 4)) > 0.5
    assert np.array_equal(bright, test.state["label"] == 1)
    with pytest.raises(InputError, match="no exact virtual instances"):
        redatuming_error(None, test)


def test_unknown_sets_are_refused() -> None:
    with pytest.raises(InputError, match=r"no set 'shape'; did you mean shapes\?"):
        check_sets(["shape"])
    with pytest.raises(InputError, match="small was named twice; name each set once"):
        check_sets(["small", "small"])
