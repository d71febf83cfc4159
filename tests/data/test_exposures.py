import pickle

import numpy as np
import pytest

from symae_keras.data import simulate_exposures
from symae_keras.data.simulators.exposures import AXIS, render_exposures
from symae_keras.errors import InputError


@pytest.fixture(scope="module")
def groups():
    return simulate_exposures(n_states=100, n_instances=8, seed=1)


def own(groups):
    group, instance = np.indices(groups.x.shape[:2])
    return groups.virtual(group, group, instance)


def test_shapes_and_types(groups):
    assert groups.x.shape == (100, 8, 256) and groups.x.dtype == np.float32
    assert groups.mask is None and groups.axis.shape == (256,)
    assert groups.state["abundance"].shape == (100, 4)
    assert set(groups.nuisance) == {
        "water",
        "oxygen",
        "slope",
        "curvature",
        "velocity",
    }


@pytest.mark.parametrize("entangled", [True, False])
def test_virtual_is_exact_up_to_white_noise(entangled):
    groups = simulate_exposures(100, 8, seed=1, entangled=entangled)
    noise = (groups.x - own(groups)).astype("float64")
    # 204 800 draws: the standard error is 0.0016 of a standard deviation.
    assert noise.std() == pytest.approx(0.01, rel=0.01)
    assert abs(noise.mean()) < 1e-4
    neighbours = np.mean(noise[..., 1:] * noise[..., :-1]) / noise.var()
    instances = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    assert max(abs(neighbours), abs(instances)) < 0.01


def by_hand(groups, i, j, t, slope):
    """The formula of the benchmark with loops instead of einsum."""
    from symae_keras.data.simulators import exposures as e

    n = {k: v[j, t] for k, v in groups.nuisance.items()}
    s = {k: v[i] for k, v in groups.state.items()}
    rest = AXIS - n["velocity"]
    log = slope * s["temperature"] * rest
    for centre, species, strength in zip(
        e._STAR_CENTRE, e._STAR_SPECIES, e._STAR_STRENGTH, strict=True
    ):
        shape = np.exp(-0.5 * ((rest - centre) / s["line_width"]) ** 2)
        log = log - s["abundance"][species] * strength * shape
    for centre, species, strength in zip(
        e._TELLURIC_CENTRE, e._TELLURIC_SPECIES, e._TELLURIC_STRENGTH, strict=True
    ):
        amount = n["oxygen"] if species else n["water"]
        shape = np.exp(-0.5 * ((AXIS - centre) / 0.006) ** 2)
        log = log - amount * strength * shape
    return np.exp(log) * (1 + n["slope"] * AXIS + n["curvature"] * (AXIS**2 - 1 / 3))


@pytest.mark.parametrize("entangled", [True, False])
def test_swapped_indices_equal_rendering_by_hand(entangled):
    groups = simulate_exposures(5, 3, seed=2, entangled=entangled)
    for i, j, t in ((0, 3, 2), (4, 1, 0), (2, 2, 1)):
        np.testing.assert_allclose(
            groups.virtual(i, j, t),
            by_hand(groups, i, j, t, 0.4 if entangled else 0.0),
            rtol=1e-6,
        )


def test_virtual_broadcasts(groups):
    state = np.array([3, 7])[:, None]
    instance = np.arange(4)
    together = groups.virtual(state, 5, instance)
    assert together.shape == (2, 4, 256) and together.dtype == np.float32
    for a in range(2):
        for b in range(4):
            one = groups.virtual(state[a, 0], 5, instance[b])
            assert one.shape == (256,)
            np.testing.assert_array_equal(together[a, b], one)


def test_chunks_change_nothing():
    groups = simulate_exposures(2, 3, seed=0)
    many = groups.virtual(np.arange(5000) % 2, 0, np.arange(5000) % 3)
    np.testing.assert_array_equal(many[4998:], many[:2])


def test_identifiable_variant_is_the_same_but_for_the_slope():
    entangled = simulate_exposures(20, 4, seed=3)
    identifiable = simulate_exposures(20, 4, seed=3, entangled=False)
    temperature = entangled.state["temperature"]
    np.testing.assert_array_equal(temperature, identifiable.state["temperature"])
    ratio = own(entangled) / own(identifiable)
    rest = AXIS - entangled.nuisance["velocity"][..., None]
    expected = np.exp(0.4 * temperature[:, None, None] * rest)
    np.testing.assert_allclose(ratio, expected, rtol=1e-5)


def test_the_star_and_the_blaze_can_share_a_slope():
    """To first order in the slopes, an entangled exposure shows only their sum."""
    groups = simulate_exposures(1, 1, seed=0)
    state = {k: v.copy() for k, v in groups.state.items()}
    nuisance = {k: v[0].copy() for k, v in groups.nuisance.items()}
    nuisance["velocity"][:] = 0.0
    step = 1e-3
    state["temperature"][:], nuisance["slope"][:] = step / 0.4, 0.0
    nuisance["curvature"][:] = 0.0
    star = render_exposures(0.4, state, nuisance)
    state["temperature"][:], nuisance["slope"][:] = 0.0, step
    blaze = render_exposures(0.4, state, nuisance)
    np.testing.assert_allclose(star, blaze, atol=step**2)


def test_seed(groups):
    np.testing.assert_array_equal(groups.x, simulate_exposures(100, 8, seed=1).x)
    assert (groups.x != simulate_exposures(100, 8, seed=2).x).mean() > 0.99


def test_split_keeps_state_and_truth_together(groups):
    train, test = groups.split(train=0.7, seed=0)
    assert (len(train), len(test)) == (70, 30)
    for part in (train, test):
        assert (part.x - own(part)).std() == pytest.approx(0.01, rel=0.02)
    shared = np.isin(test.state["temperature"], train.state["temperature"])
    assert not shared.any()


def test_pickles(groups):
    copy = pickle.loads(pickle.dumps(groups))
    np.testing.assert_array_equal(copy.virtual(0, 1, 2), groups.virtual(0, 1, 2))


def test_parameter_ranges(groups):
    assert groups.state["line_width"].min() >= 0.008
    assert groups.state["line_width"].max() <= 0.02
    assert groups.nuisance["slope"].std() == pytest.approx(0.15, rel=0.1)
    assert groups.nuisance["curvature"].std() == pytest.approx(0.1, rel=0.1)
    assert np.abs(groups.nuisance["velocity"]).max() <= 0.02


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(InputError, match="must be at least 1; received"):
        simulate_exposures(*sizes)


def test_more_pixels_show_the_same_stars():
    """Every eighth pixel of 2041 is one of 256; the parameters are drawn alike."""
    coarse = simulate_exposures(3, 2, seed=4)
    fine = simulate_exposures(3, 2, seed=4, n_pixels=8 * 255 + 1)
    assert fine.x.shape == (3, 2, 2041) and fine.axis.shape == (2041,)
    np.testing.assert_allclose(fine.axis[::8], coarse.axis, atol=1e-12)
    np.testing.assert_allclose(own(fine)[..., ::8], own(coarse), rtol=1e-5)
    assert (fine.x - own(fine)).std() == pytest.approx(0.01, rel=0.02)


def test_excitation_changes_lines_with_the_temperature():
    """Their depths by `exp(excitation * e_l * T)`, and nothing else."""
    from symae_keras.data.simulators import exposures as e

    plain = simulate_exposures(1, 1, seed=0, entangled=False)
    excited = simulate_exposures(1, 1, seed=0, entangled=False, excitation=0.7)
    state, nuisance = plain.state, {k: v[0] for k, v in plain.nuisance.items()}
    rest = plain.axis - nuisance["velocity"]
    change = 0.0
    for centre, species, strength, energy in zip(
        e._STAR_CENTRE,
        e._STAR_SPECIES,
        e._STAR_STRENGTH,
        e._STAR_EXCITATION,
        strict=True,
    ):
        line = np.exp(-0.5 * ((rest - centre) / state["line_width"]) ** 2)
        depth = state["abundance"][0, species] * strength
        change += depth * (np.exp(0.7 * energy * state["temperature"]) - 1.0) * line
    ratio = own(plain)[0, 0] / own(excited)[0, 0]
    np.testing.assert_allclose(np.log(ratio), change, atol=1e-5)
    assert np.abs(change).max() > 0.05


def test_fewer_than_two_pixels_are_refused():
    with pytest.raises(InputError, match="n_pixels must be at least 2; received 1"):
        simulate_exposures(2, 2, n_pixels=1)


def test_nuisances_can_be_left_out():
    """The others are drawn alike, and so is all that is not left out."""
    every = simulate_exposures(3, 2, seed=4)
    reduced = simulate_exposures(3, 2, seed=4, nuisances=("velocity", "slope"))
    for name, values in reduced.nuisance.items():
        expected = every.nuisance[name]
        if name not in ("velocity", "slope"):
            expected = np.zeros_like(expected)
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(
        reduced.x - own(reduced), every.x - own(every), atol=1e-6
    )
    with pytest.raises(InputError, match=r"some of .*received \('wind',\)"):
        simulate_exposures(2, 2, nuisances=("wind",))
