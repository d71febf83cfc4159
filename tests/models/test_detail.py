"""Detail of the state that the codes do not contain, and that `redatum` restores."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import zoo
from symae_keras.classical import GroupedPCA
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import estimate_redatuming_error, redatuming_error
from symae_keras.models import VAE, LatentMeanSwap
from symae_keras.models._detail import Residuals, fit_reliability, gain, residuals
from symae_keras.training import Training, train

numpy = ops.convert_to_numpy


def simulated(
    rng: np.random.Generator,
    groups: int,
    instances: int,
    detail: np.ndarray,
    noise: np.ndarray,
) -> tuple[Residuals, np.ndarray, np.ndarray]:
    """Make moments of residuals, the residuals themselves, and their true detail.

    The arguments are standard deviations per pixel. One in four instances is absent.
    """
    shape = (groups, instances, len(detail))
    d = detail * rng.normal(size=(groups, 1, shape[2]))
    r = d + noise * rng.normal(size=shape)
    good = rng.random((*shape[:2], 1)) < 0.75
    good[:, :2] = True
    count = good.sum(axis=1) + np.zeros(shape[2])
    mean = np.where(good, r, 0.0).sum(axis=1) / count
    squares = (np.where(good, r - mean[:, None], 0.0) ** 2).sum(axis=1)
    return Residuals(count, mean, squares), r, d[:, 0]


# === Estimate of the gain ===


@pytest.mark.parametrize("instances", [2, 5])
def test_gain_is_the_best_linear_one(instances, rng) -> None:
    """Half of the pixels contain four times as much detail as the others."""
    detail, noise = np.repeat([0.4, 1.6], 20), np.repeat([0.8, 0.8], 20)
    found, r, d = simulated(rng, 2000, instances, detail, noise)
    reliability = fit_reliability(found)
    assert reliability is not None
    for count in (1, 2, 7):
        exact = detail**2 / (detail**2 + noise**2 / count)
        found_gain = gain(reliability, count)
        np.testing.assert_allclose(found_gain, exact, atol=0.1)
        for half in (slice(20), slice(20, None)):
            assert found_gain[half].mean() == pytest.approx(exact[half][0], abs=0.02)
    # Regression on single instances estimates the same model.
    slopes = (d * r[:, 0]).sum(axis=0) / (r[:, 0] ** 2).sum(axis=0)
    np.testing.assert_allclose(gain(reliability, 1), slopes, atol=0.1)


def test_few_groups_share_what_they_know(rng) -> None:
    """With six groups, the gain of a single pixel would have a wide scatter."""
    q = [
        fit_reliability(simulated(rng, 6, 4, np.ones(200), np.ones(200))[0])
        for _ in range(5)
    ]
    for each in q:
        assert each is not None
        assert each.std() < 0.1 and abs(each.mean() - 0.5) < 0.1


@pytest.mark.parametrize("correlated", [1, 20, 100])
@pytest.mark.parametrize("groups", [6, 50])
def test_pure_noise_has_no_gain(groups, correlated, rng) -> None:
    """Equal pixels simulate correlated ones, where chance is largest."""
    pixels = np.ones(100 // correlated)
    wrong, added = 0, 0.0
    for _ in range(50):
        found, *_ = simulated(rng, groups, 4, 0.0 * pixels, pixels)
        repeated = Residuals(*(np.repeat(each, correlated, axis=1) for each in found))
        reliability = fit_reliability(repeated)
        if reliability is not None:
            wrong += 1
            added += np.mean(gain(reliability, 4) ** 2)
    # In units of the variance of the mean residual.
    assert wrong <= 8 and added / 50 < 0.05


def test_the_gain_never_exceeds_its_use(rng) -> None:
    """Detail in one group only cannot be distinguished from an outlier."""
    found, *_ = simulated(rng, 20, 4, np.zeros(50), np.ones(50))
    found.means[3] += 5.0
    assert fit_reliability(found) is None


@pytest.mark.parametrize("case", ["few", "single", "constant", "one pixel"])
def test_nothing_to_learn_from(case, rng) -> None:
    found, *_ = simulated(rng, 20, 4, np.ones(30), np.ones(30))
    if case == "few":
        found = Residuals(*(each[:4] for each in found))
    elif case == "single":
        found = Residuals(np.ones((20, 30)), found.means, 0.0 * found.squares)
    elif case == "constant":
        found = Residuals(found.counts, 0.0 * found.means, 0.0 * found.squares)
    elif case == "one pixel":  # all others are never good
        seen = np.arange(30) == 7
        found = Residuals(*(np.where(seen, each, 0.0) for each in found))
        reliability = fit_reliability(found)
        assert reliability is not None
        np.testing.assert_array_equal(reliability > 0.0, seen)
        return
    assert fit_reliability(found) is None


# === redatum ===


def expected(model, xa, xb, good, reliability) -> np.ndarray:
    """Compute the formula separately for each group and pixel."""
    mask_a = None if good is None else good
    codes = model.encode(xa, mask_a)
    virtual = numpy(model.decode(codes.coherent, model.encode(xb).nuisance))
    residual = xa - numpy(model.decode(*codes))
    good = np.ones(xa.shape, bool) if good is None else good
    good = np.broadcast_to(good.reshape(good.shape + (1,) * (3 - good.ndim)), xa.shape)
    for i, p in itertools.product(range(len(xa)), range(xa.shape[2])):
        rows, q = residual[i, good[i, :, p], p], reliability[p]
        if len(rows):
            g = len(rows) * q / (1.0 + (len(rows) - 1) * q)
            virtual[i, :, p] += g * rows.mean()
    return np.asarray(virtual)


@pytest.mark.jax
@pytest.mark.parametrize("masked", ["nothing", "instances", "pixels"])
def test_formula(masked, tiny, x, mask, rng) -> None:
    model, xb = tiny(), rng.normal(size=(6, 3, 12)).astype("float32")
    good = {
        "nothing": None,
        "instances": mask,
        "pixels": mask[..., None] & (rng.random(x.shape) < 0.7),
    }[masked]
    plain = numpy(model.redatum(x, xb, good))
    model.detail = np.linspace(0.0, 1.0, 12)
    want = expected(model, x, xb, good, model.detail)
    if good is not None:
        there = good.reshape(good.shape + (1,) * (3 - good.ndim))
        x = np.where(there, x, np.float32(np.nan))
    for detail in (None, True):
        virtual = numpy(model.redatum(x, xb, good, detail=detail))
        np.testing.assert_allclose(virtual, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.redatum(x, xb, good, detail=False), plain)
    np.testing.assert_allclose(virtual[..., 0], plain[..., 0], atol=1e-6)
    assert np.abs(virtual - plain).max() > 0.1


@pytest.mark.jax
def test_one_group_against_many(tiny, x) -> None:
    model = tiny(nuisance_noise="variational")
    model.detail = np.full(12, 0.3)
    for one, many in ((x[:1], x), (x, x[:1])):
        both = [np.repeat(each, 6 // len(each), axis=0) for each in (one, many)]
        found, want = model.redatum(one, many), model.redatum(*both)
        np.testing.assert_allclose(numpy(found), numpy(want), atol=1e-5)


@pytest.mark.jax
def test_every_grouped_model_and_symbols(x) -> None:
    model = LatentMeanSwap(VAE((12,), 2, seed=0))
    symbol = keras.KerasTensor((None, None, 12))
    before = numpy(model.redatum(x, x[::-1]))
    model.detail = np.ones(12)
    assert tuple(model.redatum(symbol, symbol).shape) == (None, None, 12)
    residual = x - numpy(model.reconstruct(x))
    want = before + residual.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(numpy(model.redatum(x, x[::-1])), want, atol=1e-5)


def test_half_precision_keeps_its_dtype(tiny, x) -> None:
    model = tiny(dtype="mixed_bfloat16")
    plain = model.redatum(x, x)
    model.detail = np.full(12, 0.5)
    virtual = model.redatum(x, x)
    assert virtual.dtype == plain.dtype
    assert np.isfinite(numpy(ops.cast(virtual, "float32"))).all()


def test_wrong_arguments(tiny, x) -> None:
    model = tiny()
    with pytest.raises(ValueError, match="Call `model.fit_detail"):
        model.redatum(x, x, detail=True)
    with pytest.raises(ValueError, match="`detail`. Expected True or False"):
        model.redatum(x, x, detail=1.0)
    for wrong in (np.ones(11), np.full(12, 1.5), np.full(12, np.nan), 0.5):
        with pytest.raises(ValueError, match="`detail`. Expected None or numbers"):
            model.detail = wrong
    assert model.detail is None


# === fit_detail ===


def with_detail(n_groups: int = 40, seed: int = 0) -> GroupedData:
    """Make data where half of the variance is state that no small code contains.

    One instance is absent in each group and two pixels in each instance, as NaN.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_groups, 1, 12)) + rng.normal(size=(n_groups, 6, 12))
    mask, good = np.ones((n_groups, 6), bool), np.ones(x.shape, bool)
    mask[:, 5], good[..., 3:5] = False, rng.random((n_groups, 6, 2)) < 0.8
    x[~(good & mask[..., None])] = np.nan
    return GroupedData(x.astype("float32"), mask=mask, pixel_mask=good)


@pytest.mark.jax
def test_fit_with_masks(tiny) -> None:
    model, groups = tiny(), with_detail()
    assert model.fit_detail(groups)
    assert abs(model.detail.mean() - 0.5) < 0.15
    fitted = model.detail
    assert model.fit_detail(groups.x, groups.good_pixels)
    np.testing.assert_array_equal(model.detail, fitted)
    found = residuals(model, groups.x, groups.model_mask)
    np.testing.assert_array_equal(found.counts, groups.good_pixels.sum(axis=1))
    noise = np.random.default_rng(1).normal(size=(40, 6, 12))
    assert not model.fit_detail(noise - numpy(model.reconstruct(0.0 * noise)).mean())
    assert model.detail is None


def test_refuses_data_that_are_not_finite(tiny) -> None:
    model, groups = tiny(), with_detail()
    with pytest.raises(InputError, match="finite"):
        model.fit_detail(groups.x)
    assert model.detail is None


def test_train_learns_it_from_the_validation_groups(tiny) -> None:
    groups, held_out, once = with_detail(), with_detail(seed=1), Training(epochs=1)
    model = tiny()
    train(model, groups, once, validation=held_out)
    fitted = model.detail
    assert fitted is not None
    model.fit_detail(held_out)
    np.testing.assert_array_equal(model.detail, fitted)
    train(model, groups, once)
    assert model.detail is None  # other weights


@pytest.mark.large
def test_codes_that_contain_the_state_leave_nothing() -> None:
    """The exposures have no detail beyond the codes of the preset."""
    model = zoo.load("symae_exposures")
    test = simulate_exposures(n_states=60, n_instances=8, seed=1)
    without = redatuming_error(model, test)
    model.fit_detail(simulate_exposures(n_states=40, n_instances=8, seed=5))
    assert redatuming_error(model, test) == pytest.approx(without, rel=0.03)


# === Files ===


@pytest.mark.jax
def test_saved_and_loaded(tiny, x, tmp_path) -> None:
    model = tiny()
    model.save(tmp_path / "without.weights.h5".replace(".weights.h5", ".keras"))
    model.save_weights(tmp_path / "without.weights.h5")
    assert keras.saving.load_model(tmp_path / "without.keras").detail is None
    model.detail = np.linspace(0.0, 1.0, 12)
    model.save(tmp_path / "with.keras")
    model.save_weights(tmp_path / "with.weights.h5")
    model.save_to_preset(tmp_path / "preset")
    virtual = numpy(model.redatum(x, x[::-1]))
    other = tiny()
    other.load_weights(tmp_path / "with.weights.h5")
    for again in (
        keras.saving.load_model(tmp_path / "with.keras"),
        zoo.load(tmp_path / "preset"),
        other,
    ):
        np.testing.assert_array_equal(again.detail, model.detail)
        np.testing.assert_allclose(numpy(again.redatum(x, x[::-1])), virtual, 1e-6)
    other.load_weights(tmp_path / "without.weights.h5")
    assert other.detail is None


def test_a_file_with_wrong_numbers_is_refused(tiny, tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    model = tiny()
    model.detail = np.ones(12)
    model.save_to_preset(tmp_path / "preset")
    with h5py.File(tmp_path / "preset" / "model.weights.h5", "a") as file:
        names: list[str] = []
        file.visit(names.append)
        (name,) = [each for each in names if each.endswith("vars/detail")]
        file[name][3] = 2.0
    (tmp_path / "preset" / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        zoo.load(tmp_path / "preset")


# === Error without ground truth ===


class _Detailed(GroupedPCA):
    """Make a linear model that restores the detail of the state."""

    detail = None

    def fit_detail(self, groups: GroupedData) -> None:
        found = residuals(self, groups.x, groups.mask)
        self.detail = fit_reliability(found)

    def redatum(self, coherent_from, nuisance_from, **masks):
        virtual = super().redatum(coherent_from, nuisance_from, **masks)
        if self.detail is None:
            return virtual
        residual = coherent_from - self.reconstruct(coherent_from)
        g = gain(self.detail, coherent_from.shape[1])
        return virtual + (g * residual.mean(axis=1))[:, None]


def additive(n_groups: int, seed: int) -> GroupedData:
    """Simulate states of 30 independent pixels, nuisances of two numbers, and noise."""
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(9).normal(size=(2, 30))
    state, own = rng.normal(size=(n_groups, 30)), rng.normal(size=(n_groups, 5, 2))
    noise = 0.7 * rng.normal(size=(n_groups, 5, 30))
    return GroupedData(
        state[:, None] + own @ shapes + noise,
        state={"state": state},
        nuisance={"own": own},
        render=lambda s, n: s["state"] + n["own"] @ shapes,
    )


def test_estimate_counts_the_detail() -> None:
    groups, test = additive(400, 0), additive(300, 1)
    model = _Detailed(4, 2).fit(groups)
    truth, estimate = {}, {}
    for fitted in (False, True):
        if fitted:
            model.fit_detail(additive(100, 2))
        truth[fitted] = redatuming_error(model, test)
        estimate[fitted] = estimate_redatuming_error(model, test)
    assert truth[True] < 0.6 * truth[False]
    # The estimate contains the noise of instances, virtual instances do not.
    noise = 0.7**2 * 26 / 30 / test.x.var(axis=(0, 1)).mean()
    for fitted in (False, True):
        assert estimate[fitted] - noise == pytest.approx(truth[fitted], rel=0.25)
    assert estimate[True].reconstruction < estimate[False].reconstruction
    same = ("nuisance_in_state", "state_in_nuisance")
    assert all(getattr(estimate[0], n) == getattr(estimate[1], n) for n in same)
