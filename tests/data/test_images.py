"""Labelled images: idx files first, then a prepared copy, then the network."""

import contextlib
import socket
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from symae_keras.data import load_idx, load_images
from symae_keras.data.io import images as module
from symae_keras.errors import InputError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
PACKED = f"{IMAGES}.gz"


@pytest.fixture
def made(rng):
    """Make five images and their labels."""
    images = rng.integers(0, 256, (5, 4, 3), dtype="uint8")
    return images, rng.integers(0, 10, 5, dtype="uint8")


# === Idx files ===


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_reads_what_was_written(tmp_path, write_idx, made, split, prefix, mark, end):
    write_idx(tmp_path, prefix, *made, mark, end)
    found = load_idx(tmp_path, split)
    for array, expected in zip(found, made, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.uint8
    assert found[0].flags.writeable


def test_the_splits_are_not_confused(tmp_path, write_idx, made):
    write_idx(tmp_path, "train", *made)
    write_idx(tmp_path, "t10k", *(each[:2] for each in made))
    assert len(load_idx(str(tmp_path))[0]) == 5
    assert len(load_idx(str(tmp_path), "test")[1]) == 2


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            IMAGES,
            lambda b: b[:-1],
            "contains 59 values.*60 values; the file is damaged",
        ),
        (
            IMAGES,
            lambda b: b + b"\0",
            "contains more than 60 values.*the file is damaged",
        ),
        (IMAGES, lambda b: b"\1" + b[1:], "first bytes are 01 00 08 03"),
        (IMAGES, lambda b: b[:7], "not an idx file"),
        (IMAGES, lambda b: b"", "first bytes are missing, expected 00 00 08 03"),
        (IMAGES, lambda b: b[:8] + bytes(4) + b[12:16], r"is empty.*\(5, 0, 3\)"),
        (LABELS, lambda b: b[:3] + b"\3" + b[4:], "00 00 08 03, expected 00 00 08 01"),
        (LABELS, lambda b: b[:7] + b"\4" + b[8:-1], "4 labels for the 5 images"),
        (PACKED, lambda b: b[:-10], "gz cannot be read: ."),
        (PACKED, lambda b: b"no gzip", "gz cannot be read: ."),
        # Header bytes are decompressed wrongly before the checksum is compared.
        (PACKED, lambda b: b[:20] + b"\xff" * 9 + b[29:], "shape .* needs 1.7 TB"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(
    tmp_path, write_idx, made, name, change, sentence
):
    write_idx(tmp_path, "train", *made, end=".gz" if name.endswith(".gz") else "")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(change(content))
    with pytest.raises(InputError, match=sentence) as error:
        load_idx(tmp_path)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_missing_files_of_idx(tmp_path, write_idx, made):
    write_idx(tmp_path, "train", *made)
    with pytest.raises(InputError, match="no file t10k-images-idx3-ubyte, nor .*gz"):
        load_idx(tmp_path, "test")
    (tmp_path / LABELS).unlink()
    with pytest.raises(InputError, match=f"no file {LABELS}"):
        load_idx(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        load_idx(tmp_path / "nowhere")
    with pytest.raises(InputError, match="received 'validation'"):
        load_idx(tmp_path, "validation")


# === Sets of images ===


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Four images in train and two in test."""

    VERSION = tfds.core.Version("1.0.0")
    CHANNELS = 1

    def _info(self):
        image = tfds.features.Image(shape=(4, 3, self.CHANNELS))
        label = tfds.features.ClassLabel(num_classes=3)
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(
            builder=self, features=features, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

    def _generate_examples(self, n):
        for i, image in enumerate(self.images(n)):
            yield i, {"image": image, "label": i % 3}

    def images(self, n):
        shape = (n, 4, 3, self.CHANNELS)
        return np.random.default_rng(n).integers(0, 256, shape, dtype="uint8")


class TinyColourImages(TinyImages):
    CHANNELS = 3


class TinyTexts(TinyImages):
    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("place", [".", "mnist"])
@pytest.mark.parametrize(
    ("split", "prefix", "other"),
    [("train", "train", "test"), ("test", "t10k", "train")],
)
def test_idx_files_come_first(tmp_path, write_idx, made, place, split, prefix, other):
    write_idx(tmp_path / place, prefix, *made)
    images, labels = load_images("mnist", split, data_dir=str(tmp_path))
    np.testing.assert_array_equal(images, made[0])
    np.testing.assert_array_equal(labels, made[1])
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    with pytest.raises(InputError, match=r"no file \w+-images-idx3-ubyte"):
        load_images("mnist", other, tmp_path)


@pytest.mark.parametrize(
    ("builder", "shape"), [(TinyImages, (4, 3)), (TinyColourImages, (4, 3, 3))]
)
def test_a_prepared_copy(tmp_path, builder, shape):
    made = builder(data_dir=str(tmp_path))
    made.download_and_prepare()
    for split, rows in (("train", 4), ("test", 2)):
        images, labels = load_images(made.name, split, data_dir=tmp_path)
        assert images.shape == (rows, *shape)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(images, made.images(rows).reshape(images.shape))
        np.testing.assert_array_equal(labels, np.arange(rows) % 3)
    assert len(load_images(made.name, "train[:3]", data_dir=tmp_path)[0]) == 3
    with pytest.raises(InputError, match="no split 'validation'; it has test, train"):
        load_images(made.name, "validation", data_dir=tmp_path)


def test_a_copy_in_the_folder_of_tensorflow_datasets(tmp_path, monkeypatch):
    make, home = tfds.builder, tmp_path / "home"
    monkeypatch.setattr(
        tfds, "builder", lambda name, data_dir: make(name, data_dir=data_dir or home)
    )
    TinyImages(data_dir=str(home)).download_and_prepare()
    assert len(load_images("tiny_images")[0]) == 4
    assert len(load_images("tiny_images", data_dir=tmp_path / "elsewhere")[0]) == 4


def test_a_network_is_used_where_it_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_network_answers", lambda: True)
    assert len(load_images("tiny_images", data_dir=tmp_path)[0]) == 4
    monkeypatch.setattr(module, "_network_answers", lambda: False)
    assert len(load_images("tiny_images", data_dir=tmp_path)[0]) == 4  # prepared now


def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch):
    def fail(*_):
        raise ConnectionError("the server hung up")

    monkeypatch.setattr(module, "_network_answers", lambda: True)
    monkeypatch.setattr(TinyImages, "download_and_prepare", fail)
    with pytest.raises(InputError, match="downloaded: the server hung up; set"):
        load_images("tiny_images", data_dir=tmp_path)


@pytest.mark.parametrize("patience", [0.0, 0.3])
def test_offline_the_sentence_tells_what_to_supply(tmp_path, monkeypatch, patience):
    def connect(*_, **__):
        time.sleep(patience)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    monkeypatch.setitem(module._PACKAGES, "tiny_images", "the package tiny")
    with pytest.raises(InputError) as error:
        load_images("tiny_images", data_dir=tmp_path)
    sentence = str(error.value)
    assert sentence.startswith("The images of tiny_images are not on this computer")
    assert str(tmp_path) in sentence and "from the package tiny" in sentence
    for prefix in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            assert f"{prefix}-{kind}-ubyte" in sentence
    assert "\n" not in sentence


def test_what_answers_is_the_network(monkeypatch):
    assert not module._network_answers()
    connection = contextlib.nullcontext()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: connection)
    assert module._network_answers()


def test_sets_that_are_no_images(tmp_path):
    with pytest.raises(InputError, match="has no set 'no_such_set'") as error:
        load_images("no_such_set", data_dir=tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="the features text; expected image"):
        load_images("tiny_texts", data_dir=tmp_path)
