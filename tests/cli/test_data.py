"""Description and conversion of data, and the path from a table to virtual spectra."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from symae_keras._utils.files import read_json
from symae_keras.cli._sources import read_groups
from symae_keras.data import GroupedData, ShardWriter, load, save, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import redatuming_limit


@pytest.fixture(autouse=True)
def _here(here):
    """Use an empty current folder."""


X = np.random.default_rng(0).normal(size=(4, 2, 8))


def ragged(n_groups=8, seed=3):
    """Spectra of 1 MiB per group, so that a file of the smallest size has one group."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_groups, 2, 1 << 17)).astype("float32")
    mask = np.ones((n_groups, 2), bool)
    return GroupedData(x, mask=mask, ids=np.arange(n_groups) + 100 * seed)


@pytest.fixture
def convert(succeeds):
    """Write groups into my.npz and convert it to shards, and return the command."""

    def run(x=X, *flags):
        save(GroupedData(x), "my.npz")
        command = ("data", "convert", "my.npz", "--out", "shards", *flags)
        assert succeeds(*command).out.startswith(f"shards: {len(x)} groups")
        return command

    return run


# === describe ===


def test_describe_a_file(succeeds, data_file):
    _, out, err = succeeds("data", "describe", data_file)
    sizes, missing, variances = out.splitlines()
    assert err == "" and sizes == (
        "10 groups of 2 to 4 (median 4) instances of shape (256,), 38 instances in "
        "all, no state known"
    )
    assert missing == "missing: 0.0 % of pixels; axis: -1 to 1, x"
    found = load(data_file).describe()
    assert f"between groups {found.variance_between:.2g}, within" in variances


def test_describe_warns_of_single_instances(succeeds):
    np.savez("my.npz", x=np.random.default_rng(0).normal(size=(50, 1, 8)))
    _, out, err = succeeds("data", "describe", "my.npz")
    assert err == "" and "warning: 50 groups have fewer than 2 instances" in out


def test_describe_warns_of_few_groups(succeeds):
    np.savez("my.npz", x=np.random.default_rng(0).normal(size=(3, 4, 8)))
    out = succeeds("data", "describe", "my.npz").out
    assert "warning: 3 groups with several instances: a model needs about 10" in out


def test_describe_refuses_bad_input(refuses):
    np.savez("inf.npz", x=np.where(X == X[1, 0, 2], np.inf, X))
    assert "group 1, instance 0, pixel 2" in refuses("data", "describe", "inf.npz")
    assert "no.npz does not exist" in refuses("data", "describe", "no.npz")
    refuses("data", "describe", 300 * "x" + ".csv")  # too long a name for the system
    save(GroupedData(np.ones((2, 2, 3))), "my.csv")
    err = refuses("data", "describe", "my.csv", "--group", "grup")
    assert "my.csv" in err and "no column grup; did you mean group? Found group" in err
    assert 'with --group NAME (in Python, group="NAME").' in err


# === limit ===


def test_limit_predicts_an_error(succeeds, here):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 8)) + rng.normal(size=(40, 4, 8))
    save(GroupedData(x), "my.csv")
    _, out, err = succeeds("data", "limit", "my.csv", "--error", 0.5)
    found = redatuming_limit(load("my.csv"))
    assert err == ""
    for n, error in zip(found.n_instances, found.errors, strict=True):
        (row,) = [line for line in out.splitlines() if line.split()[:1] == [str(n)]]
        assert f"{error:.4f}" in row
    needed = found.instances_for(0.5)
    assert f"An error of 0.5 needs {needed} instances per group." in out


def test_limit_warns_of_confounded_columns(succeeds, here):
    x = np.random.default_rng(0).normal(size=(12, 4, 8))
    night = np.repeat(np.arange(12) % 4, 4).reshape(12, 4).astype(str)
    night[0, 0] = "3"  # else it describes groups
    save(GroupedData(x, instance_metadata={"night": night}), "my.csv")
    _, out, _ = succeeds("data", "limit", "my.csv", "--error", 1e-6)
    assert "warning: night differs between groups more than within them" in out
    assert "A linear method cannot achieve an error of 1e-06, with any number" in out


def test_limit_refuses_bad_input(refuses):
    save(GroupedData(X[:2]), "my.npz")
    err = refuses("data", "limit", "my.npz")
    assert "my.npz: The limit can be predicted from at least three groups" in err
    err = refuses("data", "limit", "my.npz", "--error", 0)
    assert "--error must be a positive number, such as 0.05; received 0." in err
    assert "no.npz does not exist" in refuses("data", "limit", "no.npz")
    save(GroupedData(np.ones((4, 2, 3))), "same.npz")
    assert "same.npz" in refuses("data", "limit", "same.npz")


# === convert and verify ===


def test_convert_several_files(succeeds):
    a, b = ragged(3, seed=1), ragged(2, seed=2)
    save(a, "a.npz")
    save(b, "b.npz")
    command = ("data", "convert", "a.npz", "b.npz", "--out", "shards")
    sizes = "shards: 5 groups of 2 instances of shape (131072,) in 5 shards"
    progress = "a.npz: 3 of 3 groups done\nb.npz: 2 of 2 groups done\n"
    assert succeeds(*command, "--shard-mb", 1)[1:] == (f"{sizes}\n", progress)
    found = load("shards").load()
    np.testing.assert_array_equal(found.x, np.concatenate([a.x, b.x]))
    np.testing.assert_array_equal(found.ids, [100, 101, 102, 200, 201])
    assert sorted(os.listdir("shards")) == sorted(
        [".symae.json", "manifest.json"]
        + [f"shard-{n:05d}.{suffix}" for n in range(5) for suffix in ("x.npy", "npz")]
    )
    done = succeeds("data", "verify", "shards")
    assert done[1:] == (f"{sizes}, all checksums match\n", "")
    _, out, err = succeeds("data", "describe", "shards")
    assert err == "" and out.startswith(f"{sizes.removeprefix('shards: ')}; of a")
    assert "10 instances in all" in out


def test_damage_is_found(refuses, convert, here):
    convert()
    path = here / "shards" / "shard-00000.x.npy"
    content = bytearray(path.read_bytes())
    content[128 + 70] ^= 1
    path.write_bytes(content)
    err = refuses("data", "verify", "shards")
    assert "shard-00000.* is damaged: the checksum of group 1" in err
    assert "no manifest.json" in refuses("data", "verify", here)
    assert "no manifest.json" in refuses("data", "verify", "my.npz")


def test_convert_refuses_bad_input(refuses, here):
    save(GroupedData(X), "good.npz")
    save(GroupedData(X[..., :3]), "short.npz")
    save(GroupedData(np.where(X == X[1, 0, 2], np.inf, X)), "bad.npz")
    to = ("--out", "shards")
    assert "no.npz does not exist" in refuses("data", "convert", "no.npz", *to)
    assert "group 1, instance 0, pixel 2" in refuses("data", "convert", "bad.npz", *to)
    assert "bad.npz" in refuses("data", "convert", "good.npz", "bad.npz", *to)
    err = refuses("data", "convert", "good.npz", "short.npz", *to)
    assert "short.npz" in err and "(3,)" in err and "(8,)" in err
    (here / "cut.npz").write_bytes((here / "good.npz").read_bytes()[:-40])
    assert "cut.npz cannot be read" in refuses("data", "convert", "cut.npz", *to)
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    into = ("data", "convert", "good.npz", "--out", "full")
    assert "full is not empty" in refuses(*into)
    assert "notes.txt" in refuses(*into, "--force")


def test_convert_leaves_finished_shards_alone(
    succeeds, refuses, convert, listing, here
):
    command = convert()
    before = listing(here)
    assert "--force" in refuses(*command)
    assert succeeds(*command, "--resume").out.startswith("shards: 4 groups")
    assert listing(here) == before
    convert(np.random.default_rng(1).normal(size=(5, 2, 8)), "--force")
    assert sorted(os.listdir()) == ["my.npz", "shards"]
    # Shards are accepted as input.
    succeeds("data", "convert", "shards", "--out", "more")
    np.testing.assert_array_equal(load("more").load().x, load("shards").load().x)


@pytest.fixture
def interrupt(monkeypatch):
    """Interrupt after a number of groups have been written."""
    original = ShardWriter.add

    def after(groups, error=KeyboardInterrupt):
        def add(self, part, source="the data"):
            for each in part:
                if groups is not None and self.n_groups >= groups:
                    raise error
                original(self, each, source)

        monkeypatch.setattr(ShardWriter, "add", add)

    return after


def test_an_interrupted_conversion_is_resumed(
    symae, succeeds, refuses, interrupt, contents, here
):
    save(ragged(3, seed=1), "a.npz")
    save(ragged(4, seed=2), "b.npz")
    rest = ("--shard-mb", 1, "--out")
    command = ("data", "convert", "a.npz", "b.npz", *rest)
    succeeds(*command, "whole")

    # An interruption before the first file leaves nothing.
    interrupt(0)
    code, _, err = symae(*command, "shards")
    assert (code, err) == (1, "symae: interrupted\n")
    assert sorted(os.listdir()) == ["a.npz", "b.npz", "whole"]
    interrupt(5)
    code, _, err = symae(*command, "shards")
    assert code == 1 and not (here / "shards").exists()
    last = err.splitlines()[-1]
    assert last.startswith("symae: interrupted; shards.partial is kept")
    assert "--resume" in last
    partial = here / "shards.partial"
    assert len(list(partial.glob("*.npy"))) == 5
    assert "shards.partial is left over" in refuses(*command, "shards")
    assert "no manifest.json" in refuses("data", "verify", "shards.partial")

    # Other settings and other data are rejected.
    for other in (
        ("data", "convert", "a.npz", *rest),
        ("data", "convert", "b.npz", "a.npz", *rest),
        ("data", "convert", "a.npz", "b.npz", "--shard-mb", 2, "--out"),
        ("data", "convert", "a.npz", "b.npz", "--group", "star", *rest),
    ):
        err = refuses(*other, "shards", "--resume")
        assert "other data or settings" in err and "--force" in err
    # One value changes, but size and time stay the same.
    found, content = (here / "b.npz").stat(), (here / "b.npz").read_bytes()
    changed = bytearray(content)
    changed[-5000] ^= 1
    (here / "b.npz").write_bytes(changed)
    os.utime("b.npz", ns=(found.st_atime_ns, found.st_mtime_ns))
    err = refuses(*command, "shards", "--resume")
    assert "other data or settings (input 2: b.npz, SHA-256 " in err
    (here / "b.npz").write_bytes(content)

    interrupt(None)
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob("shard*")}
    out = succeeds(*command, "shards", "--resume").out
    assert out.startswith("shards: 7 groups") and not partial.exists()
    assert contents(here / "shards") == contents(here / "whole")
    for name, time in before.items():
        assert (here / "shards" / name).stat().st_mtime_ns == time


def test_other_inputs_of_finished_shards_are_noticed(succeeds, refuses, convert):
    command = convert(X, "--resume")
    np.save("other.npy", X + 5)
    for change in (GroupedData(X, ids=np.arange(4) + 7), GroupedData(X + 5)):
        save(change, "my.npz")
        err = refuses(*command)
        assert "other data or settings (input 1: my.npz, SHA-256 " in err
        assert "--force" in err and "choose another --out" in err
    assert convert(X, "--resume") == command
    assert "(group: None, not star)" in refuses(*command, "--group", "star")
    assert "(shard_mb: 256, not 1)" in refuses(*command, "--shard-mb", 1)
    assert "(inputs: 1, not 2)" in refuses(*command, "other.npy")
    assert "(input 1: my.npz," in refuses("data", "convert", "other.npy", *command[3:])


def test_a_folder_of_files_is_compared_file_by_file(succeeds, refuses, here):
    (here / "night").mkdir()
    for name, spectrum in zip(("a-1", "a-2", "b-1", "b-2"), X[:, 0], strict=True):
        np.save(f"night/{name}.npy", spectrum)
    command = ("data", "convert", "night", "--out", "shards", "--resume")
    succeeds(*command)
    np.save("night/b-2.npy", np.ones(8))
    assert "other data or settings (input 1: night," in refuses(*command)


def test_convert_never_replaces_its_input(refuses, convert, here):
    convert()
    (here / "my.npz").rename("shards/shard-00007.npz")
    (here / "link").symlink_to("shards")
    for name in ("shards/shard-00007.npz", "link/shard-00007.npz"):
        for flags in ((), ("--force",), ("--resume",)):
            err = refuses("data", "convert", name, "--out", "shards", *flags)
            assert f"--out shards holds the input {name}" in err
    err = refuses("data", "convert", "shards", "--out", "link/more")
    assert "lies in the input" in err


# === From shards to a run ===


@pytest.mark.large
def test_train_on_shards_and_evaluate(succeeds, recipe, here):
    groups = simulate_exposures(60, 4, seed=5)
    counts = np.random.default_rng(0).integers(2, 5, 60)
    mask = np.arange(4) < counts[:, None]
    save(GroupedData(groups.x, mask=mask, axis=groups.axis), "my.npz")
    succeeds("data", "convert", "my.npz", "--out", "shards")
    train = ("train", recipe, "--epochs", 1, "--data")
    succeeds(*train, "shards", "--out", "run")
    config = read_json(here / "run" / "config.json")
    assert config["groups"] == {"train": 48, "held_out": 12}
    # The results do not depend on the storage of the groups.
    succeeds(*train, "my.npz", "--out", "twin")
    before = read_json(here / "run" / "metrics.json")
    twin = read_json(here / "twin" / "metrics.json")
    error = "reconstruction_error"
    assert before == {**twin, error: pytest.approx(twin[error], rel=1e-5)}

    evaluate = ("evaluate", "run", "--no-leakage")
    assert succeeds(*evaluate, "--recipe", recipe).err == ""
    assert read_json(here / "run" / "metrics.json") == pytest.approx(before)
    assert succeeds(*evaluate, "--data", "shards").err == ""
    metrics = read_json(here / "run" / "metrics-shards.json")
    assert metrics["groups"] == 60 and metrics["instances"] == counts.sum()
    assert np.isfinite(metrics["reconstruction_error"])

    shards = ("--coherent-from", "shards", "--nuisance-from", "shards")
    done = succeeds("redatum", "run", *shards, "--out", "virtual.npz")
    assert done.out == "virtual.npz: 60 groups x 4 instances of shape (256,)\n"
    assert "inputs are not compared with held-out groups" in done.err
    np.testing.assert_array_equal(load("virtual.npz").mask, mask)


@pytest.mark.parametrize("path", ["my.npz", "shards"])
def test_groups_of_one_instance_are_left_out(path, succeeds, caplog):
    """Train, tune, compare and evaluate read their groups with this function."""
    mask = np.array([[True, True]] * 3 + [[True, False]])
    save(GroupedData(X, mask=mask, ids=["S1", "S2", "S3", "S4"]), "my.npz")
    if path == "shards":
        succeeds("data", "convert", "my.npz", "--out", "shards")
    assert len(read_groups(Path(path))) == 4 and not caplog.messages
    groups = read_groups(Path(path), min_instances=2)
    assert groups.ids.tolist() == ["S1", "S2", "S3"]
    assert caplog.messages == [
        f"{path}: 1 of 4 groups has fewer than 2 instances and is not used for "
        "training and evaluation: S4"
    ]
    with pytest.raises(InputError, match="4 of 4 groups have .* remove these groups"):
        read_groups(Path(path), min_instances=3)


# === The spectroscopist's path ===


def spectra_table(path, names, seed):
    """Write repeated spectra of stars, 2 to 6 per star, some cells empty or NaN."""
    stars = simulate_exposures(len(names), 6, seed=seed)
    rng = np.random.default_rng(seed)
    rows = []
    for name, spectra in zip(names, stars.x, strict=True):
        for spectrum in spectra[: rng.integers(2, 7)]:
            cells = [f"{value:.5f}" for value in spectrum]
            for k in rng.choice(256, 5, replace=False):
                cells[k] = "" if k % 2 else "nan"
            rows.append([name, f"{rng.uniform(1, 2):.2f}", *cells])
    header = ["group", "airmass", *(f"{value:.6f}" for value in 500 + stars.axis)]
    # The rows are sorted by night, not by star.
    lines = [",".join(cells) for cells in (header, *rng.permutation(rows))]
    Path(path).write_text("\n".join(lines), encoding="utf-8")
    return len(rows)


def test_from_a_table_to_virtual_spectra_in_three_commands(succeeds, here):
    names = [f"HD {n}" for n in range(100, 140)]
    total = spectra_table("my.csv", names, seed=1)
    spectra_table("a.csv", ["HD 7", "HD 5", "HD 6"], seed=2)
    spectra_table("b.csv", ["sky 1", "sky 2", "sky 3"], seed=3)

    _, out, err = succeeds("data", "describe", "my.csv")
    assert f"{5 * total} missing values are masked" in err
    assert "40 groups of 2 to 6 " in out and f"{total} instances in all" in out
    assert "known: airmass" in out and "2.0 % of pixels" in out
    assert "warning" not in out

    train = ("train", "symae_exposures", "--data", "my.csv", "--epochs", 2)
    succeeds(*train, "--out", "run")
    metrics = read_json(here / "run" / "metrics.json")
    assert metrics["groups"] == 8 and 0 < metrics["reconstruction_error"] < 2

    files = ("--coherent-from", "a.csv", "--nuisance-from", "b.csv")
    out = succeeds("redatum", "run", *files, "--out", "virtual.csv").out
    virtual, a, b = load("virtual.csv"), load("a.csv"), load("b.csv")
    assert out == "virtual.csv: 3 groups x 6 instances of shape (256,)\n"
    assert virtual.ids.tolist() == ["HD 5", "HD 6", "HD 7"]
    # The nuisances are those of b: as many spectra, at its wavelengths.
    np.testing.assert_array_equal(virtual.present, b.present)
    np.testing.assert_array_equal(virtual.axis, b.axis)
    assert virtual.pixel_mask is None and np.isfinite(virtual.x).all()
    model = keras.saving.load_model("run/model.keras", compile=False)
    given = (each.x.astype("float32") for each in (a, b))
    expected = np.asarray(model.redatum(*given, a.model_mask, b.model_mask))
    there = b.present
    np.testing.assert_allclose(virtual.x[there], expected[there], atol=1e-5)
    assert isinstance(virtual, GroupedData)
