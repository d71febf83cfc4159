"""Training on groups of very different sizes."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.evaluation import redatuming_error
from symae_keras.evaluation.redatuming import reconstruction_error
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Training, normalization, train

TRAINING = Training(epochs=30, batch_size=6, instances=8, learning_rate=5e-3)


def ragged() -> GroupedData:
    """Stars of 1 to 40 exposures; what is behind the mask would spoil everything."""
    stars = simulate_exposures(60, 40, seed=2, entangled=False)
    counts = np.random.default_rng(0).integers(2, 41, 60)
    counts[[3, 20, 55]] = 1, 1, 40
    mask = np.arange(40) < counts[:, None]
    stars.x[~mask] = 1e6
    arguments = {"state": stars.state, "nuisance": stars.nuisance}
    return GroupedData(stars.x, mask=mask, render=stars.render, **arguments)


def small(groups: GroupedData) -> SymAE:
    return SymAE(
        groups.instance_shape,
        coherent_dim=6,
        nuisance_dim=6,
        encoder=DenseEncoder(32, units=(48,)),
        normalization=normalization(groups),
        conditional_nuisance=True,
        seed=0,
    )


@pytest.fixture(scope="module")
def data() -> tuple[GroupedData, GroupedData]:
    groups = ragged()
    first, rest = groups[:48], groups[48:]
    assert (first.mask.sum(axis=1) == 1).sum() == 2
    return first, rest


@pytest.mark.large
def test_ragged_groups_train_and_redatum(data) -> None:
    """The mean instance has the error 1; the untrained model is worse than that."""
    first, rest = data
    model = small(first)
    before = redatuming_error(model, rest), reconstruction_error(model, rest)
    history = train(model, first, TRAINING, validation=rest).history
    assert int(model.optimizer.iterations) == 240
    assert np.isfinite([history["loss"], history["val_loss"]]).all()
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    after = redatuming_error(model, rest)
    assert float(after) < 0.3 < 0.8 < before[0]
    assert after.reconstruction < 0.3 < 0.8 < before[1]

    # One instance a group is enough to be encoded, and all that is padding is ignored.
    alone = first[[3, 20]]
    assert alone.present.sum() == 2
    virtual = np.asarray(
        model.redatum(
            coherent_from=alone.x,
            nuisance_from=rest[:2].x,
            coherent_mask=alone.mask,
            nuisance_mask=rest[:2].mask,
        )
    )
    bare = np.asarray(
        model.redatum(
            coherent_from=alone.x[:, :1],
            nuisance_from=rest[:2].x,
            nuisance_mask=rest[:2].mask,
        )
    )
    there = rest[:2].present
    assert np.isfinite(virtual[there]).all()
    np.testing.assert_allclose(virtual[there], bare[there], atol=1e-4)
