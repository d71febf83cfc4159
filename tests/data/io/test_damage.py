"""Damage that only a second look at a file shows; found by `benchmarks/fuzz.py`."""

from __future__ import annotations

import logging

import h5py
import numpy as np
import pytest
from PIL import Image

from symae_keras.data import GroupedData, Shards, ShardWriter, load
from symae_keras.errors import InputError

X = np.random.default_rng(0).normal(size=(4, 3, 8)).astype("float32")


def test_an_hdf5_file_with_more_bytes_than_it_states(tmp_path, caplog) -> None:
    path = tmp_path / "my.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = X
    with caplog.at_level(logging.WARNING, "symae_keras"):
        np.testing.assert_array_equal(load(path).x, X)
    assert not caplog.records
    path.write_bytes(path.read_bytes() + b"more")
    with caplog.at_level(logging.WARNING, "symae_keras"):
        load(path)
    assert "may be damaged" in caplog.text


def fits_file(path, card: bytes, changed: bytes) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    plane = fits.ImageHDU(np.ones_like(X[:1]), name="IVAR")
    fits.HDUList([fits.PrimaryHDU(X), plane]).writeto(path)
    content = path.read_bytes()
    assert card in content
    path.write_bytes(content.replace(card, changed, 1))


@pytest.mark.parametrize(
    ("card", "changed", "words"),
    [
        (
            b"NAXIS   =                    3",
            b"NAXIS   =           2147483647",
            "NAXIS is",
        ),
        (
            b"BITPIX  =                  -32",
            b"BITPIX  =                  -16",
            "BITPIX",
        ),
    ],
)
def test_a_fits_header_that_cannot_be(tmp_path, card, changed, words) -> None:
    path = tmp_path / "my.fits"
    fits_file(path, card, changed)
    with pytest.raises(InputError, match=words):
        load(path)


@pytest.mark.parametrize(
    ("card", "changed", "words", "groups"),
    [
        (
            b"NAXIS3  =                    4",
            b"NAXIS3  =                    1",
            "more data",
            1,
        ),
        (b"XTENSION= 'IMAGE   '", b"XTENSION= 'IMAGE  1'", "unknown kind", 4),
    ],
)
def test_a_doubtful_fits_file_is_a_warning(
    tmp_path, caplog, card, changed, words, groups
) -> None:
    path = tmp_path / "my.fits"
    fits_file(path, card, changed)
    with caplog.at_level(logging.WARNING, "symae_keras"):
        found = load(path)
    assert len(found) == groups and words in caplog.text
    # An extension of no known kind gives no weights.
    assert (found.weights is None) == ("unknown" in words)


def test_a_comma_behind_every_line_of_a_table_with_semicolons(tmp_path) -> None:
    path = tmp_path / "my.csv"
    lines = ["group;500.0;501.0", "a;1.5;2.5", "a;1.0;2.0", "b;3.0;1.0", "b;2.0;1.0"]
    path.write_text("".join(f"{each},\n" for each in lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"column 3.*'501\.0,', which is nearly"):
        load(path)


@pytest.mark.parametrize("tag", [273, 279])
def test_strips_of_a_tiff_outside_the_image(tmp_path, tag) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "sun").mkdir()
    file = tmp_path / "sun" / "1.tif"
    image.fromarray(np.arange(84, dtype="u1").reshape(7, 12)).save(file)
    content = bytearray(file.read_bytes())
    place = content.index(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0") + 8
    content[place] = 2  # a strip over the header, or a short one
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"sun/1\.tif is damaged: its strips"):
        load(tmp_path)


def test_a_manifest_that_is_no_text_is_not_quoted(tmp_path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.add(GroupedData(X))
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\xff" + 1000 * b"x")
    with pytest.raises(InputError, match="damaged: UnicodeDecodeError") as error:
        Shards(tmp_path)
    assert len(str(error.value)) < 300


def test_fits_unit_of_a_blank_kind(tmp_path, caplog):
    fits = pytest.importorskip("astropy.io.fits")
    path = tmp_path / "my.fits"
    x = np.ones((2, 3, 4), "f4")
    units = [fits.PrimaryHDU(x), fits.ImageHDU(2 * x, name="IVAR")]
    fits.HDUList(units).writeto(path)
    content = path.read_bytes()
    card = content[content.index(b"XTENSION=") :][:80]
    path.write_bytes(content.replace(card, b"XTENSION=".ljust(80)))
    assert load(path).weights is None
    assert "of the unknown kind None and not used" in caplog.text


@pytest.mark.parametrize("big", [False, True])
def test_tiff_strip_over_the_directory(tmp_path, refusal, big):
    file = tmp_path / "sun" / "a.tif"
    file.parent.mkdir()
    image = Image.fromarray(np.arange(20, dtype="uint8").reshape(4, 5))
    image.save(file, big_tiff=big)
    assert load(tmp_path).x.size == 20
    with Image.open(file) as opened:
        (start,) = opened.tag_v2[273]
    content = file.read_bytes()
    # The place of the strip stands behind the tag, its type and its count.
    entry = content.index(b"\x11\x01")
    at = content.index(bytes([start]), entry + 4)
    file.write_bytes(content[:at] + bytes([20]) + content[at + 1 :])
    assert "its strips hold 20 bytes from byte 20 to 40" in refusal(tmp_path)
