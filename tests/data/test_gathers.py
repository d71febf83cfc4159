"""Shot gathers: closed forms, agreement of the engines, exact virtual instances."""

import logging
import pickle

import numpy as np
import pytest
from scipy.special import hankel2

from symae_keras.data import simulate_gathers
from symae_keras.data.simulators import _rays, _waves
from symae_keras.data.simulators.gathers import SAMPLING, _frequencies
from symae_keras.errors import InputError

SMALL = {"n_receivers": 3, "n_samples": 96, "noise": 0.0}


def own(groups):
    """Return the noiseless instances."""
    group, instance = np.indices(groups.x.shape[:2])
    return groups.virtual(group, group, instance)


@pytest.fixture(scope="module")
def shots():
    return simulate_gathers(n_states=20, n_instances=6, seed=1)


@pytest.fixture(scope="module")
def both():
    """Simulate the same weakly disturbed media with both engines."""
    arguments = {"n_states": 2, "n_instances": 4, "seed": 3, "contrast": 0.03}
    return tuple(
        simulate_gathers(**arguments, **SMALL, engine=engine)
        for engine in ("rays", "waves")
    )


def relative(found, truth):
    return ((found - truth) ** 2).mean() / truth.var()


# === Both engines ===


def test_shapes_types_and_ranges(shots):
    assert shots.x.shape == (20, 6, 24, 96) and shots.x.dtype == np.float32
    np.testing.assert_allclose(shots.axis, 15.0 * np.arange(24))
    assert np.hypot(*np.moveaxis(shots.state["position"], -1, 0)).max() <= 0.3
    assert 0.1 < np.abs(shots.state["strength"]).max() <= 0.16
    assert 0.8 <= shots.nuisance["radius"].min() <= shots.nuisance["radius"].max() <= 1
    assert len(set(shots.group_metadata["medium"])) == 20
    assert not shots.group_metadata["survey"].any()


def test_virtual_is_exact_up_to_white_noise(shots):
    noise = (shots.x - own(shots)).astype("float64")
    assert noise.std() == pytest.approx(0.015, rel=0.01)
    assert abs(np.mean(noise[..., 1:] * noise[..., :-1])) < 0.01 * noise.var()


@pytest.mark.parametrize("index", [0, 1])
def test_virtual_equals_another_simulation(both, index):
    """Single rows of new media are equal to rows rendered together."""
    groups = both[index]
    again = pickle.loads(pickle.dumps(groups))
    swapped = groups.virtual(np.array([1, 0])[:, None], [[0], [1]], np.arange(4))
    assert swapped.shape == (2, 4, 3, 96)
    for a, b in ((0, 3), (1, 2)):
        one = again.virtual(1 - a, a, b)
        np.testing.assert_allclose(swapped[a, b], one, atol=1e-6)
    np.testing.assert_allclose(own(groups), groups.x, atol=1e-6)


@pytest.mark.parametrize("index", [0, 1])
def test_nuisances_act_as_documented(both, index):
    """Origin time, gain and phase shift, scale and invert the trace."""
    groups = both[index]
    state = {name: values[:1] for name, values in groups.state.items()}
    nuisance = {name: values[0, :1] for name, values in groups.nuisance.items()}
    nuisance |= {"radius": np.ones(1), "origin_time": np.zeros(1)}
    plain = groups.render(state, nuisance)
    changed = {
        "origin_time": np.full(1, 2 * SAMPLING),
        "gain": 3.0 * nuisance["gain"],
        "phase": nuisance["phase"] + np.pi,
    }
    other = groups.render(state, nuisance | changed)
    np.testing.assert_allclose(other[..., 2:], -3.0 * plain[..., :-2], atol=2e-5)


def test_seed():
    first, again, other = (simulate_gathers(3, 2, seed, **SMALL) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x, again.x)
    assert (first.x != other.x).mean() > 0.99


def test_chunks_change_nothing():
    groups = simulate_gathers(2, 3, **SMALL)
    many = groups.virtual(np.arange(300) % 2, 0, np.arange(300) % 3)
    np.testing.assert_allclose(many[294:], many[:6], atol=1e-6)


def test_the_wavelet_has_its_amplitude_at_one_kilometre():
    groups = simulate_gathers(1, 1, contrast=0.0, **SMALL)
    one = {name: np.ones(1) for name in groups.nuisance}
    zero = dict.fromkeys(("angle", "phase", "echo", "origin_time"), np.zeros(1))
    nuisance = one | zero | {"frequency": np.full(1, 10.0)}
    state = {name: values[:1] for name, values in groups.state.items()}
    # The receiver is 0.4 km away, and amplitudes decay with the square root of
    # distance.
    trace = groups.render(state | {"velocity": np.full(1, 2.0)}, nuisance)[0, 0]
    assert trace.argmax() == 20
    assert trace.max() == pytest.approx(1.0 / np.sqrt(0.4), rel=0.02)


# === Closed forms, and each other ===


def exact(groups, frequency, source, receivers):
    wave = 2.0 * np.pi * frequency / groups.state["velocity"][0]
    distance = np.linalg.norm(receivers - source, axis=-1)[:, None]
    return -0.25j * hankel2(0, wave * distance)


@pytest.mark.parametrize("engine", ["rays", "waves"])
def test_homogeneous_medium(engine):
    """The closed form is the Hankel function H0 of the second kind."""
    groups = simulate_gathers(1, 4, contrast=0.0, engine=engine, **SMALL)
    angle = np.radians(groups.axis)
    receivers = 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    frequency = _frequencies(96)
    green = groups.render.args[0]
    state = {name: values[:1] for name, values in groups.state.items()}
    used = (frequency > 4.0) & (frequency < 16.0)
    for angle, radius in ((0.3, 0.8), (2.0, 0.95)):
        source = radius * np.array([np.cos(angle), np.sin(angle)])
        found = green(state, source[None])[0][:, used]
        truth = exact(groups, frequency[used], source, receivers)
        error = np.abs(found - truth) / np.abs(truth)
        assert error.max() < (0.02 if engine == "rays" else 0.1)
        assert np.sqrt(np.mean(error**2)) < (0.005 if engine == "rays" else 0.03)


def test_short_waves_are_delayed_as_along_straight_rays():
    """The phase at high frequency is the integral of the slowness."""
    receiver, source = np.array([[0.6, 0.0]]), np.array([[-0.9, 0.1]])
    place, width, strength = np.array([-0.15, 0.06]), 0.1, 1e-4
    state = {
        "velocity": np.full(1, 2.0),
        "position": place[None, None],
        "width": np.full((1, 1), width),
        "strength": np.full((1, 1), strength),
    }
    along = np.linspace(0.0, 1.0, 20001)[:, None]
    ray = source + along * (receiver - source)
    bell = np.exp(-0.5 * ((ray - place) ** 2).sum(-1) / width**2)
    length = np.linalg.norm(receiver - source)
    delay = strength * bell.mean() * length / 2.0
    frequency = np.array([3000.0])
    still = _rays.green(
        frequency, receiver, state | {"strength": np.zeros((1, 1))}, source
    )
    moved = _rays.green(frequency, receiver, state, source)
    found = -np.angle(moved / still)[0, 0, 0] / (2.0 * np.pi * frequency[0])
    assert found == pytest.approx(delay, rel=0.01)


def test_engines_agree_on_a_weak_smooth_medium(both):
    rays, waves = both
    for name, values in rays.state.items():
        np.testing.assert_array_equal(waves.state[name], values)
    undisturbed = simulate_gathers(2, 4, seed=3, contrast=0.0, **SMALL)
    without = relative(undisturbed.x, waves.x)
    assert relative(rays.x, waves.x) < min(2e-4, 0.2 * without)


def test_engines_agree_on_travel_times(both):
    """Measure delays of traces by cross-correlation, to a tenth of a sample."""
    rays, waves = (groups.x.reshape(-1, 96).astype("float64") for groups in both)
    fine = 1920
    product = np.fft.rfft(rays, 192) * np.conj(np.fft.rfft(waves, 192))
    peak = np.fft.irfft(product, fine).argmax(axis=1)
    lag = (peak + fine // 2) % fine - fine // 2
    assert np.abs(lag).max() <= 1


# === Waves ===


def test_results_are_kept_in_a_folder(tmp_path, monkeypatch, caplog):
    arguments = {"n_states": 2, "n_instances": 2, "engine": "waves", **SMALL}
    arguments |= {"n_receivers": 1, "cache": tmp_path / "media"}
    with caplog.at_level(logging.INFO, "symae_keras"):
        first = simulate_gathers(**arguments)
    assert "medium 2 of 2" in caplog.text
    assert len(list((tmp_path / "media").glob("waves-*.npy"))) == 2

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(_waves, "response", refuse)
    np.testing.assert_array_equal(simulate_gathers(**arguments).x, first.x)
    with pytest.raises(AssertionError, match="again"):
        simulate_gathers(**arguments, contrast=0.05)


def test_fast_media_stay_stable():
    """The time step is shorter if anomalies overlap."""
    ring = np.array([[0.6, 0.0]])
    frequency = _frequencies(96)
    place, width = np.zeros((3, 2)), np.full(3, 0.12)
    slow = _waves.response(frequency, ring, 2.0, place, width, np.full(3, 0.2))
    fast = _waves.response(frequency, ring, 2.0, place, width, np.full(3, -0.2))
    assert np.abs(fast).max() < 2.0 * np.abs(slow).max()


# === Time-lapse ===


def test_monitor_surveys_show_the_same_media_changed():
    groups = simulate_gathers(3, 2, change=-0.05, **SMALL)
    before, after = groups[:3], groups[3:]
    assert len(groups) == 6
    np.testing.assert_array_equal(groups.group_metadata["medium"], [0, 1, 2] * 2)
    np.testing.assert_array_equal(groups.group_metadata["survey"], [0] * 3 + [1] * 3)
    for name in ("velocity", "position", "width"):
        np.testing.assert_array_equal(before.state[name], after.state[name])
    difference = after.state["strength"] - before.state["strength"]
    np.testing.assert_allclose(difference, [[0, 0, 0, -0.05]] * 3)
    assert (before.nuisance["angle"] != after.nuisance["angle"]).all()
    # The change is faster: under the same shots, waves arrive earlier.
    shots = np.arange(2)
    old, new = groups.virtual(0, 0, shots), groups.virtual(3, 0, shots)
    assert 1e-4 < relative(new, old) < 0.1


def test_the_aperture_limits_the_sources():
    angle = simulate_gathers(50, 4, aperture=90.0, **SMALL).nuisance["angle"]
    assert 0.7 < np.abs(angle).max() <= np.pi / 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_states": 0}, "at least 1; received 0 and 16"),
        ({"engine": "modes"}, r"one of \('rays', 'waves'\); received 'modes'"),
        ({"n_receivers": 0}, "n_receivers must be at least 1.* received 0 and 96"),
        ({"n_samples": 7}, "n_samples at least 8; received 24 and 7"),
        ({"n_anomalies": -1}, "not be negative; received -1 and 0.16"),
        ({"contrast": float("nan")}, "not be negative; received 3 and nan"),
        ({"contrast": 0.25, "change": -0.05}, "below 0.8, .* received 0.8"),
        ({"aperture": 0.0}, "at most 360 degrees; received 0.0"),
        ({"noise": -1.0}, "not negative; received -1.0"),
        ({"cache": "folder"}, "cache needs engine='waves'; received engine='rays'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        simulate_gathers(**arguments)
