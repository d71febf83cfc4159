"""Damaged files of all formats; `benchmarks/fuzz.py` found most of them."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symae_keras.data import GroupedData, Shards, ShardWriter, load
from symae_keras.errors import InputError

X = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
LONG = """\
instance,value,Group,axis (nm)
a,3,sun,402
a,6,moon,402
a,1,sun,400
a,,moon,400
"""


@pytest.fixture
def write(wide):
    """Return a function that writes a valid file; its name gives the format."""

    def write(folder, name):
        path = folder / name
        if path.suffix == ".csv":
            path.write_text(LONG if name == "long.csv" else wide, encoding="utf-8")
        elif path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                file["x"] = X
        else:
            fits = pytest.importorskip("astropy.io.fits")
            flux = fits.Column("FLUX", "5D", array=X[0])
            star = fits.Column("Object", "4A", array=["b", "a", "b", "b"])
            table = fits.BinTableHDU.from_columns([flux, star])
            table.writeto(path, overwrite=True)
        return path

    return write


@pytest.mark.parametrize("name", ["my.h5", "my.fits", "my.fits.gz"])
@pytest.mark.parametrize("keep", [0, 1, 100, 0.3, 0.5, 0.6, 0.9, 0.99])
def test_truncated(tmp_path, refusal, write, name, keep):
    path = write(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    assert "cannot be read: " in refusal(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["my.fits", "wide.csv", "long.csv"]))
def test_any_damage_is_one_sentence_or_harmless(tmp_path, write, name, data):
    path = write(tmp_path, name)
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    if name == "my.fits":
        places |= st.integers(2880, 4200)  # the header of the table
        values = st.integers(0, 255) | st.sampled_from(b"0123 AFT'")
    else:
        values = st.sampled_from(b'\0",;\n\r\t1.e-\xff')
    changes = st.lists(st.tuples(places, values), max_size=4)
    for place, value in data.draw(changes):
        content[place] = value
    if name != "my.fits" and data.draw(st.booleans()):
        del content[data.draw(places) :]
    path.write_bytes(content)
    try:
        groups = load(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert groups.x.size > 0
        assert name == "my.fits" or np.isfinite(groups.x).all()


def test_an_hdf5_file_with_more_bytes_than_it_states(tmp_path, caplog):
    path = tmp_path / "my.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = X
    np.testing.assert_array_equal(load(path).x, X)
    assert not caplog.records
    path.write_bytes(path.read_bytes() + b"more")
    load(path)
    assert "may be damaged" in caplog.text


def test_a_manifest_that_is_no_text_is_not_quoted(tmp_path):
    with ShardWriter(tmp_path) as writer:
        writer.add(GroupedData(X))
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\xff" + 1000 * b"x")
    with pytest.raises(InputError, match="damaged: UnicodeDecodeError") as error:
        Shards(tmp_path)
    assert len(str(error.value)) < 300
