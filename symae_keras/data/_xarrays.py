"""Conversion of groups from and to xarray data sets with named axes and units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from symae_keras._utils.optional import import_optional
from symae_keras._utils.text import listed
from symae_keras.data._arrays import Array, metadata, plain, real_numbers, row_names
from symae_keras.data._rows import sort_rows
from symae_keras.errors import InputError

#: Names of variables of a data set, and the fields of `GroupedData` they map to.
_ARRAYS: Final = {"present": "mask", "good_pixels": "pixel_mask", "weights": "weights"}
#: Attribute of a variable that names its field of `GroupedData`.
_FIELD: Final = "symae_keras_field"
_FIELDS: Final = ("state", "nuisance", "group_metadata", "instance_metadata")
_PIXEL_DIMS: Final = {2: ("channel",), 3: ("width", "channel")}
_UNIT: Final = re.compile(r"^(.*?)\s*[(\[]([^()\[\]]*)[)\]]\s*$")


def xarray_of(groups: Any) -> Any:
    """Convert `GroupedData` to a data set; see `GroupedData.to_xarray`."""
    xr = import_optional("xarray", "data", "`to_xarray`")
    label = _UNIT.match(groups.axis_label)
    name, unit = label.groups() if label else (groups.axis_label, "")
    first = re.sub(r"\W+", "_", name).strip("_") or "pixel"
    n_axes = len(groups.instance_shape)
    if groups.axis is None:
        first = "height" if n_axes == 3 else "pixel"
    more = _PIXEL_DIMS.get(n_axes, tuple(f"axis_{k}" for k in range(1, n_axes)))
    dims = ("group", "instance", first, *more)
    if len(set(dims)) < len(dims):
        raise InputError(
            f"The axis has the name {name!r} of another dimension of the data set; "
            "change axis_label."
        )
    variables: dict[str, Any] = {"x": (dims, groups.x)}
    for key, field in _ARRAYS.items():
        values = getattr(groups, field)
        if values is not None:
            variables[key] = (dims[: values.ndim], values)
    coords: dict[str, Any] = {}
    if groups.ids is not None:
        coords["group"] = groups.ids
    if groups.axis is not None:
        about = {"long_name": name, **({"units": unit} if unit else {})}
        coords[first] = (first, groups.axis, about)
    for field in _FIELDS:
        leading = dims[: 1 if field in ("state", "group_metadata") else 2]
        for key, values in getattr(groups, field).items():
            if key in variables or key in dims:
                raise InputError(
                    f"{field}[{key!r}] has the name of another variable of the data "
                    "set; rename it."
                )
            inner = [f"{key}_{k}" for k in range(np.ndim(values) - len(leading))]
            variables[key] = ((*leading, *inner), values, {_FIELD: field})
    return xr.Dataset(variables, coords)


def fields_of_xarray(data: Any, group: str, instance: str) -> dict[str, Any]:
    """Return the fields of `GroupedData`; see `GroupedData.from_xarray`."""
    if not (hasattr(data, "dims") and hasattr(data, "coords")):
        raise InputError(
            f"Expected an xarray DataArray or Dataset; received {type(data).__name__}."
        )
    others: dict[str, Any] = {}
    x = data
    if hasattr(data, "data_vars"):
        others = {str(key): each for key, each in data.data_vars.items()}
        name = "x" if "x" in others else next(iter(others), "x")
        if name not in others or (name != "x" and len(others) > 1):
            raise InputError(
                "The Dataset has no variable 'x' with the instances; it has "
                f"{listed(list(others)) or 'none'}. Rename the variable, or give the "
                "DataArray of the instances."
            )
        x = others.pop(name)
    others |= {str(key): each for key, each in x.coords.items()}
    if group in x.dims and instance in x.dims:
        return _of_groups(x, others, group, instance)
    if group in x.coords and x.coords[group].ndim == 1 and group not in x.dims:
        return _of_rows(x, others, group)
    raise InputError(
        f"Expected the dimensions {group!r} and {instance!r}, or a coordinate "
        f"{group!r} with the group of each row; the dimensions are "
        f"{listed([str(each) for each in x.dims])}, the coordinates "
        f"{listed([str(each) for each in x.coords]) or 'none'}. Set group= and "
        "instance= to the names in your data."
    )


def _of_groups(
    x: Any, others: Mapping[str, Any], group: str, instance: str
) -> dict[str, Any]:
    x = x.transpose(group, instance, ...)
    dims = x.dims
    values, good = _with_gaps(x)
    fields: dict[str, Any] = {"x": values, **_axis_of(x, dims[2])}
    if group in others:
        fields["ids"] = plain(group, others[group].values)[0]
    pixels = set(dims[2:])
    for key, each in others.items():
        if key in (group, *dims[2:]):
            continue
        if key == "present":
            fields["mask"] = each.transpose(group, instance).values
        elif key in _ARRAYS:
            fields[_ARRAYS[key]] = _like(each, x)
        elif instance in each.dims:
            full = each if group in each.dims else each.expand_dims({group: x[group]})
            full = full.transpose(group, instance, ...).values
            field = each.attrs.get(_FIELD, "instance_metadata")
            fields.setdefault(field, {})[key] = full
        elif group in each.dims and not pixels & set(each.dims):
            field = each.attrs.get(_FIELD, "group_metadata")
            fields.setdefault(field, {})[key] = each.transpose(group, ...).values
    if good is not None:
        given = fields.get("pixel_mask")
        fields["pixel_mask"] = good if given is None else good & given
        there = good.any(axis=tuple(range(2, good.ndim)))
        if not there.all():
            fields["mask"] = there & np.asarray(fields.get("mask", True))
    return fields


def _of_rows(x: Any, others: Mapping[str, Any], group: str) -> dict[str, Any]:
    row = x.coords[group].dims[0]
    x = x.transpose(row, ...)
    values, good = _with_gaps(x)
    ids = row_names(group, x.coords[group].values, "row", len(values))
    known = {
        key: metadata(key, each.transpose(row, ...).values)
        for key, each in others.items()
        if row in each.dims and key not in (group, *_ARRAYS)
    }
    rows = sort_rows(ids, known)
    fields: dict[str, Any] = {
        "x": rows.padded(values),
        "mask": None if rows.mask.all() else rows.mask,
        "ids": rows.ids,
        "group_metadata": rows.group_metadata,
        "instance_metadata": rows.padded_metadata(),
        **_axis_of(x, x.dims[1]),
    }
    for key in ("good_pixels", "weights"):
        if key in others:
            fields[_ARRAYS[key]] = rows.padded(_like(others[key], x))
    if good is not None:
        there = fields.get("pixel_mask", np.True_)
        fields["pixel_mask"] = rows.padded(good) & there
    return fields


def _with_gaps(x: Any) -> tuple[Array, Array | None]:
    """Replace NaN by 0; return the values and a pixel mask (`None` without NaN)."""
    values, _ = real_numbers("x", x.values)
    missing = np.isnan(values)
    if not missing.any():
        return values, None
    return np.where(missing, values.dtype.type(0), values), ~missing


def _like(each: Any, x: Any) -> Array:
    """Return an array with the dimensions of `x`, in the order of `x`."""
    return np.asarray(each.broadcast_like(x).transpose(*x.dims).values)


def _axis_of(x: Any, dim: str) -> dict[str, Any]:
    """Return the axis and its label if the dimension has a numeric coordinate."""
    if dim not in x.coords or x.coords[dim].dtype.kind not in "iuf":
        return {}
    coord = x.coords[dim]
    unit = coord.attrs.get("units", "")
    name = coord.attrs.get("long_name", dim)
    return {
        "axis": coord.values,
        "axis_label": f"{name} ({unit})" if unit else str(name),
    }
