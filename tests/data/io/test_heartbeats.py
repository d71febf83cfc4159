"""Heartbeats from WFDB records, written by the package wfdb."""

import numpy as np
import pytest

from symae_keras.data import read_beats
from symae_keras.errors import InputError

wfdb = pytest.importorskip("wfdb", reason="the extra `signals` is not installed")

#: wfdb 4.3 uses a pandas function in a way that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
RATE = 250


def write(folder, name, marks, symbols, rate=RATE):
    """Write a record of two leads, the second of which counts the samples in mV."""
    signals = np.stack([np.zeros(2000), np.arange(2000) / 1000], axis=1)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV", "mV"],
        sig_name=["V1", "MLII"],
        p_signal=signals,
        fmt=["16", "16"],
        write_dir=str(folder),
    )
    wfdb.wrann(name, "atr", np.array(marks), list(symbols), write_dir=str(folder))


@pytest.fixture
def folder(tmp_path):
    # "+" marks a change of rhythm; the first and the last beat are incomplete.
    write(tmp_path, "b", [10, 500, 600, 1000, 1990], "N+NVN")
    write(tmp_path, "a", [300], "E")
    return tmp_path


def test_beats_are_cut_around_their_annotations(folder):
    beats = read_beats(folder, lead="MLII")
    assert beats.ids.tolist() == ["a", "b"]
    assert beats.x.shape == (2, 2, 200) and beats.x.dtype == np.float32
    np.testing.assert_array_equal(beats.mask, [[True, False], [True, True]])
    assert beats.axis[70] == 0.0 and beats.axis_label == "time (s)"
    np.testing.assert_allclose(np.diff(beats.axis), 0.004)
    np.testing.assert_allclose(beats.x[:, 0, 70], [0.3, 0.6], atol=1e-3)
    known = beats.instance_metadata
    assert known["symbol"][1].tolist() == ["N", "V"]
    assert known["ectopic"].tolist() == [[True, False], [False, True]]
    assert known["second"][1].tolist() == [2.4, 4.0]


def test_lead_length_and_start_can_be_chosen(folder):
    beats = read_beats(folder, lead=1, n_samples=50, before=0.04)
    np.testing.assert_allclose(beats.x[0, 0], np.arange(290, 340) / 1000, atol=1e-3)
    assert beats.n_instances == 3  # the first beat is complete, too
    assert not read_beats(folder).x.any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"lead": "II"}, "it has no lead 'II'; its leads are V1, MLII"),
        ({"lead": 2}, "it has no lead 2"),
        ({"annotator": "qrs"}, "no annotation file a.qrs"),
        ({"n_samples": 1999}, "no beat whose 1999 samples"),
        ({"n_samples": 0}, "n_samples must be a positive integer; received 0"),
        ({"before": np.nan}, "before must be a number of seconds; received nan"),
    ],
)
def test_wrong_arguments_are_refused(folder, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        read_beats(folder, **arguments)


def test_unusable_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no WFDB record"):
        read_beats(tmp_path / "nothing")
    write(folder, "c", [500], "N", rate=360)
    with pytest.raises(InputError, match="360 samples per second, but a has 250"):
        read_beats(folder)
    (folder / "c.hea").write_text("c 1 250 100\nother.dat 16\n", encoding="utf-8")
    with pytest.raises(InputError, match="names the file other.dat, which is not"):
        read_beats(folder)
    (folder / "c.hea").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="c cannot be read"):
        read_beats(folder)
