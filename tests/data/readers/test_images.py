"""Folders of images, and of idx files."""

import struct

import numpy as np
import pytest
from PIL import Image

from symae_keras.data import load

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), "uint8")
FILES = ("moon/a", "sun/a", "sun/b")


def save(folder, arrays=PIXELS, suffix=".png"):
    for name, pixels in zip(FILES, arrays, strict=True):
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.mark.parametrize("suffix", [".png", ".BMP", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images(tmp_path, caplog, suffix, channels):
    pixels = PIXELS if channels == 1 else np.stack([PIXELS, PIXELS // 2, PIXELS], -1)
    (tmp_path / ".hidden").write_text("nothing")
    groups = load(save(tmp_path, pixels, suffix))
    assert groups.x.shape == (2, 2, 4, 5, channels) and groups.x.dtype == np.float32
    expected = pixels.reshape(3, 4, 5, channels) / np.float32(255)
    np.testing.assert_array_equal(groups.x[groups.present], expected)
    np.testing.assert_array_equal(groups.mask, [[True, False], [True, True]])
    assert groups.ids.tolist() == ["moon", "sun"]
    assert groups.instance_metadata["file"].tolist() == [
        [f"a{suffix}", ""],
        [f"a{suffix}", f"b{suffix}"],
    ]
    assert caplog.records == []


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg(tmp_path, suffix):
    flat = np.repeat(np.arange(3, dtype="uint8") * 80, 64).reshape(3, 8, 8)
    groups = load(save(tmp_path, flat, suffix))
    np.testing.assert_allclose(groups.x[1, 1], 160 / 255, atol=0.02)


def test_deep_images_keep_their_values(tmp_path, caplog):
    groups = load(save(tmp_path, PIXELS.astype("uint16") * 200))
    np.testing.assert_array_equal(groups.x[0, 0, ..., 0], PIXELS[0] * 200.0)
    assert "converted to float32 without scaling" in caplog.text


def test_colours_of_a_palette(tmp_path):
    rgb = np.zeros((3, 4, 5, 3), "uint8")
    rgb[1, :2] = (250, 10, 30)
    for name, pixels in zip(FILES, rgb, strict=True):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).quantize(4).save(path)
    groups = load(tmp_path)
    np.testing.assert_allclose(groups.x[1, 0], rgb[1] / 255, atol=1e-6)


def test_unusable_images(tmp_path, refusal):
    save(tmp_path)
    path = tmp_path / "sun" / "b.png"
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 2):
        path.write_bytes(content[:cut])
        assert "sun/b.png cannot be read: " in refusal(tmp_path)
    Image.fromarray(PIXELS[0].T).save(path)
    sentence = refusal(tmp_path)
    words = "sun/b.png is an image of 4 x 5 pixels, 1 x uint8 (L), but moon/a.png one"
    assert f"{words} of 5 x 4 pixels, 1 x uint8 (L); bring" in sentence
    Image.fromarray(np.stack([PIXELS[0]] * 3, -1)).save(path)
    words = "sun/b.png is an image of 5 x 4 pixels, 3 x uint8 (RGB), but moon/a.png"
    assert words in refusal(tmp_path)
    path.rename(path.with_name("notes.txt"))
    assert "sun/notes.txt is no image; expected files that end" in refusal(tmp_path)
    path.with_name("notes.txt").unlink()
    (tmp_path / "void").mkdir()
    assert "the sub-folder void is empty; remove it" in refusal(tmp_path)
    assert "names of the sub-folders are the groups" in refusal(tmp_path, "star")


def idx(folder, n_labels=40):
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 3), "uint8")
    header = struct.pack(">4B3i", 0, 0, 8, 3, *images.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    labels = np.arange(40, dtype="uint8")[:n_labels] % 2
    header = struct.pack(">4Bi", 0, 0, 8, 1, len(labels))
    (folder / "train-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return images


def test_idx_files(tmp_path):
    images = idx(tmp_path)
    (tmp_path / "notes").mkdir()
    groups = load(tmp_path)
    assert groups.x.shape == (2, 20, 2, 3, 1)
    assert sorted(groups.state["label"]) == [0, 1]
    bag = groups.state["label"].tolist().index(1)
    np.testing.assert_allclose(
        np.sort(groups.x[bag].ravel()), np.sort(images[1::2].ravel()) / 255, rtol=1e-6
    )


def test_unusable_idx_files(tmp_path, refusal):
    idx(tmp_path, n_labels=39)
    words = "train-labels-idx1-ubyte holds 39 labels for the 40 images"
    assert refusal(tmp_path).startswith(words)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert refusal(tmp_path).startswith("has no file train-labels-idx1-ubyte")
    assert "the labels are the groups; leave group= out" in refusal(tmp_path, "star")
