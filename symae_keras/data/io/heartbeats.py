"""Reader of heartbeats from WFDB records, the format of PhysioNet."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from symae_keras._utils.optional import import_optional
from symae_keras._utils.text import listed, unreadable
from symae_keras._utils.untrusted_files import require
from symae_keras._utils.validation import is_integer
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io._assemble import from_rows, mask_missing
from symae_keras.errors import InputError

#: Annotation codes of beats, and of beats that start in a ventricle.
BEATS: Final = tuple("NLRBAaJSVrFejnE/fQ?")
ECTOPIC: Final = ("V", "E")


def read_beats(
    folder: str | PathLike[str],
    lead: str | int = 0,
    annotator: str = "atr",
    n_samples: int = 200,
    before: float = 0.28,
) -> GroupedData:
    """Read single heartbeats from a folder of WFDB records with annotations.

    A group is a record: a header `NAME.hea` with its signals and annotations
    `NAME.atr`. An instance is one beat, cut out around its annotation. Beats that
    extend beyond the record are left out. Missing samples are False in `pixel_mask`.
    The files are read by the package wfdb, from the extra `signals`.

    Args:
        folder: The folder of the records. It must also contain the other files of each
            record.
        lead: Name or number of the signal, such as `"MLII"`. Defaults to 0, the first
            signal.
        annotator: Suffix of the annotation files. Defaults to `"atr"`, the reference
            annotations.
        n_samples: Samples per beat. Defaults to 200.
        before: Time in seconds from the first sample to the annotation. Defaults to
            0.28.

    Returns:
        `GroupedData` with `x (records, beats, n_samples)` float32 in the unit of the
        records, usually mV. `ids` are the names of the records, and `axis` is the time
        in s relative to the annotation. `instance_metadata` has `symbol`, the code of
        the beat; `ectopic`, True for the codes V and E; and `second`, the time in the
        record.

    Raises:
        InputError: The folder has no record, wfdb is not installed, a file is missing
            or damaged, a record does not have the lead or has no annotated beat, or the
            sampling rates of the records differ.

    Reference:
        - [WFDB file formats](https://physionet.org/physiotools/wag/)

    Example:
    >>> beats = read_beats("mitdb", lead="MLII")  # doctest: +SKIP
    >>> beats.instance_metadata["ectopic"].mean()  # doctest: +SKIP
    """
    if not is_integer(n_samples, 1):
        raise InputError(
            f"n_samples must be a positive integer; received {n_samples!r}."
        )
    if not np.isfinite(before):
        raise InputError(f"before must be a number of seconds; received {before!r}.")
    folder = Path(folder)
    wfdb = import_optional("wfdb", "signals", "A folder of WFDB records")
    names = sorted(path.stem for path in folder.glob("*.hea"))
    if not names:
        raise InputError(
            f"{folder} contains no WFDB record; expected a folder with header files "
            "NAME.hea."
        )
    rows: list[Array] = []
    found: dict[str, list[Array]] = {"record": [], "symbol": [], "second": []}
    first = ""
    rate = 0.0
    for name in names:
        try:
            own_rate, x, symbols, seconds = _record(
                wfdb, folder / name, lead, annotator, n_samples, before
            )
        except InputError as error:
            raise InputError(f"{folder / name}: {error}") from None
        # wfdb raises errors of many classes for damaged files.
        except Exception as error:
            raise unreadable(folder / name, error) from error
        first, rate = (first, rate) if first else (name, own_rate)
        if own_rate != rate:
            raise InputError(
                f"{folder / name}: it has {own_rate:g} samples per second, but {first} "
                f"has {rate:g}; resample all records to one sampling rate."
            )
        rows.append(x)
        found["record"].append(np.full(len(x), name))
        found["symbol"].append(symbols)
        found["second"].append(seconds)
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    ids = joined.pop("record")
    x, pixel_mask, _ = mask_missing(folder, np.concatenate(rows), None, None)
    return from_rows(
        folder,
        x,
        ids,
        pixel_mask=pixel_mask,
        metadata=joined | {"ectopic": np.isin(joined["symbol"], ECTOPIC)},
        axis=(np.arange(n_samples) - round(before * rate)) / rate,
        axis_label="time (s)",
    )


def _record(
    wfdb: Any,
    path: Path,
    lead: str | int,
    annotator: str,
    n_samples: int,
    before: float,
) -> tuple[float, Array, Array, Array]:
    """Return the sampling rate, the beats, their codes and their times in seconds."""
    header = wfdb.rdheader(str(path))
    # A header could name any file on this computer.
    for name in header.file_name or ():
        if Path(name).name != name or not (path.parent / name).is_file():
            raise InputError(
                f"its header names the file {name}, which is not in the folder; all "
                "files of a record must be in one folder."
            )
    number = _number(header.sig_name or [], lead)
    if not path.with_name(f"{path.name}.{annotator}").is_file():
        raise InputError(
            f"it has no annotation file {path.name}.{annotator}; set annotator to the "
            "suffix of the annotation files."
        )
    require(8 * int(header.sig_len or 0), "one signal")
    signal = wfdb.rdrecord(str(path), channels=[number]).p_signal[:, 0]
    marks = wfdb.rdann(str(path), annotator)
    symbols = np.array(marks.symbol)
    start = np.asarray(marks.sample) - round(before * header.fs)
    used = np.isin(symbols, BEATS) & (start >= 0) & (start + n_samples <= len(signal))
    if not used.any():
        raise InputError(
            f"the annotation file {annotator} marks no beat whose {n_samples} samples "
            "are within the record."
        )
    require(8 * n_samples * int(used.sum()), "the beats of one record")
    x = signal[start[used, None] + np.arange(n_samples)]
    seconds = np.asarray(marks.sample)[used] / header.fs
    return float(header.fs), x.astype("float32"), symbols[used], seconds


def _number(names: list[str], lead: str | int) -> int:
    """Return the number of a signal."""
    if isinstance(lead, int) and 0 <= lead < len(names):
        return lead
    if lead in names:
        return names.index(str(lead))
    raise InputError(f"it has no lead {lead!r}; its leads are {listed(names)}.")
