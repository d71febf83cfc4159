"""Grouped data in TensorFlow Datasets; importing this module registers the sets."""

from __future__ import annotations

import abc
import dataclasses
import inspect
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, ClassVar, TypeAlias

import numpy as np
import tensorflow_datasets as tfds

from symae_keras.data.check import refuse_rounding
from symae_keras.data.grouping import bag_by_label
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.io.images import idx_folder, load_images
from symae_keras.data.ragged import RaggedRows
from symae_keras.data.simulators.exposures import N_PIXELS, simulate_exposures
from symae_keras.data.simulators.shapes import simulate_shapes
from symae_keras.errors import InputError

#: Shape and dtype of each parameter, without the axes of groups and instances.
Specification: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]


class GroupedBuilder(tfds.core.GeneratorBasedBuilder):
    """Base class of builders whose examples are groups of instances.

    A subclass declares the format of instances and returns the groups of each split. It
    is registered under its name in snake case. `from_tfds` reads the groups in the
    order in which the subclass returned them.

    The features of an example are `instances (n_instances, *INSTANCE_SHAPE)`; `id`, a
    text that is empty if the groups have no ids; and, if they are declared, the
    dictionaries `state` and `nuisance`. Metadata and parameters that are not declared
    are not written. Absent instances are not written.

    A subclass sets

    - `INSTANCE_SHAPE`: shape of one instance, channels last;
    - `INSTANCE_DTYPE`: dtype of stored instances. Defaults to `"float32"`;
    - `N_INSTANCES`: number of instances per group. Defaults to `None`, for groups of
      unequal size;
    - `STATE`, `NUISANCE`: shape and dtype of each parameter of a group, and of an
      instance. Both are empty by default;
    - `SPLITS`: names of the splits. Defaults to train and test.

    Example:
    >>> class SeenTwice(GroupedBuilder):
    ...     '''Two stars to train on and one to test, seen two or three times.'''
    ...
    ...     INSTANCE_SHAPE = (64,)
    ...     STATE = {"temperature": ((), "float64")}
    ...
    ...     def groups(self, split):
    ...         rng = np.random.default_rng(0 if split == "train" else 1)
    ...         n = 2 if split == "train" else 1
    ...         return GroupedData(
    ...             rng.normal(size=(n, 3, 64)),
    ...             mask=[[True, True, False], [True, True, True]][:n],
    ...             state={"temperature": rng.uniform(4e3, 6e3, n)},
    ...         )
    >>> SeenTwice.name
    'seen_twice'
    """

    VERSION = tfds.core.Version("1.0.0")
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "test")
    INSTANCE_SHAPE: ClassVar[tuple[int, ...]]
    INSTANCE_DTYPE: ClassVar[str] = "float32"
    N_INSTANCES: ClassVar[int | None] = None
    STATE: ClassVar[Specification] = {}
    NUISANCE: ClassVar[Specification] = {}

    #: Folder for files that cannot be downloaded, if there are any; set before `groups`
    #: is called.
    manual_dir: PathLike[str] | None = None

    @abc.abstractmethod
    def groups(self, split: str) -> GroupedData | Iterable[GroupedData]:
        """Return the groups of a split.

        Args:
            split: One of `SPLITS`.

        Returns:
            `GroupedData`, or an iterable of `GroupedData` if all groups together would
            not fit into memory.
        """

    def finish(self, groups: GroupedData) -> GroupedData:
        """Add properties that files cannot store, such as an axis, to loaded groups.

        Args:
            groups: The groups that `from_tfds` has read.

        Returns:
            The same groups, unless a subclass adds properties.
        """
        return groups

    def _info(self) -> tfds.core.DatasetInfo:
        n = self.N_INSTANCES
        features: dict[str, Any] = {
            "id": tfds.features.Text(),
            "instances": _tensor((n, *self.INSTANCE_SHAPE), self.INSTANCE_DTYPE),
        }
        for kind, leading in (("state", ()), ("nuisance", (n,))):
            if declared := self._declared(kind):
                features[kind] = {
                    key: _tensor((*leading, *shape), dtype)
                    for key, (shape, dtype) in declared.items()
                }
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _declared(self, kind: str) -> Specification:
        return self.STATE if kind == "state" else self.NUISANCE

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        # Access fails if the builder needs no such files, or if there are none.
        try:
            self.manual_dir = dl_manager.manual_dir
        except (AssertionError, ValueError):
            self.manual_dir = None
        return {split: self._generate_examples(split) for split in self.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        given = self.groups(split)
        key = 0
        for part in [given] if isinstance(given, GroupedData) else given:
            self._check(part)
            for i, present in enumerate(part.present):
                example: dict[str, Any] = {
                    "id": "" if part.ids is None else str(part.ids[i]),
                    "instances": self._stored(part.x[i][present]),
                }
                for kind, own in (("state", i), ("nuisance", (i, present))):
                    if declared := self._declared(kind):
                        known = getattr(part, kind)
                        example[kind] = {
                            key: np.asarray(known[key][own], dtype)
                            for key, (_, dtype) in declared.items()
                        }
                yield key, example
                key += 1

    def _check(self, groups: GroupedData) -> None:
        """Refuse groups that would change when they are written and read again."""
        if groups.instance_shape != self.INSTANCE_SHAPE:
            raise InputError(
                f"The groups of {self.name} have instances of shape "
                f"{groups.instance_shape}; expected INSTANCE_SHAPE = "
                f"{self.INSTANCE_SHAPE}."
            )
        for kind in ("state", "nuisance"):
            if missing := sorted(
                set(self._declared(kind)) - set(getattr(groups, kind))
            ):
                raise InputError(
                    f"The groups of {self.name} lack parameters that {kind.upper()} "
                    f"declares: {', '.join(missing)}."
                )
        if np.dtype(self.INSTANCE_DTYPE) == np.float32:
            refuse_rounding(groups, f"The groups of {self.name}")
        for name in ("pixel_mask", "weights"):
            if getattr(groups, name) is not None:
                raise InputError(
                    f"The groups of {self.name} have a {name}, which a GroupedBuilder "
                    "does not store; remove it, or save these groups in a file."
                )

    def _stored(self, x: Array) -> Array:
        stored = x.astype(self.INSTANCE_DTYPE)
        if stored.dtype.kind in "bui" and not np.array_equal(stored, x):
            raise InputError(
                f"The instances of {self.name} are not all whole numbers that fit into "
                f"INSTANCE_DTYPE = {self.INSTANCE_DTYPE!r}; choose a dtype that can "
                "represent them."
            )
        return stored


def _tensor(shape: tuple[int | None, ...], dtype: str) -> Any:
    # Stored as bytes: otherwise float64 would become float32, and uint8 int64.
    return tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype), encoding="bytes")


def from_tfds(
    name_or_builder: Any,
    split: str = "train",
    data_dir: str | PathLike[str] | None = None,
) -> GroupedData:
    """Read groups from a TensorFlow Datasets set that a `GroupedBuilder` writes.

    If necessary, the set is prepared first. Groups of unequal size are padded with
    zeros after their last instance, and the padding is masked. Instances stored as
    `uint8` are scaled to [0, 1], as in `bag_by_label`.

    Args:
        name_or_builder: A name such as `"symae_exposures"` or
            `"symae_exposures/identifiable"`, or a builder.
        split: A split, or a part of one, such as `"train[:100]"`.
        data_dir: Folder of the prepared sets, or `None` for the default folder of
            TensorFlow Datasets. It is not used for a builder, which has its own folder.

    Returns:
        `GroupedData` with the stored state and nuisance parameters.

    Raises:
        InputError: There is no such set or split, or its examples are not groups.
        UnevenGroups: Padding would take much more memory than the groups.
    """
    builder = name_or_builder
    if isinstance(builder, str):
        folder = None if data_dir is None else os.fspath(data_dir)
        try:
            builder = tfds.builder(builder, data_dir=folder)
        except tfds.core.DatasetNotFoundError:
            raise InputError(
                f"TensorFlow Datasets has no set {name_or_builder!r}; expected a name "
                "such as symae_exposures, or a set whose builder is imported."
            ) from None
    if "instances" not in builder.info.features:
        raise InputError(
            f"The set {builder.name} has the features "
            f"{', '.join(sorted(builder.info.features))}; expected the feature "
            "instances, which a GroupedBuilder writes."
        )
    if not builder.data_path.exists():
        builder.download_and_prepare()
    logger = logging.getLogger("absl")
    logger.addFilter(_is_ours)
    try:
        dataset = builder.as_dataset(split=split)
    except ValueError:
        raise InputError(
            f"The set {builder.name} has no split {split!r}; it has "
            f"{', '.join(sorted(builder.info.splits))}."
        ) from None
    finally:
        logger.removeFilter(_is_ours)
    examples = list(tfds.as_numpy(dataset))
    if not examples:
        raise InputError(f"The split {split!r} of {builder.name} contains no groups.")
    x = np.concatenate([example["instances"] for example in examples])
    if x.dtype == np.uint8:
        x = x.astype("float32") / np.float32(255)
    ids = np.array([example["id"].decode() for example in examples])
    groups = RaggedRows(
        x,
        np.array([len(example["instances"]) for example in examples]),
        ids if ids.astype(bool).any() else None,
        metadata={
            k: np.concatenate([example["nuisance"][k] for example in examples])
            for k in examples[0].get("nuisance", ())
        },
    ).load()
    state = {
        k: np.stack([example["state"][k] for example in examples])
        for k in examples[0].get("state", ())
    }
    groups = dataclasses.replace(
        groups, state=state, nuisance=groups.instance_metadata, instance_metadata={}
    )
    return builder.finish(groups) if isinstance(builder, GroupedBuilder) else groups


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether a warning concerns the user.

    TensorFlow Datasets 4.9.10 warns about its own code when it decodes arrays from
    bytes.
    """
    return "`FeatureConnector.dtype` is deprecated" not in record.getMessage()


class _Simulated(GroupedBuilder):
    """Base class of the simulated sets; each block of states has its own seed."""

    N_INSTANCES = 16
    N_STATES: ClassVar[Mapping[str, int]] = {"train": 2000, "test": 500}
    FIRST_SEED: ClassVar[Mapping[str, int]] = {"train": 0, "test": 1000}
    STATES_AT_ONCE: ClassVar[int] = 100

    @abc.abstractmethod
    def simulate(self, n_states: int, seed: int) -> GroupedData:
        """Simulate groups of `N_INSTANCES` instances."""

    def groups(self, split: str) -> Iterator[GroupedData]:
        """Simulate blocks of groups; block `b` has the seed `FIRST_SEED + b`."""
        n_states = self.N_STATES[split]
        for block, start in enumerate(range(0, n_states, self.STATES_AT_ONCE)):
            n = min(self.STATES_AT_ONCE, n_states - start)
            yield self.simulate(n, self.FIRST_SEED[split] + block)

    def finish(self, groups: GroupedData) -> GroupedData:
        """Add the axis and the function that renders exact virtual instances."""
        own = self.simulate(1, 0)
        return dataclasses.replace(
            groups, axis=own.axis, axis_label=own.axis_label, render=own.render
        )


class SymaeExposures(_Simulated):
    """Noisy stellar spectra with telluric bands and a blaze, 16 per star.

    The training set has 2000 stars and the test set has 500 others, from
    `simulate_exposures`.
    """

    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="entangled",
            description="One exposure cannot separate the slopes of star and blaze.",
        ),
        tfds.core.BuilderConfig(
            name="identifiable",
            description="Stars have no slope: one exposure identifies its nuisance.",
        ),
    ]
    INSTANCE_SHAPE = (N_PIXELS,)
    STATE = {
        "temperature": ((), "float64"),
        "abundance": ((4,), "float64"),
        "line_width": ((), "float64"),
    }
    NUISANCE = {
        name: ((), "float64")
        for name in ("water", "oxygen", "slope", "curvature", "velocity")
    }

    def simulate(self, n_states: int, seed: int) -> GroupedData:
        """Simulate exposures, entangled or identifiable."""
        entangled = self.builder_config.name == "entangled"
        return simulate_exposures(n_states, self.N_INSTANCES, seed, entangled)


class SymaeShapes(_Simulated):
    """Noisy images of smooth glyphs under shift, rotation and light, 16 per glyph.

    The training set has 2000 glyphs and the test set has 500 others, from
    `simulate_shapes`.
    """

    INSTANCE_SHAPE = (28, 28, 1)
    STATE = {"harmonics": ((7,), "float64")}
    NUISANCE = {
        "shift": ((2,), "float64"),
        "angle": ((), "float64"),
        "intensity": ((), "float64"),
        "background": ((), "float64"),
        "gradient": ((2,), "float64"),
    }

    def simulate(self, n_states: int, seed: int) -> GroupedData:
        """Simulate views of glyphs."""
        return simulate_shapes(n_states, self.N_INSTANCES, seed)


class BaggedMnist(GroupedBuilder):
    """Bags of 20 images of the same handwritten digit; no image is used twice."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "If there is no network and TensorFlow Datasets has not prepared the images "
        "before, this folder must contain train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, "
        "uncompressed or ending in .gz."
    )
    IMAGES: ClassVar[str] = "mnist"
    INSTANCE_SHAPE = (28, 28, 1)
    INSTANCE_DTYPE = "uint8"
    N_INSTANCES = 20
    STATE = {"label": ((), "int64")}

    def groups(self, split: str) -> GroupedData:
        """Make bags of the images of a split; no image is in two bags."""
        folder: PathLike[str] | None = None
        if self.manual_dir is not None:
            folder = idx_folder(self.IMAGES, self.manual_dir)
        if folder is None:
            folder = self.data_path.parents[1]  # where this set is prepared
        images, labels = load_images(self.IMAGES, split, folder)
        images = images.astype("float32")  # uint8 would be scaled
        seed = self.SPLITS.index(split)
        return bag_by_label(images, labels, self.N_INSTANCES, seed=seed)


class BaggedFashionMnist(BaggedMnist):
    """Bags of 20 images of one kind of clothing; no image is used twice."""

    IMAGES = "fashion_mnist"
