"""Looking at data, converting them, and the way from a table to virtual spectra."""

from __future__ import annotations

import csv
import os

import keras
import numpy as np
import pytest

from symae_keras._utils.files import read_json
from symae_keras.cli import data as job
from symae_keras.data import GroupedData, Shards, load, save, simulate_exposures


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _here(here):
    """Use an empty current folder."""


def ragged(n_groups=8, seed=3):
    """Spectra of 1 MiB per group, so that a file of the smallest size holds one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_groups, 2, 1 << 17)).astype("float32")
    mask = np.ones((n_groups, 2), bool)
    return GroupedData(x, mask=mask, ids=np.arange(n_groups) + 100 * seed)


# === describe ===


def test_describe_a_file(symae, data_file):
    code, out, err = symae("data", "describe", data_file)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        "10 groups of 2 to 4 (median 4) instances of shape (256,), 38 instances in "
        "all, no state known"
    )
    assert lines[1] == "missing: 2 instances, 0.0 % of pixels"
    found = load(data_file).describe()
    assert f"between groups {found.variance_between:.2g}, within" in lines[2]
    assert len(lines) == 3


def test_describe_says_what_is_wrong(symae):
    np.savez("my.npz", x=np.random.default_rng(0).normal(size=(50, 1, 8)))
    code, out, err = symae("data", "describe", "my.npz")
    assert (code, err) == (0, "")
    assert "warning: 50 groups have fewer than 2 instances" in out


def test_describe_refuses_bad_input(refuses):
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    x[1, 0, 2] = np.inf
    np.savez("inf.npz", x=x)
    assert "group 1, instance 0, pixel 2" in refuses("data", "describe", "inf.npz")
    assert "no.npz does not exist" in refuses("data", "describe", "no.npz")
    save(GroupedData(np.ones((2, 2, 3))), "my.csv")
    err = refuses("data", "describe", "my.csv", "--group", "grup")
    assert "my.csv" in err and "no column grup; did you mean group? Found group" in err


# === convert and verify ===


def test_convert_several_files(symae, tmp_path):
    a, b = ragged(3, seed=1), ragged(2, seed=2)
    save(a, "a.npz")
    save(b, "b.npz")
    command = ("data", "convert", "a.npz", "b.npz", "--out", "shards")
    code, out, err = symae(*command, "--shard-mb", 1)
    assert (code, out) == (
        0,
        "shards: 5 groups of 2 instances of shape (131072,) in 5 shards\n",
    )
    assert err.splitlines() == [
        "a.npz: 3 of 3 groups done",
        "b.npz: 2 of 2 groups done",
    ]
    found = load("shards").load()
    np.testing.assert_array_equal(found.x, np.concatenate([a.x, b.x]))
    np.testing.assert_array_equal(found.ids, [100, 101, 102, 200, 201])
    assert sorted(os.listdir("shards")) == sorted(
        [".symae.json", "manifest.json"]
        + [f"shard-{n:05d}.{suffix}" for n in range(5) for suffix in ("x.npy", "npz")]
    )

    code, out, err = symae("data", "verify", "shards")
    assert (code, err) == (0, "") and out.endswith("5 shards, all checksums fit\n")
    code, out, err = symae("data", "describe", "shards")
    assert (code, err) == (0, "")
    assert out.startswith(
        "5 groups of 2 instances of shape (131072,) in 5 shards; of a"
    )
    assert "10 instances in all" in out


def test_damage_is_found(refuses, symae, tmp_path):
    save(GroupedData(np.random.default_rng(0).normal(size=(4, 2, 8))), "my.npz")
    assert symae("data", "convert", "my.npz", "--out", "shards").code == 0
    path = tmp_path / "shards" / "shard-00000.x.npy"
    content = bytearray(path.read_bytes())
    content[128 + 70] ^= 1
    path.write_bytes(content)
    err = refuses("data", "verify", "shards")
    assert "shard-00000.* is damaged: the checksum of group 1" in err
    assert "no manifest.json" in refuses("data", "verify", tmp_path)
    assert "no manifest.json" in refuses("data", "verify", "my.npz")


def test_convert_refuses_bad_input(refuses, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    save(GroupedData(x), "good.npz")
    save(GroupedData(x[..., :3]), "short.npz")
    bad = x.copy()
    bad[1, 0, 2] = np.inf
    save(GroupedData(bad), "bad.npz")
    to = ("--out", "shards")
    assert "no.npz does not exist" in refuses("data", "convert", "no.npz", *to)
    assert "group 1, instance 0, pixel 2" in refuses("data", "convert", "bad.npz", *to)
    assert "bad.npz" in refuses("data", "convert", "good.npz", "bad.npz", *to)
    err = refuses("data", "convert", "good.npz", "short.npz", *to)
    assert "short.npz" in err and "(3,)" in err and "(4,)" in err
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:-40])
    assert "cut.npz cannot be read" in refuses("data", "convert", "cut.npz", *to)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    into = ("data", "convert", "good.npz", "--out", "full")
    assert "full is not empty" in refuses(*into)
    assert "notes.txt" in refuses(*into, "--force")


def test_convert_leaves_finished_shards_alone(symae, refuses, listing, tmp_path):
    save(GroupedData(np.random.default_rng(0).normal(size=(4, 2, 8))), "my.npz")
    command = ("data", "convert", "my.npz", "--out", "shards")
    assert symae(*command).code == 0
    before = listing(tmp_path)
    assert "--force" in refuses(*command)
    code, out, _ = symae(*command, "--resume")
    assert code == 0 and out.startswith("shards: 4 groups")
    assert listing(tmp_path) == before
    save(GroupedData(np.random.default_rng(0).normal(size=(5, 2, 8))), "my.npz")
    code, out, _ = symae(*command, "--force")
    assert code == 0 and out.startswith("shards: 5 groups")
    assert sorted(os.listdir()) == ["my.npz", "shards"]
    # Shards are an input like others.
    assert symae("data", "convert", "shards", "--out", "more").code == 0
    np.testing.assert_array_equal(load("more").load().x, load("shards").load().x)


@pytest.fixture
def interrupt(monkeypatch):
    """Stop after a number of groups have been written."""
    original = job.ShardWriter.add

    def after(groups, error=KeyboardInterrupt):
        def add(self, part, source="the data"):
            for each in part:
                if groups is not None and self.n_groups >= groups:
                    raise error
                original(self, each, source)

        monkeypatch.setattr(job.ShardWriter, "add", add)

    return after


def test_an_interrupted_conversion_is_resumed(symae, refuses, interrupt, tmp_path):
    save(ragged(3, seed=1), "a.npz")
    save(ragged(4, seed=2), "b.npz")
    rest = ("--shard-mb", 1, "--out")
    command = ("data", "convert", "a.npz", "b.npz", *rest)
    assert symae(*command, "whole").code == 0

    interrupt(5)
    code, _, err = symae(*command, "shards")
    assert code == 1 and not (tmp_path / "shards").exists()
    last = err.splitlines()[-1]
    assert last.startswith("symae: interrupted; shards.partial is kept")
    assert "--resume" in last
    aside = tmp_path / "shards.partial"
    assert len(list(aside.glob("*.npy"))) == 5
    assert "shards.partial is left over" in refuses(*command, "shards")
    assert "no manifest.json" in refuses("data", "verify", "shards.partial")

    # Not with other settings, and not with other data.
    for other in (
        ("data", "convert", "a.npz", *rest),
        ("data", "convert", "b.npz", "a.npz", *rest),
        ("data", "convert", "a.npz", "b.npz", "--shard-mb", 2, "--out"),
        ("data", "convert", "a.npz", "b.npz", "--group", "star", *rest),
    ):
        err = refuses(*other, "shards", "--resume")
        assert "other data or settings" in err and "--force" in err
    # Size and time stay the same, and one number changes.
    found, content = (tmp_path / "b.npz").stat(), (tmp_path / "b.npz").read_bytes()
    changed = bytearray(content)
    changed[-5000] ^= 1
    (tmp_path / "b.npz").write_bytes(changed)
    os.utime("b.npz", ns=(found.st_atime_ns, found.st_mtime_ns))
    err = refuses(*command, "shards", "--resume")
    assert "other data or settings (input 2: b.npz, SHA-256 " in err
    (tmp_path / "b.npz").write_bytes(content)

    interrupt(None)
    before = {path.name: path.stat().st_mtime_ns for path in aside.glob("shard*")}
    code, out, err = symae(*command, "shards", "--resume")
    assert code == 0, err
    assert out.startswith("shards: 7 groups") and not aside.exists()
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
    for name, time in before.items():
        assert (tmp_path / "shards" / name).stat().st_mtime_ns == time


def test_a_conversion_stopped_before_its_first_file_leaves_nothing(
    symae, interrupt, tmp_path
):
    save(ragged(1), "my.npz")
    interrupt(0)
    code, _, err = symae("data", "convert", "my.npz", "--out", "shards")
    assert (code, err) == (1, "symae: interrupted\n")
    assert os.listdir() == ["my.npz"]


def test_force_begins_an_interrupted_conversion_again(symae, interrupt, tmp_path):
    save(ragged(3), "my.npz")
    command = ("data", "convert", "my.npz", "--shard-mb", 1, "--out", "shards")
    interrupt(2, RuntimeError)
    code, _, err = symae(*command)
    assert code == 1 and "internal error: RuntimeError" in err
    # Killed while the last file was written.
    half = tmp_path / "shards.partial" / ".symae-0123456789abcdef"
    half.mkdir()
    (half / "manifest.json").write_text("{", encoding="utf-8")
    interrupt(None)
    code, out, _ = symae(*command, "--force")
    assert code == 0 and out.startswith("shards: 3 groups")
    assert sorted(os.listdir()) == ["my.npz", "shards"]
    load("shards").verify()


def test_other_inputs_of_finished_shards_are_noticed(symae, refuses, tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 2, 8))
    save(GroupedData(x), "my.npz")
    np.save("other.npy", x + 5)
    command = ("data", "convert", "my.npz", "--out", "shards", "--resume")
    assert symae(*command).code == 0
    assert symae(*command).code == 0
    for change in (GroupedData(x, ids=np.arange(4) + 7), GroupedData(x + 5)):
        save(change, "my.npz")
        err = refuses(*command)
        assert "other data or settings (input 1: my.npz, SHA-256 " in err
        assert "--force" in err and "choose another --out" in err
    save(GroupedData(x), "my.npz")
    assert symae(*command).code == 0
    assert "(group: None, not star)" in refuses(*command, "--group", "star")
    assert "(shard_mb: 256, not 1)" in refuses(*command, "--shard-mb", 1)
    assert "(inputs: 1, not 2)" in refuses(*command, "other.npy")
    assert "(input 1: my.npz," in refuses("data", "convert", "other.npy", *command[3:])


def test_a_folder_of_files_is_compared_file_by_file(symae, refuses, tmp_path):
    (tmp_path / "night").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a-1", "a-2", "b-1", "b-2"):
        np.save(f"night/{name}.npy", rng.normal(size=8))
    command = ("data", "convert", "night", "--out", "shards", "--resume")
    assert symae(*command).code == 0
    np.save("night/b-2.npy", np.ones(8))
    assert "other data or settings (input 1: night," in refuses(*command)


def test_finished_shards_of_version_0_1_are_taken_as_complete(symae, tmp_path):
    save(GroupedData(np.random.default_rng(0).normal(size=(4, 2, 8))), "my.npz")
    command = ("data", "convert", "my.npz", "--out", "shards")
    assert symae(*command).code == 0
    (tmp_path / "shards" / ".symae.json").unlink()
    code, _, err = symae(*command, "--resume")
    assert code == 0
    assert err == "symae: note: shards does not record what it was made from\n"
    code, _, err = symae(*command, "--force")
    assert code == 2 and "no .symae.json shows that symae wrote it" in err


def test_convert_never_replaces_its_input(symae, refuses, tmp_path):
    save(GroupedData(np.random.default_rng(0).normal(size=(4, 2, 8))), "my.npz")
    assert symae("data", "convert", "my.npz", "--out", "shards").code == 0
    (tmp_path / "my.npz").rename("shards/shard-00007.npz")
    (tmp_path / "link").symlink_to("shards")
    for name in ("shards/shard-00007.npz", "link/shard-00007.npz"):
        for flags in ((), ("--force",), ("--resume",)):
            err = refuses("data", "convert", name, "--out", "shards", *flags)
            assert f"--out shards holds the input {name}" in err
    assert "lies in the input" in refuses(
        "data", "convert", "shards", "--out", "link/more"
    )


# === From shards to a run ===


@pytest.mark.large
def test_train_on_shards_and_evaluate(symae, recipe, tmp_path):
    groups = simulate_exposures(60, 4, seed=5)
    counts = np.random.default_rng(0).integers(2, 5, 60)
    mask = np.arange(4) < counts[:, None]
    save(GroupedData(groups.x, mask=mask, axis=groups.axis), "my.npz")
    assert symae("data", "convert", "my.npz", "--out", "shards").code == 0
    train = ("train", recipe, "--epochs", 1, "--data")
    code, _, err = symae(*train, "shards", "--out", "run")
    assert code == 0, err
    config = read_json(tmp_path / "run" / "config.json")
    assert config["groups"] == {"train": 48, "held_out": 12}
    # Nothing depends on where the same groups are kept.
    assert symae(*train, "my.npz", "--out", "twin").code == 0
    before = read_json(tmp_path / "run" / "metrics.json")
    twin = read_json(tmp_path / "twin" / "metrics.json")
    error = "reconstruction_error"
    assert before == {**twin, error: pytest.approx(twin[error], rel=1e-5)}

    give = ("--recipe", recipe, "--no-leakage")
    code, _, err = symae("evaluate", "run", *give)
    assert (code, err) == (0, "")
    again = read_json(tmp_path / "run" / "metrics.json")
    assert again == pytest.approx(before)
    code, _, err = symae("evaluate", "run", "--data", "shards", "--no-leakage")
    assert (code, err) == (0, "")
    metrics = read_json(tmp_path / "run" / "metrics-shards.json")
    assert metrics["groups"] == 60 and metrics["instances"] == counts.sum()
    assert np.isfinite(metrics["reconstruction_error"])

    shards = ("--coherent-from", "shards", "--nuisance-from", "shards")
    code, out, err = symae("redatum", "run", *shards, "--out", "virtual.npz")
    assert (code, out, err) == (0, "virtual.npz: x (60, 4, 256)\n", "")
    np.testing.assert_array_equal(load("virtual.npz").mask, mask)


def test_shards_with_single_instances_are_refused(symae, refuses, recipe):
    x = np.random.default_rng(0).normal(size=(6, 2, 256))
    mask = np.array([[True, True]] * 5 + [[True, False]])
    save(GroupedData(x, mask=mask), "my.npz")
    assert symae("data", "convert", "my.npz", "--out", "shards").code == 0
    err = refuses("train", recipe, "--data", "shards", "--out", "run")
    assert "shards: 1 of 6 groups have fewer than 2 instances" in err


# === The spectroscopist's path ===


def spectra_table(path, names, seed):
    """Write repeated spectra of stars, 2 to 6 of each, some cells empty or NaN."""
    stars = simulate_exposures(len(names), 6, seed=seed)
    rng = np.random.default_rng(seed)
    with open(path, "w", encoding="utf-8", newline="") as text:
        table = csv.writer(text)
        table.writerow(["group", "airmass", *(f"{v:.6f}" for v in 500 + stars.axis)])
        rows = []
        for name, spectra in zip(names, stars.x, strict=True):
            for spectrum in spectra[: rng.integers(2, 7)]:
                cells = [f"{value:.5f}" for value in spectrum]
                for k in rng.choice(256, 5, replace=False):
                    cells[k] = "" if k % 2 else "nan"
                rows.append([name, f"{rng.uniform(1, 2):.2f}", *cells])
        # In the order of the nights, not of the stars.
        table.writerows(rows[k] for k in rng.permutation(len(rows)))
    return len(rows)


def test_from_a_table_to_virtual_spectra_in_three_commands(symae, tmp_path):
    names = [f"HD {n}" for n in range(100, 140)]
    total = spectra_table("my.csv", names, seed=1)
    spectra_table("a.csv", ["HD 7", "HD 5", "HD 6"], seed=2)
    spectra_table("b.csv", ["sky 1", "sky 2", "sky 3"], seed=3)

    code, out, err = symae("data", "describe", "my.csv")
    assert code == 0 and f"{5 * total} missing values are masked" in err
    assert "40 groups of 2 to 6 " in out and f"{total} instances in all" in out
    assert "known: airmass" in out and "2.0 % of pixels" in out
    assert "warning" not in out

    train = ("train", "symae_exposures", "--data", "my.csv", "--epochs", 2)
    code, out, err = symae(*train, "--out", "run")
    assert code == 0, err
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["groups"] == 8 and 0 < metrics["reconstruction_error"] < 2

    files = ("--coherent-from", "a.csv", "--nuisance-from", "b.csv")
    code, out, err = symae("redatum", "run", *files, "--out", "virtual.csv")
    assert code == 0, err

    virtual, a, b = load("virtual.csv"), load("a.csv"), load("b.csv")
    assert out == f"virtual.csv: x {b.x.shape}\n"
    assert virtual.ids.tolist() == ["HD 5", "HD 6", "HD 7"]
    # The nuisances are those of b: as many spectra, at its wavelengths.
    np.testing.assert_array_equal(virtual.present, b.present)
    np.testing.assert_array_equal(virtual.axis, b.axis)
    assert virtual.pixel_mask is None and np.isfinite(virtual.x).all()
    model = keras.saving.load_model("run/model.keras", compile=False)
    expected = np.asarray(
        model.redatum(
            coherent_from=a.x.astype("float32"),
            nuisance_from=b.x.astype("float32"),
            coherent_mask=a.model_mask,
            nuisance_mask=b.model_mask,
        )
    )
    there = b.present
    np.testing.assert_allclose(virtual.x[there], expected[there], atol=1e-5)
    assert isinstance(virtual, GroupedData) and not isinstance(virtual, Shards)
