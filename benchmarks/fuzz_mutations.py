"""Mutations of the content of files, for `fuzz.py`.

A mutation takes a random generator and the bytes of a file, and returns other bytes and
a description. A mutation that does not apply raises `NotApplicable`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

Draw = np.random.Generator
Mutation = Callable[[Draw, bytes], tuple[bytes, str]]

#: Numbers that are written into headers: too small, too large, far too large.
NUMBERS: Final = (0, 1, 2, 3, 7, -1, 255, 65535, 10**6, 2**31 - 1, 2**32, 10**10)
#: Number of bytes at each end of a file that receive half of the changes.
_EDGE: Final = 700


class NotApplicable(Exception):
    """The mutation cannot be applied to the content."""


def pick(draw: Draw, values: Sequence[Any]) -> Any:
    """Draw one of the values."""
    if not len(values):
        raise NotApplicable
    return values[int(draw.integers(len(values)))]


def changed_number(draw: Draw, value: float) -> Any:
    """Draw a different number, near the value or from a list of unusual ones."""
    near = (value + 1, value - 1, value * 2, -value, value // 2)
    number = pick(draw, near if draw.random() < 0.5 else NUMBERS)
    return number if number != value else number + 1


# === Any file ===


def _place(draw: Draw, content: bytes) -> int:
    """Draw a position; half of the time it is near the ends, where headers are."""
    if not content:
        raise NotApplicable
    edge = min(len(content), _EDGE)
    first = int(draw.integers(edge))
    where = int(draw.integers(4))
    if where == 2:
        return first
    return len(content) - 1 - first if where == 3 else int(draw.integers(len(content)))


def _span(draw: Draw, content: bytes) -> tuple[int, int]:
    start = _place(draw, content)
    length = int(pick(draw, (1, 2, 4, 8, 16, 64, 256, 2880)))
    return start, min(start + length, len(content))


def flip_bit(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Flip one bit."""
    place, bit = _place(draw, content), int(draw.integers(8))
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed), f"flip bit {bit} of byte {place}"


def set_bytes(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Replace one to four bytes with random ones."""
    changed, done = bytearray(content), []
    for _ in range(int(draw.integers(1, 5))):
        place, value = _place(draw, content), int(draw.integers(256))
        changed[place] = value
        done.append(f"byte {place} = {value}")
    return bytes(changed), "set " + ", ".join(done)


def truncate(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Cut off the end."""
    place = _place(draw, content)
    return content[:place], f"truncate to {place} of {len(content)} bytes"


def delete_block(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Remove some bytes."""
    start, stop = _span(draw, content)
    return content[:start] + content[stop:], f"delete bytes {start} to {stop}"


def duplicate_block(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Repeat some bytes."""
    start, stop = _span(draw, content)
    return content[:stop] + content[start:], f"duplicate bytes {start} to {stop}"


def swap_blocks(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Exchange two blocks of equal length."""
    one, stop = _span(draw, content)
    length = stop - one
    other = _place(draw, content)
    one, other = min(one, other), max(one, other)
    length = min(length, other - one, len(content) - other)
    if length < 1:
        raise NotApplicable
    changed = bytearray(content)
    changed[one : one + length] = content[other : other + length]
    changed[other : other + length] = content[one : one + length]
    return bytes(changed), f"swap {length} bytes at {one} and {other}"


def zero_fill(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Set a block to zero."""
    start, stop = _span(draw, content)
    changed = content[:start] + bytes(stop - start) + content[stop:]
    return changed, f"zero bytes {start} to {stop}"


def append_garbage(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Append random bytes."""
    size = int(pick(draw, (1, 4, 100, 2880)))
    return content + draw.bytes(size), f"append {size} random bytes"


def empty_file(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Remove the whole content."""
    return b"", "empty the file"


BINARY: Final[tuple[Mutation, ...]] = (
    flip_bit,
    flip_bit,
    set_bytes,
    truncate,
    delete_block,
    duplicate_block,
    swap_blocks,
    zero_fill,
    append_garbage,
)


# === Tables of text ===

_MARKS: Final = ",;\t"
_LETTERS: Final = "OlIeEdDxn_ '\u2212\u00a0,."


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise NotApplicable from None


def _cells(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each cell."""
    return [match.span() for match in re.finditer(rf"[^{_MARKS}\n]+", text)]


def _cell(draw: Draw, text: str) -> tuple[int, int]:
    """Draw a cell, in a third of the cases from the header."""
    cells = _cells(text)
    if draw.random() < 0.35:
        cells = [span for span in cells if span[1] <= text.find("\n")]
    start, stop = pick(draw, cells)
    return int(start), int(stop)


def _replaced(text: str, start: int, stop: int, new: str) -> tuple[bytes, str]:
    line = text.count("\n", 0, start) + 1
    changed = text[:start] + new + text[stop:]
    return changed.encode(), f"line {line}: {text[start:stop]!r} -> {new!r}"


def empty_cell(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Empty a cell."""
    text = _decoded(content)
    return _replaced(text, *_cell(draw, text), "")


def letter_for_digit(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Replace a digit with a letter or another character."""
    text = _decoded(content)
    start, stop = _cell(draw, text)
    digits = [k for k in range(start, stop) if text[k].isdigit()]
    place = pick(draw, digits)
    return _replaced(text, place, place + 1, pick(draw, _LETTERS))


def insert_character(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Insert a character into a cell."""
    text = _decoded(content)
    start, stop = _cell(draw, text)
    place = int(draw.integers(start, stop + 1))
    return _replaced(text, place, place, pick(draw, _LETTERS + '"#\x00%' + _MARKS))


def change_digit(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Replace a digit with another one."""
    text = _decoded(content)
    place = pick(draw, [match.start() for match in re.finditer("[0-9]", text)])
    return _replaced(text, place, place + 1, str(int(draw.integers(10))))


def rename_header(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change a letter of the first line."""
    text = _decoded(content)
    first = text.split("\n", 1)[0]
    place = pick(draw, [k for k, letter in enumerate(first) if letter.isalpha()])
    return _replaced(text, place, place + 1, pick(draw, "abqzXY \t"))


def decorate_number(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Write a number in an unusual way."""
    text = _decoded(content)
    start, stop = _cell(draw, text)
    cell = text[start:stop]
    if not any(letter.isdigit() for letter in cell):
        raise NotApplicable
    forms = (
        f"{cell} nm",
        f"'{cell}",
        f"{cell[:1]}_{cell[1:]}",
        f'"1,{cell}"',
        f"{cell}%",
        f"{cell}d2",
        f"\u2212{cell}",
        cell.replace(".", ","),
        cell.replace(".", ""),
        f"<{cell}",
        f"={cell}",
        f"({cell})",
        "inf",
        "1e400",
        "1e39",
        "nan",
        "NA",
        "-",
        "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in cell),
    )
    return _replaced(text, start, stop, pick(draw, forms))


def toggle_delimiter(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Add or remove a delimiter."""
    text = _decoded(content)
    marks = [match.start() for match in re.finditer(f"[{_MARKS}]", text)]
    place = int(pick(draw, marks))
    if draw.random() < 0.5:
        return _replaced(text, place, place + 1, "")
    return _replaced(text, place, place, text[place])


def other_delimiter(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Replace one delimiter, or all of one kind."""
    text = _decoded(content)
    place = int(pick(draw, [m.start() for m in re.finditer(f"[{_MARKS}]", text)]))
    new = pick(draw, _MARKS + ".| ")
    if draw.random() < 0.5:
        return _replaced(text, place, place + 1, new)
    return text.replace(text[place], new).encode(), f"all {text[place]!r} -> {new!r}"


def trailing_delimiters(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """End all lines, or one, with a delimiter."""
    text = _decoded(content)
    mark = pick(draw, re.findall(f"[{_MARKS}]", text))
    ends = [match.start() for match in re.finditer("\n", text)]
    if draw.random() < 0.5:
        place = pick(draw, ends)
        return _replaced(text, place, place, mark)
    return text.replace("\n", mark + "\n").encode(), f"all lines end with {mark!r}"


def move_lines(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Duplicate, remove, swap, cut or comment out a line, or insert one."""
    lines = _decoded(content).splitlines(keepends=True)
    k = int(draw.integers(len(lines)))
    other = int(draw.integers(len(lines)))
    line = lines[k]
    done = pick(draw, ("duplicate", "remove", "swap", "cut", "comment", "insert"))
    if done == "duplicate":
        lines.insert(other, line)
    elif done == "remove":
        del lines[k]
    elif done == "swap":
        lines[k], lines[other] = lines[other], line
    elif done == "cut":
        lines[k] = line[: int(draw.integers(len(line)))] + "\n"
    elif done == "comment":
        lines[k] = "#" + line
    else:
        new = pick(draw, ("\n", "# a note\n", "sep=;\n", ",,,\n", "total,1\n", " \n"))
        lines.insert(k, new)
        done = f"insert {new!r}"
    return "".join(lines).encode(), f"{done}: line {k + 1} (other {other + 1})"


def other_encoding(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Write the text in another encoding, or with other line endings."""
    text = _decoded(content)
    encodings = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252")
    name = pick(draw, (*encodings, "\r", "\r\n"))
    if name.startswith("\r"):
        return text.replace("\n", name).encode(), f"lines end with {name!r}"
    if name in ("latin-1", "cp1252"):
        start, stop = _cell(draw, text)
        text = text[:stop] + "\u00e9" + text[stop:]
    return text.encode(name), f"encode as {name}"


TEXT: Final[tuple[Mutation, ...]] = (
    empty_cell,
    letter_for_digit,
    letter_for_digit,
    insert_character,
    change_digit,
    rename_header,
    decorate_number,
    decorate_number,
    toggle_delimiter,
    other_delimiter,
    trailing_delimiters,
    move_lines,
    move_lines,
    other_encoding,
    flip_bit,
    set_bytes,
    truncate,
    delete_block,
    duplicate_block,
    zero_fill,
    append_garbage,
    empty_file,
)


# === idx files and images ===


def idx_header(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change a length, or the code of type and rank, in an idx file."""
    changed, axes = bytearray(content), content[3]
    k = int(draw.integers(-1, axes))
    if k < 0:
        place = int(draw.integers(4))
        changed[place] = int(pick(draw, (0, 1, 2, 3, 4, 8, 9, 13)))
        return bytes(changed), f"byte {place} = {changed[place]}"
    (old,) = struct.unpack_from(">I", content, 4 + 4 * k)
    new = changed_number(draw, old) % 2**32
    struct.pack_into(">I", changed, 4 + 4 * k, new)
    return bytes(changed), f"length {k}: {old} -> {new}"


def png_chunks(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change, drop or repeat a chunk of a PNG file, with a valid checksum."""
    chunks = split_png(content)
    k = int(draw.integers(len(chunks)))
    kind, body, _ = chunks[k]
    done = pick(draw, ("drop", "repeat", "change", "change"))
    if done == "drop":
        del chunks[k]
    elif done == "repeat":
        chunks.insert(k, chunks[k])
    else:
        if not body:
            raise NotApplicable
        place, value = int(draw.integers(len(body))), int(draw.integers(256))
        body = body[:place] + bytes([value]) + body[place + 1 :]
        chunks[k] = (kind, body, _crc(kind + body))
        done = f"byte {place} = {value} in"
    joined = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
        for kind, body, crc in chunks
    )
    return content[:8] + joined, f"{done} chunk {kind.decode()} of {len(body)} bytes"


def split_png(content: bytes) -> list[tuple[bytes, bytes, int]]:
    """Return type, body and checksum of each chunk of a PNG file."""
    chunks, place = [], 8
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        body = content[place + 8 : place + 8 + size]
        (crc,) = struct.unpack_from(">I", content, place + 8 + size)
        chunks.append((kind, body, crc))
        place += 12 + size
    return chunks


def _crc(content: bytes) -> int:
    import zlib

    return zlib.crc32(content)


def tiff_entry(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change tag, type, count or value of an entry of a little-endian TIFF file."""
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    entry = place + 2 + 12 * int(draw.integers(count))
    code, at, form = pick(
        draw, (("tag", 0, "<H"), ("type", 2, "<H"), ("count", 4, "<I"))
    )
    if draw.random() < 0.6:
        code, at, form = "value", 8, "<I"
    (old,) = struct.unpack_from(form, content, entry + at)
    new = changed_number(draw, old) % 256 ** struct.calcsize(form)
    changed = bytearray(content)
    struct.pack_into(form, changed, entry + at, new)
    (tag,) = struct.unpack_from("<H", content, entry)
    return bytes(changed), f"tag {tag}, {code}: {old} -> {new}"
