"""Redatuming where the origin of a state is arbitrary."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.evaluation import redatuming_error, rotations, shifts


def _bump(place, width, size=24) -> np.ndarray:
    pixel = np.arange(size)
    return np.exp(-(((pixel - place[:, None]) / width[:, None]) ** 2)).astype("float32")


@pytest.fixture(scope="module")
def groups() -> GroupedData:
    """Bumps whose width is the state and whose place is the nuisance."""
    rng = np.random.default_rng(0)
    width, place = rng.uniform(1.0, 2.0, 20), rng.uniform(9.0, 15.0, (20, 4))

    def render(state, nuisance):
        return _bump(nuisance["place"], state["width"])

    x = render({"width": np.repeat(width, 4)}, {"place": place.reshape(-1)}).reshape(
        20, 4, 24
    )
    return GroupedData(
        x, state={"width": width}, nuisance={"place": place}, render=render
    )


class Shifted:
    """Knows the truth but for shifts `(pairs, instances)`, in pixels."""

    def __init__(self, groups: GroupedData, pixels: np.ndarray) -> None:
        self.groups, self.pixels = groups, np.broadcast_to(pixels, (20, 4))

    def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
        pair, instance = np.indices((20, 4))
        truth = self.groups.virtual((pair + 1) % 20, pair, instance)
        rows = [
            shifts(3)[3 + int(n)](row)
            for n, row in zip(self.pixels.flat, truth.reshape(80, 24), strict=True)
        ]
        return np.stack(rows).reshape(20, 4, 24)

    def reconstruct(self, x, mask):
        return x


def test_one_shift_a_pair_is_no_error(groups, rng) -> None:
    model = Shifted(groups, rng.integers(-2, 3, (20, 1)))
    assert redatuming_error(model, groups) > 0.1
    assert redatuming_error(model, groups, gauge=shifts(2)) < 1e-3  # lost at the edges


def test_shifts_of_instances_are_errors(groups, rng) -> None:
    model = Shifted(groups, rng.integers(-2, 3, (20, 4)))
    free, fixed = (
        redatuming_error(model, groups, shifts(2)),
        redatuming_error(model, groups),
    )
    assert 0.1 < free <= fixed


def test_a_gauge_changes_nothing_of_what_is_right(groups) -> None:
    error = redatuming_error(Shifted(groups, np.zeros((1, 1))), groups, shifts(1))
    assert error == 0.0
    assert (
        error.mean_swap
        <= redatuming_error(Shifted(groups, np.zeros((1, 1))), groups).mean_swap
    )


def test_shifts_of_images() -> None:
    image = np.arange(12.0).reshape(3, 4, 1)
    every = [each(image) for each in shifts(1, axes=(-3, -2))]
    assert len(every) == 9
    np.testing.assert_array_equal(every[4], image)
    np.testing.assert_array_equal(every[8][1:, 1:], image[:-1, :-1])


def test_rotations() -> None:
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    same, quarter, half, _ = (each(image) for each in rotations(4))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(half, image[:, ::-1, ::-1])
    np.testing.assert_array_equal(quarter, np.rot90(image, 1, (1, 2)))


def test_rotations_go_on_where_quarter_turns_stop() -> None:
    """Eighths of a turn, twice, are quarters, but for interpolation."""
    y, x = np.mgrid[-8:9, -8:9]
    image = np.exp(-((x - 2.0) ** 2 + y**2) / 16.0)[..., None]
    eighth, quarter = rotations(8)[1], rotations(8)[2]
    middle = np.s_[4:-4, 4:-4]
    twice = eighth(eighth(image))[middle]
    np.testing.assert_allclose(twice, quarter(image)[middle], atol=0.06)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`max_pixels`"):
        shifts(0)
    with pytest.raises(ValueError, match="`n_angles`"):
        rotations(0)
    with pytest.raises(ValueError, match="`axes`"):
        rotations(4, axes=(-1, -1))
