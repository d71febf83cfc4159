"""Builders of TensorFlow Datasets: round trips through files."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds

from symae_keras.data import (
    GroupedData,
    bag_by_label,
    simulate_exposures,
    simulate_shapes,
)
from symae_keras.data.io import images
from symae_keras.data.tfds import (
    GroupedBuilder,
    SymaeExposures,
    SymaeShapes,
    from_tfds,
)
from symae_keras.errors import InputError

NAMES = ["bagged_fashion_mnist", "bagged_mnist", "symae_exposures", "symae_shapes"]


class RaggedGroups(GroupedBuilder):
    """Groups of unequal size with ids; the test split has two parts."""

    INSTANCE_SHAPE = (5, 2)
    INSTANCE_DTYPE = "float64"
    STATE = {"temperature": ((), "float64"), "kind": ((), "int32")}
    NUISANCE = {"water": ((), "float64"), "shift": ((2,), "float32")}

    def groups(self, split):
        whole = self.made(split)
        return whole if split == "train" else (whole[:1], whole[1:])

    @staticmethod
    def made(split):
        n = {"train": 4, "test": 3}[split]
        rng = np.random.default_rng(n)
        mask = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0], [1, 1, 0]], bool)[:n]
        return GroupedData(
            rng.normal(size=(n, 3, 5, 2)),
            mask=mask,
            state={"temperature": rng.normal(size=n), "kind": np.arange(n)},
            nuisance={
                "water": rng.normal(size=(n, 3)),
                "shift": rng.normal(size=(n, 3, 2)).astype("float32"),
            },
            ids=np.array(["HD 1", "HD 2", "Å 3", "HD 4"])[:n],
        )


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(images, "_network_answers", lambda: False)


def same(groups, expected):
    np.testing.assert_array_equal(groups.x, expected.x)
    assert groups.x.dtype == expected.x.dtype
    for name in ("state", "nuisance"):
        found, true = getattr(groups, name), getattr(expected, name)
        np.testing.assert_equal(found, true)
        assert all(found[key].dtype == true[key].dtype for key in true)


def test_importing_the_module_registers_and_importing_data_does_not(run_python):
    registered = tfds.list_builders(with_community_datasets=False)
    assert set(NAMES) <= set(registered)
    assert not {"grouped_builder", "_simulated"} & set(registered)
    code = "import sys, symae_keras.data; print('tensorflow_datasets' in sys.modules)"
    assert run_python(code).strip() == "False"


@pytest.mark.parametrize(
    ("name", "cls", "simulate"),
    [
        ("symae_exposures", SymaeExposures, simulate_exposures),
        (
            "symae_exposures/identifiable",
            SymaeExposures,
            partial(simulate_exposures, entangled=False),
        ),
        ("symae_shapes", SymaeShapes, simulate_shapes),
    ],
)
def test_simulated_sets(name, cls, simulate, tmp_path, monkeypatch):
    monkeypatch.setattr(cls, "N_STATES", {"train": 3, "test": 2})
    monkeypatch.setattr(cls, "STATES_AT_ONCE", 2)
    train = from_tfds(name, data_dir=tmp_path)
    test = from_tfds(tfds.builder(name, data_dir=tmp_path), "test")
    assert (train.n_groups, train.n_instances, train.mask) == (3, 16, None)
    assert train.ids is None
    same(train[:2], simulate(2, 16, 0))
    same(train[2:], simulate(1, 16, 1))
    same(test, simulate(2, 16, 1000))
    same(from_tfds(name, "train[1:2]", tmp_path), train[1:2])
    # Exact virtual instances agree with the data up to the noise.
    group, instance = np.indices((3, 16))
    noise = train.x - train.virtual(group, group, instance)
    assert 0.005 < noise.std() < 0.03
    original = simulate(1, 1, 0)
    assert train.axis_label == original.axis_label
    np.testing.assert_array_equal(train.axis, original.axis)


def test_sizes_and_states_of_the_simulated_sets():
    """The splits are long enough, and all blocks have different seeds."""
    for cls in (SymaeExposures, SymaeShapes):
        assert (cls.N_STATES, cls.N_INSTANCES) == ({"train": 2000, "test": 500}, 16)
        seeds = []
        for split, n in cls.N_STATES.items():
            blocks = -(-n // cls.STATES_AT_ONCE)
            seeds += range(cls.FIRST_SEED[split], cls.FIRST_SEED[split] + blocks)
        assert len(set(seeds)) == len(seeds) == 25


@pytest.mark.parametrize("split", ["train", "test"])
def test_groups_of_unequal_size(split, tmp_path, caplog):
    groups = from_tfds("ragged_groups", split, tmp_path)
    assert "deprecated" not in caplog.text
    made = RaggedGroups.made(split)
    # Present instances move to the front.
    mask = np.arange(made.counts.max()) < made.counts[:, None]
    np.testing.assert_array_equal(groups.mask, mask)
    np.testing.assert_array_equal(groups.ids, made.ids)
    for key, value in {"x": made.x, **made.nuisance}.items():
        found = groups.x if key == "x" else groups.nuisance[key]
        np.testing.assert_array_equal(found[mask], value[made.mask])
        assert np.all(found[~mask] == 0)
        assert found.dtype == value.dtype
    for key, value in made.state.items():
        np.testing.assert_array_equal(groups.state[key], value)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("place", ["manual", "data_dir"])
def test_bags_of_images(name, place, tmp_path, rng, offline, write_idx):
    manual = tmp_path / "manual"
    # 45 images of label 0 and 25 of label 1 in each split.
    labels = np.repeat(np.array([0, 1], "uint8"), [45, 25])
    made = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        made[split] = rng.integers(0, 256, (70, 28, 28), dtype="uint8")
        folder = manual if place == "manual" else tmp_path / name
        write_idx(folder, prefix, made[split], labels)
    if place == "data_dir":
        # A folder with files of other sets is not used.
        manual.mkdir()
        (manual / "other.zip").touch()
    builder = tfds.builder(f"bagged_{name}", data_dir=tmp_path)
    config = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=config)
    for seed, (split, pixels) in enumerate(made.items()):
        expected = bag_by_label(pixels, labels.astype("int64"), 20, seed=seed)
        same(from_tfds(builder, split), expected)
    example = next(iter(builder.as_dataset(split="train")))
    assert example["instances"].dtype == np.uint8
    assert example["instances"].shape == (20, 28, 28, 1)


def test_without_images_or_network_the_sentence_gets_through(
    tmp_path, monkeypatch, offline
):
    make, home = tfds.builder, tmp_path / "home"
    monkeypatch.setattr(
        tfds, "builder", lambda name, data_dir: make(name, data_dir=data_dir or home)
    )
    with pytest.raises(InputError, match="set data_dir to a folder") as error:
        from_tfds("bagged_mnist", data_dir=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": np.ones((3, 3, 5, 1))}, r"\(5, 1\); expected INSTANCE_SHAPE = \(5, 2\)"),
        ({"state": {}}, "STATE.*: kind, temperature"),
        ({"nuisance": {}}, "NUISANCE.*: shift"),
        ({"pixel_mask": np.ones((5, 2))}, "a pixel_mask, which .* does not store"),
        ({"weights": np.ones((5, 2))}, "a weights, which a GroupedBuilder does not"),
    ],
)
def test_groups_that_do_not_fit_their_builder(change, sentence, tmp_path, monkeypatch):
    misfit = dataclasses.replace(RaggedGroups.made("test"), **change)
    monkeypatch.setattr(RaggedGroups, "groups", lambda *_: misfit)
    with pytest.raises(InputError, match=sentence) as error:
        from_tfds("ragged_groups", data_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_bytes_hold_whole_numbers_only(tmp_path, monkeypatch):
    monkeypatch.setattr(RaggedGroups, "INSTANCE_DTYPE", "uint8")
    with pytest.raises(InputError, match="INSTANCE_DTYPE = 'uint8'; choose a dtype"):
        from_tfds("ragged_groups", data_dir=tmp_path)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="has no set 'no_such_set'") as error:
        from_tfds("no_such_set", data_dir=tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="mnist has the features image, label"):
        from_tfds("mnist", data_dir=tmp_path)
    with pytest.raises(InputError, match="no split 'validation'; it has test, train"):
        from_tfds("ragged_groups", "validation", tmp_path)
