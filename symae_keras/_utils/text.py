"""Parts of messages about files, and search for names in them."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable, Sequence

from symae_keras.errors import InputError

_SHOWN = 8


def unreadable(name: object, error: Exception) -> InputError:
    """Return the error for a parser's exception, as one sentence."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnicodeDecodeError):
        looks = ""
        if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            looks = ", it looks like UTF-16"
        reason = f"byte {error.start} is no UTF-8 text{looks}; save it as UTF-8"
    return InputError(f"{name} cannot be read: {reason.rstrip('.')}.")


def listed(names: Iterable[str]) -> str:
    """Return a list of names as text, shortened if there are thousands."""
    names = [" ".join(name.split()) for name in names]
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as "1 group" or "2 groups"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def quoted(text: str) -> str:
    """Return the text of a cell in quotes, shortened to one line."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def find_name(names: Sequence[str], *wanted: str) -> str | None:
    """Return the first wanted name that exists, with exact case or with any case."""
    for name in wanted:
        if name in names:
            return name
    for name in wanted:
        for found in names:
            if found.casefold() == name.casefold():
                return found
    return None


def find_group(
    names: Sequence[str], group: str | None, kind: str, *defaults: str
) -> str:
    """Return the name of the column or key that contains the group ids, or raise.

    `kind` is the kind of the names: "column" or "key". If the user gave no name, the
    default names are searched.
    """
    wanted = defaults if group is None else (group,)
    found = find_name(names, *wanted)
    if found is None:
        name = " or ".join(wanted)
        there = did_you_mean(name, names, f"found {listed(names) or 'none'}")
        raise InputError(
            f"no {kind} {name}; {there}; name the {kind} that holds the group ids with "
            '--group NAME (in Python, group="NAME").'
        )
    return found


def did_you_mean(name: str, names: Iterable[str], known: str) -> str:
    """Return the hint after an unknown name; the clause `known` lists `names`.

    Example:
    >>> did_you_mean("mesn", ["max", "mean"], "the poolings are max, mean")
    'did you mean mean? The poolings are max, mean'
    >>> did_you_mean("sum", ["max", "mean"], "the poolings are max, mean")
    'the poolings are max, mean'
    """
    close = difflib.get_close_matches(name, list(names), 1)
    if not close:
        return known
    return f"did you mean {close[0]}? {known[0].upper()}{known[1:]}"


def one_line(error: BaseException) -> str:
    """Return an exception as a clause: its class, unless obvious, and its text.

    Example:
    >>> one_line(OSError("the disk is full."))
    'OSError: the disk is full'
    """
    # Keras appends pages of context after the first paragraph of its messages.
    first = str(error).strip().split("\n\n")[0]
    text = " ".join(first.split()).rstrip(".")
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_names(kind: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Raise if names are unknown or repeated; `kind` is what they name.

    Example:
    >>> check_names("model", ["vae", "pca"], ["pca", "vae", "symae"])
    """
    known = list(known)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, f"the {kind}s are {', '.join(known)}")
            raise InputError(f"There is no {kind} {name!r}; {hint}.")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"{', '.join(twice)} was named twice; name each {kind} once.")
