"""Readers of folders of images and of idx files."""

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
    (tmp_path / ".hidden").write_text("nothing", encoding="utf-8")
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


def one(folder, image, name="a.png", **keywords):
    """Make a folder with one group of one image."""
    (folder / "sun").mkdir(exist_ok=True)
    for old in (folder / "sun").iterdir():
        old.unlink()
    image.save(folder / "sun" / name, **keywords)
    return folder


GREY = Image.fromarray(PIXELS[0])
COLOUR = Image.fromarray(np.stack([PIXELS[0], PIXELS[1], PIXELS[2]], -1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(("count", "words"), [(1, "page 2"), (3, "pages 2 to 4")])
def test_further_pages_are_mentioned(tmp_path, caplog, name, count, words):
    more = [Image.fromarray(PIXELS[0] // (k + 2)) for k in range(count)]
    groups = load(one(tmp_path, GREY, name, save_all=True, append_images=more))
    np.testing.assert_array_equal(groups.x[0, 0, ..., 0], PIXELS[0] / np.float32(255))
    words = f"parts of images that are not used: {words} of sun/{name}."
    assert words in caplog.text


@pytest.mark.parametrize("transparent", [0, (1, 2, 3)])
def test_a_transparent_colour_is_mentioned(tmp_path, caplog, transparent):
    image = COLOUR if transparent else COLOUR.quantize(4)  # with a palette
    groups = load(one(tmp_path, image, transparency=transparent))
    expected = np.asarray(image.convert("RGB")) / np.float32(255)
    np.testing.assert_array_equal(groups.x[0, 0], expected)
    assert "not used: the transparent colour of sun/a.png." in caplog.text


def test_alpha_is_a_channel(tmp_path, caplog):
    alpha = COLOUR.copy()
    alpha.putalpha(GREY)
    groups = load(one(tmp_path, alpha))
    np.testing.assert_array_equal(groups.x[0, 0, ..., 3], PIXELS[0] / np.float32(255))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "keywords"), [("a.png", {}), ("a.tif", {}), ("a.jpg", {"quality": 100})]
)
def test_images_are_turned_upright(tmp_path, name, keywords):
    flat = np.repeat(np.repeat(np.uint8([[0, 80, 160], [40, 120, 200]]), 8, 0), 8, 1)
    exif = Image.Exif()
    exif[0x112] = 6  # the camera was rotated
    groups = load(one(tmp_path, Image.fromarray(flat), name, exif=exif, **keywords))
    expected = np.rot90(flat, -1) / 255
    np.testing.assert_allclose(groups.x[0, 0, ..., 0], expected, atol=0.02)


def tiff(folder, pixels, **keywords):
    tifffile = pytest.importorskip("tifffile")
    (folder / "sun").mkdir(exist_ok=True)
    tifffile.imwrite(folder / "sun" / "a.tif", pixels, **keywords)
    return folder


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("uint16", [0, 40000, 65535]),
        ("int16", [-32768, 5, 32767]),
        ("int32", [-(2**31), 5, 2**31 - 128]),
        ("uint32", [0, 2**31, 2**32 - 256]),
        ("float32", [-1.5, 0, 1e20]),
    ],
)
def test_deep_tiff_keeps_its_values(tmp_path, dtype, values):
    groups = load(tiff(tmp_path, np.array([values], dtype)))
    np.testing.assert_array_equal(groups.x[0, 0, 0, :, 0], np.float32(values))


@pytest.mark.parametrize("extra", [1, 3])
def test_further_channels_are_mentioned(tmp_path, caplog, extra):
    pixels = np.arange(4 * 5 * (3 + extra), dtype="uint8").reshape(4, 5, -1)
    unknown = ["unspecified"] * extra
    kind = {"photometric": "rgb", "planarconfig": "contig", "extrasamples": unknown}
    groups = load(tiff(tmp_path, pixels, **kind))
    expected = pixels[..., :3] / np.float32(255)
    np.testing.assert_array_equal(groups.x[0, 0], expected)
    assert f"not used: {extra} further channels of sun/a.tif." in caplog.text


def test_colours_that_would_lose_something(tmp_path, refusal):
    deep = np.full((4, 5, 3), 40000, "uint16")
    words = "sun/a.tif has 16 bits per colour, but Pillow reads only 8; save it as"
    assert words in refusal(tiff(tmp_path, deep, photometric="rgb"))
    pixels = np.full((4, 5, 4), 9, "uint8")
    keywords = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    words = "sun/a.tif has colours that are premultiplied with their opacity"
    assert words in refusal(tiff(tmp_path, pixels, **keywords))
    folder = one(tmp_path, COLOUR.convert("LAB"), "a.tif")
    assert "sun/a.tif has the colours LAB; save it" in refusal(folder)
    words = "sun/a.tif cannot be read: Pillow cannot read it as PNG, JPEG"
    assert words in refusal(tiff(tmp_path, np.ones((4, 5))))


def test_four_inks_are_not_colour_and_opacity(tmp_path, refusal):
    save(tmp_path, np.stack([PIXELS] * 4, -1), ".tif")
    Image.fromarray(np.stack([PIXELS[2]] * 4, -1), "CMYK").save(tmp_path / "sun/b.tif")
    words = "sun/b.tif is an image of 5 x 4 pixels, 4 x uint8 (CMYK), but moon/a.tif"
    assert words in refusal(tmp_path)


def test_other_formats_under_the_name_of_an_image(tmp_path, refusal):
    GREY.save(one(tmp_path, GREY) / "sun" / "a.png", format="GIF")
    assert "Pillow cannot read it as PNG, JPEG" in refusal(tmp_path)


def test_unusable_images(tmp_path, refusal):
    save(tmp_path)
    path = tmp_path / "sun" / "b.png"
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 2):
        path.write_bytes(content[:cut])
        assert "sun/b.png cannot be read: " in refusal(tmp_path)
    Image.fromarray(PIXELS[0].T).save(path)
    sentence = refusal(tmp_path)
    words = "sun/b.png is an image of 4 x 5 pixels, 1 x uint8 (L), but moon/a.png is"
    assert f"{words} one of 5 x 4 pixels, 1 x uint8 (L); convert" in sentence
    Image.fromarray(np.stack([PIXELS[0]] * 3, -1)).save(path)
    words = "sun/b.png is an image of 5 x 4 pixels, 3 x uint8 (RGB), but moon/a.png"
    assert words in refusal(tmp_path)
    path.rename(path.with_name("notes.txt"))
    assert "sun/notes.txt is not an image; expected files that end" in refusal(tmp_path)
    path.with_name("notes.txt").unlink()
    (tmp_path / "void").mkdir()
    assert "the sub-folder void is empty; remove it" in refusal(tmp_path)
    assert "names of the sub-folders are the groups" in refusal(tmp_path, "star")


@pytest.mark.parametrize(
    ("big", "tag", "value", "words"),
    [
        (False, 273, 2, "20 bytes from byte 2 to 22"),  # overlaps the header
        (False, 273, 20, "20 bytes from byte 20 to 40"),  # overlaps the directory
        (True, 273, 20, "20 bytes from byte 20 to 40"),
        (False, 279, 2, "2 bytes from byte "),  # too short
    ],
)
def test_strips_of_a_tiff_outside_the_image(tmp_path, refusal, big, tag, value, words):
    image = Image.fromarray(np.arange(20, dtype="uint8").reshape(4, 5))
    folder = one(tmp_path, image, "a.tif", big_tiff=big)
    assert load(folder).x.size == 20
    content = bytearray((folder / "sun" / "a.tif").read_bytes())
    # The value of a tag comes after its number, its type and its count.
    content[content.index(tag.to_bytes(2, "little")) + (12 if big else 8)] = value
    (folder / "sun" / "a.tif").write_bytes(content)
    assert f"sun/a.tif is damaged: its strips hold {words}" in refusal(folder)


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
    words = "train-labels-idx1-ubyte contains 39 labels for the 40 images"
    assert refusal(tmp_path).startswith(words)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\x28" + b"123")
    words = "contains 3 values, but its header gives the shape (40,), 40 values"
    assert words in refusal(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert refusal(tmp_path).startswith("has no file train-labels-idx1-ubyte")
    assert "the labels are the groups; remove group=" in refusal(tmp_path, "star")
