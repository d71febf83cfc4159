"""Heartbeats: the published equation, exact virtual instances, ectopic beats."""

import pickle

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from symae_keras.data import simulate_beats
from symae_keras.data.simulators.beats import (
    ANGLES,
    BEFORE,
    MILLIVOLT,
    RATE,
    SIZES,
    WIDTHS,
    render_beats,
)
from symae_keras.errors import InputError

PUBLISHED = {"size": SIZES[None], "width": WIDTHS[None], "angle": ANGLES[None]}
#: A beat at rest, without variations between beats.
REST = {
    "heart_rate": np.full(1, 60.0),
    "gain": np.ones(1),
    "respiration_rate": np.full(1, 0.25),
} | dict.fromkeys(
    ("offset", "slope", "respiration", "respiration_phase", "delay", "ectopic"),
    np.zeros(1),
)


@pytest.fixture(scope="module")
def beats():
    return simulate_beats(n_states=50, n_instances=8, seed=1, ectopic=0.2)


def own(groups):
    """Return the noiseless instances."""
    group, instance = np.indices(groups.x.shape[:2])
    return groups.virtual(group, group, instance)


def test_shapes_types_and_ranges(beats):
    assert beats.x.shape == (50, 8, 200) and beats.x.dtype == np.float32
    assert beats.axis[70] == pytest.approx(0.0)
    assert np.diff(beats.axis) == pytest.approx(0.004)
    assert beats.state["angle"].shape == (50, 5)
    assert 55.0 <= beats.nuisance["heart_rate"].min()
    assert beats.nuisance["heart_rate"].max() <= 100.0
    assert (beats.state["size"] * SIZES > 0).all()


def test_virtual_is_exact_up_to_white_noise(beats):
    noise = (beats.x - own(beats)).astype("float64")
    assert noise.std() == pytest.approx(0.02, rel=0.01)
    assert abs(np.mean(noise[..., 1:] * noise[..., :-1])) < 0.02 * noise.var()


def test_virtual_equals_another_simulation(beats):
    again = pickle.loads(pickle.dumps(beats))
    swapped = beats.virtual(np.array([3, 7])[:, None], 5, np.arange(4))
    for a, b in np.ndindex(2, 4):
        one = again.virtual((3, 7)[a], 5, b)
        np.testing.assert_allclose(swapped[a, b], one, atol=1e-6)
    many = beats.virtual(np.arange(1200) % 2, 0, np.arange(1200) % 3)
    np.testing.assert_allclose(many[1194:], many[:6], atol=1e-6)


def test_seed():
    first, again, other = (simulate_beats(3, 2, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x, again.x)
    assert (first.x != other.x).mean() > 0.99


@pytest.mark.parametrize(("rate", "breath"), [(60.0, 0.0), (90.0, 0.2)])
def test_beats_solve_the_published_equation(rate, breath):
    """The solution agrees with numerical integration over many beats."""
    nuisance = REST | {
        "heart_rate": np.full(1, rate),
        "respiration": np.full(1, breath),
        "respiration_phase": np.full(1, 0.7),
    }
    found = render_beats(200, PUBLISHED, nuisance)[0]
    stretch = np.sqrt(rate / 60.0)
    outer = np.sqrt(stretch)
    angle = ANGLES * [outer, stretch, 1.0, stretch, outer]
    width, omega = WIDTHS * stretch, 2.0 * np.pi * rate / 60.0

    def slope(time, z):
        away = (omega * time - angle + np.pi) % (2.0 * np.pi) - np.pi
        waves = (SIZES * away * np.exp(-0.5 * (away / width) ** 2)).sum()
        moved = breath * np.cos(2.0 * np.pi * 0.25 * time + 0.7)
        return -MILLIVOLT * waves - (z - moved)

    time = np.arange(200) / RATE - BEFORE
    start = -15.0  # initial values have decayed by then
    solved = solve_ivp(
        slope, (start, time[-1]), [0.0], t_eval=time, max_step=0.004, rtol=1e-6
    ).y[0]
    # The mean over a beat also decays, so only deviations from it are compared.
    np.testing.assert_allclose(found - found.mean(), solved - solved.mean(), atol=5e-3)
    if rate == 60.0:
        assert found.max() == pytest.approx(1.2, abs=0.05)
        assert found.argmax() == 70


def test_nuisances_act_as_documented():
    plain = render_beats(200, PUBLISHED, REST)
    changed = REST | {"delay": np.full(1, 0.012), "gain": np.full(1, 2.0)}
    late = render_beats(200, PUBLISHED, changed)
    np.testing.assert_allclose(late[:, 3:], 2.0 * plain[:, :-3], atol=1e-5)
    changed = REST | {"offset": np.full(1, 0.1), "slope": np.full(1, -0.5)}
    tilted = render_beats(200, PUBLISHED, changed) - plain
    time = np.arange(200) / RATE - BEFORE
    np.testing.assert_allclose(tilted[0], 0.1 - 0.5 * time, atol=1e-5)


def test_ectopic_beats_are_labelled_and_look_different(beats):
    label = beats.instance_metadata["ectopic"]
    assert label.dtype == bool and 0.15 < label.mean() < 0.25
    np.testing.assert_array_equal(label, beats.nuisance["ectopic"])
    plain = render_beats(200, PUBLISHED, REST)[0]
    odd = render_beats(200, PUBLISHED, REST | {"ectopic": np.ones(1)})[0]
    half = [np.sum(beat > 0.5 * beat.max()) for beat in (plain, odd)]
    assert half[1] > 1.8 * half[0]
    # T wave: upright, and inverted.
    assert plain[110:150].max() > 0.3 and odd[110:150].min() < -0.4
    # P wave: present, and missing.
    assert np.ptp(plain[15:50]) > 0.3 and np.ptp(odd[5:40]) < 0.1
    assert not simulate_beats(3, 2).instance_metadata["ectopic"].any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_states": 0}, "at least 1; received 0 and 16"),
        ({"n_samples": 7}, "n_samples must be at least 8; received 7"),
        ({"ectopic": 1.5}, "a number from 0 to 1; received 1.5"),
        ({"noise": float("nan")}, "noise must be finite and not negative; received"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        simulate_beats(**arguments)
