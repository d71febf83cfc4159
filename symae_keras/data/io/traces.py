"""Reader of seismic traces in miniSEED and SEG-Y files, with ObsPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras._utils.optional import import_optional
from symae_keras._utils.text import did_you_mean, listed
from symae_keras._utils.untrusted_files import open_regular, require
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import from_rows, mask_missing
from symae_keras.errors import InputError

#: Suffixes and ObsPy's names of their formats. The format is always set, because
#: ObsPy's automatic detection could unpickle a file.
FORMATS: Final = {
    ".mseed": "MSEED",
    ".miniseed": "MSEED",
    ".segy": "SEGY",
    ".sgy": "SEGY",
}
_CODES: Final = ("network", "station", "location", "channel")
_SHOT: Final = "original_field_record_number"
#: Metadata of SEG-Y traces, and the header fields from which they are computed.
_COORDINATES: Final = {
    "source_x": "source_coordinate_x",
    "source_y": "source_coordinate_y",
    "receiver_x": "group_coordinate_x",
    "receiver_y": "group_coordinate_y",
}


def read_traces(path: Path, group: str | None) -> GroupedData:
    """Read groups of traces, one instance per trace, on a time axis in seconds.

    For miniSEED, `group` is one of network, station, location and channel; by default,
    all four codes together name the group. For SEG-Y, `group` is a field of the trace
    headers; by default, it is the number of the field record, that is, of the shot.
    """
    obspy = import_optional("obspy", "signals", "A file of seismic traces")
    kind = FORMATS[path.suffix.lower()]
    with open_regular(path) as file:
        heads = obspy.read(file, format=kind, headonly=True)
        n_samples = _common("samples", [trace.stats.npts for trace in heads])
        rate = _common("Hz", [trace.stats.sampling_rate for trace in heads])
        require(8 * n_samples * len(heads), f"{len(heads)} traces")
        ids, metadata = (_of_segy if kind == "SEGY" else _of_mseed)(heads, group)
        file.seek(0)
        traces = obspy.read(file, format=kind)
    x = np.empty((len(traces), n_samples), "float32")
    for row, trace in zip(x, traces, strict=True):
        row[:] = np.ma.filled(np.ma.asarray(trace.data, "float32"), np.nan)
    x, pixel_mask, _ = mask_missing(path, x, None, None)
    return from_rows(
        path,
        x,
        ids,
        pixel_mask=pixel_mask,
        metadata=metadata,
        axis=np.arange(n_samples) / rate,
        axis_label="time (s)",
    )


def _common(unit: str, values: list[Any]) -> Any:
    """Return the number that all traces have in common."""
    found = sorted(set(values))
    if len(found) != 1:
        raise InputError(
            f"the traces have {listed(f'{value:g}' for value in found)} {unit}; cut or "
            "resample them to one length and one rate, for example with ObsPy's "
            "Stream.trim and Stream.resample."
        )
    return found[0]


def _of_mseed(traces: Any, group: str | None) -> tuple[Array, dict[str, Array]]:
    """Return groups and metadata of miniSEED traces."""
    if group is not None and group not in _CODES:
        raise InputError(
            f"group={group!r} is not a code of a trace; "
            f"{did_you_mean(group, _CODES, f'the codes are {listed(_CODES)}')}."
        )
    codes = {name: np.array([trace.stats[name] for trace in traces]) for name in _CODES}
    metadata = codes | {"start": np.array([str(t.stats.starttime) for t in traces])}
    if group is None:
        return np.array([trace.id for trace in traces]), metadata
    return metadata.pop(group), metadata


def _of_segy(traces: Any, group: str | None) -> tuple[Array, dict[str, Array]]:
    """Return groups and metadata of SEG-Y traces."""
    headers = [trace.stats.segy.trace_header for trace in traces]
    field = group or _SHOT
    ids = np.array([_field(header, field) for header in headers])
    metadata = {
        name: np.array([_field(header, each) * _scale(header) for header in headers])
        for name, each in _COORDINATES.items()
    }
    return ids, metadata


def _field(header: Any, name: str) -> int:
    # ObsPy unpacks fields on access.
    try:
        return int(getattr(header, name))
    except AttributeError:
        raise InputError(
            f"group={name!r} is not a field of the trace headers; expected an ObsPy "
            f"field name, such as {_SHOT} or ensemble_number."
        ) from None


def _scale(header: Any) -> float:
    """Return the coordinate scale; a negative number in the header is a divisor."""
    scalar = _field(header, "scalar_to_be_applied_to_all_coordinates")
    return 1.0 if scalar == 0 else float(scalar) if scalar > 0 else -1.0 / scalar
