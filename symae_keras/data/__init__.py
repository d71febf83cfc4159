"""Grouped data: the container, simulators, readers and batching."""

from symae_keras.data.axis import Axis
from symae_keras.data.batches import batches, instance_batches
from symae_keras.data.check import check
from symae_keras.data.grouping import bag_by_label, group_by
from symae_keras.data.groups import GroupedData
from symae_keras.data.io import load
from symae_keras.data.io._shard_files import ShardWriter
from symae_keras.data.io.heartbeats import read_beats
from symae_keras.data.io.idx import load_idx
from symae_keras.data.io.images import load_images
from symae_keras.data.io.save import save
from symae_keras.data.io.shards import Shards
from symae_keras.data.ragged import RaggedGroups, RaggedRows, UnevenGroups
from symae_keras.data.resample import resample
from symae_keras.data.sampling import Sampler
from symae_keras.data.simulators.beats import simulate_beats
from symae_keras.data.simulators.exposures import simulate_exposures
from symae_keras.data.simulators.gathers import simulate_gathers
from symae_keras.data.simulators.labelled_shapes import (
    LabelledImages,
    simulate_labelled_shapes,
)
from symae_keras.data.simulators.shapes import simulate_shapes

__all__ = [
    "Axis",
    "GroupedData",
    "LabelledImages",
    "RaggedGroups",
    "RaggedRows",
    "Sampler",
    "ShardWriter",
    "Shards",
    "UnevenGroups",
    "bag_by_label",
    "batches",
    "check",
    "group_by",
    "instance_batches",
    "load",
    "load_idx",
    "load_images",
    "read_beats",
    "resample",
    "save",
    "simulate_beats",
    "simulate_exposures",
    "simulate_gathers",
    "simulate_labelled_shapes",
    "simulate_shapes",
]


def __dir__() -> list[str]:
    return sorted(__all__)
