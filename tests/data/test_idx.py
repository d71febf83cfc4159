import gzip
import struct

import numpy as np
import pytest

from symae_keras.data import load_idx
from symae_keras.errors import InputError


def idx_bytes(array):
    header = struct.pack(">4B", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, prefix="train", mark="-", end="", rows=5):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, 4, 3), dtype="uint8")
    labels = rng.integers(0, 10, rows, dtype="uint8")
    pack = gzip.compress if end else bytes
    for name, array in ((f"images{mark}idx3", images), (f"labels{mark}idx1", labels)):
        content = pack(idx_bytes(array))
        (folder / f"{prefix}-{name}-ubyte{end}").write_bytes(content)
    return images, labels


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_reads_what_was_written(tmp_path, split, prefix, mark, end):
    images, labels = write(tmp_path, prefix, mark, end)
    got_images, got_labels = load_idx(tmp_path, split)
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)
    assert got_images.dtype == got_labels.dtype == np.uint8
    assert got_images.flags.writeable


def test_the_splits_are_not_confused(tmp_path):
    write(tmp_path, "train", rows=5)
    write(tmp_path, "t10k", rows=2)
    assert len(load_idx(str(tmp_path))[0]) == 5
    assert len(load_idx(str(tmp_path), "test")[1]) == 2


def edit(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (IMAGES, lambda b: b[:-1], "holds 59 values.*60 values; the file is damaged"),
        (IMAGES, lambda b: b + b"\0", "holds more than 60 values.*the file is damaged"),
        (IMAGES, lambda b: b"\1" + b[1:], "first bytes are 01 00 08 03"),
        (IMAGES, lambda b: b[:7], "not an idx file"),
        (IMAGES, lambda b: b"", "first bytes are missing, expected 00 00 08 03"),
        (IMAGES, lambda b: b[:8] + bytes(4) + b[12:16], r"is empty.*\(5, 0, 3\)"),
        (LABELS, lambda b: b[:3] + b"\3" + b[4:], "00 00 08 03, expected 00 00 08 01"),
        (LABELS, lambda b: b[:7] + b"\4" + b[8:-1], "4 labels for the 5 images"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(tmp_path, name, change, sentence):
    write(tmp_path)
    edit(tmp_path, name, change)
    with pytest.raises(InputError, match=sentence) as error:
        load_idx(tmp_path)
    assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:-10], " cannot be read: ."),
        (lambda b: b"no gzip", " cannot be read: ."),
        # Bytes of the header come out as others, before any checksum.
        (lambda b: b[:20] + b"\xff" * 9 + b[29:], ", of the shape .* needs 1.7 TB"),
    ],
    ids=["truncated", "no gzip", "garbled"],
)
def test_damaged_gzip(tmp_path, change, words):
    write(tmp_path, end=".gz")
    edit(tmp_path, IMAGES + ".gz", change)
    with pytest.raises(InputError, match=f"{IMAGES}.gz{words}") as error:
        load_idx(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_things(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="no file t10k-images-idx3-ubyte, nor .*gz"):
        load_idx(tmp_path, "test")
    (tmp_path / LABELS).unlink()
    with pytest.raises(InputError, match=f"no file {LABELS}"):
        load_idx(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        load_idx(tmp_path / "nowhere")
    with pytest.raises(InputError, match="received 'validation'"):
        load_idx(tmp_path, "validation")
