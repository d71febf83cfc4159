"""Loading of untrusted saved models; the only place that passes them to Keras."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import keras

from symae_keras._utils.files import CHECKSUMS, parse_checksums
from symae_keras._utils.text import one_line
from symae_keras._utils.untrusted_configs import check_config
from symae_keras._utils.untrusted_files import (
    open_regular,
    parse_json,
    read_bounded,
    write_stream,
)
from symae_keras._utils.untrusted_weights import (
    check_weights,
    expands_too_much,
    weights_within,
)
from symae_keras.errors import InputError

CONFIG: Final = "config.json"
METADATA: Final = "metadata.json"
WEIGHTS: Final = "model.weights.h5"
#: Mean instances of 327,680 pixels take 7 MB of text.
MAX_CONFIG_BYTES: Final = 64 << 20
_MAX_SMALL_BYTES: Final = 1 << 20
#: Maximum length of Keras's message about a config that is passed on.
_MAX_TEXT: Final = 300
_REMEDY: Final = (
    "import the code that registers it before you load the model, if you trust it"
)


def load_model(
    path: Path, what: str | None = None, remedy: str = _REMEDY
) -> keras.Model:
    """Load an untrusted saved model, as data.

    No code of the model runs, and no other file is read. The checks use a private copy,
    so that it cannot change between check and use. They cover the names and sizes of
    the files and the classes that the config names, and they require that the weights
    are arrays of numbers in the file itself. While the model is built, its weights are
    limited by the size of the file.

    Args:
        path: A `.keras` file, or a folder with config.json and model.weights.h5. If a
            folder has SHA256SUMS, its files are compared with it.
        what: Name of the model in messages. Defaults to the path.
        remedy: Advice to the user about a class that is not registered.

    Returns:
        The model, not compiled.

    Raises:
        InputError: The model cannot be loaded, or not without trusting it.
    """
    what = what or str(path)
    try:
        with tempfile.TemporaryDirectory(prefix="symae-") as folder:
            private = Path(folder)
            # A link of that name could lead to a folder of the user.
            if path.suffix == ".keras" or not path.is_dir():
                text = _copy_archive(path, private)
            else:
                text = _copy_folder(path, private)
            config = parse_json(text)
            check_config(config, remedy)
            size = check_weights(private / WEIGHTS)
            (private / CONFIG).write_text(json.dumps(config), encoding="utf-8")
            with weights_within(size):
                model = keras.saving.load_model(private, compile=False, safe_mode=True)
    # Damaged files raise errors of many classes.
    except Exception as error:
        raise InputError(f"{what} cannot be loaded: {_clause(error)}.") from error
    if not isinstance(model, keras.Model):
        raise InputError(
            f"{what} cannot be loaded: it holds a {type(model).__name__}, not a model."
        )
    return model


def _copy_archive(path: Path, private: Path) -> bytes:
    """Copy the weights of a .keras file and return its config.json."""
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            raise InputError("it is not a complete .keras file")
        with zipfile.ZipFile(file) as archive:
            members = {each.filename: each for each in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise InputError("it contains a file twice")
            for name, member in members.items():
                if name not in (CONFIG, METADATA, WEIGHTS, "assets/"):
                    raise InputError(
                        f"it contains {ascii(name)[:100]}, which is not a model file"
                    )
                limit = {CONFIG: MAX_CONFIG_BYTES, METADATA: _MAX_SMALL_BYTES}.get(name)
                if limit is not None and member.file_size > limit:
                    raise InputError(f"its {name} is larger than {limit:,} bytes")
            for name in (CONFIG, WEIGHTS):
                if name not in members:
                    raise InputError(f"it contains no {name}")
            weights = members[WEIGHTS]
            if expands_too_much(weights.file_size, weights.compress_size):
                raise InputError(
                    f"its {WEIGHTS} claims {weights.file_size:,} bytes, but has "
                    f"{weights.compress_size:,} in the archive"
                )
            with archive.open(weights) as source:
                write_stream(source, private / WEIGHTS)
            return archive.read(members[CONFIG])


def _copy_folder(path: Path, private: Path) -> bytes:
    """Copy the weights of a folder and return its config.json."""
    assets = path / "assets"
    if assets.is_symlink() or (assets.is_dir() and any(assets.iterdir())):
        raise InputError("it contains the folder assets, which is not supported")
    config = read_bounded(path / CONFIG, MAX_CONFIG_BYTES)
    with open_regular(path / WEIGHTS) as source:
        write_stream(source, private / WEIGHTS)
    if (path / CHECKSUMS).is_symlink() or (path / CHECKSUMS).exists():
        text = read_bounded(path / CHECKSUMS, _MAX_SMALL_BYTES).decode("utf-8")
        metadata = read_bounded(path / METADATA, _MAX_SMALL_BYTES)
        with (private / WEIGHTS).open("rb") as copied:
            found = {
                CONFIG: hashlib.sha256(config).hexdigest(),
                METADATA: hashlib.sha256(metadata).hexdigest(),
                WEIGHTS: hashlib.file_digest(copied, "sha256").hexdigest(),
            }
        expected = parse_checksums(text)
        for name, digest in found.items():
            if expected.get(name) != digest:
                raise InputError(
                    f"{name} is not the file that {CHECKSUMS} lists; it was damaged or "
                    "changed, so get the preset again"
                )
    return config


def _clause(error: Exception) -> str:
    """Return an error as a clause of limited length."""
    # Keras quotes whole configs before it names the problem.
    text = one_line(error)
    _, found, cause = str(error).rpartition("Exception encountered: ")
    if found:
        text = " ".join(cause.split()).rstrip(".")
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
