"""Groups from and to pandas tables, xarray arrays and specutils spectra."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError

RNG = np.random.default_rng(0)


def groups(**changed) -> GroupedData:
    """Make three groups of two, three and one spectra of five pixels."""
    mask = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]], bool)
    x = np.where(mask[..., None], RNG.normal(size=(3, 3, 5)), 0.0)
    fields = {
        "x": x,
        "mask": mask,
        "ids": np.array(["a", "b", "c"]),
        "group_metadata": {"site": np.array(["north", "south", "west"])},
        "instance_metadata": {"air": np.where(mask, np.arange(9).reshape(3, 3), 0)},
        "axis": np.array([500.0, 501.0, 502.5, 503.0, 504.0]),
        "axis_label": "wavelength (nm)",
    }
    return GroupedData(**{**fields, **changed})


def with_gaps() -> GroupedData:
    good = np.ones((3, 3, 5), bool)
    good[0, 1, 2] = good[1, 0, 4] = False
    return groups(pixel_mask=good)


def assert_same(found: GroupedData, expected: GroupedData) -> None:
    good = np.broadcast_to(expected.good_pixels, expected.x.shape)
    there = np.broadcast_to(found.good_pixels, found.x.shape)
    np.testing.assert_array_equal(there, good)
    np.testing.assert_array_equal(found.x[good], expected.x[good])
    np.testing.assert_array_equal(found.present, expected.present)
    for name in ("ids", "axis"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.axis_label == expected.axis_label
    for name in ("group_metadata", "instance_metadata"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])


# === pandas ===


@pytest.mark.parametrize("make", [groups, with_gaps])
def test_pandas_and_back(make) -> None:
    expected = make()
    frame = expected.to_pandas()
    assert frame.columns.tolist()[:3] == ["group", "site", "air"] and len(frame) == 6
    assert frame.columns.name == "wavelength (nm)"
    assert frame[502.5].isna().sum() == (make is with_gaps)
    assert_same(GroupedData.from_pandas(frame), expected)
    shuffled = frame.set_index("group").iloc[[4, 0, 5, 2, 1, 3]]
    again = GroupedData.from_pandas(shuffled)
    assert again.ids.tolist() == ["a", "b", "c"] and again.counts.tolist() == [2, 3, 1]


def test_pixels_without_an_axis() -> None:
    expected = groups(axis=None, axis_label="pixel")
    frame = expected.to_pandas()
    assert frame.columns.tolist()[3:] == [0, 1, 2, 3, 4]
    assert_same(GroupedData.from_pandas(frame), expected)


def test_names_of_columns() -> None:
    """Pixel names are numbers as text, as in `read_csv`, or given by the user."""
    frame = groups().to_pandas().rename(columns=str)
    found = GroupedData.from_pandas(frame, axis_label="wavelength (nm)")
    assert_same(found, groups(x=found.x))
    named = frame.rename(columns={"500.0": "first", "502.5": "third", "group": "star"})
    pixels = ["third", "first"]
    found = GroupedData.from_pandas(named, group="star", pixels=pixels)
    assert found.axis is None and found.instance_shape == (2,)
    assert set(found.instance_metadata) == {"air", "501.0", "503.0", "504.0"}
    np.testing.assert_array_equal(found.x[0, 1], named[pixels].to_numpy()[1])


def test_kinds_of_columns() -> None:
    frame = groups().to_pandas()
    frame[500.0] = frame[500.0].astype("Float64")
    frame.loc[3, 500.0] = pd.NA
    frame["site"] = frame["site"].astype("category")
    frame["night"] = pd.date_range("2026-01-01", periods=6)
    frame = frame[["group", "site", "air", "night", *frame.columns[3:8]]]
    found = GroupedData.from_pandas(frame)
    assert (~found.pixel_mask[found.present]).sum() == 1 and not found.pixel_mask[
        1, 1, 0
    ]
    assert found.group_metadata["site"].tolist() == ["north", "south", "west"]
    assert found.instance_metadata["night"].dtype.kind == "M"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="group"), "no column or index level 'group'; there"),
        (
            lambda f: f[["group", "air"]],
            "set pixels= to the names of the pixel columns",
        ),
        (lambda f: f[[501.0, *f.columns.drop(501.0)]], "500.0 comes after 501.0"),
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.assign(group=[1, 2, None, 3, 4, 5]), "[2] is NaN or missing"),
        (lambda f: pd.concat([f, f["air"]], axis=1), "Two columns have the name 'air'"),
        (lambda f: f.astype({500.0: str}), "must hold real numbers"),
    ],
)
def test_tables_that_are_refused(change, words) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        GroupedData.from_pandas(change(groups().to_pandas()))


def test_groups_without_a_table() -> None:
    with pytest.raises(InputError, match="use `to_xarray`"):
        GroupedData(np.ones((2, 1, 4, 4))).to_pandas()
    with pytest.raises(InputError, match="Two columns would have the name 'site'"):
        groups(instance_metadata={"site": np.ones((3, 3))}).to_pandas()
    with pytest.raises(InputError, match="The table has no column 'red'"):
        GroupedData.from_pandas(groups().to_pandas(), pixels=[500.0, "red"])


# === xarray ===


@pytest.fixture(scope="module")
def xarray():
    return pytest.importorskip("xarray")


@pytest.mark.parametrize("make", [groups, with_gaps])
def test_xarray_and_back(make, xarray) -> None:
    expected = make()
    labelled = expected.to_xarray()
    assert labelled["x"].dims == ("group", "instance", "wavelength")
    assert labelled["wavelength"].attrs["units"] == "nm"
    assert labelled["x"].sel(group="b", wavelength=502.5).shape == (3,)
    for each in (labelled, labelled.transpose("wavelength", "instance", "group")):
        assert_same(GroupedData.from_xarray(each), expected)


def test_a_file_of_xarray(xarray, tmp_path) -> None:
    """Attributes and types survive a round trip through a file."""
    pytest.importorskip("scipy")
    expected = with_gaps()
    path = tmp_path / "groups.nc"
    labelled = expected.to_xarray()
    labelled.to_netcdf(path, engine="scipy")
    with xarray.open_dataset(path, engine="scipy") as stored:
        assert_same(GroupedData.from_xarray(stored), expected)


def test_everything_that_groups_have(xarray) -> None:
    stars = simulate_exposures(n_states=4, n_instances=3, seed=0)
    weights = RNG.uniform(size=stars.x.shape)
    stars = GroupedData(
        stars.x, state=stars.state, nuisance=stars.nuisance, weights=weights
    )
    found = GroupedData.from_xarray(stars.to_xarray())
    np.testing.assert_array_equal(found.weights, stars.weights)
    for field in ("state", "nuisance"):
        ours, theirs = getattr(found, field), getattr(stars, field)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    assert found.ids is None and found.group_metadata == {}


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((6, 2), ("pixel", "channel")),
        ((6, 5, 1), ("height", "width", "channel")),
        ((2, 3, 4, 5), ("pixel", "axis_1", "axis_2", "axis_3")),
    ],
)
def test_images(shape, dims, xarray) -> None:
    images = GroupedData(RNG.normal(size=(3, 2, *shape)))
    labelled = images.to_xarray()
    assert labelled["x"].dims[2:] == dims
    np.testing.assert_array_equal(GroupedData.from_xarray(labelled).x, images.x)


def test_gaps_of_an_array(xarray) -> None:
    x = RNG.normal(size=(3, 2, 4))
    x[0, 0, 1] = x[2, 1] = np.nan
    found = GroupedData.from_xarray(
        xarray.DataArray(x, dims=("group", "instance", "nm"))
    )
    np.testing.assert_array_equal(found.mask, [[1, 1], [1, 1], [1, 0]])
    np.testing.assert_array_equal(found.pixel_mask, ~np.isnan(x))
    assert found.axis is None and np.isfinite(found.x).all()


def test_rows_with_a_coordinate(xarray) -> None:
    """Labelled spectra that are not yet grouped."""
    x = RNG.normal(size=(4, 5))
    x[1, 3] = np.nan
    rows = xarray.DataArray(
        x.T,
        dims=("wavenumber", "row"),
        coords={
            "sample": ("row", ["q", "p", "q", "q"]),
            "night": ("row", [1, 2, 3, 4]),
            "wavenumber": ("wavenumber", np.arange(5.0), {"units": "1/cm"}),
        },
    )
    found = GroupedData.from_xarray(rows, group="sample")
    assert found.ids.tolist() == ["p", "q"] and found.counts.tolist() == [1, 3]
    assert found.axis_label == "wavenumber (1/cm)"
    np.testing.assert_array_equal(found.x[1], x[[0, 2, 3]])
    assert found.pixel_mask.sum() == 2 * 3 * 5 - 2 * 5 - 1
    assert found.instance_metadata["night"].tolist() == [[2, 0, 0], [1, 3, 4]]


def test_coordinates_of_instances(xarray) -> None:
    """Instruments that are the same in all groups."""
    found = GroupedData.from_xarray(
        xarray.DataArray(
            np.ones((3, 2, 4)),
            dims=("tablet", "instrument", "nm"),
            coords={"instrument": ["A", "B"], "assay": ("tablet", [1.0, 2.0, 3.0])},
        ),
        group="tablet",
        instance="instrument",
    )
    assert found.instance_metadata["instrument"].tolist() == [["A", "B"]] * 3
    assert found.group_metadata["assay"].tolist() == [1, 2, 3] and found.ids is None


def test_arrays_of_xarray_that_are_refused(xarray) -> None:
    def refuses(words, data, **names):
        with pytest.raises(InputError, match=re.escape(words)):
            GroupedData.from_xarray(data, **names)

    labelled = groups().to_xarray()
    refuses("an xarray DataArray or Dataset; received ndarray", np.ones((2, 2, 2)))
    refuses("the dimensions are group, instance, wavelength", labelled, group="star")
    refuses("no variable 'x'", labelled.rename(x="flux"))
    refuses("no variable 'x' with the instances; it has none", xarray.Dataset())
    with pytest.raises(InputError, match=r"group_metadata\['present'\] has the name"):
        groups(group_metadata={"present": np.ones(3)}).to_xarray()
    with pytest.raises(InputError, match="the name 'group' of another dimension"):
        groups(axis_label="group (nm)").to_xarray()


# === specutils ===


def spectrum(level=1.0, **changed) -> SimpleNamespace:
    """Object with the attributes of a specutils `Spectrum`."""
    units = pytest.importorskip("astropy.units")
    fields = {
        "flux": level * np.ones(4) * units.Jy,
        "spectral_axis": np.array([500.0, 501.0, 502.0, 503.0]) * units.nm,
        "mask": None,
        "uncertainty": None,
    }
    return SimpleNamespace(**{**fields, **changed})


def test_spectra() -> None:
    units = pytest.importorskip("astropy.units")
    other = spectrum(2.0)
    other.flux, other.spectral_axis = other.flux.to("mJy"), other.spectral_axis.to("um")
    other.mask = np.array([False, True, False, False])
    gap = spectrum(3.0)
    gap.flux[0] = np.nan * units.Jy
    found = GroupedData.from_specutils([spectrum(), other, gap], ["s", "r", "s"])
    assert found.ids.tolist() == ["r", "s"] and found.axis_label == "wavelength (nm)"
    assert (
        found.mask.tolist() == [[True, False], [True, True]] and found.weights is None
    )
    np.testing.assert_allclose(found.axis, [500, 501, 502, 503])
    expected = [[[2, 0, 2, 2], [0] * 4], [[1] * 4, [0, 3, 3, 3]]]
    np.testing.assert_allclose(found.x, expected)
    assert found.pixel_mask[found.present].sum() == 10


@pytest.mark.parametrize(
    "kind", ["StdDevUncertainty", "VarianceUncertainty", "InverseVariance"]
)
def test_uncertainties(kind) -> None:
    units = pytest.importorskip("astropy.units")
    nddata = pytest.importorskip("astropy.nddata")
    sigma = np.array([0.5, 2.0, 0.0, 1.0])
    power = {"StdDevUncertainty": 1, "VarianceUncertainty": 2, "InverseVariance": -2}[
        kind
    ]
    with np.errstate(divide="ignore"):
        array = (1000 * sigma) ** power
    known = getattr(nddata, kind)(array, unit=units.mJy**power)
    found = GroupedData.from_specutils([spectrum(uncertainty=known)], ["a"])
    np.testing.assert_allclose(found.weights, [[[4.0, 0.25, 0.0, 1.0]]], rtol=1e-6)


def test_lists_of_specutils() -> None:
    specutils = pytest.importorskip("specutils")
    units = pytest.importorskip("astropy.units")
    plain = [spectrum(level) for level in (1.0, 2.0)]
    spectra = specutils.SpectrumList(
        [specutils.Spectrum(flux=s.flux, spectral_axis=s.spectral_axis) for s in plain]
    )
    found = GroupedData.from_specutils(spectra, [7, 7])
    np.testing.assert_array_equal(found.x[0, :, 0], [1.0, 2.0])
    assert spectra[0].spectral_axis.unit == units.nm


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"spectral_axis": None}, "spectral axis"),
        ({"flux": None}, "the units of the first, Jy and nm"),
        (
            {"uncertainty": SimpleNamespace(uncertainty_type="unknown")},
            "type 'unknown'",
        ),
    ],
)
def test_spectra_that_are_refused(changed, words) -> None:
    units = pytest.importorskip("astropy.units")
    if "spectral_axis" in changed:
        changed = {"spectral_axis": np.array([500.0, 501.0, 502.0, 504.0]) * units.nm}
    if "flux" in changed:
        changed = {"flux": np.ones(4) * units.m}
    with pytest.raises(InputError, match=words):
        GroupedData.from_specutils([spectrum(), spectrum(**changed)], [1, 2])


def test_lists_that_are_refused() -> None:
    def refuses(words, spectra, ids):
        with pytest.raises(InputError, match=re.escape(words)):
            GroupedData.from_specutils(spectra, ids)

    nddata = pytest.importorskip("astropy.nddata")
    known = spectrum(uncertainty=nddata.StdDevUncertainty(np.ones(4)))
    refuses("received none", [], [])
    refuses("Spectrum 0 is a list without flux", [[1.0, 2.0]], ["a"])
    refuses("Spectrum 1 has no uncertainty", [known, spectrum()], [1, 2])
    refuses("one entry for each spectrum", [spectrum()], [1, 2])
    cube = spectrum()
    cube.flux = np.ones((3, 4)) * cube.flux.unit
    refuses("Spectrum 0 has a flux of shape (3, 4)", [cube], [1])
