"""The memory limit of every reader, checked before memory is allocated."""

import gzip
import io
import resource
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from symae_keras._utils import untrusted_files as memory
from symae_keras.data import load
from symae_keras.errors import InputError

fits = pytest.importorskip("astropy.io.fits")


@pytest.fixture
def small(monkeypatch):
    """Set the memory limit to 100,000 bytes per file."""
    monkeypatch.setattr(memory, "_ALWAYS", 0)
    monkeypatch.setattr(memory, "_free_memory", lambda: 200_000)


def header_of(shape, dtype="<f8"):
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def hdf5(folder, shape, **keywords):
    path = folder / "my.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", shape, "f4", fillvalue=1, **keywords)
    return path


def test_hdf5_that_asks_for_19_gigabytes(tmp_path, refusal, monkeypatch):
    chunks = (1, 1, 1_000_000)
    path = hdf5(tmp_path, (10, 8, 60_000_000), chunks=chunks, compression="gzip")
    assert path.stat().st_size < 4000
    monkeypatch.setattr(memory, "_free_memory", lambda: 8 * 10**9)
    tracemalloc.start()
    sentence = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    words = "x, shape (10, 8, 60000000) and dtype float32, of which the file holds 0 by"
    assert words in sentence and "needs 19.2 GB of memory" in sentence
    assert "at most 4.0 GB, half of the memory that is available" in sentence
    assert "save x as an .npy file" in sentence
    assert peak < 10**6


def test_a_chunk_that_is_larger_than_its_dataset(tmp_path, refusal, small):
    path = hdf5(tmp_path, (2, 3, 4), maxshape=(None,) * 3, chunks=(30, 30, 30))
    assert "needs 108.1 kB of memory" in refusal(path)


def test_many_small_arrays(tmp_path, refusal, small):
    path = tmp_path / "my.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((2, 3, 4))
        for k in range(20):
            file.create_dataset(f"k{k}", (2, 1000), "f4", chunks=(1, 10))
    assert "metadata together needs 160.8 kB of memory" in refusal(path)


def test_one_text_that_is_used_often(tmp_path, refusal, small):
    path = tmp_path / "my.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((100, 4))
        file["group"] = ["a" * 500] * 100
    words = "/group, texts of 500 letters, needs 200.0 kB of memory"
    assert words in refusal(path)


def test_npz_bombs(tmp_path, refusal, small):
    content = header_of((10**4, 10, 10)) + bytes(8 * 10**6)
    words = "x, shape (10000, 10, 10) and dtype float64, of which the file holds "
    assert words in refusal(npz(tmp_path / "my.npz", x=content))
    content = header_of((10**9, 10**9, 10**9))
    words = "8000000000000000000000000000 bytes, but 0 bytes follow; the file is da"
    assert words in refusal(npz(tmp_path / "my.npz", x=content))


def test_npy_with_something_behind_the_array(tmp_path, refusal):
    path = tmp_path / "my.npy"
    with path.open("wb") as file:
        np.save(file, np.ones((2, 3, 4)))
        np.save(file, np.ones(5))
    assert "192 bytes, but 360 bytes follow; the file is damaged, or" in refusal(path)


def test_npy_stays_on_disk_whatever_its_size(tmp_path, small):
    np.save(tmp_path / "my.npy", np.ones((100, 10, 100)))
    assert load(tmp_path / "my.npy").x.nbytes == 800_000


def test_integers_of_an_npy_file_become_floats_in_memory(tmp_path, refusal, small):
    np.save(tmp_path / "my.npy", np.ones((100, 10, 100), "i1"))
    words = "x, int8 to be converted to float32, needs 400.0 kB of memory"
    assert words in refusal(tmp_path / "my.npy")


@pytest.mark.parametrize(
    "literal", ["(" * 4000, "-" * 9000 + "1", "[" * 90 + "]" * 90, "9" * 5000]
)
def test_headers_that_are_no_headers(tmp_path, refusal, literal):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {literal}}}".encode()
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (tmp_path / "my.npy").write_bytes(content)
    assert "cannot be read: " in refusal(tmp_path / "my.npy")
    assert "cannot be read: " in refusal(npz(tmp_path / "my.npz", x=content))


def test_gzip_bombs(tmp_path, refusal, small):
    path = tmp_path / "my.fits.gz"
    path.write_bytes(gzip.compress(bytes(10**6)))
    assert "it unpacks to more than 100.0 kB" in refusal(path)
    (tmp_path / "idx").mkdir()
    size = np.array([100, 100, 100], ">u4").tobytes()
    name = "train-images-idx3-ubyte.gz"
    bomb = gzip.compress(b"\0\0\x08\x03" + size + bytes(10**6))
    (tmp_path / "idx" / name).write_bytes(bomb)
    (tmp_path / "idx" / "train-labels-idx1-ubyte").write_bytes(b"")
    words = f"{name}, of the shape (100, 100, 100) by its header, needs 1.0 MB"
    assert words in refusal(tmp_path / "idx")


def test_compressed_fits_images(tmp_path, refusal, small):
    unit = fits.CompImageHDU(np.zeros((10, 10, 1000), "f4"), compression_type="GZIP_1")
    unit.writeto(tmp_path / "my.fits.fz")
    assert (tmp_path / "my.fits.fz").stat().st_size < 50_000
    assert "the image of shape (10, 10, 1000) needs" in refusal(tmp_path / "my.fits.fz")


def test_rows_of_variable_length_that_share_their_values(tmp_path, refusal, small):
    rows = np.empty(50, object)
    rows[:] = [np.zeros(1000, "f4")] + [np.zeros(0, "f4")] * 49
    group = fits.Column("group", "J", array=np.ones(50))
    flux = fits.Column("flux", "PE()", array=rows)
    path = tmp_path / "my.fits"
    fits.BinTableHDU.from_columns([group, flux]).writeto(path)
    content = bytearray(path.read_bytes())
    for row in range(50):
        at = 5760 + 12 * row + 4  # after the group
        content[at : at + 8] = np.array([1000, 0], ">i4").tobytes()
    path.write_bytes(content)
    assert "the column flux needs 400.0 kB of memory" in refusal(path)


def test_images(tmp_path, refusal, small):
    (tmp_path / "sun").mkdir()
    Image.new("L", (300, 300)).save(tmp_path / "sun" / "a.png")
    assert "sun/a.png needs 540.0 kB of memory" in refusal(tmp_path)
    Image.new("L", (100, 100)).save(tmp_path / "sun" / "a.png")
    Image.new("L", (100, 100)).save(tmp_path / "sun" / "b.png")
    words = "2 images of 100 x 100 pixels, 1 x uint8 (L) needs 120.0 kB of memory"
    assert words in refusal(tmp_path)


def test_the_bombs_of_pillow(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    (tmp_path / "sun").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "sun" / "a.png")
    assert load(tmp_path).x.shape == (1, 1, 8, 8, 1)  # Pillow only warns
    Image.new("L", (80, 80)).save(tmp_path / "sun" / "a.png")
    assert "sun/a.png cannot be read: Image size (6400 pixels)" in refusal(tmp_path)


def test_any_memory_error_is_a_sentence(tmp_path, refusal, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 7 GiB")

    np.savez(tmp_path / "my.npz", x=np.ones((2, 3, 4)))
    monkeypatch.setattr(np.lib.format, "read_array", fail)
    words = "it does not fit into memory (Unable to allocate 7 GiB); keep fewer pixels"
    assert words in refusal(tmp_path / "my.npz")


def test_the_limit(monkeypatch):
    assert 0 < memory._free_memory() < 1 << 50
    monkeypatch.setattr(memory, "_free_memory", lambda: 10**9)
    memory.require(499_999_999, "x")
    with pytest.raises(InputError, match="x needs 500.0 MB of memory, but a file may"):
        memory.require(500_000_001, "x")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    assert memory._free_addresses() == 0
    memory.require(memory._ALWAYS, "what is always tried")
    unlimited = (resource.RLIM_INFINITY,) * 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    assert memory._free_addresses() == sys.maxsize
