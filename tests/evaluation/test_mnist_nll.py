"""The benchmark of marginal likelihoods, with idx files of a few small images."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def benchmark(import_benchmark):
    return import_benchmark("mnist_nll")


@pytest.fixture
def folder(tmp_path, rng) -> Path:
    """Write 120 training images and 30 test images, half of them bright on the left."""
    for split, rows in (("train", 120), ("t10k", 30)):
        images = np.zeros((rows, 5, 4), np.uint8)
        images[::2, :, :2], images[1::2, :, 2:] = 230, 230
        header = struct.pack(">4B3i", 0, 0, 8, 3, *images.shape)
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">4Bi", 0, 0, 8, 1, rows)
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(header + bytes(rows))
    return tmp_path


@pytest.mark.large
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_row_beside_the_published_figures(
    dynamic, benchmark, folder, monkeypatch, capsys
) -> None:
    out = folder / "nll.json"
    given = ["--data", folder, "--epochs", 60, "--samples", 50, "--out", out]
    given += ["--dynamic"] * dynamic
    monkeypatch.setattr(sys, "argv", ["mnist_nll.py", *map(str, given)])
    benchmark.main()
    assert "89.8" in capsys.readouterr().out or dynamic
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    names = [row["model"] for row in results["table"]]
    assert names == ["VAE", "IWAE", "MIWAE", "CIWAE", "PIWAE"]
    assert (results["table"][0]["published"] is None) == dynamic
    run = results["run"]
    # One bit, and the pixels of the bright half: 10 draws with probability 0.9.
    p = 230 / 255
    entropy = -10 * (p * np.log(p) + (1 - p) * np.log(1 - p)) + np.log(2)
    assert entropy - 1.5 < run["NLL"] < 0.7 * 20 * np.log(2)
    assert run["NLL"] < run["bound"]
    assert run["test images"] == 30 and run["IS samples"] == 50


def test_static_images_are_drawn_once(benchmark, rng) -> None:
    shades = np.full((250, 8), 0.5, "float32")
    for dynamic in (False, True):
        draws = benchmark._Draws(shades, dynamic, seed=0)
        first = draws.images.copy()
        batches = [draws[k][0] for k in range(len(draws))]
        assert [len(each) for each in batches] == [100, 100, 50]
        assert sorted(map(tuple, np.concatenate(batches))) == sorted(map(tuple, first))
        draws.on_epoch_end()
        assert np.array_equal(first, draws.images) != dynamic
    assert benchmark.binarised(shades, rng).mean() == pytest.approx(0.5, abs=0.05)


def test_the_rate_falls_at_the_milestones(benchmark) -> None:
    assert benchmark._rate(0, 1e-3) == benchmark._rate(199, 1e-3) == 1e-3
    assert benchmark._rate(200, 1e-3) == pytest.approx(1e-3 * 10**-0.2)
    assert benchmark._rate(499, 3e-4) == pytest.approx(3e-4 * 10**-0.4)


def test_the_network_is_the_published_one(benchmark) -> None:
    model = benchmark.vae(784)
    shapes = {tuple(w.shape) for w in model.trainable_weights if len(w.shape) == 2}
    assert shapes == {(784, 400), (400, 80), (40, 400), (400, 784)}
