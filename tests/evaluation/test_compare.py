"""Comparisons: rows, saved results, and invalid arguments."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
import os
import sys

import keras
import numpy as np
import pytest

from symae_keras.classical import GroupedPCA
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    CONTENDERS,
    Comparison,
    Row,
    Sizes,
    compare,
    estimate_redatuming_error,
)
from symae_keras.evaluation.contenders import DEFAULT
from symae_keras.layers import DenseEncoder
from symae_keras.training import Training

MODELS = ["symae", "mlvae", "vae", "pca"]


@pytest.fixture(scope="module", autouse=True)
def _eager(short_probes):
    """Skip tracing and probing, which take most of the time of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        eager = functools.partialmethod(keras.Model.compile, run_eagerly=True)
        patch.setattr(keras.Model, "compile", eager)
        yield


@pytest.fixture(scope="module")
def data() -> tuple[GroupedData, GroupedData]:
    """Return training stars, and other stars for evaluation."""
    groups = simulate_exposures(n_states=64, n_instances=4, seed=0)
    return groups[:40], groups[40:]


@pytest.fixture(scope="module")
def settings():
    """Small networks, and few steps."""
    encoder = DenseEncoder(8, units=(16,))
    return {
        "training": Training(epochs=2, batch_size=16, instances=4),
        "sizes": Sizes(coherent_dim=3, nuisance_dim=2, encoder=encoder),
    }


@pytest.fixture(scope="module")
def finished(data, settings, tmp_path_factory):
    """Return a comparison with two seeds, and its folder."""
    folder = tmp_path_factory.mktemp("comparison")
    return compare(*data, MODELS, seeds=2, out=folder, **settings), folder


class Titles(list):
    """Return the trained models, from the calls of `progress`."""

    def __call__(self, text: str, share: float) -> None:
        assert 0.0 <= share <= 1.0
        if text.split(",")[0] not in self[-1:]:
            self.append(text.split(",")[0])


@pytest.mark.large
def test_a_row_for_each_model_and_seed(finished) -> None:
    result, _ = finished
    expected = [(name, seed) for name in MODELS[:3] for seed in (0, 1)]
    expected.append(("pca", 0))  # no seed enters it
    assert [(row.model, row.seed) for row in result.rows] == expected
    for row in result.rows:
        neural = row.model != "pca"
        assert (row.parameters is not None) == neural
        assert (row.seconds_per_step is not None) == neural
        assert 0.0 < row.reconstruction < 2.0 and 0.0 < row.redatuming < 3.0
        for column in ("state_from_nuisance", "nuisance_from_coherent"):
            assert 0.0 <= getattr(row, column) <= 1.0


@pytest.mark.large
def test_seeds_differ_and_reproduce(finished, data, settings) -> None:
    result, _ = finished
    one, other = result.values("symae", "redatuming")
    assert one != other
    again = compare(*data, ["symae"], seeds=1, **settings)
    assert again.values("symae", "redatuming")[0] == pytest.approx(one, rel=1e-4)


def test_small_data_stop_early_by_groups_of_their_own(
    data, settings, monkeypatch, tmp_path
) -> None:
    """Test groups do not affect weights, and nothing is held out of large data."""
    seen = []

    def spy(model, groups, training, seed, validation, callbacks):
        seen.append((groups, validation))
        callbacks[0].seconds, callbacks[0].params = [1.0], {"steps": 1}
        model(groups.x)

    # The package has a function with the name of the module.
    module = sys.modules["symae_keras.evaluation.compare"]
    monkeypatch.setattr(module, "train", spy)
    small = dataclasses.replace(settings["training"], epochs=1, min_updates=6)
    for training in (small, settings["training"]):
        out = tmp_path / str(training.epochs)
        compare(*data, ["symae"], 1, training, settings["sizes"], out)
    (fitted, held_out), (all_of_them, nothing) = seen
    assert (len(fitted), len(held_out)) == (32, 8)
    rows = {each.tobytes() for each in (*fitted.x, *held_out.x)}
    assert rows == {each.tobytes() for each in data[0].x}
    assert len(all_of_them) == 40 and nothing is None
    kept = [(tmp_path / each / "settings.json").read_text() for each in "12"]
    assert ["held_out" in each for each in kept] == [True, False]


@pytest.mark.large
def test_networks_and_codes_are_the_same_for_all(finished, data, settings) -> None:
    for name in DEFAULT:
        model = CONTENDERS[name].build(data[0], settings["sizes"], 0)
        if not isinstance(model, keras.Model):
            model.fit(data[0])
        codes = model.encode(data[1].x)
        if name in MODELS[:3]:
            count = sum(np.prod(v.shape) for v in model.trainable_variables)
            assert finished[0].values(name, "parameters") == [count, count]
        sizes = codes.coherent.shape[-1], codes.nuisance.shape[-1]
        if name == "mean_swap":
            assert sizes == (256, 256)
        elif CONTENDERS[name].family == "single instance":
            assert sizes == (5, 5)  # one code of both sizes together
        else:
            assert sizes == (3, 2)


def test_peers_have_the_same_sizes(data, settings) -> None:
    """Models that choose the coherent components have one code of both sizes."""
    peers = {"ada_gvae": (5, 5), "adversarial_gvae": (3, 2), "contrastive": (3, 2)}
    peers["symae_linear"] = (3, 2)
    for name, sizes in peers.items():
        model = CONTENDERS[name].build(data[0], settings["sizes"], 0)
        codes = model.encode(data[1].x)
        assert (codes.coherent.shape[-1], codes.nuisance.shape[-1]) == sizes
        assert model.normalization is not None


@pytest.mark.large
def test_tables_hold_medians_and_ranges(finished) -> None:
    result, folder = finished
    errors = result.values("symae", "redatuming")
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["model"] for row in rows] == MODELS
    for part, value in (("median", np.median), ("lowest", min), ("highest", max)):
        shown = float(rows[0][f"redatuming_{part}"])
        assert shown == pytest.approx(value(errors)), part
    text = result.to_markdown()
    shown = f"{np.median(errors):.4f} [{min(errors):.4f}-{max(errors):.4f}]"
    assert "| SymAE (conditional, Gaussian) | " in text and shown in text
    lengths = {line.count("|") for line in text.splitlines()}
    assert len(lengths) == 1
    assert (folder / "comparison.md").read_text(encoding="utf-8") == text
    assert (folder / "comparison.csv").read_text(encoding="utf-8") == result.to_csv()


def test_the_leader_has_the_least_median_error() -> None:
    def row(
        model: str, seed: int, error: float | None, estimated: float | None = None
    ) -> Row:
        return Row(model, seed, 1, 0.1, 0.1, error, estimated, None, None, None)

    rows = [row("symae", 0, 0.1), row("symae", 1, 0.3), row("pca", 0, 0.15)]
    assert Comparison(tuple(rows)).leader == "pca"
    assert Comparison((row("vae", 0, None),)).leader is None
    diverged = row("symae", 0, math.nan), row("pca", 0, 0.15)
    assert Comparison(diverged).leader == "pca"
    # Never the reconstruction error, and the estimate only without ground truth.
    measured = row("vae", 0, None, 0.2), row("symae", 0, None, 0.1)
    assert Comparison(measured).leader == "symae"
    assert Comparison((*rows, row("vae", 0, None, 0.01))).leader == "pca"


@pytest.mark.large
def test_the_figure_has_a_point_for_each_model(finished) -> None:
    result, folder = finished
    figure = result.plot()
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3", "4"]
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    file = folder / "redatuming_against_reconstruction.png"
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.large
def test_an_interrupted_comparison_is_resumed(data, settings, tmp_path) -> None:
    titles = Titles()

    def stop(text: str, share: float) -> None:
        if text.startswith("ML-VAE"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(*data, MODELS, 1, out=tmp_path, progress=stop, **settings)
    before = (tmp_path / "rows.csv").read_text(encoding="utf-8")
    assert before.count("\n") == 2
    result = compare(*data, MODELS, 1, out=tmp_path, progress=titles, **settings)
    assert titles == ["ML-VAE", "VAE", "PCA of means and deviations"]
    assert [row.model for row in result.rows] == MODELS
    # The first row is exactly the saved one.
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").startswith(before)
    assert sorted(os.listdir(tmp_path)) == [
        *(".symae.json", "comparison.csv", "comparison.md"),
        *("redatuming_against_reconstruction.png", "rows.csv", "settings.json"),
    ]


@pytest.mark.large
def test_a_comparison_takes_further_models(finished, data, settings) -> None:
    (_, folder), titles = finished, Titles()
    names = [*MODELS, "mean_swap"]
    result = compare(*data, names, 2, out=folder, progress=titles, **settings)
    assert titles == ["Linear mean swap"]
    assert result.models == names


@pytest.mark.large
def test_another_setting_or_folder_is_refused(finished, data, settings) -> None:
    _, folder = finished
    longer = dataclasses.replace(settings["training"], epochs=3)
    with pytest.raises(InputError, match="contains a comparison with another epochs"):
        compare(*data, MODELS, out=folder, **{**settings, "training": longer})
    with pytest.raises(InputError, match="contains a comparison with other data"):
        compare(data[0][:30], data[1], MODELS, out=folder, **settings)
    (folder / "inner").mkdir()
    (folder / "inner" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="contains no comparison to resume"):
        compare(*data, MODELS, out=folder / "inner", **settings)
    assert os.listdir(folder / "inner") == ["notes.txt"]


def test_measured_data_have_an_estimate(rng, settings) -> None:
    groups = GroupedData(rng.normal(size=(30, 4, 12)).astype("float32"))
    result = compare(groups[:20], groups[20:], ["pca"], **settings)
    assert result.rows[0].redatuming is None
    assert result.rows[0].state_from_nuisance is None
    model = GroupedPCA(3, 2).fit(groups[:20])
    expected = estimate_redatuming_error(model, groups[20:])
    assert result.rows[0].estimated == pytest.approx(expected, rel=1e-5)
    assert result.leader == "pca" and result.plot() is not None
    assert "| redatuming error, estimated |" in result.to_markdown()


def test_bad_arguments(data, rng) -> None:
    for models, message in (
        (["symea"], r"did you mean symae\?"),
        ([], "No models to compare"),
        (["pca", "pca"], "pca was named twice"),
    ):
        with pytest.raises(InputError, match=message):
            compare(*data, models)
    other = GroupedData(rng.normal(size=(5, 4, 12)))
    with pytest.raises(
        InputError, match=r"shape \(12,\), the training groups \(256,\)"
    ):
        compare(data[0], other, ["pca"])
