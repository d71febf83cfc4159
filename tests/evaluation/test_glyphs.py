"""The second truth of the shapes, in `benchmarks/glyphs.py`."""

from __future__ import annotations

import numpy as np

from symae_keras.data import simulate_shapes


def test_opposite_angles_are_a_truth_of_the_same_images(import_benchmark) -> None:
    glyphs = import_benchmark("glyphs")
    groups = simulate_shapes(12, 3, seed=0, size=16)
    other = glyphs.with_opposite_angles(groups)
    group, instance = np.indices(groups.present.shape)
    own = other.virtual(group, group, instance)
    np.testing.assert_array_equal(own, groups.virtual(group, group, instance))

    kind = np.sign(groups.state["harmonics"][:, 0])
    lender = np.roll(np.arange(12), 1)
    swaps = group, lender[:, None], instance
    equal = (other.virtual(*swaps) == groups.virtual(*swaps)).all(axis=(1, 2, 3, 4))
    np.testing.assert_array_equal(equal, kind == kind[lender])

    along_x = glyphs.shapes_along_x(12, 3, seed=0, size=16)
    assert len(along_x) == 12
    assert (along_x.state["harmonics"][:, 0] > 0.0).all()
