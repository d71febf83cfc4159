"""`symae adapt` and `symae transfer`."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from symae_keras._utils.files import read_json
from symae_keras.cli.adapt import _as_text
from symae_keras.data import GroupedData, load, save, simulate_exposures

AXIS = np.linspace(-1.0, 1.0, 256)


def spectra(n: int, seed: int):
    """Return exposures (n, 2, 256) of the run's instrument and of another one."""
    groups = simulate_exposures(n_states=n, n_instances=1, seed=seed)
    known = groups.x[:, 0]
    return np.stack([known, 0.8 * known + 0.1 + 0.05 * AXIS], axis=1).astype("float32")


@pytest.fixture
def pairs(here) -> str:
    np.savez("pairs.npz", x=spectra(14, 1), axis=AXIS)
    return "pairs.npz"


def test_adapt_and_transfer(succeeds, refuses, measured_run, pairs, here):
    out = succeeds("adapt", measured_run, "--data", pairs, "--out", "new").out
    assert "OptimalEstimation" in out and "Weights: " in out
    assert "Next: symae transfer new --data new.csv --out virtual.csv" in out
    summary = read_json(here / "new" / "adaptation.json")
    assert summary["n_pairs"] == 14 and summary["scores"]["MeanShift"] == 1.0
    assert {"VirtualSpectra", "ModelOptimalEstimation"} < set(summary["scores"])
    x = spectra(6, 2)
    save(GroupedData(x[:, 1:], axis=AXIS, ids=list("abcdef")), "new.csv")
    transfer = ("transfer", "new", "--data", "new.csv", "--out", "virtual.csv")
    assert "6 spectra by " in succeeds(*transfer).out
    virtual = load("virtual.csv")
    assert virtual.ids.tolist() == list("abcdef")
    np.testing.assert_allclose(virtual.axis, AXIS, atol=1e-6)
    before = np.mean((x[:, 1] - x[:, 0]) ** 2)
    assert np.mean((virtual.x[:, 0] - x[:, 0]) ** 2) < 0.1 * before
    assert "virtual.csv exists" in refuses(*transfer)
    succeeds(*transfer, "--force")
    assert "new" in refuses("adapt", measured_run, "--data", pairs, "--out", "new")


def test_instruments_by_name_and_another_grid(succeeds, refuses, measured_run, here):
    """Write a table with replicates, rows in random order, and half as many pixels."""
    x, axis = spectra(8, 3), AXIS[::-2]
    with open("pairs.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["group", "unit", *axis])
        for n in range(8):
            for unit in ("new", "old", "new")[:: 1 - 2 * (n % 2)]:
                table.writerow([n, unit, *x[n, int(unit == "new"), ::-2]])
    command = ("adapt", measured_run, "--data", "pairs.csv", "--out", "out")
    names = ("--instrument", "unit", "--source", "new", "--target", "old")
    assert "with --axis linear" in refuses(*command, *names)
    succeeds(*command, *names, "--axis", "linear")
    assert read_json(here / "out" / "adaptation.json")["n_pairs"] == 8
    resampled = (*command, "--axis", "linear", "--force", "--instrument")
    assert "no column room; its columns are unit" in refuses(*resampled, "room")
    assert "unit is 0, but new, old" in refuses(*resampled, "unit")
    same = ("unit", "--source", "old", "--target", "old")
    assert "both name the instrument old" in refuses(*resampled, *same)
    assert "For names, give --instrument" in refuses(*resampled[:-1], *names[2:])


def test_numbers_of_instruments_stay_whole():
    assert _as_text(np.array([[1.0, np.nan], [2.5, 2.0]])).tolist() == [
        ["1", ""],
        ["2.5", "2"],
    ]
    assert _as_text(np.array([1, 10**7])).tolist() == ["1", "10000000"]
    assert _as_text(np.array([1e7, np.nan])).tolist() == ["10000000", ""]


def test_without_pairs(succeeds, measured_run, here):
    x = spectra(30, 4)
    np.savez("alone.npz", x=x[:15, 1:], axis=AXIS)
    np.savez("known.npz", x=x[15:, :1], axis=AXIS)
    command = ("adapt", measured_run, "--data", "alone.npz", "--out")
    assert "MeanShift of unpaired" in succeeds(*command, "one").out
    assert (
        "too few to compare"
        in succeeds(*command, "two", "--target-data", "known.npz").out
    )
    succeeds("transfer", "two", "--data", "alone.npz", "--out", "v.npz")
    shift = x[15:, 0].mean(axis=0) - x[:15, 1].mean(axis=0)
    np.testing.assert_allclose(load("v.npz").x[:, 0], x[:15, 1] + shift, atol=1e-5)


def test_more_spectra_of_the_known_instrument(succeeds, measured_run, here):
    np.savez("few.npz", x=spectra(6, 5), axis=AXIS)
    np.savez("known.npz", x=spectra(60, 6)[:, :1], axis=AXIS)
    command = ("adapt", measured_run, "--data", "few.npz", "--out")
    succeeds(*command, "few")
    assert "Weights: " in succeeds(*command, "more", "--target-data", "known.npz").out
    few, more = (read_json(here / name / "adaptation.json") for name in ("few", "more"))
    assert few["n_pairs"] == more["n_pairs"] == 6
    scores = [each["scores"]["OptimalEstimation"] for each in (few, more)]
    assert scores[1] < 0.8 * scores[0]


def test_transfer_needs_an_adaptation(refuses, measured_run, pairs):
    err = refuses("transfer", measured_run, "--data", pairs, "--out", "v.csv")
    assert "has no adaptation.npz; create it with symae adapt" in err
