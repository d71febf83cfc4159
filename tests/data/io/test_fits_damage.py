"""FITS files whose checksums or sizes do not fit."""

import gzip

import numpy as np
import pytest

from symae_keras.data import load

fits = pytest.importorskip("astropy.io.fits")

X = np.random.default_rng(0).normal(size=(4, 3, 8)).astype("f4")
REMEDY = "write new sums with: fitscheck --write --force FILE."


def units(kind):
    if kind == "table":
        columns = [
            fits.Column("group", "J", array=np.array([1, 1, 2, 2])),
            fits.Column("flux", "8E", array=X[:, 0]),
        ]
        return [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="STAR")]
    if kind == "compressed":
        unit = fits.CompImageHDU(X, compression_type="GZIP_1", name="STAR")
        return [fits.PrimaryHDU(), unit]
    return [fits.PrimaryHDU(), fits.ImageHDU(X, name="STAR")]


def write(folder, kind, checksum=True):
    path = folder / "my.fits"
    fits.HDUList(units(kind)).writeto(path, checksum=checksum)
    with fits.open(path, disable_image_compression=True) as file:
        info = file[1].fileinfo()
        return path, info["hdrLoc"], info["datLoc"], file[1].header.copy()


@pytest.mark.parametrize("checksum", [True, "datasum", False])
@pytest.mark.parametrize("kind", ["image", "table", "compressed"])
@pytest.mark.parametrize("pack", [False, True])
def test_right_sums(tmp_path, kind, checksum, pack, caplog):
    path, *_ = write(tmp_path, kind, checksum)
    if pack:
        path = path.rename(tmp_path / "my.fits.gz")
        path.write_bytes(gzip.compress(path.read_bytes()))
    x = load(path).x
    expected = X[:, 0].reshape(2, 2, 8) if kind == "table" else X
    np.testing.assert_allclose(x, expected, atol=0.2 if kind == "compressed" else 0)
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["image", "table", "compressed"])
@pytest.mark.parametrize("pack", [False, True])
def test_changed_data(tmp_path, refusal, kind, pack):
    path, _, data, _ = write(tmp_path, kind)
    content = bytearray(path.read_bytes())
    content[data + 5] ^= 64
    path.write_bytes(content)
    if pack:
        path = path.rename(tmp_path / "my.fits.gz")
        path.write_bytes(gzip.compress(content))
    sentence = refusal(path)
    words = "the DATASUM of the unit STAR is wrong, so its data have changed"
    assert words in sentence and REMEDY in sentence


@pytest.mark.parametrize("kind", ["image", "table", "compressed"])
def test_changed_header(tmp_path, refusal, kind):
    path, *_ = write(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"'STAR    '", b"'STAX    '"))
    words = "the CHECKSUM of the unit STAX is wrong, so its header or data have changed"
    assert words in refusal(path)


def test_only_datasum(tmp_path, refusal):
    path, _, data, _ = write(tmp_path, "image", "datasum")
    content = bytearray(path.read_bytes())
    content[data] ^= 1
    path.write_bytes(content)
    assert "the DATASUM of the unit STAR is wrong" in refusal(path)


def test_a_unit_that_is_not_used_is_checked_too(tmp_path, refusal):
    path = tmp_path / "my.fits"
    log = fits.ImageHDU(np.ones(3))
    fits.HDUList([fits.PrimaryHDU(X), log]).writeto(path, checksum=True)
    content = bytearray(path.read_bytes())
    content[-2880] ^= 1
    path.write_bytes(content)
    assert "the DATASUM of the unit number 1 is wrong" in refusal(path)


def test_empty_sums_say_nothing(tmp_path):
    unit = fits.PrimaryHDU(X)
    unit.header["CHECKSUM"], unit.header["DATASUM"] = "", ""
    unit.writeto(tmp_path / "my.fits")
    np.testing.assert_array_equal(load(tmp_path / "my.fits").x, X)


@pytest.mark.parametrize("kind", ["image", "table"])
def test_axes_that_are_longer_than_the_file(tmp_path, refusal, kind):
    path, *_ = write(tmp_path, kind, checksum=False)
    content = path.read_bytes()
    card = f"{'NAXIS2':8}= {4 if kind == 'table' else 3:>20}".encode()
    assert card in content
    path.write_bytes(content.replace(card, f"{'NAXIS2':8}= {10**9:>20}".encode()))
    assert "cannot be read: " in refusal(path)
    assert "truncated" in refusal(path)


def test_columns_that_do_not_fit_their_rows(tmp_path, refusal):
    path, *_ = write(tmp_path, "table", checksum=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"'8E      '", b"'7E      '"))
    assert "the columns of the table STAR take 32 bytes per row, but NAXIS1 is 36" in (
        refusal(path)
    )


@pytest.mark.parametrize("start", [b"\x1f\x9d", b"BZh9", b"PK\x03\x04", b"hello!"])
def test_other_archives_are_not_unpacked(tmp_path, refusal, start):
    (tmp_path / "my.fits").write_bytes(start + bytes(5760))
    assert "it does not start like a FITS file" in refusal(tmp_path / "my.fits")


def test_gzip_under_another_name(tmp_path):
    path, *_ = write(tmp_path, "image")
    path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(load(path).x, X)
