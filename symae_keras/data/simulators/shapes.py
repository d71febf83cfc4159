"""The shapes benchmark: smooth random glyphs under shift, rotation and light."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from symae_keras.data.groups import (
    Array,
    GroupedData,
    Parameters,
    check_counts,
    in_chunks,
)
from symae_keras.errors import InputError

#: Mean radius of a glyph; the frame is [-1, 1] x [-1, 1].
RADIUS: Final = 0.46
#: Largest relative amplitudes of the harmonics 2 to 5; their sum is below 1, so that no
#: radius is negative and no glyph leaves the frame.
AMPLITUDES: Final = (0.3, 0.22, 0.16, 0.12)
#: Smallest amplitude of harmonic 2, which gives every glyph a long axis.
MIN_ELONGATION: Final = 0.12
MAX_SHIFT: Final = 0.15
MAX_ANGLE: Final = np.pi / 9
NOISE: Final = 0.02
#: Scale of the logistic edge in pixels: 10 % to 90 % in 1.1 pixels.
EDGE: Final = 0.25
MIN_SIZE: Final = 8
_PIXELS_AT_ONCE: Final = 1 << 20


def _render_rows(size: int, state: Parameters, nuisance: Parameters) -> Array:
    pixel = 2.0 / size
    axis = (np.arange(size) + 0.5) * pixel - 1.0
    shift, angle = nuisance["shift"], nuisance["angle"]
    # A pixel as a complex number, relative to the glyph's centre in the glyph's frame.
    offset = (axis - shift[:, :1])[:, None, :] + 1j * (axis - shift[:, 1:])[:, :, None]
    offset *= np.exp(-1j * angle)[:, None, None]
    distance = np.abs(offset)
    direction = offset / np.maximum(distance, 1e-12)

    # a cos(k phi) + b sin(k phi) = Re((a - ib) exp(i k phi)); b = 0 for k = 2.
    h = state["harmonics"]
    higher = h[:, 1::2] - 1j * h[:, 2::2]
    waves = np.concatenate([h[:, :1], higher], axis=1).T[:, :, None, None]
    outline = np.ones_like(distance)
    slope = np.zeros_like(distance)
    power = direction
    for order, wave in enumerate(waves, start=2):
        power = power * direction
        term = wave * power
        outline += term.real
        slope -= order * term.imag
    # Radial distance to the outline, divided by the length of the gradient: the signed
    # distance to first order, exact at the edge.
    inside = (RADIUS * outline - distance) / np.hypot(1.0, slope / outline)
    coverage = 0.5 + 0.5 * np.tanh(inside / (2.0 * EDGE * pixel))

    gradient = nuisance["gradient"]
    light = (
        nuisance["background"][:, None, None]
        + gradient[:, :1, None] * axis
        + gradient[:, 1:, None] * axis[:, None]
    )
    image: Array = light + nuisance["intensity"][:, None, None] * coverage
    return image


def render_shapes(size: int, state: Parameters, nuisance: Parameters) -> Array:
    """Render noiseless images from parameters, in chunks of rows to limit memory.

    Args:
        size: Height and width in pixels.
        state: `harmonics (n, 7)`.
        nuisance: `shift (n, 2)`, `angle (n,)`, `intensity (n,)`, `background (n,)`,
            `gradient (n, 2)`.

    Returns:
        float32 array `(n, size, size, 1)`.
    """
    step = max(1, _PIXELS_AT_ONCE // size**2)
    render = partial(_render_rows, size)
    return in_chunks(render, (size, size), step, state, nuisance)[..., None]


def _draw_harmonics(rng: np.random.Generator, n_states: int) -> Array:
    elongation = rng.uniform(MIN_ELONGATION, AMPLITUDES[0], n_states)
    columns = [elongation * rng.choice([-1.0, 1.0], n_states)]
    for largest in AMPLITUDES[1:]:
        amplitude = rng.uniform(0.0, largest, n_states)
        phase = rng.uniform(0.0, 2.0 * np.pi, n_states)
        columns += [amplitude * np.cos(phase), amplitude * np.sin(phase)]
    return np.stack(columns, axis=-1)


def simulate_shapes(
    n_states: int = 200,
    n_instances: int = 16,
    seed: int = 0,
    size: int = 28,
) -> GroupedData:
    """Simulate repeated views of filled glyphs, the benchmark for images.

    An instance is `light + intensity * glyph + noise` in the frame [-1, 1] x [-1, 1]
    (x to the right, y downwards). The glyph is 1 inside the outline
    `r(phi) = 0.46 (1 + sum over k = 2..5 of a_k cos(k phi) + b_k sin(k phi))` and 0
    outside, with a logistic edge about one pixel wide.

    - State of a glyph: `harmonics = (a2, a3, b3, a4, b4, a5, b5)`. `b2 = 0` and
      `a2 = +-U(0.12, 0.3)`: glyphs are elongated along x or along y. Harmonics 3, 4
      and 5 have amplitudes `U(0, 0.22)`, `U(0, 0.16)`, `U(0, 0.12)` and free phases.
    - Nuisance of a view: `shift ~ U(-0.15, 0.15)` along x and y; rotation
      `angle ~ U(-20, 20)` degrees, stored in radians, clockwise on the screen;
      `intensity ~ U(0.3, 0.6)`; `light = background + gradient . (x, y)` with
      `background ~ U(0.1, 0.3)` and both components of `gradient ~ U(-0.05, 0.05)`.
    - Noise: white Gaussian, standard deviation 0.02.

    One view identifies state and nuisance up to pixel noise. The long axis, fixed by
    `b2 = 0`, determines the rotation, which always stays below the 45 degrees at which
    the two elongations become ambiguous. The missing first harmonic fixes the centre,
    and the fixed mean radius fixes the scale. The Cramer-Rao bound of one view at 28
    pixels is about 0.3 degrees in angle and 0.002 in a harmonic. It limits the
    redatuming error (MSE divided by the variance of the images) to about 0.0004.

    Groups without labels have a second truth. Angles are symmetric, and no glyph is
    between the two elongations, so that the same angle of a glyph along x and of one
    along y cannot be recognized. Models learn that opposite angles are the same,
    because these change images more similarly. This adds about 0.04 to 0.07 to the
    redatuming error of models that encode the angle.

    Args:
        n_states: Number of glyphs (groups), at least 1.
        n_instances: Views per glyph, at least 1.
        seed: Seed of states, nuisances and noise.
        size: Height and width in pixels, at least 8.

    Returns:
        `GroupedData` with `x (n_states, n_instances, size, size, 1)` float32 in about
        [0, 1], the true `state` and `nuisance` parameters, and exact `virtual`
        instances.

    Raises:
        InputError: `n_states` or `n_instances` is below 1, or `size` below 8.

    Example:
    >>> groups = simulate_shapes(n_states=4, n_instances=3, seed=0)
    >>> groups.x.shape, groups.state["harmonics"].shape
    ((4, 3, 28, 28, 1), (4, 7))
    >>> groups.virtual(state=0, group=1, instance=2).shape
    (28, 28, 1)
    """
    check_counts(n_states, n_instances)
    if size < MIN_SIZE:
        raise InputError(f"size must be at least {MIN_SIZE} pixels; received {size}.")
    rng = np.random.default_rng(seed)
    shape = (n_states, n_instances)
    state = {"harmonics": _draw_harmonics(rng, n_states)}
    nuisance = {
        "shift": rng.uniform(-MAX_SHIFT, MAX_SHIFT, (*shape, 2)),
        "angle": rng.uniform(-MAX_ANGLE, MAX_ANGLE, shape),
        "intensity": rng.uniform(0.3, 0.6, shape),
        "background": rng.uniform(0.1, 0.3, shape),
        "gradient": rng.uniform(-0.05, 0.05, (*shape, 2)),
    }
    group, instance = np.indices(shape)
    clean = GroupedData(
        x=np.empty((*shape, size, size, 1), "float32"),
        state=state,
        nuisance=nuisance,
        render=partial(render_shapes, size),
    )
    noise = NOISE * rng.standard_normal(clean.x.shape, dtype="float32")
    clean.x[:] = clean.virtual(group, group, instance) + noise
    return clean
