"""The shapes of `simulate_shapes` without their symmetry.

Glyphs are elongated along x or along y, and angles are as often negative as positive.
If the angles of all glyphs of one kind change their signs, each group has the same
distribution as before. So no data without labels show which view of a glyph along y has
the same angle as a view of a glyph along x, and there are two truths.

A rotation moves the edges of the two kinds in opposite directions, so opposite angles
change their images more similarly than equal angles. Networks learn the more similar
changes, and therefore the truth with opposite angles.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.data.groups import Array, Parameters
from symae_keras.data.simulators.shapes import render_shapes


def shapes_along_x(n: int, n_instances: int, seed: int, size: int) -> GroupedData:
    """Simulate glyphs that are all elongated along x, which have one truth only."""
    both = simulate_shapes(3 * n + 20, n_instances, seed, size)
    assert both.state is not None
    return both[np.flatnonzero(both.state["harmonics"][:, 0] > 0.0)[:n]]


def with_opposite_angles(groups: GroupedData) -> GroupedData:
    """Return the same images with the other truth.

    A view of a glyph along x has the negative angle for a glyph along y.
    """
    assert groups.state is not None and groups.nuisance is not None
    kind = np.sign(groups.state["harmonics"][:, :1])
    size = groups.instance_shape[0]

    def render(state: Parameters, nuisance: Parameters) -> Array:
        same = nuisance["kind"] * np.sign(state["harmonics"][:, 0])
        return render_shapes(
            size, state, {**nuisance, "angle": nuisance["angle"] * same}
        )

    kinds = np.broadcast_to(kind, groups.present.shape)
    nuisance = {**groups.nuisance, "kind": kinds}
    return dataclasses.replace(groups, nuisance=nuisance, render=render)
