"""Several labels at once, each told by other codes."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.errors import InputError
from symae_keras.evaluation import probe, probe_labels


def _parts(*arrays: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return tuple((each[:300], each[300:]) for each in arrays)


@pytest.mark.parametrize("linear", [True, False])
def test_each_label_has_the_score_of_its_probe(linear, rng) -> None:
    code = rng.normal(size=(400, 2))
    noise = rng.normal(size=400)
    label = np.where(code[:, 0] > 0.0, "hot", "cool")
    both, number, unknown, kind = _parts(code, code @ [1.0, -2.0], noise, label)
    names = ("number", "unknown", "kind")
    labels = tuple(
        dict(zip(names, part, strict=True))
        for part in zip(number, unknown, kind, strict=True)
    )
    scores = probe_labels(both, labels, seed=1, linear=linear)
    assert list(scores) == list(names)
    assert scores["number"] > 0.95 and scores["kind"] > 0.9
    assert scores["unknown"] < 0.1
    for name in names:
        pair = labels[0][name], labels[1][name]
        assert scores[name] == probe(both, pair, seed=1, linear=linear)


def test_both_parts_must_have_the_same_labels(rng) -> None:
    code = rng.normal(size=(10, 2))
    with pytest.raises(InputError, match=r"received \['a'\] and \['b'\]"):
        probe_labels((code, code), ({"a": code[:, 0]}, {"b": code[:, 0]}))
