"""Grouped data: the container, simulators, readers and batching."""

from symae_keras.data.batches import batches
from symae_keras.data.check import check
from symae_keras.data.exposures import simulate_exposures
from symae_keras.data.grouping import bag_by_label, group_by
from symae_keras.data.groups import GroupedData
from symae_keras.data.idx import load_idx
from symae_keras.data.load import load
from symae_keras.data.shapes import simulate_shapes

__all__ = [
    "GroupedData",
    "bag_by_label",
    "batches",
    "check",
    "group_by",
    "load",
    "load_idx",
    "simulate_exposures",
    "simulate_shapes",
]
