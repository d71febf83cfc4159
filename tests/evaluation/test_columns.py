"""Cross-validated probes of columns, for codes with known information."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import probe_columns

N_GROUPS, N_INSTANCES = 60, 4


@pytest.fixture(scope="module")
def groups() -> GroupedData:
    """Return groups with two state pixels (number, class) and two nuisance pixels."""
    rng = np.random.default_rng(0)
    level, kind = rng.normal(size=N_GROUPS), rng.integers(3, size=N_GROUPS)
    shape = N_GROUPS, N_INSTANCES
    tilt, site = rng.normal(size=shape), rng.integers(2, size=shape)
    each = [np.broadcast_to(v[:, None], shape) for v in (level, kind)]
    return GroupedData(
        np.stack([*each, tilt, 2.0 * site], axis=-1),
        group_metadata={
            "level": level,
            "kind": np.array(["a", "b", "c"])[kind],
            "name": np.array([f"star {k}" for k in range(N_GROUPS)]),
            "same": np.ones(N_GROUPS),
        },
        instance_metadata={
            "tilt": tilt,
            "site": np.array(["north", "south"])[site],
            "rank": np.arange(N_GROUPS * N_INSTANCES).reshape(shape),
        },
    )


def test_a_disentangled_model(groups, known_model) -> None:
    found = probe_columns(known_model("perfect"), groups, linear=True)
    # Unique names and constants cannot be probed.
    assert set(found) == {"level", "kind", "tilt", "site", "rank"}
    level, kind, tilt, site = (found[k] for k in ("level", "kind", "tilt", "site"))
    assert (level.of, level.score, level.groups) == ("group", "R2", N_GROUPS)
    assert level.coherent > 0.99 and level.nuisance < 0.1 and level.chance == 0.0
    assert (kind.of, kind.score) == ("group", "accuracy")
    commonest = np.unique(groups.group_metadata["kind"], return_counts=True)[1].max()
    assert kind.chance == pytest.approx(commonest / N_GROUPS)
    assert kind.coherent > 0.9 and kind.nuisance < kind.chance + 0.15
    assert (tilt.of, tilt.score) == ("instance", "R2")
    assert tilt.nuisance > 0.99 and tilt.coherent < 0.1
    assert site.nuisance == 1.0 and site.coherent is None
    # Integers with as many values as rows are numbers.
    assert found["rank"].score == "R2"


def test_a_leaking_model(groups, known_model) -> None:
    found = probe_columns(known_model("leaking"), groups, ["level", "tilt"])
    assert list(found) == ["level", "tilt"]
    assert found["level"].nuisance > 0.8 and found["tilt"].coherent > 0.8


def test_missing_values_and_absent_instances_are_left_out(groups, known_model) -> None:
    level = groups.group_metadata["level"].copy()
    level[::3] = np.nan
    kind = np.where(np.arange(N_GROUPS) % 3, groups.group_metadata["kind"], "")
    mask = np.ones((N_GROUPS, N_INSTANCES), bool)
    mask[1::2, 1:] = False
    part = dataclasses.replace(
        groups, mask=mask, group_metadata={"level": level, "kind": kind}
    )
    found = probe_columns(known_model("perfect"), part, linear=True)
    assert found["level"].groups == found["kind"].groups == 40
    assert found["level"].coherent > 0.99 and found["kind"].coherent > 0.9
    assert found["tilt"].nuisance > 0.99 and found["tilt"].groups == N_GROUPS


@pytest.mark.large
def test_groups_of_one_state_are_predicted_together(known_model) -> None:
    """Each state occurs twice, and only its name predicts the label."""
    rng = np.random.default_rng(1)
    state = np.repeat(np.arange(30), 2)
    x = np.repeat(rng.normal(size=(30, 2)), 2, axis=0)[:, None]
    x = np.concatenate([x, rng.normal(size=(60, 1, 2))], axis=-1)
    label = {"label": rng.permutation(30)[state].astype(float)}
    model = known_model("perfect")
    groups = GroupedData(x, ids=state, group_metadata=label)
    together = probe_columns(model, groups, linear=False)["label"].coherent
    apart = dataclasses.replace(groups, ids=None)
    assert probe_columns(model, apart, linear=False)["label"].coherent > together + 0.2


@pytest.mark.parametrize(
    ("names", "n", "sentence"),
    [
        (["levels"], 60, "no column levels; did you mean level?"),
        (["x"], 60, "there are tilt, site, rank, level"),
        (["same"], 60, "same cannot be probed: all values are the same"),
        (["name"], 60, "name cannot be probed: it has 60 different names in 60 rows"),
        (["level"], 19, "at least 20 groups"),
    ],
)
def test_bad_input(groups, known_model, names, n, sentence) -> None:
    with pytest.raises(InputError) as error:
        probe_columns(known_model("perfect"), groups[:n], names)
    assert sentence in str(error.value)
