"""Mutations of headers and members: NumPy, zip, HDF5, FITS, gzip and JSON files."""

from __future__ import annotations

import ast
import gzip
import io
import json
import math
import re
import struct
import warnings
import zipfile
from typing import Any, Final

import numpy as np
from fuzz_mutations import (
    BINARY,
    Draw,
    Mutation,
    NotApplicable,
    changed_number,
    pick,
)

_TYPES: Final = ("<f4", "<f8", ">f8", "<f2", "<i8", "<i4", "|u1", "|b1", "|O", "<U4")
_LETTERS: Final = "ABKXZ19"


# === NumPy and zip ===


def npy_header(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change shape, type or order in the header of an `.npy` file."""
    (size,) = struct.unpack_from("<H", content, 8)
    header = ast.literal_eval(content[10 : 10 + size].decode("latin-1"))
    done = pick(draw, ("shape", "shape", "rank", "descr", "fortran_order", "key"))
    shape = list(header["shape"])
    if done == "shape":
        k = int(draw.integers(len(shape))) if shape else -1
        if k < 0:
            raise NotApplicable
        shape[k] = changed_number(draw, shape[k])
        header["shape"] = tuple(shape)
    elif done == "rank":
        new = ((math.prod(shape),), (*shape, 1), tuple(shape[::-1]), tuple(shape[1:]))
        header["shape"] = pick(draw, new)
    elif done == "descr":
        header["descr"] = pick(draw, _TYPES)
    elif done == "fortran_order":
        header["fortran_order"] = not header["fortran_order"]
    else:
        old = pick(draw, list(header))
        header[old[:-1] + pick(draw, _LETTERS)] = header.pop(old)
    text = repr(header).encode().ljust(size - 1)[: size - 1] + b"\n"
    return content[:10] + text + content[10 + size :], f"npy header {text.strip()!r}"


def members(content: bytes) -> list[tuple[str, bytes]]:
    """Return the names and contents of the members of a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return [(each.filename, file.read(each)) for each in file.infolist()]


def zipped(draw: Draw, inside: list[tuple[str, bytes]]) -> bytes:
    """Create a zip file, stored or deflated."""
    buffer, kind = io.BytesIO(), pick(draw, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", kind) as file:
        warnings.simplefilter("ignore")  # warns about duplicate names
        for name, body in inside:
            file.writestr(name, body)
    return buffer.getvalue()


def zip_members(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Rename, drop, repeat or mutate a member of a zip file, with valid checksums."""
    inside = members(content)
    k = int(draw.integers(len(inside)))
    name, body = inside[k]
    done = pick(draw, ("rename", "drop", "repeat", "inside", "inside", "inside"))
    if done == "rename":
        place = int(draw.integers(len(name)))
        new = name[:place] + pick(draw, _LETTERS) + name[place + 1 :]
        inside[k], done = (new, body), f"rename to {new}"
    elif done == "drop":
        del inside[k]
    elif done == "repeat":
        inside.append((name, pick(draw, inside)[1]))
    else:
        change: Mutation = pick(draw, BINARY)
        if name.endswith(".npy") and draw.random() < 0.8:
            change = npy_header
        elif name.endswith(".json") and draw.random() < 0.8:
            change = json_entry
        body, done = change(draw, body)
        inside[k] = (name, body)
    return zipped(draw, inside), f"member {name}: {done}"


# === HDF5 ===


def hdf5_item(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change, rename or delete a dataset of an HDF5 file with h5py."""
    import h5py

    buffer = io.BytesIO(content)
    with h5py.File(buffer, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = pick(draw, [n for n in names if isinstance(file[n], h5py.Dataset)])
        values = file[name][()]
        numeric = values.dtype.kind in "fib" and values.ndim > 0
        done = pick(
            draw,
            (
                "rename",
                "delete",
                "cut",
                "type",
                "group",
                "link",
                "huge",
                "empty",
                "raw",
            ),
        )
        if done not in ("rename", "delete") and not numeric:
            raise NotApplicable
        if done == "rename":
            place = int(draw.integers(len(name)))
            new = name[:place] + pick(draw, _LETTERS) + name[place + 1 :]
            if new in file or "/" in name:
                raise NotApplicable
            file.move(name, new)
            done = f"rename to {new}"
        else:
            del file[name]
        if done == "cut":
            axis = int(draw.integers(values.ndim))
            file[name] = np.delete(values, -1, axis)
            done = f"cut axis {axis}"
        elif done == "type":
            kind = pick(draw, ("f2", ">f8", "i4", "u1", "S8", "c16"))
            file[name] = values.astype(kind)
            done = f"type {kind}"
        elif done == "group":
            file.create_group(name)
        elif done == "link":
            file[name] = h5py.SoftLink("/nowhere")
        elif done == "huge":
            shape = (20000, *values.shape[1:-1], 200000)
            file.create_dataset(name, shape, "f8", chunks=(1,) * len(shape[1:]) + (64,))
            done = f"shape {shape} without data"
        elif done == "empty":
            file[name] = h5py.Empty("f8")
        elif done == "raw":
            file[name] = np.void(values.tobytes())
    return buffer.getvalue(), f"dataset {name}: {done}"


# === FITS ===

_CARD: Final = re.compile(rb"[A-Z0-9_-]{1,8} *= ")


def fits_card(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change, rename, blank or repeat a card of a FITS header."""
    places = [
        k
        for k in range(0, len(content) - 79, 80)
        if _CARD.match(content[k : k + 10].ljust(10))
    ]
    place = int(pick(draw, places))
    card = content[place : place + 80].decode("latin-1")
    name, value = card[:8].strip(), card[10:].split("/")[0].strip()
    done = pick(draw, ("number", "number", "rename", "type", "blank", "repeat"))
    if done == "number":
        if not re.fullmatch(r"[-+.\dE]+", value):
            new = value[:-2] + pick(draw, _LETTERS) + value[-1:]
        elif value.lstrip("-").isdigit():
            new = str(changed_number(draw, int(value)))
        else:
            new = repr(float(changed_number(draw, float(value))))
    elif done == "rename":
        k = int(draw.integers(len(name)))
        name = name[:k] + pick(draw, _LETTERS) + name[k + 1 :]
        new = value
    elif done == "type":
        new = pick(draw, ("T", "'text    '", "1.5", "", "nan", "(1, 2)", f"'{value}'"))
    elif done == "blank":
        changed = content[:place] + b" " * 80 + content[place + 80 :]
        return changed, f"card {name}: blank"
    else:
        end = content.find(b"END".ljust(80), place)
        if end < 0 or content[end + 80 : end + 160].strip():
            raise NotApplicable
        head = content[place : place + 80] + content[place:end] + b"END".ljust(80)
        return content[:place] + head + content[end + 160 :], f"card {name}: repeat"
    written = f"{name:8}= {new:>20}"[:80].ljust(80).encode("latin-1")
    changed = content[:place] + written + content[place + 80 :]
    return changed, f"card {card.split('/')[0].strip()!r} -> {written.strip()!r}"


def inside_gzip(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Mutate the content of a gzip file, with a valid checksum."""
    change: Mutation = pick(draw, (*BINARY, *(fits_card,) * 6))
    body, done = change(draw, gzip.decompress(content))
    return gzip.compress(body, mtime=0), f"inside gzip: {done}"


def gzip_bomb(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Append members that decompress to 3 GB of zeros."""
    return content + gzip.compress(bytes(64 << 20)) * 48, "append 3 GB of zeros"


# === JSON ===


def json_entry(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change, rename, delete or nest an entry of a JSON file."""
    try:
        root = json.loads(content)
    except ValueError:
        raise NotApplicable from None
    places = list(_places(root))
    owner, key = pick(draw, places)
    old = owner[key]
    often = ("value", "value", "value", "type", "type", "rename", "delete", "add")
    done = "nest" if draw.random() < 0.05 else pick(draw, often)
    if done == "value" and isinstance(old, (int, float)):
        owner[key] = changed_number(draw, old)
    elif done == "value" and isinstance(old, str):
        place = int(draw.integers(len(old) + 1))
        owner[key] = old[:place] + pick(draw, "aZ/.\\\x00é") + old[place + 1 :]
    elif done == "type":
        new: Any = (
            None,
            True,
            -1,
            1.5,
            "text",
            [],
            {},
            [old],
            {"a": old},
            1e308,
            math.nan,
        )
        owner[key] = pick(draw, new)
    elif done == "rename" and isinstance(owner, dict):
        owner[key + pick(draw, "sX_")] = owner.pop(key)
    elif done == "delete":
        del owner[key]
    elif done == "nest":
        # Deeper than the limits of Python's parser and of `dumps`.
        owner[key] = "DEEP"
        text = json.dumps(root).replace('"DEEP"', "[" * 5000 + "]" * 5000)
        return text.encode(), f"entry {key!r}: 5,000 nested lists"
    elif done == "add" and isinstance(owner, dict):
        owner["more"] = "text"
    else:
        raise NotApplicable
    now: Any = owner[key] if done in ("value", "type") else done
    shown = [str(each)[:60] for each in (old, now)]
    return json.dumps(root).encode(), f"entry {key!r}: {shown[0]} -> {shown[1]}"


def _places(value: Any) -> Any:
    """Yield each entry of nested JSON as its owner and key."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])
