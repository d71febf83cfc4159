"""Strict reference readers of images, idx files and shards."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_arrays import npy_array, zip_members
from fuzz_mutations import split_png
from fuzz_reference import (
    Array,
    Reading,
    Seen,
    from_rows,
    need,
    reading,
)

from symae_keras.data import bag_by_label


def _check_png(content: bytes) -> None:
    try:
        chunks = split_png(content)
        need(content[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG file")
        need(chunks[0][0] == b"IHDR" and chunks[-1][0] == b"IEND", "a chunk is missing")
        need(sum(kind == b"IHDR" for kind, _, _ in chunks) == 1, "two headers")
        for kind, body, crc in chunks:
            need(zlib.crc32(kind + body) == crc, f"checksum of {kind!r}")
        width, height, bits, colour, *more = struct.unpack(">IIBBBBB", chunks[0][1])
        need((bits, colour, *more) == (8, 0, 0, 0, 0), "another kind of image")
        packed = b"".join(body for kind, body, _ in chunks if kind == b"IDAT")
        stream = zlib.decompressobj()
        pixels = stream.decompress(packed, 1 << 20)
        need(stream.eof and not stream.unused_data, "incomplete pixels")
        need(len(pixels) == height * (width + 1), "pixels do not fit the header")
        need(set(pixels[:: width + 1]) <= set(range(5)), "an unknown filter")
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def _check_tiff(content: bytes, tags: Any) -> None:
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    bits = tags[258]
    size = tags[257] * tags[256] * sum(bits) // 8
    need(tags.get(259, 1) == 1, "compressed")
    need(sum(tags[279]) == size, "sizes of strips and image differ")
    for start, length in zip(tags[273], tags[279], strict=True):
        need(start >= 8 and start + length <= len(content), "a strip outside")
        behind = start >= directory + 6 + 12 * entries
        need(behind or start + length <= directory, "a strip overlaps the directory")


def images(folder: Path) -> Reading:
    """Read images from one sub-folder per group."""
    from PIL import Image

    names, pixels = [], []
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = file.read_bytes()
        need(file.suffix in (".png", ".tif"), f"{file.name} is not an image")
        if file.suffix == ".png":
            _check_png(content)
        try:
            with Image.open(io.BytesIO(content)) as image:
                if file.suffix == ".tif":
                    _check_tiff(content, image.tag_v2)
                need(getattr(image, "n_frames", 1) == 1, "more than one image")
                pixels.append(np.asarray(image))
        except Seen:
            raise
        except Exception as error:
            raise Seen(str(error)) from None
        need(pixels[-1].shape == pixels[0].shape, "sizes differ")
        need(pixels[-1].dtype == pixels[0].dtype, "types differ")
        names.append(file.parent.name)
    x = np.stack(pixels)
    if x.dtype == np.uint8:
        x = x.astype("float32") / np.float32(255)
    return from_rows(names, (x if x.ndim == 4 else x[..., None]).astype("float32"))


def idx(folder: Path) -> Reading:
    """Read images and labels of the training set."""
    arrays = []
    for name, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        content = (folder / f"train-{name}-ubyte").read_bytes()
        start = 4 + 4 * axes
        need(content[:4] == bytes([0, 0, 8, axes]) and len(content) >= start, "header")
        shape = struct.unpack(f">{axes}I", content[4:start])
        need(len(content) - start == np.prod(shape, dtype=object), "size")
        arrays.append(np.frombuffer(content, "u1", offset=start).reshape(shape))
    need(len(arrays[0]) == len(arrays[1]) and arrays[0].size, "counts differ")
    return reading(bag_by_label(arrays[0], arrays[1]))


def shards(folder: Path) -> Reading:
    """Read groups from shards with correct checksums and counts."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        need(manifest["version"] == 2, "another version")
        need(manifest["groups"] == sum(e["groups"] for e in manifest["shards"]), "sum")
        ids: list[str] = []
        parts: list[dict[str, Array]] = []
        axis = None
        for number, entry in enumerate(manifest["shards"]):
            file = folder / f"shard-{number:05d}.npz"
            index = file.read_bytes()
            need(zlib.crc32(index) == entry["index_crc32"], "checksum of an index")
            arrays = {n[:-4]: npy_array(body) for n, body in zip_members(index).items()}
            need(len(arrays["counts"]) == entry["groups"], "groups of a shard")
            axis, fields = arrays.get("axis"), arrays["fields"].tolist()
            rows = {
                key: npy_array(file.with_suffix(f".{key}.npy").read_bytes())
                for key in fields
            }
            counts = arrays["counts"]
            shape = (sum(counts.tolist()), *arrays["instance_shape"].tolist())
            need(all(each.shape == shape for each in rows.values()), "shape")
            for stop, count, crc in zip(
                np.cumsum(counts), counts, arrays["crc32"], strict=True
            ):
                part = {
                    key: values[stop - count : stop] for key, values in rows.items()
                }
                record = b"".join(each.tobytes() for each in part.values())
                need(zlib.crc32(record) == crc, "checksum of a group")
                parts.append(part)
            ids += [str(each) for each in arrays["ids"]]
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None
    rows = {key: np.concatenate([part[key] for part in parts]) for key in fields}
    names = np.repeat(ids, [len(part["x"]) for part in parts])
    need(len(set(ids)) == len(ids), "duplicate group")
    return from_rows(
        list(names), rows["x"], rows.get("pixel_mask"), rows.get("weights"), axis
    )
