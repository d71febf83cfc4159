"""FITS files with wrong headers, checksums or sizes."""

import gzip

import numpy as np
import pytest

from symae_keras.data import load

fits = pytest.importorskip("astropy.io.fits")

X = np.random.default_rng(0).normal(size=(4, 3, 8)).astype("f4")


def write(folder, kind="image", checksum=True):
    """Write a file with one unit, and return it and the start of its data."""
    columns = [
        fits.Column("group", "J", array=np.array([1, 1, 2, 2])),
        fits.Column("flux", "8E", array=X[:, 0]),
    ]
    unit = {
        "image": lambda: fits.ImageHDU(X, name="STAR"),
        "table": lambda: fits.BinTableHDU.from_columns(columns, name="STAR"),
        "compressed": lambda: fits.CompImageHDU(
            X, compression_type="GZIP_1", name="STAR"
        ),
    }[kind]()
    path = folder / "my.fits"
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path, checksum=checksum)
    with fits.open(path, disable_image_compression=True) as file:
        return path, file[1].fileinfo()["datLoc"]


def packed(path):
    packed = path.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def card(key, value):
    return f"{key:8}= {value:>20}".encode()


def replace(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def flip_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# === Checksums ===


@pytest.mark.parametrize("checksum", [True, "datasum", False])
@pytest.mark.parametrize("kind", ["image", "table", "compressed"])
@pytest.mark.parametrize("pack", [False, True])
def test_right_sums(tmp_path, kind, checksum, pack, caplog):
    path, _ = write(tmp_path, kind, checksum)
    x = load(packed(path) if pack else path).x
    expected = X[:, 0].reshape(2, 2, 8) if kind == "table" else X
    np.testing.assert_allclose(x, expected, atol=0.2 if kind == "compressed" else 0)
    assert caplog.records == []


@pytest.mark.parametrize("checksum", [True, "datasum"])
@pytest.mark.parametrize("kind", ["image", "table", "compressed"])
@pytest.mark.parametrize("pack", [False, True])
def test_changed_data(tmp_path, refusal, kind, checksum, pack):
    path, data = write(tmp_path, kind, checksum)
    flip_bit(path, data + 5)
    sentence = refusal(packed(path) if pack else path)
    assert "the DATASUM of the unit STAR is wrong, so its data have changed" in sentence
    assert "write new checksums with: fitscheck --write --force FILE." in sentence


@pytest.mark.parametrize("kind", ["image", "table", "compressed"])
def test_changed_header(tmp_path, refusal, kind):
    path, _ = write(tmp_path, kind)
    replace(path, b"'STAR    '", b"'STAX    '")
    words = "the CHECKSUM of the unit STAX is wrong, so its header or data have changed"
    assert words in refusal(path)


def test_a_unit_that_is_not_used_is_checked_too(tmp_path, refusal):
    path = tmp_path / "my.fits"
    log = fits.ImageHDU(np.ones(3))
    fits.HDUList([fits.PrimaryHDU(X), log]).writeto(path, checksum=True)
    flip_bit(path, -2880)
    assert "the DATASUM of the unit number 1 is wrong" in refusal(path)


def test_empty_sums_say_nothing(tmp_path):
    unit = fits.PrimaryHDU(X)
    unit.header["CHECKSUM"], unit.header["DATASUM"] = "", ""
    unit.writeto(tmp_path / "my.fits")
    np.testing.assert_array_equal(load(tmp_path / "my.fits").x, X)


# === Headers ===


@pytest.mark.parametrize("kind", ["image", "table"])
def test_axes_that_are_longer_than_the_file(tmp_path, refusal, kind):
    path, _ = write(tmp_path, kind, checksum=False)
    length = 4 if kind == "table" else 3
    replace(path, card("NAXIS2", length), card("NAXIS2", 10**9))
    sentence = refusal(path)
    assert "cannot be read: " in sentence and "truncated" in sentence


def test_columns_that_do_not_fit_their_rows(tmp_path, refusal):
    path, _ = write(tmp_path, "table", checksum=False)
    replace(path, b"'8E      '", b"'7E      '")
    words = "the columns of the table STAR take 32 bytes per row, but NAXIS1 is 36"
    assert words in refusal(path)


def write_with_weights(folder):
    path = folder / "my.fits"
    plane = fits.ImageHDU(np.ones_like(X[:1]), name="IVAR")
    fits.HDUList([fits.PrimaryHDU(X), plane]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("key", "right", "wrong"), [("NAXIS", 3, 2147483647), ("BITPIX", -32, -16)]
)
def test_a_header_that_cannot_be(tmp_path, refusal, key, right, wrong):
    path = write_with_weights(tmp_path)
    replace(path, card(key, right), card(key, wrong))
    sentence = refusal(path)
    assert key in sentence and f" is {wrong}" in sentence


IMAGE = b"XTENSION= 'IMAGE   '"


@pytest.mark.parametrize(
    ("right", "wrong", "words", "groups"),
    [
        (card("NAXIS3", 4), card("NAXIS3", 1), "more data", 1),
        (
            IMAGE,
            b"XTENSION= 'IMAGE  1'",
            "the unknown type 'IMAGE  1' and is not used",
            4,
        ),
        (IMAGE, b"XTENSION=".ljust(20), "the unknown type None and is not used", 4),
    ],
)
def test_a_doubtful_file_is_a_warning(tmp_path, caplog, right, wrong, words, groups):
    path = write_with_weights(tmp_path)
    replace(path, right, wrong)
    found = load(path)
    assert len(found) == groups and words in caplog.text
    # An extension of unknown kind is not used as weights.
    assert (found.weights is None) == ("unknown" in words)


# === Other files ===


@pytest.mark.parametrize("start", [b"\x1f\x9d", b"BZh9", b"PK\x03\x04", b"hello!"])
def test_other_archives_are_not_unpacked(tmp_path, refusal, start):
    (tmp_path / "my.fits").write_bytes(start + bytes(5760))
    assert "it does not start like a FITS file" in refusal(tmp_path / "my.fits")


def test_gzip_under_another_name(tmp_path):
    path, _ = write(tmp_path)
    packed(path).rename(path)
    np.testing.assert_array_equal(load(path).x, X)
