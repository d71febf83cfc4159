"""Columns of metadata: through redatum, encode and anomalies, and as the state."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from symae_keras import cli
from symae_keras._utils.files import read_json
from symae_keras.cli._run_folder import load_run
from symae_keras.data import GroupedData, load, save, simulate_exposures

#: The axis of the runs, see `data_file`.
AXIS = simulate_exposures(1, 1).axis


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stars(n: int, instances: int = 3, seed: int = 7, **more: object) -> GroupedData:
    """Spectra with a column of groups, and one of instances."""
    groups = simulate_exposures(n, instances, seed=seed)
    night = np.arange(n * instances).reshape(n, instances) % 5
    return GroupedData(
        groups.x,
        ids=np.array([f"star {k}" for k in range(n)]),
        axis=groups.axis,
        group_metadata={"depth": groups.state["temperature"].round(3)},
        instance_metadata={
            "night": np.array(["mon", "tue", "wed", "thu", "fri"])[night]
        },
        **more,
    )


def test_a_table_goes_through_redatum_and_comes_back(succeeds, measured_run, here):
    """The state and its columns come from A; the nuisances and their columns from B."""
    a, b = stars(4), stars(1, seed=9)
    save(a, "a.csv")
    save(b, "b.csv")
    files = ("--coherent-from", "a.csv", "--nuisance-from", "b.csv")
    done = succeeds("redatum", measured_run, *files, "--out", "v.csv")
    assert len(done.err.splitlines()) == 1 and "not compared" in done.err
    virtual = load("v.csv")
    np.testing.assert_array_equal(virtual.ids, a.ids)
    depth, night = virtual.group_metadata["depth"], virtual.instance_metadata["night"]
    np.testing.assert_array_equal(depth, a.group_metadata["depth"])
    np.testing.assert_array_equal(night, np.tile(["mon", "tue", "wed"], (4, 1)))
    # One state under many nuisances.
    files = ("--coherent-from", "b.csv", "--nuisance-from", "a.csv")
    succeeds("redatum", measured_run, *files, "--out", "w.npz")
    virtual = load("w.npz")
    np.testing.assert_array_equal(
        virtual.group_metadata["depth"], np.repeat(b.group_metadata["depth"], 4)
    )
    np.testing.assert_array_equal(
        virtual.instance_metadata["night"], a.instance_metadata["night"]
    )


def test_tables_keep_the_name_of_the_group_column(succeeds, measured_run, here):
    save(stars(2), "a.csv", group="sample")
    files = ("--coherent-from", "a.csv", "--nuisance-from", "a.csv")
    succeeds("redatum", measured_run, *files, "--group", "sample", "--out", "v.csv")
    names = list(table(here / "v.csv")[0])
    assert names[:4] == ["sample", "instance", "depth", "night"]
    command = ("--data", "v.csv", "--group", "sample", "--out")
    succeeds("encode", measured_run, *command, "codes.csv")
    assert list(table(here / "codes.csv")[0])[:2] == ["sample", "depth"]
    succeeds("anomalies", measured_run, *command, "found.csv")
    assert list(table(here / "found.csv")[0])[:2] == ["sample", "instance"]


def test_what_varies_in_one_file_describes_nuisances(succeeds, measured_run, here):
    """B was measured in one night, which is a column of groups in B."""
    a, b = stars(3), stars(3, seed=9)
    same = {"night": np.array(["sat", "sat", "sun"])}
    b = dataclasses.replace(b, group_metadata=same, instance_metadata={})
    save(a, "a.csv")
    save(b, "b.csv")
    files = ("--coherent-from", "a.csv", "--nuisance-from", "b.csv")
    succeeds("redatum", measured_run, *files, "--out", "v.csv")
    rows = table(here / "v.csv")
    assert [row["night"] for row in rows[::3]] == ["sat", "sat", "sun"]
    assert [float(row["depth"]) for row in rows[::3]] == a.group_metadata[
        "depth"
    ].tolist()


def test_names_that_a_file_needs_itself_are_left_out(succeeds, measured_run, here):
    a = stars(2)
    np.savez("a.npz", x=a.x, axis=a.axis, score=[1, 2], p_value=[3, 4], good=[5, 6])
    np.savez("b.npz", x=a.x, axis=a.axis, **{"500": [1, 2]})
    files = ("--coherent-from", "b.npz", "--nuisance-from", "b.npz")
    err = succeeds("redatum", measured_run, *files, "--out", "v.csv").err
    assert "other columns with these names: 500" in err
    command = ("anomalies", measured_run, "--data", "a.npz", "--out", "found.csv")
    done = succeeds(*command)
    assert "other columns with these names: p_value, score" in done.err
    assert list(table(here / "found.csv")[0])[4:] == ["good"]


def test_anomalies_have_the_columns(succeeds, measured_run, here):
    groups = stars(5)
    instance = np.array([["x", "y", "z"]] * 5)
    known = {**groups.instance_metadata, "instance": instance}
    save(dataclasses.replace(groups, instance_metadata=known), "a.csv")
    command = ("anomalies", measured_run, "--data", "a.csv", "--out", "found.csv")
    said = succeeds(*command).out
    assert "found.csv: group, instance, score, p_value, depth, night," in said
    rows = table(here / "found.csv")
    assert len(rows) == 15
    for row in rows:
        k, t = int(row["group"].split()[1]), "xyz".index(row["instance"])
        assert float(row["depth"]) == groups.group_metadata["depth"][k]
        assert row["night"] == groups.instance_metadata["night"][k, t]


# === encode ===


def test_encode_groups_into_a_table(succeeds, refuses, measured_run, here):
    groups = stars(4)
    known = {**groups.group_metadata, "kind": np.array(["=1+1", "b", "b", "c"])}
    save(dataclasses.replace(groups, group_metadata=known), "a.csv")
    encode = ("encode", measured_run, "--data", "a.csv", "--out")
    done = succeeds(*encode, "codes.csv")
    assert len(done.err.splitlines()) == 1 and "not compared" in done.err
    assert done.out == (
        "codes.csv: 4 groups; group, depth, kind, coherent_1 to coherent_3\n"
    )
    rows = table(here / "codes.csv")
    assert [row["group"] for row in rows] == groups.ids.tolist()
    assert [float(row["depth"]) for row in rows] == known["depth"].tolist()
    # No cell may run as a formula in a spreadsheet program.
    assert rows[0]["kind"] == "'=1+1"
    model = load_run(measured_run).model
    expected = np.asarray(model.encode(groups.x).coherent)
    found = [[float(row[f"coherent_{k}"]) for k in (1, 2, 3)] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "give --force" in refuses(*encode, "codes.csv")
    succeeds(*encode, "codes.csv", "--force")


def test_encode_instances(succeeds, measured_run, here):
    mask = np.array([[1, 1, 1], [1, 0, 1]], bool)
    groups = stars(2, mask=mask)
    save(groups, "a.csv")
    command = (
        "encode",
        measured_run,
        "--data",
        "a.csv",
        "--nuisance",
        "--out",
        "n.csv",
    )
    assert (
        "5 instances; group, instance, depth, night, nuisance_1"
        in succeeds(*command).out
    )
    rows = table(here / "n.csv")
    assert [row["instance"] for row in rows] == ["0", "1", "2", "0", "2"]
    assert rows[4]["night"] == groups.instance_metadata["night"][1, 2]
    expected = np.asarray(load_run(measured_run).model.encode(groups.x, mask).nuisance)
    found = [[float(row[f"nuisance_{k}"]) for k in (1, 2)] for row in rows]
    np.testing.assert_allclose(found, expected[mask], atol=1e-5)


def test_encode_into_arrays(succeeds, measured_run, here):
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    groups = stars(2, mask=mask)
    save(groups, "a.npz")
    succeeds("encode", measured_run, "--data", "a.npz", "--out", "codes.npz")
    with np.load("codes.npz") as file:
        arrays = dict(file)
    assert set(arrays) == {"coherent", "nuisance", "mask", "ids", "depth", "night"}
    codes = load_run(measured_run).model.encode(groups.x, mask)
    np.testing.assert_allclose(arrays["coherent"], codes.coherent, atol=1e-5)
    np.testing.assert_allclose(
        arrays["nuisance"][mask], np.asarray(codes.nuisance)[mask], atol=1e-5
    )
    assert not arrays["nuisance"][~mask].any()
    np.testing.assert_array_equal(arrays["mask"], mask)


def test_encode_refuses(refuses, measured_run, here):
    save(stars(2), "a.npz")
    np.savez("short.npz", x=simulate_exposures(2, 2).x[..., :5])
    encode = ("encode", measured_run, "--data")
    assert "must end in .npz or .csv" in refuses(*encode, "a.npz", "--out", "c.txt")
    assert "shape (5,)" in refuses(*encode, "short.npz", "--out", "c.csv")
    assert "is the input" in refuses(*encode, "a.npz", "--out", "a.npz", "--force")
    assert "does not exist" in refuses(*encode, "none.npz", "--out", "c.csv")


@pytest.mark.large
def test_encode_single_instances(succeeds, refuses, altered, data_file, here):
    recipe = altered(
        ("SymAE", "Autoencoder"),
        ("coherent_dim=3", "code_dim=4"),
        ("        nuisance_dim=2,\n", ""),
    )
    assert cli.main(["train", str(recipe), "--out", "run", "--epochs", "1"]) == 0
    encode = ("encode", "run", "--data", data_file, "--recipe", recipe, "--out")
    assert (
        "38 instances; group, instance, code_1 to code_4"
        in succeeds(*encode, "codes.csv").out
    )
    groups = load(data_file)
    expected = np.asarray(load_run(here / "run").model.encode(groups.x[groups.present]))
    found = [
        [float(row[f"code_{k}"]) for k in range(1, 5)]
        for row in table(here / "codes.csv")
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    err = refuses(*encode, "n.csv", "--nuisance")
    assert "one code per instance; leave --nuisance out" in err


# === --state ===


def test_evaluate_probes_a_column(succeeds, refuses, own_run, here):
    groups = stars(40)
    save(groups, "a.npz")
    evaluate = ("evaluate", own_run, "--data", "a.npz", "--no-leakage")
    out = succeeds(*evaluate, "--state", "depth", "--state", "night").out
    columns = read_json(own_run / "metrics-a.json")["columns"]
    assert list(columns) == ["depth", "night"]
    depth, night = columns["depth"], columns["night"]
    assert (depth["of"], depth["score"], depth["groups"]) == ("group", "R2", 40)
    assert (night["of"], night["score"], night["coherent"]) == (
        *("instance", "accuracy"),
        None,
    )
    assert f"{depth['coherent']:.4f}" in out and "depth" in out
    assert "no column dept; did you mean depth?" in refuses(
        *evaluate, "--state", "dept"
    )
    save(groups[:10], "few.npz")
    few = ("evaluate", own_run, "--data", "few.npz", "--no-leakage", "--state", "depth")
    assert "needs at least 20 groups" in refuses(*few)


# === --held-out ===


def test_all_groups_are_trained_on(succeeds, refuses, recipe, data_file, here):
    train = ("train", recipe, "--data", data_file, "--epochs", 1, "--out")
    done = succeeds(*train, "run", "--held-out", 0)
    assert "training groups, 10 groups with 38 instances:" in done.out
    assert "are training groups, so the estimate is optimistic" in done.out
    config = read_json(here / "run" / "config.json")
    assert config["train_fraction"] == 1.0
    assert config["groups"] == {"train": 10, "held_out": 0}
    before = read_json(here / "run" / "metrics.json")
    assert before["data"] == "training groups" and before["groups"] == 10
    header = (here / "run" / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "epoch,loss"
    # Commands that need held-out groups report that there are none.
    succeeds("evaluate", "run", "--no-leakage", "--recipe", recipe)
    assert read_json(here / "run" / "metrics.json") == pytest.approx(before)
    found = succeeds("anomalies", "run", "--data", data_file, "--out", "found.csv")
    assert (
        "has no held-out groups" in found.err and "38 training instances" in found.out
    )
    # Another share gives another run.
    err = refuses(*train, "run", "--resume")
    assert "train_fraction: 1.0, not 0.8" in err
    for wrong in (1, -0.1, "nan"):
        err = refuses(*train, "other", "--held-out", wrong)
        assert "--held-out must be 0 or a fraction below 1" in err


def test_half_of_the_groups_are_held_out(succeeds, recipe, data_file, here):
    train = ("train", recipe, "--data", data_file, "--epochs", 1, "--out", "run")
    assert "held-out part, 5 groups" in succeeds(*train, "--held-out", 0.5).out
