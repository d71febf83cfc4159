"""Scatter corrections compared with regressions, and on data that they fit exactly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from symae_keras.classical import MSC, SNV, MeanSwap, PhaseWeightedStack
from symae_keras.classical import ExtendedScatterCorrection as EMSC
from symae_keras.data import GroupedData
from symae_keras.errors import InputError

PIXELS = 40
AXIS = np.linspace(-1.0, 1.0, PIXELS)
KINDS = [SNV, MSC, EMSC]
EVERY = pytest.mark.parametrize("kind", KINDS)


def _replicates(seed: int = 0, n_groups: int = 15, components: int = 1) -> GroupedData:
    """Make bands with a different gain, baseline and component in each replicate."""
    rng = np.random.default_rng(seed)
    shape = n_groups, 4
    bands = np.exp(-0.5 * ((AXIS - np.linspace(-0.7, 0.7, 5)[:, None]) / 0.1) ** 2)
    state = rng.uniform(0.5, 1.5, size=(n_groups, 1, 5)) @ bands + 0.2
    x = rng.uniform(0.5, 2.0, size=(*shape, 1)) * state
    x = x + rng.normal(size=(*shape, 1)) + rng.normal(size=(*shape, 1)) * AXIS
    wave = np.stack([np.sin(9.0 * (k + 1) * AXIS) for k in range(components)])
    return GroupedData(x + rng.normal(size=(*shape, components)) @ wave)


def test_snv_has_mean_0_and_variance_1() -> None:
    x = _replicates().x
    corrected = SNV().fit(GroupedData(x)).correct(x[0])
    np.testing.assert_allclose(corrected.mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(corrected.var(axis=1, ddof=1), 1.0)
    np.testing.assert_allclose(corrected, SNV().fit(GroupedData(7 * x)).correct(x[0]))
    again = SNV().fit(GroupedData(x)).correct(5.0 * x[0] - 3.0)
    np.testing.assert_allclose(again, corrected)


def test_msc_by_regression_on_the_mean() -> None:
    groups = _replicates()
    mean = groups.x.mean(axis=(0, 1))
    corrected = MSC().fit(groups).correct(groups.x[3])
    for row, ours in zip(groups.x[3], corrected, strict=True):
        slope, offset = np.polyfit(mean, row, 1)
        np.testing.assert_allclose(ours, (row - offset) / slope)


@pytest.mark.parametrize("degree, n_components", [(0, 0), (2, 0), (1, 2), (2, 1)])
def test_emsc_by_two_regressions(degree, n_components) -> None:
    """Fit without components first, then with components of the residuals."""
    groups = _replicates()
    mean = groups.x.mean(axis=(0, 1))
    basis = np.stack([mean, *(AXIS**d for d in range(1, degree + 1))])

    def corrected(x, basis):
        fit = LinearRegression().fit(basis.T, x.reshape(-1, PIXELS).T)
        others = fit.coef_[:, 1:] @ basis[1:] + fit.intercept_[:, None]
        clean = (x.reshape(-1, PIXELS) - others) / fit.coef_[:, :1]
        return clean.reshape(x.shape)

    model = EMSC(degree, n_components).fit(groups)
    if n_components:
        first = corrected(groups.x, basis)
        apart = (first - first.mean(axis=1, keepdims=True)).reshape(-1, PIXELS)
        axes = np.linalg.svd(apart)[2][:n_components]
        overlap = np.linalg.svd(axes @ model.components_.T)[1]
        np.testing.assert_allclose(overlap, 1.0, atol=1e-8)
        basis = np.concatenate([basis, axes])
    expected = corrected(groups.x, basis)
    np.testing.assert_allclose(model.correct(groups.x[2]), expected[2], rtol=1e-6)
    codes = model.encode(groups.x)
    np.testing.assert_allclose(codes.coherent, expected.mean(axis=1), rtol=1e-6)
    assert codes.nuisance.shape == (15, 4, 2 + degree + n_components)


def test_components_do_not_change_the_gain() -> None:
    """Deviations are orthogonal to the polynomial that was fitted first."""
    groups = _replicates()
    without = EMSC(2, 0).fit(groups).encode(groups.x).nuisance
    with_two = EMSC(2, 2).fit(groups).encode(groups.x).nuisance
    np.testing.assert_allclose(with_two[..., :4], without, atol=1e-8)


def test_the_number_of_components_is_the_best_one_left_out() -> None:
    groups = _replicates(components=2)
    mean = groups.x.mean(axis=(0, 1))
    base = EMSC(2, 0).fit(groups)
    corrected = np.stack([base.correct(each) for each in groups.x])
    ratios = []
    for n in range(6):
        within = between = 0.0
        for out in range(len(groups)):
            kept = np.arange(len(groups)) != out
            rest = corrected[kept] - corrected[kept].mean(axis=1, keepdims=True)
            axes = np.linalg.svd(rest.reshape(-1, PIXELS))[2][:n]
            clean = np.eye(PIXELS) - axes.T @ axes
            own = corrected[out].mean(axis=0)
            within += (((corrected[out] - own) @ clean) ** 2).sum()
            between += (((own - mean) @ clean) ** 2).sum()
        ratios.append(within / between)
    model = EMSC(2).fit(groups)
    best = min(model.n_components_, 5)
    assert best >= 2
    assert ratios[best] == min(ratios)
    # The components are the simulated ones without their polynomial part.
    assert (
        model.correct(groups.x[0]).std(axis=0).mean()
        < 0.3 * corrected[0].std(axis=0).mean()
    )


@pytest.mark.parametrize("pixels", [6, 12, 16])
def test_components_leave_something_of_short_spectra(pixels: int) -> None:
    rng = np.random.default_rng(1)
    axis = np.linspace(0.0, 1.0, pixels)
    bands = np.exp(-(((axis - np.array([[0.2], [0.5], [0.8]])) / 0.15) ** 2))
    state = 2.0 + rng.random((50, 1, 3)) @ bands
    x = rng.uniform(0.8, 1.2, (50, 4, 1)) * state + 0.1 * rng.normal(size=(50, 4, 1))
    x += 0.02 * rng.normal(size=(50, 4, pixels))
    model = EMSC().fit(GroupedData(x[:35]))
    codes = model.encode(x[35:]).coherent
    assert codes.var(axis=0).sum() > 0.01 * state[35:, 0].var(axis=0).sum()


def test_what_a_correction_fits_is_redatumed_exactly() -> None:
    """Make one state with gains, slopes and offsets, all of which EMSC models."""
    rng = np.random.default_rng(0)
    band = np.exp(-0.5 * (AXIS / 0.2) ** 2)
    detail = np.linalg.qr(
        np.stack([np.ones(PIXELS), AXIS, band, *rng.normal(size=(2, PIXELS))]).T
    )[0].T[3:]
    # Means over groups are the band, because details average out by construction.
    state = rng.normal(size=(10, 2))
    state -= state.mean(axis=0)
    spectra = band + 0.1 * state @ detail
    gain = np.ones((10, 3, 1))
    nuisance = rng.normal(size=(10, 3, 2)) @ np.stack([np.ones(PIXELS), AXIS])
    x = gain * spectra[:, None] + nuisance
    model = EMSC(1, 0).fit(GroupedData(x))
    virtual = model.redatum(coherent_from=x[:5], nuisance_from=x[5:])
    np.testing.assert_allclose(virtual, spectra[:5, None] + nuisance[5:], atol=1e-8)


@EVERY
def test_reconstructions_of_single_instances_are_exact(kind) -> None:
    groups = _replicates()
    x = groups.x[:, :1]
    model = kind().fit(groups)
    np.testing.assert_allclose(model.reconstruct(x), x, atol=1e-8)
    # A coherent code is the mean of the codes of single instances.
    every = np.stack([model.encode(groups.x[:, t : t + 1]).coherent for t in range(4)])
    np.testing.assert_allclose(
        model.encode(groups.x).coherent, every.mean(axis=0), atol=1e-8
    )


@EVERY
def test_absent_instances_and_bad_pixels_do_not_matter(kind, spoil) -> None:
    groups = _replicates()
    first, second = spoil(groups), spoil(groups, filling=1e6)
    model, other = kind().fit(first), kind().fit(second)
    for ours, again in zip(
        model.encode(first.x, first.mask),
        other.encode(second.x, second.mask),
        strict=True,
    ):
        np.testing.assert_allclose(ours, again, atol=1e-8)
        assert np.isfinite(ours).all()
    codes = model.encode(first.x, first.mask)
    assert not codes.nuisance[~first.present].any()
    pixel_mask = np.random.default_rng(0).random(groups.x.shape) < 0.9
    spoiled = np.where(pixel_mask, groups.x, 1e6)
    codes = model.encode(groups.x, pixel_mask)
    for ours, again in zip(codes, model.encode(spoiled, pixel_mask), strict=True):
        np.testing.assert_allclose(ours, again, atol=1e-8)
    # Compute one instance directly from its good pixels.
    own, good = groups.x[0, 0], pixel_mask[0, 0]
    if kind is SNV:
        expected = [own[good].mean(), own[good].std(ddof=1)]
        np.testing.assert_allclose(codes.nuisance[0, 0], expected)
    if kind is MSC:
        slope, offset = np.polyfit(model.reference_[good], own[good], 1)
        np.testing.assert_allclose(codes.nuisance[0, 0], [slope, offset])


def test_constant_instances_are_shifted() -> None:
    x = _replicates().x.copy()
    x[0, 0] = 0.1
    for model in (SNV(), MSC()):
        corrected = model.fit(GroupedData(x)).correct(x[0])
        assert np.isfinite(corrected).all()


def test_images() -> None:
    x = np.random.default_rng(0).random((6, 3, 4, 5, 1))
    for model in (SNV(), MSC()):
        assert model.fit(GroupedData(x)).redatum(x[:3], x[3:]).shape == x[:3].shape
        assert model.correct(x[0]).shape == x[0].shape
    with pytest.raises(InputError, match=r"\(pixels,\); received \(4, 5, 1\)"):
        EMSC().fit(GroupedData(x))


def test_errors() -> None:
    groups = _replicates()
    for kind in KINDS:
        with pytest.raises(InputError, match=f"This {kind.__name__} is not fitted"):
            kind().correct(groups.x[0])
        with pytest.raises(InputError, match=r"shape \(40,\)"):
            kind().fit(groups).correct(groups.x[0, :, :-1])
        absent = GroupedData(groups.x, np.zeros((15, 4)))
        with pytest.raises(InputError, match=f"{kind.__name__} needs at least one"):
            kind().fit(absent)
        x = groups.x.copy()
        x[0, 0, 0] = np.nan
        with pytest.raises(InputError, match="NaN or infinite"):
            kind().fit(GroupedData(x))
    for degree in (-1, 0.5, None):
        with pytest.raises(InputError, match=f"degree must be .*received {degree}"):
            EMSC(degree)
    for n in (-1, 0.5, np.nan):
        with pytest.raises(InputError, match=f"n_components must be .*received {n}"):
            EMSC(n_components=n)
    with pytest.raises(InputError, match="received 0 such groups"):
        EMSC().fit(groups.take_instances(slice(1)))
    with pytest.raises(InputError, match="at most 3 components"):
        EMSC(n_components=4).fit(GroupedData(groups.x[:3, :2]))


# === Phase-weighted stack ===


def _stack_by_fourier(x: np.ndarray, power: float) -> np.ndarray:
    """Compute the equation of the paper from the definition of the analytic signal."""
    n = x.shape[1]
    spectrum = np.fft.fft(x, axis=1)
    spectrum[:, 1 : (n + 1) // 2] *= 2.0
    spectrum[:, n // 2 + 1 :] = 0.0
    phase = np.angle(np.fft.ifft(spectrum, axis=1))
    coherence = np.hypot(np.cos(phase).mean(axis=0), np.sin(phase).mean(axis=0))
    return x.mean(axis=0) * coherence**power


@pytest.mark.parametrize("n", [40, 41])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_stack_by_the_equation_of_the_paper(power, n) -> None:
    x = np.random.default_rng(0).normal(size=(3, 5, n))
    model = PhaseWeightedStack(power).fit(GroupedData(x))
    expected = np.stack([_stack_by_fourier(each, power) for each in x])
    np.testing.assert_allclose(model.encode(x).coherent, expected, atol=1e-12)
    np.testing.assert_allclose(model.reconstruct(x), x)


def test_power_0_is_the_mean_swap(spoil) -> None:
    groups = spoil(GroupedData(np.random.default_rng(0).normal(size=(8, 5, 40))))
    model, swap = PhaseWeightedStack(0.0).fit(groups), MeanSwap().fit(groups)
    codes = model.encode(groups.x, groups.mask)
    for ours, expected in zip(codes, swap.encode(groups.x, groups.mask), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_absent_signals_do_not_vote() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 40, 2))
    mask = np.array([[True, True, True, False], [True] * 4])
    model = PhaseWeightedStack().fit(GroupedData(x, mask))
    codes = model.encode(x, mask)
    alone = model.encode(x[:1, :3]).coherent
    np.testing.assert_allclose(codes.coherent[0], alone[0])
    assert not codes.nuisance[0, 3].any()


def test_incoherent_noise_is_suppressed_by_more_than_in_the_mean() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(400)
    wavelet = np.exp(-0.5 * ((t - 200) / 20.0) ** 2) * np.cos(0.3 * (t - 200))
    x = wavelet + 0.7 * rng.normal(size=(1, 30, 400))
    stack = PhaseWeightedStack().fit(GroupedData(x)).encode(x).coherent[0]
    quiet = np.r_[0:100, 300:400]
    assert stack[quiet].std() < 0.2 * x[0].mean(axis=0)[quiet].std()
    assert abs(stack).max() > 0.5


def test_errors_of_the_stack() -> None:
    for power in (-1.0, np.nan, None):
        with pytest.raises(InputError, match=f"power must be .*received {power}"):
            PhaseWeightedStack(power)
    with pytest.raises(InputError, match=r"\(pixels, channels\); received \(2, 2, 1\)"):
        PhaseWeightedStack().fit(GroupedData(np.zeros((2, 2, 2, 2, 1))))
    x = np.random.default_rng(0).normal(size=(3, 2, 8))
    good = x < 1.0
    with pytest.raises(InputError, match="needs complete spectra.*pixels are masked"):
        PhaseWeightedStack().fit(GroupedData(x, pixel_mask=good))
    with pytest.raises(InputError, match="PhaseWeightedStack is not fitted"):
        PhaseWeightedStack().encode(x)
