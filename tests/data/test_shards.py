import copy
import dataclasses
import gc
import json
import os
import pickle
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symae_keras.cli.data import convert
from symae_keras.data import GroupedData, Shards, ShardWriter, load
from symae_keras.data.check import clean
from symae_keras.errors import InputError

FIELDS = {each.name for each in dataclasses.fields(GroupedData)} - {"mask"}


def written(folder, *parts, shard_bytes=200):
    with ShardWriter(folder, shard_bytes) as writer:
        for part in parts:
            writer.add(part)
    return Shards(folder)


def equal(one, other):
    """Check that two `GroupedData` are equal, except for unneeded padding."""
    assert not other.present[:, one.n_instances :].any()
    other = other.take_instances(slice(one.n_instances))
    for name in ("present", *FIELDS):
        np.testing.assert_equal(getattr(one, name), getattr(other, name), name)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# === Round trips ===


@pytest.mark.parametrize("shard_bytes", [1, 200, 1 << 20])
def test_everything_comes_back(tmp_path, shard_bytes, ragged):
    groups = ragged()
    shards = written(tmp_path, groups[:4], groups[4:], shard_bytes=shard_bytes)
    equal(shards.load(), groups)
    equal(load(tmp_path).load(), groups)
    shards.verify()
    files = len(list(tmp_path.glob("*.x.npy")))
    assert files == {1: 9, 200: files, 1 << 20: 1}[shard_bytes] and files > 0
    assert len(list(tmp_path.iterdir())) == 4 * files + 1
    assert len(shards) == shards.n_groups == 9 and shards.masks == 2
    assert (shards.n_instances, shards.instance_shape) == (4, (3,))
    np.testing.assert_array_equal(shards.counts, groups.present.sum(axis=1))
    np.testing.assert_array_equal(shards.present, groups.present)
    assert shards.mean_weight == pytest.approx(groups.mean_weight)
    np.testing.assert_array_equal(shards.classes("kind"), groups.classes("kind"))
    words = f"9 groups of 1 to 4 instances of shape (3,) in {files} shard"
    assert words in repr(shards)
    assert [len(each) for each in shards] == [1] * 9  # iteration ends
    with pytest.raises(IndexError):
        shards[9]


@pytest.mark.parametrize("without", ["pixel_mask", "weights", "ids", "axis", "mask"])
def test_what_was_not_there_is_not_there(tmp_path, without, ragged):
    groups = ragged(**{without: None})
    equal(written(tmp_path, groups).load(), groups)


def test_plain_images_have_no_masks(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 2, 4, 3, 1)).astype(">f8")
    shards = written(tmp_path, GroupedData(x))
    assert (shards.masks, shards.mean_weight, shards.ids) == (0, None, None)
    assert shards.load().mask is None
    np.testing.assert_array_equal(shards.load().x, x.astype("float32"))


def test_absent_instances_are_left_out(tmp_path):
    x = np.arange(24, dtype="float32").reshape(2, 4, 3)
    mask = np.array([[False, True, False, True], [True, False, False, False]])
    air = np.arange(8).reshape(2, 4)
    groups = GroupedData(x, mask=mask, instance_metadata={"air": air})
    shards = written(tmp_path, groups)
    found = shards.load()
    np.testing.assert_array_equal(found.mask, [[True, True], [True, False]])
    np.testing.assert_array_equal(found.x[found.mask], x[mask])
    np.testing.assert_array_equal(found.instance_metadata["air"], [[1, 3], [4, 0]])
    assert np.load(tmp_path / "shard-00000.x.npy").shape == (3, 3)


def test_a_shard_is_closed_when_it_is_full(tmp_path):
    groups = GroupedData(np.zeros((7, 4, 3), "float32"))  # 48 bytes each
    written(tmp_path, groups[:3], groups[3:], shard_bytes=96)
    lengths = [len(np.load(path)) for path in sorted(tmp_path.glob("*.x.npy"))]
    assert lengths == [8, 8, 8, 4]


def test_true_parameters_become_metadata(tmp_path):
    state, nuisance = {"depth": np.arange(5.0)}, {"air": np.ones((5, 2))}
    groups = GroupedData(np.zeros((5, 2, 3)), state=state, nuisance=nuisance)
    found = written(tmp_path, groups).load()
    np.testing.assert_array_equal(found.group_metadata["depth"], state["depth"])
    np.testing.assert_array_equal(found.instance_metadata["air"], nuisance["air"])
    assert not found.state and not found.nuisance


# === Selection ===


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ragged):
    folder = tmp_path_factory.mktemp("shards")
    written(folder, ragged(12), shard_bytes=150)
    return folder


@given(data=st.data())
def test_selecting_reads_nothing_and_equals_that_in_memory(folder, data, ragged):
    groups, shards = ragged(12), Shards(folder)
    numbers = st.integers(-12, 11)
    index = data.draw(st.slices(12) | st.lists(numbers, min_size=1) | numbers)
    if isinstance(index, slice) and not len(range(12)[index]):
        return
    # A second selection from the first one.
    part, again = shards[index], shards[index][::-1][:3]
    assert not shards._checked.any()  # nothing has been read yet
    equal(part.load(), groups[index])
    equal(again.load(), groups[index][::-1][:3])


@pytest.mark.parametrize("stratify", [None, "kind", np.arange(20) // 2 % 3])
def test_split_equals_that_in_memory(tmp_path, stratify, ragged):
    groups = ragged(20, group_metadata={"kind": np.arange(20) // 2 % 2})
    shards = written(tmp_path, groups)
    for one, other in zip(
        shards.split(0.6, 3, stratify), groups.split(0.6, 3, stratify), strict=True
    ):
        equal(one.load(), other)
    with pytest.raises(InputError, match="no state parameter or metadata 'a'"):
        shards.split(stratify="a")


def test_a_sample_is_as_large_as_asked(tmp_path, ragged):
    shards = written(tmp_path, ragged(30))
    a_group = 4 * 3 * (4 + 1 + 4)
    assert len(shards.sample(a_group * 5)) == 5
    assert len(shards.sample(1)) == 2  # fewer could not be compared
    equal(shards.sample(), ragged(30))
    one, other = shards.sample(a_group * 5, seed=1), shards.sample(a_group * 5, seed=2)
    assert one.x.shape != other.x.shape or (one.x != other.x).any()


# === Files ===


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch, ragged):
    monkeypatch.setattr("symae_keras.data.io.shards._OPEN", 2)
    groups = ragged(12)
    shards = written(tmp_path, groups, shard_bytes=1)

    def open_files():
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        targets = [os.readlink(link) for link in links if os.path.exists(link)]
        return sum(target.startswith(str(tmp_path)) for target in targets)

    part = shards[np.random.default_rng(0).permutation(12)]
    equal(part.load(), groups[np.random.default_rng(0).permutation(12)])
    equal(shards.load(), groups)
    if os.path.isdir("/proc/self/fd"):
        assert open_files() == 2 * 3
        del part, shards
        gc.collect()
        assert open_files() == 0


def test_copies_read_on_their_own(tmp_path, ragged):
    groups = ragged()
    shards = written(tmp_path, groups)
    equal(shards.load(), groups)
    for twin in (pickle.loads(pickle.dumps(shards)), copy.deepcopy(shards)):
        equal(twin.load(), groups)
        del twin
        gc.collect()
        equal(shards.load(), groups)


def refusal(function, *words):
    """Return the error message of a call."""
    with pytest.raises(InputError) as error:
        function()
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".")
    for word in words:
        assert str(word) in sentence


def damage(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("field", ["x", "pixel_mask", "weights"])
def test_a_damaged_group_is_named_when_it_is_first_read(tmp_path, field, ragged):
    shards = written(tmp_path, ragged(), shard_bytes=200)
    first = int((shards._shard == 0).sum())
    damage(tmp_path / f"shard-00001.{field}.npy", 128)
    for function in (
        shards.verify,
        shards.load,
        lambda: shards.gather(np.array([first]), np.array([[0]])),
    ):
        refusal(function, tmp_path / "shard-00001.*", f"group {first} (id", "convert")
    assert len(shards[:first].load()) == first


def test_verify_reads_again_what_was_read_before(tmp_path, ragged):
    shards = written(tmp_path, ragged())
    shards.load()
    damage(tmp_path / "shard-00000.x.npy")
    refusal(shards.verify, "shard-00000.*", "damaged", "checksum")


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def edited(change):
    """Apply a function to the bytes of a file."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def saved(change):
    """Apply a function to an array in a file."""
    return lambda path: np.save(path, change(np.load(path)), allow_pickle=True)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("x.npy", edited(lambda content: content[:-1]), "bytes where"),
        ("pixel_mask.npy", edited(lambda content: content + b"0"), "bytes where"),
        ("weights.npy", os.unlink, "No such file"),
        ("x.npy", link, "links are not followed"),
        ("x.npy", pipe, "not a regular file"),
        ("weights.npy", saved(lambda array: array.astype("O")), "header says"),
        ("x.npy", saved(np.asfortranarray), "header says"),
        ("x.npy", edited(lambda _: b"no NumPy file"), "damaged"),
        ("npz", lambda path: damage(path, path.stat().st_size // 2), "damaged"),
        ("npz", edited(lambda content: content[:-10]), "damaged"),
        ("npz", os.unlink, "No such file"),
        ("npz", link, "links are not followed"),
    ],
)
def test_damaged_files_are_refused_at_once(tmp_path, file, change, words, ragged):
    written(tmp_path, ragged(), shard_bytes=1 << 20)
    path = tmp_path / f"shard-00000.{file}"
    size = path.stat().st_size
    change(path)
    if words == "bytes where":
        words = f"{path.stat().st_size} bytes where {size} were written"
    for read in (Shards, load):
        refusal(lambda read=read: read(tmp_path), path, words)


def rewrite(folder, **changes):
    """Change arrays of the first index, with its checksum."""
    path, manifest = folder / "shard-00000.npz", folder / "manifest.json"
    with np.load(path) as file:
        arrays = {**file, **changes}
    np.savez(path, **{key: v for key, v in arrays.items() if v is not None})
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["shards"][0]["index_crc32"] = zlib.crc32(path.read_bytes())
    manifest.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counts", np.array([4, -1, 2, 1, 1, 1, 1, 1, 1])),
        ("counts", np.full(9, 1 << 61)),  # overflows to no instances
        ("counts", np.full(9, 1.0)),
        ("counts", np.int64(9)),
        ("counts", None),
        ("crc32", np.zeros(8, "uint32")),
        ("instance_shape", np.array([3, -1])),
        ("instance_shape", np.array([1 << 40])),
        ("instance_shape", np.array([], int)),
        ("fields", np.array(["x", "y"])),
        ("fields", np.array(["weights"])),
        ("axis", np.zeros(4)),
        ("axis_label", np.array([1.0])),
        ("ids", np.array(["a"])),
        ("group/kind", np.zeros(8)),
        ("instance/air", np.float64(0)),
        ("ids", np.array([None] * 9)),  # pickled
    ],
)
def test_an_index_whose_arrays_do_not_fit(tmp_path, key, value, ragged):
    written(tmp_path, ragged(), shard_bytes=1 << 20)
    rewrite(tmp_path, **{key: value})
    refusal(lambda: Shards(tmp_path), tmp_path, "shard-00000")


def test_shards_of_different_kinds_are_refused(tmp_path, ragged):
    written(tmp_path, ragged(), shard_bytes=200)
    rewrite(tmp_path, ids=None)
    refusal(lambda: Shards(tmp_path), "shard-00001.npz has ids", "previous groups")


def test_an_index_that_unpacks_to_too_much(tmp_path, monkeypatch, ragged):
    written(tmp_path, ragged(), shard_bytes=1 << 20)
    monkeypatch.setattr("symae_keras._utils.untrusted_files._limit", lambda: 4000)
    with np.load(tmp_path / "shard-00000.npz") as file:
        arrays = {**file, "group/kind": np.zeros((9, 10_000))}
    np.savez_compressed(tmp_path / "shard-00000.npz", **arrays)
    refusal(lambda: Shards(tmp_path), "an .npz file needs", "memory")


def test_manifests_that_cannot_be_used(tmp_path, ragged):
    written(tmp_path, ragged())
    path = tmp_path / "manifest.json"
    text = path.read_text(encoding="utf-8")
    good = json.loads(text)

    def refuses(content, *words):
        content = content if isinstance(content, str) else json.dumps(content)
        path.write_text(content, encoding="utf-8")
        refusal(lambda: Shards(tmp_path), *words)

    def without(entry, key):
        return {k: v for k, v in entry.items() if k != key}

    refuses({**good, "version": 3}, path, "symae-shards 3", "expected symae-shards 2")
    refuses({**good, "format": "zarr"}, path, "zarr 2")
    refuses({**good, "shards": []}, path, "its shards have 0 groups, not 9")
    refuses({**good, "groups": 8}, path, "its shards have 9 groups, not 8")
    refuses(text[:-20], path, "damaged")
    refuses("[]", path, "damaged")
    refuses(json.dumps(good)[:-1] + ', "version": 2}', path, "a key twice")
    for key in ("format", "version", "shards", "groups"):
        refuses(without(good, key), path, "damaged", key)
    for key in ("groups", "index_crc32"):
        shards = [without(each, key) for each in good["shards"]]
        refuses({**good, "shards": shards}, path, "damaged", key)
        other = [dict(each) for each in good["shards"]]
        other[0][key] += 1
        other[1]["groups"] -= key == "groups"
        refuses({**good, "shards": other}, "shard-00000.npz", "is wrong")
    path.unlink()
    refusal(lambda: Shards(tmp_path), tmp_path, "no manifest.json", "data convert")
    refusal(lambda: Shards(tmp_path / "none"), "none", "no manifest.json")


# === Writing ===


@pytest.mark.parametrize(("stop", "part"), [(1, 1), (3, 1), (7, 5), (11, 2)])
def test_an_interrupted_writer_goes_on_to_the_same_files(
    tmp_path, folder, stop, part, ragged
):
    groups, whole, folder = ragged(12), folder, tmp_path
    with pytest.raises(KeyboardInterrupt), ShardWriter(folder, 150) as writer:
        for start in range(0, stop, part):
            writer.add(groups[start : min(start + part, stop)])
        raise KeyboardInterrupt
    assert not (folder / "manifest.json").exists()
    complete = len(list(folder.glob("*.npz")))
    # Also if the process was killed between a file and its index.
    (folder / f"shard-{complete:05d}.x.npy").write_bytes(b"half a sh")

    with ShardWriter(folder, 150) as writer:
        begin = writer.resume()
        assert begin <= stop and (begin > 0) == (complete > 0)
        for start in range(begin, 12, part):
            writer.add(groups[start : start + part])
    assert contents(folder) == contents(whole)
    equal(Shards(folder).load(), groups)


def test_a_writer_that_resumes_knows_what_fits(tmp_path, ragged):
    groups = ragged()
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, 1) as writer:
        writer.add(groups[:2])
        raise KeyboardInterrupt
    for misfit in (ragged(axis=None), ragged(ids=None), ragged(weights=None)):
        writer = ShardWriter(tmp_path, 1)
        assert writer.resume() == 2
        with pytest.raises(InputError, match="the previous groups"):
            writer.add(misfit)
    (tmp_path / "shard-00001.weights.npy").unlink()
    refusal(ShardWriter(tmp_path, 1).resume, "shard-00001.weights.npy")


PLAIN = dict.fromkeys(("pixel_mask", "weights", "axis"))
COLOURS = {"kind": np.zeros(9), "colour": np.zeros((9, 3))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": np.zeros((9, 4, 4)), **PLAIN}, "has x of the shape (4,), but"),
        ({"pixel_mask": None}, "has x and weights of the"),
        ({"weights": None}, "has x and pixel_mask of the"),
        ({"axis": None}, "a different axis"),
        ({"axis": np.linspace(400, 501, 3)}, "a different axis"),
        ({"ids": None}, "but the previous groups have ids, group/kind"),
        ({"group_metadata": {}}, "has ids, instance/air, instance/site, but"),
        ({"group_metadata": COLOURS}, "group/colour (3,)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, change, words, ragged):
    with pytest.raises(InputError, match=re.escape(words)) as error:
        with ShardWriter(tmp_path) as writer:
            writer.add(ragged())
            writer.add(ragged(**change), source="b.npz")
    assert str(error.value).startswith("b.npz ")
    assert not (tmp_path / "manifest.json").exists()


def test_nothing_a_file_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="at least one group"):
        written(tmp_path)
    mask = np.array([[True, True], [False, False]])
    blank = GroupedData(np.zeros((2, 2, 3)), mask=mask, ids=["sun", "moon"])
    words = "1 of 2 groups have no present instance; the first is group 1 (id 'moon')"
    with pytest.raises(InputError, match=re.escape(words)):
        written(tmp_path, blank)
    with pytest.raises(InputError, match="group/a contains Python objects"):
        a = np.array([None, {}])
        written(tmp_path, GroupedData(np.zeros((2, 2, 3)), group_metadata={"a": a}))
    with pytest.raises(InputError, match="shard_bytes must be at least 1; received 0"):
        ShardWriter(tmp_path, 0)


def test_files_can_be_read_without_this_package(tmp_path, ragged):
    """The format is simple: arrays of all instances, and an .npz file."""
    groups = ragged()
    written(tmp_path, groups, shard_bytes=1 << 20)
    with np.load(tmp_path / "shard-00000.npz") as index:
        np.testing.assert_array_equal(index["counts"], groups.mask.sum(axis=1))
        np.testing.assert_array_equal(index["ids"], groups.ids)
    for key in ("x", "pixel_mask", "weights"):
        flat = np.load(tmp_path / f"shard-00000.{key}.npy")
        np.testing.assert_array_equal(flat, getattr(groups, key)[groups.mask])


# === Version 1 ===


def of_version_1(folder):
    """Write the format of version 0.1, with the concatenated fields of each group."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["shards"]:
        file = folder / entry["index"].replace("npz", "bin")
        fields = [file.with_suffix(f".{k}.npy") for k in ("x", "pixel_mask", "weights")]
        arrays = [np.load(each) for each in fields if each.exists()]
        with np.load(folder / entry["index"]) as index:
            stops = np.cumsum(index["counts"])[:-1]
        groups = zip(*(np.split(each, stops) for each in arrays), strict=True)
        file.write_bytes(b"".join(v.tobytes() for each in groups for v in each))
        for each in fields:
            each.unlink(missing_ok=True)
        entry["file"] = file.name
    manifest["version"] = 1
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("without", [{}, {"pixel_mask": None, "weights": None}])
def test_shards_of_version_1_are_read_and_converted(tmp_path, without, ragged):
    groups = ragged(**without)
    written(tmp_path / "old", groups)
    of_version_1(tmp_path / "old")
    old = Shards(tmp_path / "old")
    old.verify()
    equal(old.load(), groups)
    convert([tmp_path / "old"], tmp_path / "new")
    new = Shards(tmp_path / "new")
    equal(new.load(), clean(groups))
    assert "shard-00000.x.npy" in os.listdir(tmp_path / "new")

    path = tmp_path / "old" / "shard-00001.bin"
    first = int((old._shard == 0).sum())
    damage(path)
    refusal(Shards(tmp_path / "old").verify, "shard-00001.*", "group")
    assert len(Shards(tmp_path / "old")[:first].load()) == first
    edited(lambda content: content[:-1])(path)
    refusal(lambda: Shards(tmp_path / "old"), path, "bytes where")
