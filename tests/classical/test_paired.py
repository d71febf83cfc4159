"""Maps between two instruments, compared with other computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, stats

from symae_keras.classical import (
    ComBat,
    DirectStandardization,
    MeanShift,
    PiecewiseDirectStandardization,
    SlopeBias,
)
from symae_keras.classical import ExternalParameterOrthogonalization as EPO
from symae_keras.classical import GeneralizedLeastSquaresWeighting as GLSW
from symae_keras.classical import SpectralSpaceTransformation as SST
from symae_keras.data import GroupedData
from symae_keras.errors import InputError

KINDS = [MeanShift, SlopeBias, SST, EPO, GLSW, ComBat]
EVERY = pytest.mark.parametrize("kind", KINDS)
BY_COMPONENTS = pytest.mark.parametrize("kind", [SST, EPO])
PIXELS = 12


def _pairs(n_pairs: int = 20, noise: float = 0.1, seed: int = 0) -> GroupedData:
    """Make smooth spectra; the target has a different gain, offset and band."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(3, PIXELS))
    source = rng.normal(size=(n_pairs, 3)) @ loadings + 2.0
    band = np.exp(-0.5 * np.linspace(-3.0, 3.0, PIXELS) ** 2)
    target = 1.2 * source + 0.5 + rng.normal(size=(n_pairs, 1)) * band
    x = np.stack([source, target], axis=1)
    return GroupedData(x + noise * rng.normal(size=x.shape))


@pytest.fixture(scope="module")
def pairs() -> GroupedData:
    return _pairs()


@pytest.fixture(scope="module")
def new() -> np.ndarray:
    return _pairs(7, seed=1).x[:, 0]


def _left_out(make, pairs: GroupedData, folds: int) -> float:
    """Fit again without each fold (brute force)."""
    place, error = np.arange(len(pairs)) % folds, 0.0
    for fold in range(folds):
        model = make().fit(pairs[place != fold])
        out = pairs.x[place == fold]
        error += ((model.transfer(out[:, 0]) - out[:, 1]) ** 2).sum()
    return error


# === Each method by another formula ===


def test_mean_shift(pairs, new) -> None:
    model = MeanShift(0, 1).fit(pairs)
    expected = new - pairs.x[:, 0].mean(axis=0) + pairs.x[:, 1].mean(axis=0)
    np.testing.assert_allclose(model.transfer(new), expected)


def test_slope_and_bias_are_those_of_scipy(pairs) -> None:
    model = SlopeBias(0, 1).fit(pairs)
    for pixel in range(PIXELS):
        line = stats.linregress(*pairs.x[:, :, pixel].T)
        assert model.coef_[pixel] == pytest.approx(line.slope)
        assert model.intercept_[pixel] == pytest.approx(line.intercept)


def test_a_constant_pixel_is_shifted() -> None:
    x = _pairs().x.copy()
    x[:, 0, 3] = 0.1
    model = SlopeBias(0, 1).fit(GroupedData(x))
    assert model.coef_[3] == 1.0
    assert model.intercept_[3] == pytest.approx(x[:, 1, 3].mean() - 0.1)


@pytest.mark.parametrize("n_components", [1, 3, 7])
def test_spectral_space_by_eigenvectors_and_normal_equations(
    n_components, pairs, new
) -> None:
    source, target = pairs.x[:, 0], pairs.x[:, 1]
    both = np.concatenate([target, source], axis=1)
    vectors = np.linalg.eigh(both.T @ both)[1][:, ::-1][:, :n_components]
    p_target, p_source = vectors[:PIXELS], vectors[PIXELS:]
    scores = np.linalg.solve(p_source.T @ p_source, p_source.T @ new.T).T
    expected = new + scores @ (p_target - p_source).T
    model = SST(0, 1, n_components).fit(pairs)
    np.testing.assert_allclose(model.transfer(new), expected, rtol=1e-6)


@pytest.mark.parametrize("n_components", [1, 3])
def test_orthogonalization_by_least_squares(n_components, pairs, new) -> None:
    difference = pairs.x[:, 0] - pairs.x[:, 1]
    axes = np.linalg.eigh(difference.T @ difference)[1][:, ::-1][:, :n_components]

    def clean(x):
        return x - (axes @ np.linalg.lstsq(axes, x.T, rcond=None)[0]).T

    model = EPO(0, 1, n_components).fit(pairs)
    np.testing.assert_allclose(model.correct(new), clean(new), atol=1e-8)
    mean = pairs.x[:, 1].mean(axis=0)
    expected = clean(new) + mean - clean(mean[None])
    np.testing.assert_allclose(model.transfer(new), expected, atol=1e-8)
    # Only the difference between the instruments was removed.
    gone = model.components_ @ model.correct(new).T
    np.testing.assert_allclose(gone, 0.0, atol=1e-10)


@pytest.mark.parametrize("n_pairs", [6, 20])
def test_weighting_by_the_matrix_root(n_pairs, new) -> None:
    pairs = _pairs(n_pairs)
    covariance = np.cov((pairs.x[:, 1] - pairs.x[:, 0]).T)
    root = linalg.sqrtm(np.eye(PIXELS) + covariance / 0.3)
    model = GLSW(0, 1, alpha=0.3).fit(pairs)
    np.testing.assert_allclose(model.coef_ @ root, np.eye(PIXELS), atol=1e-8)
    np.testing.assert_allclose(model.correct(new), new @ np.linalg.inv(root))
    expected = (new - pairs.x[:, 0].mean(axis=0)) @ np.linalg.inv(root)
    expected += pairs.x[:, 1].mean(axis=0)
    np.testing.assert_allclose(model.transfer(new), expected)


def test_weighting_between_its_limits(pairs, new) -> None:
    shift = MeanShift(0, 1).fit(pairs).transfer(new)
    light = GLSW(0, 1, alpha=1e12).fit(pairs).transfer(new)
    np.testing.assert_allclose(light, shift, atol=1e-8)
    heavy = GLSW(0, 1, alpha=1e-12).fit(pairs).transfer(new)
    np.testing.assert_allclose(
        heavy, np.broadcast_to(pairs.x[:, 1].mean(axis=0), heavy.shape), atol=1e-4
    )


# === What is chosen ===


@pytest.mark.parametrize("n_pairs, folds", [(20, 20), (120, 50)])
@BY_COMPONENTS
def test_the_number_of_components_is_the_best_one_left_out(
    kind, n_pairs, folds
) -> None:
    pairs = _pairs(n_pairs)
    errors = [
        _left_out(lambda n=n: kind(0, 1, n), pairs, folds) for n in range(1, PIXELS + 1)
    ]
    assert kind(0, 1).fit(pairs).n_components_ == 1 + int(np.argmin(errors))


def test_the_weight_is_the_best_one_left_out() -> None:
    pairs = _pairs(15, noise=1.0)
    # The target does not contain the state, so shrinking reduces the error.
    x = pairs.x.copy()
    x[:, 1] = np.random.default_rng(3).normal(size=x[:, 1].shape)
    pairs = GroupedData(x)
    difference = x[:, 1] - x[:, 0]
    largest = np.linalg.eigvalsh(np.cov(difference.T))[-1]
    alphas = largest * np.logspace(-8, 4, 49)
    errors = [_left_out(lambda a=a: GLSW(0, 1, a), pairs, 15) for a in alphas]
    best = alphas[np.argmin(errors)]
    assert best < alphas[-1]
    assert GLSW(0, 1).fit(pairs).alpha_ == pytest.approx(best)


def test_the_window_is_the_best_one_left_out() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(14, PIXELS))
    kernel = np.abs(np.subtract.outer(np.arange(PIXELS), np.arange(PIXELS))) <= 1
    target = source @ (kernel * rng.normal(size=kernel.shape)).T
    x = np.stack([source, target + 0.3 * rng.normal(size=source.shape)], axis=1)
    pairs, ridge = GroupedData(x), 0.5
    errors = {
        window: _left_out(
            lambda window=window: PiecewiseDirectStandardization(0, 1, window, ridge),
            pairs,
            14,
        )
        for window in (1, 3, 5, 11, 21)
    }
    best = min(errors, key=lambda window: errors[window])
    assert best == 3
    model = PiecewiseDirectStandardization(0, 1, ridge=ridge).fit(pairs)
    assert model.window_ == best


def test_the_ridge_may_be_tiny() -> None:
    """A floor of 1e-6 would remove a weak band that predicts the difference."""
    rng = np.random.default_rng(0)
    strong, weak = np.linalg.qr(rng.normal(size=(PIXELS, 2)))[0].T
    scores = rng.normal(size=(60, 2))
    source = scores * [1.0, 1e-4] @ np.stack([strong, weak])
    target = scores @ np.stack([strong, weak])
    pairs = GroupedData(np.stack([source, target], axis=1))
    model = DirectStandardization(0, 1).fit(pairs[:40])
    largest = np.linalg.norm(source[:40] - source[:40].mean(axis=0), 2) ** 2
    assert 0.9e-12 * largest < model.ridge_ < 1e-9 * largest
    np.testing.assert_allclose(model.transfer(source[40:]), target[40:], atol=1e-2)


# === Invariances ===


@EVERY
def test_units_of_the_data(kind, pairs, new) -> None:
    expected = 3.0 * kind(0, 1).fit(pairs).transfer(new)
    scaled = kind(0, 1).fit(GroupedData(3.0 * pairs.x)).transfer(3.0 * new)
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-8)


@EVERY
def test_order_and_rotations_of_pairs(kind, pairs, new) -> None:
    first = kind(0, 1).fit(pairs).transfer(new)
    order = np.random.default_rng(0).permutation(len(pairs))
    second = kind(0, 1).fit(pairs[order]).transfer(new)
    np.testing.assert_allclose(second, first, atol=1e-8)
    if kind in (SlopeBias, ComBat):
        return  # these methods treat each pixel separately
    turn = linalg.qr(np.random.default_rng(1).normal(size=(PIXELS, PIXELS)))[0]
    turned = kind(0, 1).fit(GroupedData(pairs.x @ turn)).transfer(new @ turn)
    np.testing.assert_allclose(turned, first @ turn, atol=1e-8)


@EVERY
def test_equal_instruments_need_no_transfer(kind, new) -> None:
    x = _pairs().x[:, :1].repeat(2, axis=1)
    virtual = kind(0, 1).fit(GroupedData(x)).transfer(new)
    if kind is EPO:
        # Without a difference, any direction may be removed, so there is nothing to
        # test.
        assert np.isfinite(virtual).all()
    else:
        np.testing.assert_allclose(virtual, new, atol=1e-8)


@EVERY
def test_images_masks_and_redatum(kind, pairs, new, spoil) -> None:
    flat = kind(0, 1).fit(pairs)
    images = GroupedData(pairs.x.reshape(20, 2, 3, 4, 1))
    model = kind(0, 1).fit(images)
    assert model.instance_shape_ == (3, 4, 1)
    virtual = model.transfer(new.reshape(-1, 3, 4, 1))
    np.testing.assert_allclose(virtual.reshape(new.shape), flat.transfer(new))
    redatumed = model.redatum(images.x[:5])
    assert redatumed.shape == (5, 1, 3, 4, 1)
    np.testing.assert_array_equal(redatumed[:, 0], model.transfer(images.x[:5, 0]))
    # Values of absent spectra have no effect.
    first = kind(0, 1).fit(spoil(pairs))
    second = kind(0, 1).fit(spoil(pairs, filling=1e6))
    np.testing.assert_array_equal(first.transfer(new), second.transfer(new))
    # Nor may masked pixels of the source count as measured.
    good = np.ones((5, 2, new.shape[-1]), bool)
    good[0, 0, 3] = False
    with pytest.raises(InputError, match="needs complete spectra"):
        flat.redatum(pairs.x[:5], good)
    # The result is the same for one spectrum at a time.
    np.testing.assert_allclose(flat.transfer(new[:1]), flat.transfer(new)[:1])


# === Bad input ===


@EVERY
def test_errors(kind, pairs) -> None:
    name = kind.__name__
    with pytest.raises(InputError, match="two different instruments.*1 and 1"):
        kind(1, 1)
    with pytest.raises(InputError, match=f"This {name} is not fitted"):
        kind(0, 1).transfer(pairs.x[:, 0])
    with pytest.raises(InputError, match="target must be one of the 2 .* received 2"):
        kind(0, 2).fit(pairs)
    mask = pairs.present
    mask[1:, 0] = False
    with pytest.raises(InputError, match=f"{name} needs at least two .* received 1"):
        kind(0, 1).fit(GroupedData(pairs.x, mask))
    x = pairs.x.copy()
    x[2, 1, 0] = np.inf
    with pytest.raises(InputError, match="NaN or infinite"):
        kind(0, 1).fit(GroupedData(x))
    bad = np.ones_like(x, bool)
    bad[0, 0, 0] = False
    with pytest.raises(InputError, match=f"{name} needs complete spectra.*masked"):
        kind(0, 1).fit(GroupedData(pairs.x, pixel_mask=bad))
    model = kind(0, 1).fit(pairs)
    with pytest.raises(InputError, match=r"\(12,\).*instrument 0; .*\(6, 7\)"):
        model.transfer(np.zeros((6, 7)))
    with pytest.raises(InputError, match="2 instruments"):
        model.redatum(pairs.x[:, :1])


@BY_COMPONENTS
def test_errors_of_components(kind, pairs) -> None:
    for n in (0, -1, 2.5, np.nan):
        with pytest.raises(InputError, match=f"n_components must be .*received {n}"):
            kind(0, 1, n)
    with pytest.raises(InputError, match="n_components is 5, .* at most 4"):
        kind(0, 1, 5).fit(pairs[:4])


def test_errors_of_weights() -> None:
    for alpha in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InputError, match=f"alpha must be .*received {alpha}"):
            GLSW(0, 1, alpha)


@BY_COMPONENTS
def test_two_pairs_are_enough(kind, pairs, new) -> None:
    model = kind(0, 1).fit(pairs[:2])
    assert model.n_components_ == 1
    assert np.isfinite(model.transfer(new)).all()


# === ComBat ===


def _published(batches: list[np.ndarray]) -> list[np.ndarray]:
    """Compute the equations of Johnson, Li & Rabinovic by loops over pixels."""
    n_batches, n_pixels = len(batches), batches[0].shape[1]
    sizes = [len(batch) for batch in batches]
    total = sum(sizes)
    # Step 1: standardize, with the constraint that sizes-weighted offsets add up to 0.
    alpha, sigma = np.zeros(n_pixels), np.zeros(n_pixels)
    for g in range(n_pixels):
        ols = [sum(batch[:, g]) / len(batch) for batch in batches]
        alpha[g] = sum(n * mean for n, mean in zip(sizes, ols, strict=True)) / total
        squares = 0.0
        for batch, mean in zip(batches, ols, strict=True):
            for j in range(len(batch)):
                squares += (batch[j, g] - mean) ** 2
        sigma[g] = np.sqrt(squares / total)
    adjusted = []
    for i in range(n_batches):
        z = (batches[i] - alpha) / sigma
        n = sizes[i]
        gamma_hat = [sum(z[:, g]) / n for g in range(n_pixels)]
        delta_hat = [
            sum((z[j, g] - gamma_hat[g]) ** 2 for j in range(n)) / (n - 1)
            for g in range(n_pixels)
        ]
        # Step 2: priors by the method of moments.
        gamma_bar = sum(gamma_hat) / n_pixels
        tau2 = sum((each - gamma_bar) ** 2 for each in gamma_hat) / (n_pixels - 1)
        v = sum(delta_hat) / n_pixels
        s2 = sum((each - v) ** 2 for each in delta_hat) / (n_pixels - 1)
        lam, theta = (v**2 + 2.0 * s2) / s2, (v**3 + v * s2) / s2
        out = np.zeros_like(z)
        for g in range(n_pixels):
            gamma, delta2 = gamma_hat[g], delta_hat[g]
            for _ in range(500):
                gamma = (n * tau2 * gamma_hat[g] + delta2 * gamma_bar) / (
                    n * tau2 + delta2
                )
                delta2 = (theta + 0.5 * sum((z[:, g] - gamma) ** 2)) / (
                    n / 2.0 + lam - 1.0
                )
            # Step 3: adjust.
            out[:, g] = sigma[g] / np.sqrt(delta2) * (z[:, g] - gamma) + alpha[g]
        adjusted.append(out)
    return adjusted


def test_combat_by_the_equations_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 3, 5)) * rng.uniform(0.5, 3.0, size=(1, 3, 5))
    x += rng.normal(size=(1, 3, 5))
    mask = np.ones((9, 3), bool)
    mask[6:, 1] = mask[:2, 2] = False
    model = ComBat(0, 2).fit(GroupedData(x, mask))
    batches = [x[mask[:, i], i] for i in range(3)]
    for i, expected in enumerate(_published(batches)):
        ours = model.correct(batches[i], i)
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8)
    # A transfer removes the source parameters and applies those of the target.
    virtual = model.transfer(batches[0])
    corrected = model.correct(batches[0], 0)
    np.testing.assert_allclose(model.correct(virtual, 2), corrected, atol=1e-10)


def test_combat_of_many_spectra_matches_means_and_scales() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2, 6)) * [[[1.0], [3.0]]] + [[[0.0], [5.0]]]
    virtual = ComBat(1, 0).fit(GroupedData(x)).transfer(x[:, 1])
    np.testing.assert_allclose(virtual.mean(axis=0), x[:, 0].mean(axis=0), atol=0.1)
    np.testing.assert_allclose(virtual.std(axis=0), x[:, 0].std(axis=0), rtol=0.05)


def test_combat_needs_no_pairs_and_takes_constant_pixels() -> None:
    x = np.random.default_rng(0).normal(size=(20, 2, 5))
    x[:, 0, 2], x[:, 1, 2] = 1.0, 4.0
    mask = np.zeros((20, 2), bool)
    mask[:10, 0] = mask[10:, 1] = True
    model = ComBat(0, 1).fit(GroupedData(x, mask))
    virtual = model.transfer(x[:10, 0])
    np.testing.assert_allclose(virtual[:, 2], 4.0)
    assert np.isfinite(virtual).all()


def test_errors_of_combat(pairs) -> None:
    with pytest.raises(InputError, match="at least two pixels; received instances"):
        ComBat(0, 1).fit(GroupedData(pairs.x[..., :1]))
    three = GroupedData(np.concatenate([pairs.x, pairs.x[:, :1]], axis=1))
    mask = three.present
    mask[1:, 2] = False
    model = ComBat(0, 1).fit(GroupedData(three.x, mask))
    for index in (2, 3, -1):
        with pytest.raises(InputError, match=f"instrument must be.*received {index}"):
            model.correct(three.x[:, 0], index)
