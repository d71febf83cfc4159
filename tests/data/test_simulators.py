"""Simulated groups with exact ground truth, and images for segmentation."""

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras.data import (
    simulate_exposures,
    simulate_labelled_shapes,
    simulate_shapes,
)
from symae_keras.data.simulators import exposures as lines
from symae_keras.data.simulators.exposures import AXIS, render_exposures
from symae_keras.data.simulators.labelled_shapes import BALL, BAR, NOISE, SHELL, _depth
from symae_keras.data.simulators.shapes import EDGE, RADIUS, _render_rows
from symae_keras.errors import InputError
from symae_keras.evaluation import mean_iou


@pytest.fixture(scope="module")
def stars():
    return simulate_exposures(n_states=100, n_instances=8, seed=1)


@pytest.fixture(scope="module")
def glyphs():
    return simulate_shapes(n_states=40, n_instances=6, seed=1)


@pytest.fixture(params=["stars", "glyphs"])
def groups(request):
    return request.getfixturevalue(request.param)


def own(groups):
    """Return the noiseless instances."""
    group, instance = np.indices(groups.x.shape[:2])
    return groups.virtual(group, group, instance)


# === Exposures and shapes ===


@pytest.mark.parametrize(
    ("simulate", "sizes", "more", "deviation"),
    [
        (simulate_exposures, (100, 8), {}, 0.01),
        (simulate_exposures, (100, 8), {"entangled": False}, 0.01),
        (simulate_shapes, (40, 6), {}, 0.02),
    ],
)
def test_virtual_is_exact_up_to_white_noise(simulate, sizes, more, deviation):
    groups = simulate(*sizes, seed=1, **more)
    noise = (groups.x - own(groups)).astype("float64").reshape(*groups.x.shape[:3], -1)
    # At least 190,000 draws: the standard error is 0.0016 standard deviations.
    assert noise.std() == pytest.approx(deviation, rel=0.01)
    assert abs(noise.mean()) < 0.01 * deviation
    neighbours = np.mean(noise[:, :, 1:] * noise[:, :, :-1]) / noise.var()
    instances = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    assert max(abs(neighbours), abs(instances)) < 0.01


def test_virtual_broadcasts(groups):
    state = np.array([3, 7])[:, None]
    instance = np.arange(4)
    together = groups.virtual(state, 5, instance)
    assert together.shape == (2, 4, *groups.instance_shape)
    assert together.dtype == np.float32
    for a, b in np.ndindex(2, 4):
        one = groups.virtual(state[a, 0], 5, instance[b])
        assert one.shape == groups.instance_shape
        np.testing.assert_array_equal(together[a, b], one)


@pytest.mark.parametrize(
    ("simulate", "more", "rows"),
    [(simulate_exposures, {}, 5000), (simulate_shapes, {"size": 200}, 60)],
)
def test_chunks_change_nothing(simulate, more, rows):
    groups = simulate(2, 3, seed=0, **more)
    many = groups.virtual(np.arange(rows) % 2, 0, np.arange(rows) % 3)
    # Both patterns repeat after six rows.
    start = rows - rows % 6 - 6
    np.testing.assert_array_equal(many[start : start + 6], many[:6])


@pytest.mark.parametrize("simulate", [simulate_exposures, simulate_shapes])
def test_seed(simulate):
    groups, again, other = (simulate(9, 3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(groups.x, again.x)
    assert (groups.x != other.x).mean() > 0.99
    for name, values in groups.state.items():
        assert (values != other.state[name]).all()


def test_pickles(groups):
    copy = pickle.loads(pickle.dumps(groups))
    np.testing.assert_array_equal(copy.virtual(0, 1, 2), groups.virtual(0, 1, 2))


one_image = partial(simulate_labelled_shapes, 1)


@pytest.mark.parametrize(
    ("simulate", "arguments", "sentence"),
    [
        (simulate_exposures, {"n_states": 0}, "must be at least 1; received 0 and 16"),
        (simulate_exposures, {"n_instances": 0}, "at least 1; received 1000 and 0"),
        (
            simulate_exposures,
            {"n_pixels": 1},
            "n_pixels must be at least 2; received 1",
        ),
        (simulate_exposures, {"nuisances": ("wind",)}, r"of .*received \('wind',\)"),
        (simulate_shapes, {"n_states": 0}, "must be at least 1; received 0 and 16"),
        (simulate_shapes, {"n_instances": 0}, "at least 1; received 200 and 0"),
        (simulate_shapes, {"size": 7}, "at least 8 pixels; received 7"),
        (simulate_labelled_shapes, {"n_images": 0}, "n_images .* 1; received 0"),
        (one_image, {"size": (32,)}, r"two or three.*received \(32,\)"),
        (one_image, {"size": (32, 15)}, r"at least 16; received \(32, 15\)"),
    ],
)
def test_arguments_out_of_range_are_refused(simulate, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        simulate(**arguments)


# === Exposures ===


def test_shapes_types_and_ranges_of_exposures(stars):
    assert stars.x.shape == (100, 8, 256) and stars.x.dtype == np.float32
    assert stars.mask is None
    np.testing.assert_array_equal(stars.axis, AXIS)
    assert stars.state["abundance"].shape == (100, 4)
    names = {"water", "oxygen", "slope", "curvature", "velocity"}
    assert set(stars.nuisance) == names
    assert stars.state["line_width"].min() >= 0.008
    assert stars.state["line_width"].max() <= 0.02
    assert stars.nuisance["slope"].std() == pytest.approx(0.15, rel=0.1)
    assert stars.nuisance["curvature"].std() == pytest.approx(0.1, rel=0.1)
    assert np.abs(stars.nuisance["velocity"]).max() <= 0.02


def by_hand(groups, i, j, t, slope, excitation):
    """Compute the formula of the benchmark, with every line at every pixel."""
    n = {k: v[j, t] for k, v in groups.nuisance.items()}
    s = {k: v[i] for k, v in groups.state.items()}
    rest = AXIS - n["velocity"]
    log = slope * s["temperature"] * rest
    for line, centre in enumerate(lines._STAR_CENTRE):
        depth = s["abundance"][lines._STAR_SPECIES[line]] * lines._STAR_STRENGTH[line]
        energy = lines._STAR_EXCITATION[line]
        depth = depth * np.exp(excitation * energy * s["temperature"])
        log = log - depth * np.exp(-0.5 * ((rest - centre) / s["line_width"]) ** 2)
    for line, centre in enumerate(lines._TELLURIC_CENTRE):
        amount = n["oxygen"] if lines._TELLURIC_SPECIES[line] else n["water"]
        shape = np.exp(-0.5 * ((AXIS - centre) / 0.006) ** 2)
        log = log - amount * lines._TELLURIC_STRENGTH[line] * shape
    return np.exp(log) * (1 + n["slope"] * AXIS + n["curvature"] * (AXIS**2 - 1 / 3))


@pytest.mark.parametrize("entangled", [True, False])
@pytest.mark.parametrize("excitation", [0.0, 0.7])
def test_swapped_exposures_equal_rendering_by_hand(entangled, excitation):
    groups = simulate_exposures(5, 3, 2, entangled, excitation=excitation)
    for i, j, t in ((0, 3, 2), (4, 1, 0), (2, 2, 1)):
        expected = by_hand(groups, i, j, t, 0.4 if entangled else 0.0, excitation)
        np.testing.assert_allclose(groups.virtual(i, j, t), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "more", [{"entangled": False}, {"excitation": 0.7}, {"n_pixels": 8 * 255 + 1}]
)
def test_variants_have_the_same_parameters(more):
    groups, variant = simulate_exposures(3, 2, 4), simulate_exposures(3, 2, 4, **more)
    for kind in ("state", "nuisance"):
        for name, values in getattr(groups, kind).items():
            np.testing.assert_array_equal(getattr(variant, kind)[name], values)
    assert (variant.x - own(variant)).std() == pytest.approx(0.01, rel=0.05)
    # Every eighth of the 2041 pixels is one of the 256 pixels.
    if "n_pixels" in more:
        assert variant.x.shape == (3, 2, 2041) and variant.axis.shape == (2041,)
        np.testing.assert_allclose(variant.axis[::8], groups.axis, atol=1e-12)
        np.testing.assert_allclose(own(variant)[..., ::8], own(groups), rtol=1e-5)


def test_the_star_and_the_blaze_can_share_a_slope():
    """To first order in the slopes, an entangled exposure depends only on their sum."""
    groups = simulate_exposures(1, 1, seed=0)
    zero = np.zeros(1)
    nuisance = {k: v[0] for k, v in groups.nuisance.items()}
    nuisance |= {"velocity": zero, "curvature": zero}
    step = np.array([1e-3])
    star = render_exposures(
        0.4, {**groups.state, "temperature": step / 0.4}, {**nuisance, "slope": zero}
    )
    blaze = render_exposures(
        0.4, {**groups.state, "temperature": zero}, {**nuisance, "slope": step}
    )
    np.testing.assert_allclose(star, blaze, atol=1e-6)


def test_split_keeps_state_and_truth_together(stars):
    train, test = stars.split(train=0.7, seed=0)
    assert (len(train), len(test)) == (70, 30)
    for part in (train, test):
        assert (part.x - own(part)).std() == pytest.approx(0.01, rel=0.02)
    shared = np.isin(test.state["temperature"], train.state["temperature"])
    assert not shared.any()


def test_nuisances_can_be_left_out():
    """Leaving out nuisances does not change the draws of the others."""
    every = simulate_exposures(3, 2, seed=4)
    reduced = simulate_exposures(3, 2, seed=4, nuisances=("velocity", "slope"))
    for name, values in reduced.nuisance.items():
        expected = every.nuisance[name]
        if name not in ("velocity", "slope"):
            expected = np.zeros_like(expected)
        np.testing.assert_array_equal(values, expected)
    noise, expected = reduced.x - own(reduced), every.x - own(every)
    np.testing.assert_allclose(noise, expected, atol=1e-6)


# === Shapes ===

HARMONICS = np.array([0.3, 0.1, 0.1, 0.05, 0.1, 0.08, -0.05])
#: Nuisance parameters of a view, and the number of values of each.
VIEW = {"shift": 2, "angle": 0, "intensity": 0, "background": 0, "gradient": 2}


def plain(size, **changes):
    """Make a disc of intensity 1 in the middle of a dark frame, with changes."""
    values = {key: np.zeros((1, count) if count else 1) for key, count in VIEW.items()}
    values |= {"harmonics": np.zeros((1, 7)), "intensity": np.ones(1)}
    for key, value in changes.items():
        values[key] = np.broadcast_to(value, values[key].shape).astype(float)
    return _render_rows(size, {"harmonics": values.pop("harmonics")}, values)[0]


def radius(harmonics, phi):
    a2, a3, b3, a4, b4, a5, b5 = harmonics
    waves = a2 * np.cos(2 * phi)
    for k, a, b in ((3, a3, b3), (4, a4, b4), (5, a5, b5)):
        waves = waves + a * np.cos(k * phi) + b * np.sin(k * phi)
    return RADIUS * (1 + waves)


def test_shapes_and_types_of_shapes(glyphs):
    assert glyphs.x.shape == (40, 6, 28, 28, 1) and glyphs.x.dtype == np.float32
    assert glyphs.mask is None and glyphs.ids is None
    assert glyphs.state["harmonics"].shape == (40, 7)
    assert glyphs.nuisance["shift"].shape == (40, 6, 2)
    assert -0.1 < glyphs.x.min() and glyphs.x.max() < 1.1


def test_swapped_shapes_equal_rendering_by_hand():
    groups = simulate_shapes(5, 3, seed=2, size=20)
    axis = (np.arange(20) + 0.5) / 10 - 1
    for i, j, t in ((0, 3, 2), (4, 1, 0), (2, 2, 1)):
        n = {k: v[j, t] for k, v in groups.nuisance.items()}
        h = groups.state["harmonics"][i]
        image = np.empty((20, 20))
        for row, column in np.ndindex(20, 20):
            x, y = axis[column], axis[row]
            dx, dy = x - n["shift"][0], y - n["shift"][1]
            phi = np.arctan2(dy, dx) - n["angle"]
            r = radius(h, phi)
            slope = (radius(h, phi + 1e-6) - radius(h, phi - 1e-6)) / 2e-6
            inside = (r - np.hypot(dx, dy)) / np.sqrt(1 + (slope / r) ** 2)
            coverage = 1 / (1 + np.exp(-inside / (EDGE * 0.1)))
            light = n["background"] + n["gradient"] @ [x, y]
            image[row, column] = light + n["intensity"] * coverage
        np.testing.assert_allclose(groups.virtual(i, j, t)[..., 0], image, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "h"),
    [(64, np.zeros(7)), (128, np.array([0.2, -0.1, 0.15, 0.05, 0.1, 0.08, -0.05]))],
)
def test_an_outline_has_its_area(size, h):
    """The area of a star-convex outline is pi R^2 (1 + half the sum of squares)."""
    area = np.pi * RADIUS**2 * (1 + 0.5 * (h**2).sum())
    found = plain(size, harmonics=h).sum() * (2 / size) ** 2
    assert found == pytest.approx(area, rel=2e-3)


def test_a_shift_moves_and_a_quarter_turn_rotates_the_image_clockwise():
    still = plain(40, harmonics=HARMONICS)
    moved = plain(40, harmonics=HARMONICS, shift=[2 / 20, -1 / 20])
    np.testing.assert_allclose(moved[:-1, 2:], still[1:, :-2], atol=1e-12)
    turned = plain(40, harmonics=HARMONICS, angle=np.pi / 2)
    np.testing.assert_allclose(turned, np.rot90(still, -1), atol=1e-9)


def test_light_is_added():
    lit = plain(28, background=0.2, gradient=[0.05, -0.03])
    axis = (np.arange(28) + 0.5) / 14 - 1
    light = 0.2 + 0.05 * axis - 0.03 * axis[:, None]
    np.testing.assert_allclose(lit - plain(28), light, atol=1e-12)


def test_no_glyph_leaves_the_frame():
    h = simulate_shapes(2000, 1, seed=5, size=8).state["harmonics"]
    phi = np.linspace(0, 2 * np.pi, 200)
    r = np.stack([radius(row, phi) for row in h])
    assert r.min() > 0.05 and r.max() + 0.15 < 1.0
    assert np.abs(h[:, 0]).min() >= 0.12 and np.abs(h[:, 0]).max() <= 0.3
    assert 0.4 < (h[:, 0] > 0).mean() < 0.6


def jacobian(groups, i, t):
    """Differentiate a noiseless view by 7 state and 7 nuisance parameters."""
    flat = [("harmonics", c) for c in range(7)]
    for name, count in VIEW.items():
        flat += [(name, c) for c in range(count)] or [(name, None)]
    columns = []
    for name, part in flat:
        sides = []
        for step in (1e-5, -1e-5):
            state = {k: v[[i]].copy() for k, v in groups.state.items()}
            nuisance = {k: v[[i], [t]].copy() for k, v in groups.nuisance.items()}
            target = (state if name == "harmonics" else nuisance)[name]
            target[(0,) if part is None else (0, part)] += step
            sides.append(_render_rows(28, state, nuisance).ravel())
        columns.append((sides[0] - sides[1]) / 2e-5)
    return np.stack(columns, axis=1)


def test_one_view_identifies_state_and_nuisance(glyphs):
    """The Cramer-Rao bound of one view is far below the spread of the parameters."""
    for i in range(len(glyphs)):
        j = jacobian(glyphs, i, 0)
        deviation = 0.02 * np.sqrt(np.diag(np.linalg.inv(j.T @ j)))
        assert deviation[:7].max() < 0.01
        assert np.degrees(deviation[9]) < 1.0
        assert deviation[7:9].max() < 0.005


def test_shapes_differ_between_states_more_than_noise(glyphs):
    group = np.arange(len(glyphs))
    images = glyphs.virtual(group, 0, 0)[..., 0] / glyphs.nuisance["intensity"][0, 0]
    distance = np.sqrt(((images[:, None] - images[None]) ** 2).mean(axis=(2, 3)))
    assert distance[~np.eye(len(glyphs), dtype=bool)].min() > 0.04


# === Labelled shapes ===


@given(st.lists(st.integers(16, 24), min_size=2, max_size=3), st.integers(0, 99))
def test_shapes_and_types_of_labelled_images(size, seed):
    x, labels = simulate_labelled_shapes(2, size, seed)
    assert x.shape == (2, *size, 1) and x.dtype == np.float32
    assert labels.shape == (2, *size) and labels.dtype == np.int32
    assert np.isfinite(x).all()
    assert labels.min() == 0 and labels.max() <= BAR


@pytest.mark.parametrize("size", [(48, 48), (24, 24, 24)])
def test_every_class_is_there(size):
    labels = simulate_labelled_shapes(40, size, seed=0).labels
    shares = np.bincount(labels.ravel()) / labels.size
    assert len(shares) == 4
    assert 0.5 < shares[0] < 0.95
    assert shares[1:].min() > 0.01
    seen = np.mean([np.isin([BALL, SHELL, BAR], each).all() for each in labels])
    assert seen > 0.9  # other shapes can cover a shape


def test_images_depend_on_seed_and_number_alone():
    few, many = (simulate_labelled_shapes(n, seed=3) for n in (2, 5))
    np.testing.assert_array_equal(few.x, many.x[:2])
    np.testing.assert_array_equal(few.labels, many.labels[:2])
    assert (simulate_labelled_shapes(2, seed=4).x != few.x).mean() > 0.99


def test_depth_is_a_distance(rng):
    """The depth is half the thickness in the middle, and 0 on the surface."""
    along = np.linspace(0.0, 1.0, 1001)[:, None] * [1.0, 0.0]
    ball, shell, bar = (_depth(rng, kind, along) for kind in (BALL, SHELL, BAR))
    assert 0.12 < ball[0] < 0.18
    np.testing.assert_allclose(np.diff(ball), -0.001)
    assert shell[0] < 0.0 and shell.max() == pytest.approx(0.06, abs=1e-3)
    assert np.diff(np.flatnonzero(shell > 0)).max() == 1
    assert (shell > 0).sum() == pytest.approx(120, abs=1)
    assert 0.06 < bar[0] < 0.075
    assert 400 < 2 * (bar > 0).sum() < 560


def test_noise_is_white():
    """Where light and labels are smooth, only noise separates neighbours."""
    x, labels = simulate_labelled_shapes(20, (64, 64), seed=0)
    x = x[..., 0].astype("float64")
    second = x[:, :, 2:] - 2.0 * x[:, :, 1:-1] + x[:, :, :-2]
    same = np.ones(second.shape, bool)
    for shift in range(-4, 5):
        same &= np.roll(labels, shift, axis=2)[:, :, 1:-1] == 0
    assert second[same].std() == pytest.approx(np.sqrt(6.0) * NOISE, rel=0.03)


def test_no_threshold_finds_the_shapes():
    x, labels = simulate_labelled_shapes(50, seed=0)
    shown = (labels == BALL) | (labels == SHELL)
    limits = np.quantile(x, np.linspace(0.01, 0.99, 50))
    scores = [mean_iou(shown * 1, (x[..., 0] > limit) * 1, 2) for limit in limits]
    assert max(scores) < 0.7
