import pickle

import numpy as np
import pytest

from symae_keras.data import simulate_shapes
from symae_keras.data.simulators.shapes import EDGE, RADIUS, _render_rows
from symae_keras.errors import InputError


@pytest.fixture(scope="module")
def groups():
    return simulate_shapes(n_states=40, n_instances=6, seed=1)


def own(groups):
    group, instance = np.indices(groups.x.shape[:2])
    return groups.virtual(group, group, instance)


def plain(rows=1, **changes):
    """A disc of intensity 1 in the middle of a dark frame, with changes."""
    state = {"harmonics": np.zeros((rows, 7))}
    nuisance = {
        "shift": np.zeros((rows, 2)),
        "angle": np.zeros(rows),
        "intensity": np.ones(rows),
        "background": np.zeros(rows),
        "gradient": np.zeros((rows, 2)),
    }
    for key, value in changes.items():
        target = state if key == "harmonics" else nuisance
        target[key] = np.broadcast_to(value, target[key].shape).astype(float)
    return state, nuisance


def radius(harmonics, phi):
    a2, a3, b3, a4, b4, a5, b5 = harmonics
    return RADIUS * (
        1
        + a2 * np.cos(2 * phi)
        + a3 * np.cos(3 * phi)
        + b3 * np.sin(3 * phi)
        + a4 * np.cos(4 * phi)
        + b4 * np.sin(4 * phi)
        + a5 * np.cos(5 * phi)
        + b5 * np.sin(5 * phi)
    )


def test_shapes_and_types(groups):
    assert groups.x.shape == (40, 6, 28, 28, 1) and groups.x.dtype == np.float32
    assert groups.mask is None and groups.ids is None
    assert groups.state["harmonics"].shape == (40, 7)
    assert groups.nuisance["shift"].shape == (40, 6, 2)
    assert -0.1 < groups.x.min() and groups.x.max() < 1.1


def test_virtual_is_exact_up_to_white_noise(groups):
    noise = (groups.x - own(groups)).astype("float64")[..., 0]
    assert noise.std() == pytest.approx(0.02, rel=0.01)
    assert abs(noise.mean()) < 2e-4
    neighbours = np.mean(noise[..., 1:] * noise[..., :-1]) / noise.var()
    instances = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    assert max(abs(neighbours), abs(instances)) < 0.02


def test_swapped_indices_equal_rendering_by_hand():
    groups = simulate_shapes(5, 3, seed=2, size=20)
    axis = (np.arange(20) + 0.5) / 10 - 1
    for i, j, t in ((0, 3, 2), (4, 1, 0), (2, 2, 1)):
        n = {k: v[j, t] for k, v in groups.nuisance.items()}
        h = groups.state["harmonics"][i]
        image = np.empty((20, 20))
        for row, y in enumerate(axis):
            for column, x in enumerate(axis):
                dx, dy = x - n["shift"][0], y - n["shift"][1]
                phi = np.arctan2(dy, dx) - n["angle"]
                r = radius(h, phi)
                slope = (radius(h, phi + 1e-6) - radius(h, phi - 1e-6)) / 2e-6
                inside = (r - np.hypot(dx, dy)) / np.sqrt(1 + (slope / r) ** 2)
                coverage = 1 / (1 + np.exp(-inside / (EDGE * 0.1)))
                image[row, column] = (
                    n["background"]
                    + n["gradient"][0] * x
                    + n["gradient"][1] * y
                    + n["intensity"] * coverage
                )
        np.testing.assert_allclose(groups.virtual(i, j, t)[..., 0], image, atol=1e-6)


def test_virtual_broadcasts(groups):
    state = np.array([3, 7])[:, None]
    instance = np.arange(4)
    together = groups.virtual(state, 5, instance)
    assert together.shape == (2, 4, 28, 28, 1) and together.dtype == np.float32
    for a in range(2):
        for b in range(4):
            one = groups.virtual(state[a, 0], 5, instance[b])
            np.testing.assert_array_equal(together[a, b], one)


def test_chunks_change_nothing():
    groups = simulate_shapes(2, 3, seed=0, size=200)
    many = groups.virtual(np.arange(60) % 2, 0, np.arange(60) % 3)
    np.testing.assert_array_equal(many[54:], many[:6])


def test_a_disc_has_its_area():
    image = _render_rows(64, *plain())[0]
    assert image.sum() * (2 / 64) ** 2 == pytest.approx(np.pi * RADIUS**2, rel=2e-3)


def test_an_outline_has_its_area():
    """Area of a star-convex outline: pi R^2 (1 + half the sum of squares)."""
    h = np.array([0.2, -0.1, 0.15, 0.05, 0.1, 0.08, -0.05])
    image = _render_rows(128, *plain(harmonics=h))[0]
    area = np.pi * RADIUS**2 * (1 + 0.5 * (h**2).sum())
    assert image.sum() * (2 / 128) ** 2 == pytest.approx(area, rel=2e-3)


def test_a_shift_by_whole_pixels_moves_the_image():
    h = [0.3, 0.1, 0.1, 0.05, 0.1, 0.08, -0.05]
    still = _render_rows(40, *plain(harmonics=h))[0]
    moved = _render_rows(40, *plain(harmonics=h, shift=[2 / 20, -1 / 20]))[0]
    np.testing.assert_allclose(moved[:-1, 2:], still[1:, :-2], atol=1e-12)


def test_a_quarter_turn_rotates_the_image_clockwise():
    h = [0.3, 0.1, 0.1, 0.05, 0.1, 0.08, -0.05]
    still = _render_rows(40, *plain(harmonics=h))[0]
    turned = _render_rows(40, *plain(harmonics=h, angle=np.pi / 2))[0]
    np.testing.assert_allclose(turned, np.rot90(still, -1), atol=1e-9)


def test_light_is_added():
    dark, lit = (
        _render_rows(28, *plain(background=b, gradient=g))[0]
        for b, g in ((0.0, 0.0), (0.2, [0.05, -0.03]))
    )
    axis = (np.arange(28) + 0.5) / 14 - 1
    light = 0.2 + 0.05 * axis - 0.03 * axis[:, None]
    np.testing.assert_allclose(lit - dark, light, atol=1e-12)


def test_no_glyph_leaves_the_frame():
    h = simulate_shapes(2000, 1, seed=5, size=8).state["harmonics"]
    phi = np.linspace(0, 2 * np.pi, 200)
    r = np.stack([radius(row, phi) for row in h])
    assert r.min() > 0.05 and r.max() + 0.15 < 1.0
    assert np.abs(h[:, 0]).min() >= 0.12 and np.abs(h[:, 0]).max() <= 0.3
    assert 0.4 < (h[:, 0] > 0).mean() < 0.6


def jacobian(groups, i, t):
    """Derivative of a clean view by 7 state and 7 nuisance parameters."""
    flat = [("harmonics", c) for c in range(7)]
    flat += [("shift", 0), ("shift", 1), ("angle", None), ("intensity", None)]
    flat += [("background", None), ("gradient", 0), ("gradient", 1)]
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


def test_one_view_identifies_state_and_nuisance(groups):
    """The Cramer-Rao bound of one view is far below the spread of the parameters."""
    for i in range(len(groups)):
        j = jacobian(groups, i, 0)
        deviation = 0.02 * np.sqrt(np.diag(np.linalg.inv(j.T @ j)))
        assert deviation[:7].max() < 0.01
        assert np.degrees(deviation[9]) < 1.0
        assert deviation[7:9].max() < 0.005


def test_shapes_differ_between_states_more_than_noise(groups):
    same = {k: v[:1, :1] for k, v in groups.nuisance.items()}
    group = np.arange(len(groups))
    images = groups.virtual(group, 0, 0)[..., 0] / same["intensity"][0, 0]
    distance = np.sqrt(((images[:, None] - images[None]) ** 2).mean(axis=(2, 3)))
    assert distance[~np.eye(len(groups), dtype=bool)].min() > 0.04


def test_seed(groups):
    np.testing.assert_array_equal(groups.x, simulate_shapes(40, 6, seed=1).x)
    other = simulate_shapes(40, 6, seed=2)
    assert (groups.state["harmonics"] != other.state["harmonics"]).all()


def test_pickles(groups):
    copy = pickle.loads(pickle.dumps(groups))
    np.testing.assert_array_equal(copy.virtual(0, 1, 2), groups.virtual(0, 1, 2))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(InputError, match="must be at least 1; received"):
        simulate_shapes(*sizes)


def test_small_frames_are_refused():
    with pytest.raises(InputError, match="at least 8 pixels; received 7"):
        simulate_shapes(1, 1, size=7)
