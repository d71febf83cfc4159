"""load_images: idx files first, then a prepared copy, then the network."""

import socket
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from symae_keras.data.io import images as module
from symae_keras.data.io.images import load_images
from symae_keras.errors import InputError


def write_idx(folder, prefix, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = struct.pack(">4B", 0, 0, 8, array.ndim)
        header += struct.pack(f">{array.ndim}I", *array.shape)
        path = folder / f"{prefix}-{kind}-ubyte"
        path.write_bytes(header + array.tobytes())


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Four images in train and two in test."""

    VERSION = tfds.core.Version("1.0.0")
    CHANNELS = 1

    def _info(self):
        shape = (4, 3, self.CHANNELS)
        features = {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
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
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_idx_files_come_first(tmp_path, place, split, prefix, rng):
    images = rng.integers(0, 256, (5, 4, 3), dtype="uint8")
    labels = rng.integers(0, 10, 5, dtype="uint8")
    write_idx(tmp_path / place, prefix, images, labels)
    got_images, got_labels = load_images("mnist", split, data_dir=tmp_path)
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)
    assert (got_images.dtype, got_labels.dtype) == (np.uint8, np.int64)


def test_idx_files_of_the_other_split_alone(tmp_path, rng):
    images = rng.integers(0, 256, (5, 4, 3), dtype="uint8")
    write_idx(tmp_path, "t10k", images, np.zeros(5, "uint8"))
    with pytest.raises(InputError, match="no file train-images-idx3-ubyte"):
        load_images("mnist", data_dir=str(tmp_path))


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
    make = tfds.builder
    home = tmp_path / "home"

    def builder(name, data_dir):
        return make(name, data_dir=data_dir or home)

    monkeypatch.setattr(tfds, "builder", builder)
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
    with pytest.raises(InputError, match="downloaded: the server hung up; give"):
        load_images("tiny_images", data_dir=tmp_path)


def _refuse(*_, **__):
    raise TimeoutError("timed out")


def _hang(*_, **__):
    import time

    time.sleep(0.3)
    raise TimeoutError("timed out at last")


@pytest.mark.parametrize("connect", [_refuse, _hang])
def test_offline_the_sentence_tells_what_to_supply(tmp_path, monkeypatch, connect):
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    monkeypatch.setitem(module._PACKAGES, "tiny_images", "the package tiny")
    with pytest.raises(InputError) as error:
        load_images("tiny_images", data_dir=tmp_path)
    sentence = str(error.value)
    assert sentence.startswith("The images of tiny_images are not on this machine")
    assert str(tmp_path) in sentence and "from the package tiny" in sentence
    for prefix in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            assert f"{prefix}-{kind}-ubyte" in sentence
    assert "\n" not in sentence


def test_what_answers_is_the_network(monkeypatch):
    class Connection:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    assert not module._network_answers()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: Connection())
    assert module._network_answers()


def test_sets_that_are_no_images(tmp_path):
    with pytest.raises(InputError, match="knows no set 'no_such_set'") as error:
        load_images("no_such_set", data_dir=tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="the features text; expected image"):
        load_images("tiny_texts", data_dir=tmp_path)
