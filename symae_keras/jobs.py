"""What the commands do: train into a run folder, evaluate a run, redatum files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

import symae_keras
from symae_keras.data import GroupedData, check, load
from symae_keras.errors import InputError
from symae_keras.evaluation import redatuming_error, relative_error
from symae_keras.evaluation.redatuming import in_batches
from symae_keras.figures import write_figures
from symae_keras.folders import CHECKPOINT, Draft, check_writable, write_json
from symae_keras.folders import written_aside as written_aside
from symae_keras.presets import load_recipe, one_line, recipe_file
from symae_keras.progress import EpochProgress, HistoryFile
from symae_keras.runs import (
    RUN_CONTENTS,
    Run,
    environment,
    file_hash,
    load_run,
    read_config,
)
from symae_keras.training import Recipe, data_variance, train

TRAIN_FRACTION: Final = 0.8
