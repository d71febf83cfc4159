"""Weighting of methods with few pairs, and use of the result."""

from __future__ import annotations

import numpy as np
import pytest

import symae_keras as sk
from symae_keras import classical
from symae_keras.adaptation import Adaptation, _stacking
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.models import SymAE

PIXELS = 24
LOADINGS = np.random.default_rng(5).normal(size=(4, PIXELS))
U = np.linspace(-1.0, 1.0, PIXELS)


def measured(n, seed=0, gain=0.7, noise=0.02):
    """Make spectra (n, 2, pixels) of a target, and a source with a gain and a shift."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 4)) @ LOADINGS
    source = gain * (0.5 * state + 0.5 * np.roll(state, 1, axis=1)) + 1.0 + U
    x = np.stack([state, source], axis=1)
    placement = 0.3 * rng.normal(size=(n, 2, 1)) + 0.3 * rng.normal(size=(n, 2, 1)) * U
    return x + placement + noise * rng.normal(size=x.shape)


def with_targets(n_pairs, n_alone, seed=0):
    x = measured(n_pairs + n_alone, seed)
    mask = np.ones(x.shape[:2], bool)
    mask[n_pairs:, 1] = False
    return GroupedData(np.where(mask[..., None], x, np.nan), mask=mask)


def error(virtual, truth):
    return float(((virtual - truth) ** 2).mean())


NEW = measured(200, seed=9)


@pytest.fixture(scope="module")
def many() -> Adaptation:
    return sk.adapt(None, GroupedData(measured(40)))


def test_it_beats_the_mean_shift_and_says_so(many):
    shift = classical.MeanShift(1, 0).fit(GroupedData(measured(40)))
    virtual = many.transfer(NEW[:, 1])
    assert virtual.shape == NEW[:, 0].shape and virtual.dtype == np.float64
    assert error(virtual, NEW[:, 0]) < 0.5 * error(shift.transfer(NEW[:, 1]), NEW[:, 0])
    assert many.scores["MeanShift"] == pytest.approx(1.0)
    assert many.scores[many.method] < 0.5
    assert many.n_pairs == 40 and many.instance_shape == (PIXELS,)
    assert "40 pairs" in repr(many)


def test_masked_arrays_and_tables(many):
    import pandas as pd

    bad = np.zeros((200, PIXELS), bool)
    bad[3, 5] = bad[7] = True
    expected = many.transfer(NEW[:, 1], ~bad)
    masked = np.ma.array(np.where(bad, 1e6, NEW[:, 1]), mask=bad)
    np.testing.assert_array_equal(many.transfer(masked), expected)
    table = pd.DataFrame(np.where(bad, np.nan, NEW[:, 1]))
    np.testing.assert_array_equal(many.transfer(table), expected)


def test_scores_of_every_candidate(many):
    paired = {
        name
        for name in classical.__all__
        if issubclass(getattr(classical, name), classical._paired.PairedReference)
    }
    assert paired < set(many.scores)
    for each in (many.standard_errors, many.errors, many.baseline_free_errors):
        assert set(each) == set(many.scores)
        assert all(np.isfinite(value) and value >= 0 for value in each.values())
    for weights in (many.weights, many.baseline_weights):
        assert set(weights) < set(many.scores)
        assert min(weights.values()) > 0 and sum(weights.values()) == pytest.approx(1)


def test_errors_are_those_of_pairs_left_out():
    """The error of the mean shift is the leave-one-out error of 8 pairs."""
    x = measured(8)
    found = sk.adapt(None, GroupedData(x))
    change = x[:, 0] - x[:, 1]
    left_out = [change[np.arange(8) != n].mean(axis=0) - change[n] for n in range(8)]
    variance = ((x[:, 0] - x[:, 0].mean(axis=0)) ** 2).mean()
    expected = np.mean(np.square(left_out)) / variance
    assert found.errors["MeanShift"] == pytest.approx(expected)


def test_spectra_of_the_target_alone_help():
    few = sk.adapt(None, with_targets(6, 0, seed=1))
    more = sk.adapt(None, with_targets(6, 200, seed=1))
    errors = [error(each.transfer(NEW[:, 1]), NEW[:, 0]) for each in (few, more)]
    assert errors[1] < 0.6 * errors[0]
    assert more.weights["OptimalEstimation"] > 0.3


@pytest.mark.parametrize("n", [1, 2, 4])
def test_very_few_pairs_are_shifted(n):
    x = measured(n)
    found = sk.adapt(None, GroupedData(x))
    assert found.method == "MeanShift" and not found.scores
    shift = (x[:, 0] - x[:, 1]).mean(axis=0)
    np.testing.assert_allclose(found.transfer(NEW[:, 1]), NEW[:, 1] + shift)


def test_no_pairs_align_means():
    x = measured(60)
    mask = np.zeros((60, 2), bool)
    mask[:30, 0] = mask[30:, 1] = True
    found = sk.adapt(None, GroupedData(x, mask=mask))
    assert found.method == "MeanShift of unpaired spectra" and found.n_pairs == 0
    shift = x[:30, 0].mean(axis=0) - x[30:, 1].mean(axis=0)
    np.testing.assert_allclose(found.transfer(NEW[:, 1]), NEW[:, 1] + shift)


def test_places_of_instruments():
    x = measured(20)
    first = sk.adapt(None, GroupedData(x))
    three = np.stack([x[:, 1], np.zeros_like(x[:, 0]), x[:, 0]], axis=1)
    other = sk.adapt(None, GroupedData(three), source=0, target=2)
    assert other.method == first.method
    np.testing.assert_allclose(
        other.transfer(NEW[:, 1]), first.transfer(NEW[:, 1]), atol=1e-8
    )


def test_rarely_worse_than_the_mean_shift():
    worse = 0
    for seed in range(12):
        x = measured(7, seed=100 + seed, noise=0.3)
        found = sk.adapt(None, GroupedData(x))
        shift = (x[:, 0] - x[:, 1]).mean(axis=0)
        reference = error(NEW[:, 1] + shift, NEW[:, 0])
        worse += error(found.transfer(NEW[:, 1]), NEW[:, 0]) > 1.02 * reference
    assert worse <= 1


# === Masked pixels, shapes ===


def test_bad_pixels_are_filled():
    x = measured(40)
    good = np.ones(x.shape, bool)
    good[:, 1, :4] = False  # never observed by the new instrument
    good[3, 0, 7] = good[5, 1, 9] = False
    groups = GroupedData(np.where(good, x, np.nan), pixel_mask=good)
    found = sk.adapt(None, groups)
    assert found.good_pixels.all()
    seen = np.broadcast_to(good[0, 1], NEW[:, 1].shape)
    virtual = found.transfer(np.where(seen, NEW[:, 1], np.nan), mask=seen)
    shift = (x[:, 0] - x[:, 1]).mean(axis=0)
    assert error(virtual, NEW[:, 0]) < error(NEW[:, 1] + shift, NEW[:, 0])
    with pytest.raises(InputError, match="mark these pixels as False in mask"):
        found.transfer(np.where(seen, NEW[:, 1], np.nan))
    good[:, 0, -2:] = False
    found = sk.adapt(None, GroupedData(np.where(good, x, np.nan), pixel_mask=good))
    assert found.good_pixels.tolist() == [True] * (PIXELS - 2) + [False] * 2


@pytest.mark.parametrize("shape", [(PIXELS, 2), (2,), (4, 4, 1)])
def test_other_shapes_of_instances(shape):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(40, *shape))
    groups = GroupedData(np.stack([target, 0.5 * target + 1.0], axis=1))
    found = sk.adapt(None, groups[:20])
    virtual = found.transfer(groups.x[20:, 1])
    np.testing.assert_allclose(virtual, target[20:], atol=0.3)
    assert found.transfer(groups.x[:0, 1]).shape == (0, *shape)


def test_spectra_without_any_difference():
    x = measured(12)
    same = np.stack([x[:, 0], x[:, 0]], axis=1)
    found = sk.adapt(None, GroupedData(same))
    np.testing.assert_allclose(found.transfer(NEW[:, 0]), NEW[:, 0], atol=1e-6)


# === Models ===


@pytest.fixture(scope="module")
def model() -> SymAE:
    """Make an untrained SymAE, normalised to the data."""
    groups = GroupedData(measured(50))
    scale = sk.training.normalization(groups)
    return SymAE((PIXELS,), 4, 2, normalization=scale, seed=0)


def test_methods_of_a_model_are_candidates(model):
    found = sk.adapt(model, GroupedData(measured(16)))
    own = {"ModelOptimalEstimation", "VirtualSpectra", "VirtualSpectraAndRidge"}
    assert own < set(found.scores)
    assert all(np.isfinite(found.scores[name]) for name in own)


def test_virtual_spectra_of_a_model_are_saved(model, monkeypatch, tmp_path):
    of_codes = {"VirtualSpectraAndRidge": 0.7, "MeanShift": 0.3}
    monkeypatch.setattr(
        _stacking.Products,
        "weights",
        lambda own, index=None: (
            of_codes if "ComBat" in own.names else {"ModelOptimalEstimation": 1.0}
        ),
    )
    found = sk.adapt(model, GroupedData(measured(5)))
    assert found.needs_model
    assert found.summary == (
        "0.70 VirtualSpectraAndRidge + 0.30 MeanShift; baseline: ModelOptimalEstimation"
    )
    found.save(tmp_path / "a.npz")
    with pytest.raises(InputError, match="load it with the same model"):
        Adaptation.load(tmp_path / "a.npz")
    read = Adaptation.load(tmp_path / "a.npz", model)
    np.testing.assert_allclose(
        read.transfer(NEW[:, 1]), found.transfer(NEW[:, 1]), atol=1e-5
    )


def test_a_model_knows_the_mean_of_its_instrument(model):
    x = measured(60)
    mask = np.zeros((60, 2), bool)
    mask[:, 1] = True
    found = sk.adapt(model, GroupedData(x, mask=mask))
    mean = measured(50).reshape(-1, PIXELS).mean(axis=0)
    np.testing.assert_allclose(
        found.transfer(NEW[:, 1]), NEW[:, 1] + mean - x[:, 1].mean(axis=0), atol=1e-4
    )
    with pytest.raises(InputError, match="no pairs and no spectra of the target"):
        sk.adapt(None, GroupedData(x, mask=mask))


# === Files ===


def test_a_saved_adaptation_is_the_same(many, tmp_path):
    many.save(tmp_path / "a.npz")
    read = Adaptation.load(tmp_path / "a.npz")
    assert not read.needs_model and read.method == many.method
    assert read.scores == many.scores and read.n_pairs == 40
    np.testing.assert_allclose(
        read.transfer(NEW[:, 1]), many.transfer(NEW[:, 1]), atol=1e-9
    )


def test_broken_files(many, tmp_path):
    with pytest.raises(InputError, match="none.npz cannot be read"):
        Adaptation.load(tmp_path / "none.npz")
    path = tmp_path / "a.npz"
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a complete adaptation"):
        Adaptation.load(path)
    many.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    for broken in (
        {name: each for name, each in arrays.items() if name != "about"},
        {**arrays, "offset": arrays["offset"][:-1]},
        {**arrays, "fill": np.array([object()])},
    ):
        np.savez(path, **broken)
        with pytest.raises(InputError, match="not a complete adaptation|pickled"):
            Adaptation.load(path)


# === Errors ===


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": 0}, "two different instruments"),
        ({"source": 2}, "source must be one of the 2 instruments"),
        ({"target": -1}, "two different instruments, 0 or above"),
    ],
)
def test_places_are_checked(options, words):
    with pytest.raises(InputError, match=words):
        sk.adapt(None, GroupedData(measured(5)), **options)


def test_input_is_checked(model):
    x = measured(5)
    with pytest.raises(InputError, match="NaN or infinite"):
        sk.adapt(None, GroupedData(np.where(x > x.max() - 1e-9, np.nan, x)))
    mask = np.ones((5, 2), bool)
    mask[:, 1] = False
    with pytest.raises(InputError, match="No group was measured on the source"):
        sk.adapt(None, GroupedData(x, mask=mask))
    with pytest.raises(InputError, match="The model expects instances of shape"):
        sk.adapt(model, GroupedData(x[..., 1:]))
    single = sk.models.Autoencoder((PIXELS,), 3)
    with pytest.raises(InputError, match="which does not encode groups"):
        sk.adapt(single, GroupedData(x))
    found = sk.adapt(None, GroupedData(x))
    with pytest.raises(InputError, match="received shape"):
        found.transfer(x[:, 1, 1:])


# === Weights ===


def _residuals(n=20, **scales):
    rng = np.random.default_rng(0)
    return {name: scale * rng.normal(size=(n, 50)) for name, scale in scales.items()}


def test_weights_are_those_of_independent_errors():
    """Weights proportional to inverse variances minimise the variance of a mean."""
    residuals = _residuals(4000, MeanShift=2.0, A=1.0, B=1.5)
    found = _stacking.Products.of(residuals, 20).weights()
    variances = np.array([4.0, 1.0, 2.25])
    expected = (1 / variances) / (1 / variances).sum()
    np.testing.assert_allclose(list(found.values()), expected, rtol=0.03)


def test_a_method_that_adds_nothing_has_no_weight():
    residuals = _residuals(200, MeanShift=1.0, A=0.3)
    residuals["B"] = residuals["A"] + _residuals(200, C=2.0)["C"]
    found = _stacking.Products.of(residuals, 20).weights()
    assert "B" not in found and found["A"] > 0.8
    nothing = {name: np.zeros((9, 4)) for name in ("A", "MeanShift")}
    assert _stacking.Products.of(nothing, 20).weights() == {"MeanShift": 1.0}


def test_few_pairs_stay_near_the_mean_shift():
    weights = []
    for n in (5, 7, 100):
        residuals = _residuals(n, MeanShift=1.0, A=1.0)
        found = _stacking.Products.of(residuals, 20).weights()
        weights.append(found["MeanShift"])
    assert weights[0] > 0.75 > weights[1] > weights[2] > 0.45


def test_many_spectra_of_the_target_are_trusted():
    residuals = _residuals(5, MeanShift=1.0, OptimalEstimation=1.0, A=1.0)
    few, many = (_stacking.Products.of(residuals, n).weights() for n in (10, 100))
    assert max(few, key=few.get) == "MeanShift"
    assert max(many, key=many.get) == "OptimalEstimation"


def test_the_error_of_the_mean_left_out_has_other_weights():
    residuals = _residuals(8, MeanShift=1.0, A=0.6)
    products = _stacking.Products.of(residuals, 20)
    found = _stacking.stack_left_out(residuals, products)
    others = products.weights(np.arange(1, 8))
    by_hand = sum(others[name] * residuals[name][0] for name in others)
    np.testing.assert_allclose(found[0], by_hand)
    assert others != products.weights()


@pytest.mark.parametrize("n", [5, 12, 13, 60, 61, 200])
def test_folds_leave_each_pair_out_once(n):
    parts = _stacking.folds(n)
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert len(parts) == (n if n <= 12 else 10 if n <= 60 else 5)
