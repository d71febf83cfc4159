"""Seismic traces: files written by ObsPy, and errors."""

import numpy as np
import pytest

from symae_keras.data import load

obspy = pytest.importorskip("obspy", reason="the extra `signals` is not installed")


@pytest.fixture
def stream():
    """Make three traces, two of them from one station."""
    rng = np.random.default_rng(0)
    traces = []
    for number, station in enumerate(("ABC", "ABC", "XYZ")):
        trace = obspy.Trace(rng.normal(size=50).astype("float32"))
        trace.stats.update(
            {"network": "NN", "station": station, "channel": "BHZ", "delta": 0.01}
        )
        trace.stats.starttime = obspy.UTCDateTime(2020, 1, 1) + 100 * number
        traces.append(trace)
    return obspy.Stream(traces)


def shots(stream, path, records=(7, 7, 8), scalar=-100):
    """Write the traces as SEG-Y."""
    from obspy.io.segy.segy import SEGYTraceHeader

    for number, (trace, record) in enumerate(zip(stream, records, strict=True)):
        header = SEGYTraceHeader()
        header.original_field_record_number = record
        header.ensemble_number = number
        header.scalar_to_be_applied_to_all_coordinates = scalar
        header.source_coordinate_x = 150 * record
        trace.stats.segy = {"trace_header": header}
    stream.write(str(path), format="SEGY", data_encoding=5)
    return path


def test_miniseed_has_a_group_per_channel(stream, tmp_path):
    path = tmp_path / "day.mseed"
    stream.write(str(path), format="MSEED")
    groups = load(path)
    assert groups.ids.tolist() == ["NN.ABC..BHZ", "NN.XYZ..BHZ"]
    assert groups.x.shape == (2, 2, 50) and groups.x.dtype == np.float32
    np.testing.assert_array_equal(groups.x[0, 1], stream[1].data)
    np.testing.assert_array_equal(groups.mask, [[True, True], [True, False]])
    assert groups.axis_label == "time (s)"
    assert groups.axis[:2].tolist() == [0.0, 0.01]
    assert groups.instance_metadata["start"][0, 1] == "2020-01-01T00:01:40.000000Z"
    assert load(path, group="network").x.shape == (1, 3, 50)


@pytest.mark.parametrize(("scalar", "factor"), [(-100, 0.01), (0, 1.0), (10, 10.0)])
def test_segy_has_a_group_per_shot(stream, tmp_path, scalar, factor):
    path = shots(stream, tmp_path / "line.sgy", scalar=scalar)
    groups = load(path)
    assert groups.ids.tolist() == [7, 8]
    np.testing.assert_array_equal(groups.x[1, 0], stream[2].data)
    np.testing.assert_allclose(np.diff(groups.axis), 0.01)
    expected = 150 * factor * np.array([7, 8])
    np.testing.assert_allclose(groups.group_metadata["source_x"], expected)
    assert load(path, group="ensemble_number").x.shape == (3, 1, 50)


def test_what_is_refused(stream, tmp_path, refusal):
    path = shots(stream, tmp_path / "line.segy")
    assert "'shot' is not a field of the trace headers" in refusal(path, group="shot")
    path = tmp_path / "day.miniseed"
    stream.write(str(path), format="MSEED")
    assert "did you mean station" in refusal(path, group="statin")
    stream[0].data = stream[0].data[:20]
    stream.write(str(path), format="MSEED")
    assert "have 20, 50 samples; cut or resample" in refusal(path)
    path.write_bytes(b"no seismogram" * 100)
    assert "cannot be read" in refusal(path)
