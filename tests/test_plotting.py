from __future__ import annotations

import csv
import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.testing import assert_allclose, assert_array_equal

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.plotting import (
    plot_bottleneck_sweep,
    plot_codes,
    plot_dictionary,
    plot_error_over_instances,
    plot_estimates,
    plot_history,
    plot_latent_traversal,
    plot_model_reconstruction,
    plot_one_over_t,
    plot_reconstruction,
    plot_redatuming,
    plot_redatuming_grid,
    plot_replicate_spread,
    plot_replicates,
    plot_residuals,
    plot_segmentation,
    plot_trade_off,
    plot_trials,
)


def random(seed=0):
    return np.random.default_rng(seed)


def rendered(figure: Figure) -> Figure:
    """Draw and return the figure; check that its text is legible and not cut off."""
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.bbox
    hidden = hidden_tick_labels(figure)
    for text in figure.findobj(Text):
        if not text.get_text() or not text.get_visible() or text in hidden:
            continue
        assert text.get_fontsize() >= 9.0
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text
    return figure


def hidden_tick_labels(figure: Figure) -> set[Text]:
    """Return labels of ticks outside the limits, which are not drawn."""
    labels = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    labels |= {tick.label1, tick.label2}
    return labels


def curve(ax, index=0):
    return ax.lines[index].get_ydata()


def pixels(ax):
    return np.asarray(ax.images[0].get_array())


def assert_apart(figure, labels):
    """Check that labels in a row do not overlap."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


class TestRedatumingOfSpectra:
    def arrays(self, n=2, pixels=30):
        return [random(i).normal(size=(n, pixels)) for i in range(4)]

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_panels_hold_the_spectra_and_their_difference(self, n):
        arrays, axis = self.arrays(n), np.linspace(400.0, 700.0, 30)
        coherent, nuisance, virtual, truth = arrays
        labels = "wavelength (nm)", "flux (Jy)"
        figure = rendered(plot_redatuming(*arrays, axis, *labels))
        assert len(figure.axes) == 4 * n
        for i in range(n):
            panels = figure.axes[4 * i : 4 * i + 4]
            assert_array_equal(curve(panels[0]), coherent[i])
            assert_array_equal(curve(panels[1]), nuisance[i])
            drawn = {line.get_label(): line.get_ydata() for line in panels[2].lines}
            assert_array_equal(drawn["virtual"], virtual[i])
            assert_array_equal(drawn["truth"], truth[i])
            assert_allclose(curve(panels[3], -1), truth[i] - virtual[i])
            assert_array_equal(panels[0].lines[0].get_xdata(), axis)
            rms = np.sqrt(np.mean((truth[i] - virtual[i]) ** 2))
            assert f"rms {rms:.2g}" in panels[3].get_title("left")
        assert (figure.get_supxlabel(), figure.get_supylabel()) == labels

    def test_without_truth_there_is_no_residual(self):
        figure = rendered(plot_redatuming(*self.arrays()[:3]))
        assert len(figure.axes) == 6
        assert_array_equal(figure.axes[0].lines[0].get_xdata(), range(30))
        # The virtual instance is drawn over both sources.
        coherent, nuisance, virtual = self.arrays()[:3]
        for line, drawn in zip(
            figure.axes[2].lines, (coherent, nuisance, virtual), strict=True
        ):
            assert_array_equal(line.get_ydata(), drawn[0])

    def test_titles_name_the_sources(self):
        names = [("star 7", "night 12"), ("a" * 30, "")]
        figure = rendered(plot_redatuming(*self.arrays(), names=names))
        titles = [figure.axes[i].get_title("left") for i in (0, 1, 4, 5)]
        assert titles[:2] == ["coherent: star 7", "nuisance: night 12"]
        assert titles[2].startswith("coherent: aaa") and len(titles[2]) == 24
        assert titles[3] == "nuisance source"
        images = [random().normal(size=(2, 8, 10))] * 3
        figure = rendered(plot_redatuming(*images, names=names))
        assert [ax.get_xlabel() for ax in figure.axes[:3]] == [*names[0], ""]
        with pytest.raises(InputError, match="names must have two entries"):
            plot_redatuming(*images, names=names[:1])

    @pytest.mark.parametrize("n_arrays", [3, 4])
    def test_bands_are_shaded(self, n_arrays):
        arrays = self.arrays()
        virtual = arrays[2]
        bands = virtual - 1.0, virtual + 2.0
        figure = rendered(plot_redatuming(*arrays[:n_arrays], bands=bands))
        axes = np.array(figure.axes).reshape(2, n_arrays)
        for i, panels in enumerate(axes):
            shaded = [len(ax.collections) for ax in panels]
            assert shaded == [0, 0, 1, 1][:n_arrays]
            vertices = panels[2].collections[0].get_paths()[0].vertices[:, 1]
            assert vertices.min() == bands[0][i].min()
            assert vertices.max() == bands[1][i].max()
        if n_arrays == 4:  # around the residual
            assert axes[0, 3].collections[0].get_paths()[0].vertices[:, 1].max() == 2.0

    def test_bands_must_fit(self):
        arrays = self.arrays()
        with pytest.raises(InputError, match="the lower limits must have the shape"):
            plot_redatuming(*arrays, bands=(arrays[0][:1], arrays[0]))
        images = [random().normal(size=(2, 8, 10))] * 3
        with pytest.raises(InputError, match="bands are only drawn for spectra"):
            plot_redatuming(*images, bands=(images[0], images[0]))

    def test_the_three_spectra_of_an_example_share_their_scale(self):
        coherent, nuisance, virtual, truth = self.arrays(1)
        figure = plot_redatuming(coherent * 10, nuisance, virtual, truth)
        limits = [ax.get_ylim() for ax in figure.axes]
        assert limits[0] == limits[1] == limits[2] != limits[3]
        assert limits[0][1] >= 10 * coherent.max()

    def test_gaps_in_the_truth_do_not_spoil_the_residual(self):
        coherent, nuisance, virtual, truth = self.arrays(1)
        truth[0, :10] = np.nan
        figure = rendered(plot_redatuming(coherent, nuisance, virtual, truth))
        rms = np.sqrt(np.mean((truth - virtual)[0, 10:] ** 2))
        assert f"rms {rms:.2g}" in figure.axes[3].get_title("left")

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    @pytest.mark.parametrize("shape", [(2, 30), (2, 5, 6)])
    def test_tensors_of_the_backend_are_welcome(self, shape, dtype):
        values = random().integers(0, 9, shape)  # exact in all of them
        tensor = keras.ops.cast(values, dtype)
        figure = rendered(plot_redatuming(tensor, tensor, tensor, tensor))
        ax = figure.axes[0]
        drawn = curve(ax) if len(shape) == 2 else pixels(ax)
        assert_array_equal(drawn, values[0])


class TestRedatumingOfImages:
    def arrays(self, channels=(1,), n=2):
        shape = (n, 8, 10, *channels)
        return [random(i).normal(size=shape) for i in range(4)]

    @pytest.mark.parametrize("channels", [(), (1,)])
    def test_grey_images_share_one_scale(self, channels):
        arrays = self.arrays(channels)
        figure = rendered(plot_redatuming(*arrays, value_label="counts"))
        panels = np.array(figure.axes[:10]).reshape(2, 5)
        low, high = np.min(arrays), np.max(arrays)
        for row in range(2):
            for ax, array in zip(panels[row], arrays, strict=False):
                assert_array_equal(pixels(ax), array[row].reshape(8, 10))
                assert ax.images[0].get_clim() == (low, high)
            difference = (arrays[3] - arrays[2]).reshape(2, 8, 10)
            assert_allclose(pixels(panels[row, 4]), difference[row])
            bound = np.abs(difference).max()
            assert_allclose(panels[row, 4].images[0].get_clim(), (-bound, bound))
        bars = figure.axes[10:]
        assert [bar.get_xlabel() for bar in bars] == ["counts", "truth − virtual"]
        sources = ["coherent source", "nuisance source"]
        titles = [ax.get_title() for ax in panels[0]]
        assert titles == [*sources, "virtual", "truth", "residual"]

    def test_without_truth_there_are_three_columns(self):
        assert len(rendered(plot_redatuming(*self.arrays()[:3])).axes) == 2 * 3 + 1

    def test_colour_images_are_scaled_together(self):
        arrays = self.arrays((3,))
        figure = rendered(plot_redatuming(*arrays))
        assert len(figure.axes) == 10 + 1
        low, high = np.min(arrays), np.max(arrays)
        assert_allclose(pixels(figure.axes[2]), (arrays[2][0] - low) / (high - low))
        residual = (arrays[3] - arrays[2])[0].mean(axis=-1)
        assert_allclose(pixels(figure.axes[4]), residual)

    def test_a_perfect_constant_image_can_be_shown(self):
        ones = np.ones((1, 4, 4, 3))
        figure = rendered(plot_redatuming(ones, ones, ones, ones))
        assert figure.axes[4].images[0].get_clim() == (-1.0, 1.0)


class TestRedatumingGrid:
    @pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 3)])
    def test_cells_of_images(self, shape):
        states, nuisances = random(0).random((2, *shape)), random(1).random((3, *shape))
        virtual = random(2).random((2, 3, *shape))
        figure = rendered(plot_redatuming_grid(states, nuisances, virtual))
        colour = shape[-1] == 3
        assert len(figure.axes) == 3 * 4 - 1 + (not colour)
        expected = [*nuisances]
        for state, row in zip(states, virtual, strict=True):
            expected += [state, *row]
        low, span = np.min(expected), np.ptp(expected)
        for ax, image in zip(figure.axes, expected, strict=False):
            want = (image - low) / span if colour else image.reshape(6, 7)
            assert_allclose(pixels(ax), want)

    def test_cells_of_spectra(self):
        states, nuisances = random(0).random((2, 9)), random(1).random((3, 9))
        virtual = random(2).random((2, 3, 9))
        axis = np.linspace(1.0, 2.0, 9)
        figure = rendered(
            plot_redatuming_grid(states, nuisances, virtual, axis, "energy (eV)", "dB")
        )
        assert len(figure.axes) == 11
        assert_array_equal(curve(figure.axes[0]), nuisances[0])
        assert_array_equal(curve(figure.axes[3]), states[0])
        assert_array_equal(curve(figure.axes[-1]), virtual[1, 2])
        assert_array_equal(figure.axes[5].lines[0].get_xdata(), axis)
        assert len({ax.get_ylim() for ax in figure.axes}) == 1
        assert figure.get_supxlabel() == "energy (eV)"
        assert figure.axes[0].get_title() == "nuisance 1"

    def test_heads_of_a_wide_grid_do_not_touch(self):
        images = random(0).random((14, 4, 4))
        figure = rendered(plot_redatuming_grid(images[:1], images, images[None]))
        assert figure.axes[13].get_title() == "14"
        assert_apart(figure, [ax.title for ax in figure.axes[:14]])


class TestCodes:
    def test_principal_components_of_known_axes(self):
        # Three directions with known, uncorrelated spread, in rotated coordinates.
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        rotation = np.linalg.qr(random().normal(size=(3, 3)))[0]
        codes = signs * [3.0, 2.0, 1.0] @ rotation + 5.0
        figure = rendered(plot_codes(codes, np.arange(8.0), "phase (rad)"))
        ax, bar = figure.axes
        points = ax.collections[0].get_offsets()
        assert_allclose(np.abs(points), np.abs(signs[:, :2] * [3, 2]), rtol=1e-9)
        assert ax.get_xlabel() == "coherent code, principal component 1 (64 %)"
        assert ax.get_ylabel() == "coherent code, principal component 2 (29 %)"
        assert bar.get_ylabel() == "phase (rad)"
        assert_array_equal(ax.collections[0].get_array(), np.arange(8.0))

    def test_two_components_are_shown_as_they_are(self):
        codes = random().normal(size=(20, 2)) + 7.0
        figure = rendered(plot_codes(codes, codes[:, 0], "t", "nuisance code"))
        assert_array_equal(figure.axes[0].collections[0].get_offsets(), codes)
        assert figure.axes[0].get_xlabel() == "nuisance code, component 1"

    @pytest.mark.parametrize(
        ("colour", "heights"),
        [
            ([0.3, 0.1, 0.2], [0.3, 0.1, 0.2]),
            (["b", "a", "b"], [1, 0, 1]),
            ([True, False, True], [1, 0, 1]),
        ],
    )
    def test_one_component_is_shown_against_the_parameter(self, colour, heights):
        codes = np.array([[1.0], [2.0], [3.0]])
        ax = rendered(plot_codes(codes, colour, "parameter")).axes[0]
        points = ax.collections[0].get_offsets()
        assert_array_equal(points, np.stack([codes[:, 0], heights], axis=1))
        assert ax.get_ylabel() == "parameter"

    @pytest.mark.parametrize("n_classes", [2, 10, 24])
    def test_every_label_has_a_look_of_its_own(self, n_classes):
        labels = np.arange(72) % n_classes
        codes = random().normal(size=(72, 4))
        ax = rendered(plot_codes(codes, labels, "digit")).axes[0]
        looks = set()
        for n, points in enumerate(ax.collections):
            assert points.get_label() == str(n)
            assert len(points.get_offsets()) == np.sum(labels == n)
            shape = points.get_paths()[0].vertices.tobytes()
            looks.add((*points.get_facecolor()[0], shape))
        assert len(looks) == len(ax.collections) == n_classes


class TestDictionary:
    @pytest.mark.parametrize("n", [1, 2, 3, 8, 11])
    @pytest.mark.parametrize("channels", [(), (1,)])
    def test_images_share_a_scale_about_zero(self, n, channels):
        atoms = random().normal(size=(n, 5, 6, *channels))
        figure = rendered(plot_dictionary(atoms, value_label="counts"))
        *panels, bar = figure.axes
        limit = np.abs(atoms).max()
        for index, (ax, atom) in enumerate(zip(panels, atoms, strict=True)):
            assert_array_equal(pixels(ax), atom.reshape(5, 6))
            assert ax.images[0].get_clim() == (-limit, limit)
            assert ax.get_title() == str(index)
        white = panels[0].images[0].cmap(0.5)
        assert min(white[:3]) > 0.95
        assert bar.get_xlabel() == "counts"

    @pytest.mark.parametrize("n", [1, 2, 4, 7])
    def test_spectra_share_their_scale(self, n):
        atoms = random().normal(size=(n, 30)) * 1e-5
        axis = np.linspace(400.0, 700.0, 30)
        figure = rendered(plot_dictionary(atoms, 32, axis, "wavelength (nm)", "flux"))
        for index, (ax, atom) in enumerate(zip(figure.axes, atoms, strict=True)):
            assert_array_equal(curve(ax, -1), atom)
            assert_array_equal(ax.lines[-1].get_xdata(), axis)
            assert ax.get_title() == str(index)
        assert len({ax.get_ylim() for ax in figure.axes}) == 1
        assert figure.get_supxlabel() == "wavelength (nm)"
        assert figure.get_supylabel() == "flux"

    def test_the_first_atoms_are_shown(self):
        atoms = keras.ops.ones((50, 4, 4))
        assert len(rendered(plot_dictionary(atoms)).axes) == 32 + 1
        assert len(rendered(plot_dictionary(atoms, n_atoms=3)).axes) == 3 + 1

    def test_atoms_of_zeros(self):
        figure = rendered(plot_dictionary(np.zeros((2, 4, 4))))
        assert figure.axes[0].images[0].get_clim() == (-1.0, 1.0)


class TestHistory:
    logs = {
        "val_loss": [1.1, 0.7, 0.6],
        "loss": [1.0, 0.5, 0.25],
        "noise_strength": [0.5, 0.3, 0.2],
        "mae": [0.9, 0.8, 0.7],
        "val_mae": [0.95, 0.85, 0.75],
    }

    @pytest.mark.parametrize("kind", ["dict", "fit", "text", "path"])
    def test_of_a_dict_or_object_or_file(self, kind, tmp_path):
        path = tmp_path / "history.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *self.logs])
            writer.writerows(zip(range(3), *self.logs.values(), strict=True))
        of_fit = SimpleNamespace(history=self.logs, epoch=[0, 1, 2])
        given = {"dict": self.logs, "fit": of_fit, "text": str(path), "path": path}
        figure = rendered(plot_history(given[kind]))
        names = [ax.get_ylabel() for ax in figure.axes]
        assert names == ["loss", "noise_strength", "mae"]
        loss, strength, mae = figure.axes
        assert loss.get_yscale() == "log"
        assert strength.get_yscale() == "linear"
        drawn = [curve(loss), curve(loss, 1), curve(strength), curve(mae, 1)]
        keys = ["loss", "val_loss", "noise_strength", "val_mae"]
        assert_array_equal(drawn, [self.logs[key] for key in keys])
        assert_array_equal(loss.lines[0].get_xdata(), [1, 2, 3])
        assert mae.get_xlabel() == "epoch"

    def test_of_keras(self, tmp_path):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x, y = np.ones((4, 2)), np.zeros((4, 1))
        path = tmp_path / "history.csv"
        log = keras.callbacks.CSVLogger(path)
        rare = {"validation_data": (x, y), "validation_freq": 2}
        history = model.fit(x, y, epochs=4, callbacks=[log], verbose=0, **rare)
        ax = rendered(plot_history(path)).axes[0]
        assert_allclose(curve(ax), history.history["loss"], rtol=1e-6)
        assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3, 4])
        assert_array_equal(ax.lines[1].get_xdata(), [2, 4])
        assert_allclose(curve(ax, 1), history.history["val_loss"], rtol=1e-6)
        # The object does not contain the epochs of validation; guessing would mislead.
        with pytest.raises(InputError, match="give the history.csv"):
            plot_history(history)

    def test_a_loss_that_turns_negative_is_not_put_on_a_logarithmic_axis(self):
        ax = rendered(plot_history({"loss": [1.0, -1.0]})).axes[0]
        assert ax.get_yscale() == "linear"

    def test_bad_files(self, tmp_path):
        with pytest.raises(InputError, match="Cannot read the history .*missing"):
            plot_history(tmp_path / "missing.csv")
        (tmp_path / "empty.csv").write_text("epoch,loss\n", encoding="utf-8")
        with pytest.raises(InputError, match="contains no epochs"):
            plot_history(tmp_path / "empty.csv")


class TestErrorOverInstances:
    def test_median_band_and_limit(self):
        # `n_instances` and seeds are in random order.
        n_instances = np.array([16, 4, 64])
        seeds = np.array([4.0, 1.0, 2.0])
        errors = {"a": seeds / n_instances[:, None], "b": [0.5, 0.6, 0.7]}
        limit = 0.5 / n_instances
        figure = rendered(
            plot_error_over_instances(n_instances, errors, limit, {"a": "SymAE"})
        )
        (ax,) = figure.axes
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        lines = {line.get_label(): line for line in ax.lines}
        assert list(lines) == ["SymAE", "b", "limit"]
        count = np.array([4, 16, 64])
        for line in lines.values():
            assert_array_equal(line.get_xdata(), count)
        assert_allclose(lines["SymAE"].get_ydata(), 2.0 / count)
        assert_allclose(lines["b"].get_ydata(), [0.6, 0.5, 0.7])
        assert_allclose(lines["limit"].get_ydata(), 0.5 / count)
        (band,) = ax.collections  # one seed has no band
        corners = band.get_paths()[0].vertices
        for n in count:
            heights = corners[corners[:, 0] == n, 1]
            assert_allclose([heights.min(), heights.max()], [1 / n, 4 / n])

    def test_many_numbers_of_instances_keep_their_labels_apart(self):
        n_instances = np.arange(1, 33)
        figure = rendered(
            plot_error_over_instances(n_instances, {"a": 1 / n_instances})
        )
        labels = figure.axes[0].get_xticklabels()
        assert labels[0].get_text() == "1"
        assert len(labels) > 8
        assert_apart(figure, labels)


def test_curves_over_the_size_of_the_code():
    errors = {"network": np.array([[0.3, 0.2], [0.1, 0.2]]), "PCA": [0.5, 0.4]}
    figure = rendered(plot_bottleneck_sweep([4, 16], errors, {"PCA": "linear"}))
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == ["network", "linear"]
    assert_allclose(curve(ax), [0.25, 0.15])
    assert_array_equal(ax.lines[0].get_xdata(), [4, 16])
    assert ax.get_xlabel() == "numbers in the code"
    assert "variance of the data" in ax.get_ylabel()


def linear(matrix):
    """A model that decodes a code to its product with a matrix."""
    return SimpleNamespace(
        decode=lambda code: keras.ops.convert_to_tensor(code) @ matrix
    )


def traversal(**options):
    codes = random(2).normal(size=(50, 4))
    return plot_latent_traversal(linear(np.ones((4, 30))), codes, **options)


class TestLatentTraversal:
    matrix = random(1).normal(size=(5, 30)).astype("float32")
    codes = random(2).normal(size=(50, 5)) * [1.0, 2.0, 0.5, 1.0, 1.0] + 3.0

    @pytest.mark.parametrize(
        ("latents", "names"),
        [(None, None), ([3], None), ([1, 2], ["velocity", "temperature"])],
    )
    def test_one_number_is_swept_at_a_time(self, latents, names):
        axis = np.linspace(400.0, 700.0, 30)
        figure = rendered(
            plot_latent_traversal(
                *(linear(self.matrix), self.codes, latents, names),
                **{"sigmas": 2.0, "n_steps": 5, "axis": axis},
                **{"axis_label": "wavelength (nm)", "value_label": "flux"},
            )
        )
        *panels, bar = figure.axes
        centre = np.median(self.codes, axis=0) @ self.matrix
        rows = range(5) if latents is None else latents
        titles = [ax.get_title("left") for ax in panels]
        assert titles == (names or [f"latent {latent}" for latent in rows])
        for ax, latent in zip(panels, rows, strict=True):
            assert len(ax.lines) == 5
            for line, step in zip(ax.lines, (-2, -1, 0, 1, 2), strict=True):
                change = step * self.codes[:, latent].std() * self.matrix[latent]
                assert_allclose(line.get_ydata(), centre + change, atol=1e-4)
                assert_array_equal(line.get_xdata(), axis)
        assert len({line.get_color() for line in panels[0].lines}) == 5
        assert bar.get_ylim() == (-2.0, 2.0)
        assert figure.get_supxlabel() == "wavelength (nm)"
        assert figure.get_supylabel() == "flux"


class TestTradeOff:
    def test_points_are_numbered_and_named(self):
        x, y, models = [1.0, 2.0, 3.0], [6.0, 5.0, 4.0], ["SymAE", "VAE", "GVAE"]
        families = ["grouped", "single", "grouped"]
        figure = rendered(plot_trade_off(x, y, models, "error", "leakage", families))
        (ax,) = figure.axes
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("error", "leakage")
        grouped, single = ax.collections
        assert_array_equal(grouped.get_offsets(), [[1, 6], [3, 4]])
        assert_array_equal(single.get_offsets(), [[2, 5]])
        assert to_rgb(grouped.get_facecolor()[0]) != to_rgb(single.get_facecolor()[0])
        assert [text.get_text() for text in ax.texts] == ["1", "2", "3"]
        assert [tuple(text.xy) for text in ax.texts] == [(1, 6), (2, 5), (3, 4)]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["grouped", "1  SymAE", "3  GVAE", "single", "2  VAE"]

    @example([(0, 0)] * 12)
    @example([(n % 4, n // 4) for n in range(12)] + [(60, 60)])
    @settings(max_examples=5)
    @given(st.lists(st.tuples(*[st.integers(0, 60)] * 2), min_size=1, max_size=12))
    def test_numbers_cover_neither_each_other_nor_markers(self, points):
        x, y = np.array(points).T
        names = [f"model {n}" for n in range(len(x))]
        figure = rendered(plot_trade_off(x, y, names, "x", "y"))
        (ax,) = figure.axes
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [Text.get_window_extent(text, renderer) for text in ax.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            for place in ax.transData.transform(np.stack([x, y], axis=1)):
                assert not box.contains(*place)


class TestTrials:
    def test_kinds_have_colours_and_unfinished_trials_empty_markers(self):
        x, y = [0.01, 0.02, 0.05, 0.1], [0.3, 0.1, 0.06, 0.2]
        kinds = ["gaussian", "variational", "gaussian", "gaussian"]
        full = [True, True, True, False]
        figure = rendered(plot_trials(x, y, kinds, full, chosen=2, default=0))
        (ax,) = figure.axes
        assert ax.get_xscale() == ax.get_yscale() == "log"
        drawn = {
            tuple(point): each
            for each in ax.collections[:4]
            for point in each.get_offsets()
        }
        faces = {
            point: to_rgb(each.get_facecolor()[0])
            for point, each in drawn.items()
            if len(each.get_facecolor())
        }
        assert len(drawn) == 4 and (0.1, 0.2) not in faces
        assert faces[0.01, 0.3] == faces[0.05, 0.06] != faces[0.02, 0.1]
        named = {text.get_text(): tuple(text.xy) for text in ax.texts}
        assert named == {"default": (0.01, 0.3), "chosen": (0.05, 0.06)}
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["gaussian", "variational", "stopped early"]

    def test_default_settings_may_be_the_chosen_ones(self):
        # An estimate can be 0, which a logarithmic axis cannot show.
        figure = rendered(plot_trials([0.1], [0.0], ["g"], [True], 0, 0))
        assert [text.get_text() for text in figure.axes[0].texts] == ["chosen: default"]


class TestResiduals:
    def arrays(self, shape=(5, 8, 6)):
        truth = random(0).normal(size=shape)
        noise = random(1).normal(size=(2, *shape))
        return truth, {"nearest": truth + noise[0], "bed of nails": truth + noise[1]}

    @pytest.mark.parametrize("shape", [(5, 8, 6), (1, 8, 6, 1)])
    def test_rows_hold_images_residuals_and_spectra(self, shape):
        truth, made = self.arrays(shape)
        figure = rendered(plot_residuals(truth, made, {"nearest": "error 0.1"}))
        assert len(figure.axes) == 3 + 2 + 2 + 3
        shown = [pixels(ax) for ax in figure.axes[:7]]
        flat = truth.reshape(shape[:3])
        assert_array_equal(shown[0], flat[0])
        for n, each in enumerate(each.reshape(shape[:3]) for each in made.values()):
            assert_array_equal(shown[1 + n], each[0])
            assert_allclose(shown[3 + n], (each - flat)[0])
            # Parseval: the mean power is the mean square.
            square = np.mean((each - flat) ** 2)
            assert shown[5 + n].mean() == pytest.approx(square)
        titles = [ax.get_title() for ax in figure.axes[:3]]
        assert titles == ["truth", "nearest\nerror 0.1", "bed of nails"]
        labels = [ax.get_ylabel() for ax in figure.axes[-3:]]
        assert labels == ["intensity", "residual", "power"]

    def test_a_checkerboard_is_a_bright_corner(self):
        truth = np.zeros((3, 8, 6))
        board = (-1.0) ** np.indices((8, 6)).sum(axis=0)
        figure = plot_residuals(truth, {"board": truth + board})
        power = pixels(figure.axes[3])
        assert np.unravel_index(power.argmax(), power.shape) == (0, 0)
        assert power[0, 0] == pytest.approx(48.0)
        assert np.sort(power.ravel())[-2] == pytest.approx(0.0)

    def test_methods_share_their_scales(self):
        truth, made = self.arrays()
        made["nearest"] = truth + 9.0 * (made["nearest"] - truth)
        figure = plot_residuals(truth, made)
        limits = [ax.images[0].get_clim() for ax in figure.axes[:7]]
        for row in (limits[:3], limits[3:5], limits[5:]):
            assert len(set(row)) == 1
        assert limits[3][0] == -limits[3][1]

    def test_perfect_reconstructions(self):
        truth, _ = self.arrays()
        rendered(plot_residuals(truth, {"perfect": truth}))


def test_reconstructed_spectra_and_their_residuals(rng):
    x = rng.normal(size=(3, 16))
    x[0, 5] = np.nan
    figure = plot_reconstruction(x, 0.5 * x, np.linspace(4.0, 5.0, 16), "um", "flux")
    assert len(figure.axes) == 6
    for column, (top, below) in enumerate(np.reshape(figure.axes, (2, 3)).T):
        drawn = [line.get_ydata() for line in top.lines]
        assert_array_equal(drawn, [x[column], 0.5 * x[column]])
        assert_allclose(below.lines[-1].get_ydata(), 0.5 * x[column])
        rms = np.sqrt(np.nanmean((0.5 * x[column]) ** 2))
        assert f"{rms:.2g}" in below.get_title(loc="left")
    assert figure.get_supxlabel() == "um" and figure.get_supylabel() == "flux"


@pytest.mark.parametrize("shape", [(2, 8, 6), (5, 8, 6, 1), (1, 8, 6, 3)])
def test_reconstructed_images(shape, rng):
    x = rng.uniform(size=shape)
    figure = plot_reconstruction(x, 0.5 * x)
    bars = 1 if shape[3:] == (3,) else 2  # colours need none but their residual's
    assert len(figure.axes) == 3 * shape[0] + bars
    residual = pixels(figure.axes[2 * shape[0]])
    expected = 0.5 * x[0] if x.ndim == 3 else 0.5 * x[0].mean(axis=-1)
    assert_allclose(residual, expected)
    figure.canvas.draw()


def test_reconstruction_of_a_model(rng):
    """Return the first present instance of each group, with gaps for bad pixels."""
    x = rng.normal(size=(5, 3, 16)).astype("float32")
    mask = np.ones((5, 3), bool)
    mask[0, 0] = False
    good = np.ones((16,), bool)
    good[4] = False
    groups = GroupedData(x, mask, pixel_mask=good)
    halves = SimpleNamespace(reconstruct=lambda x, mask: np.where(mask, 0.5 * x, 0.0))
    figure = plot_model_reconstruction(halves, groups)
    drawn = figure.axes[0].lines[0].get_ydata()
    assert_array_equal(drawn, np.where(good, x[0, 1], np.nan))
    assert figure.axes[0].lines[1].get_ydata()[4] == 0.0
    assert figure.axes[0].get_title("left") == "group 0"
    with pytest.raises(InputError, match="names must have 5 entries"):
        plot_reconstruction(x[:, 0], x[:, 0], names=["a"])


def test_slopes_and_law():
    # `n_instances` is in random order, with several seeds.
    n_instances = np.array([16, 4, 64])
    errors = {"SymAE": n_instances[:, None] ** -0.75 * [3.0, 1.0, 2.0]}
    errors["floor"] = np.full(3, 0.1)
    figure = plot_one_over_t(n_instances, errors, 0.5 / n_instances, {"floor": "flat"})
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    slopes = ["SymAE, slope -0.75", "flat, slope 0.00", "limit, slope -1.00"]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [*slopes, "1 / T"]
    law = ax.lines[-1]
    assert_array_equal(law.get_xdata(), [4, 16, 64])
    first = 2.0 * 4.0**-0.75  # the median of the first method
    assert_allclose(law.get_ydata(), [first, first / 4, first / 16])


def test_segmentation():
    images, labels = random().random((2, 8, 6, 1)), random(1).integers(0, 3, (2, 8, 6))
    names = ["sky", "star", "dust"]
    figure = rendered(plot_segmentation(images, labels, {"U-Net": 2 - labels}, names))
    shown = [pixels(ax) for ax in figure.axes]
    assert_array_equal(shown[:2], images[..., 0])
    assert_array_equal(shown[2:], [*labels, *(2 - labels)])
    rows = [ax.get_ylabel() for ax in figure.axes[::2]]
    assert rows == ["image", "truth", "U-Net"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


SPECTRA, IMAGES, MAPS = np.ones((2, 30)), np.ones((2, 4, 4)), np.ones((2, 4, 4), int)
CODES, AXIS = random().normal(size=(30, 4)), np.arange(29)
AXIS_OF_IMAGES = "axis is only for spectra"
WRONG_AXIS = r"^axis .*\(30,\).*received \(29,\)\.$"
TWO_NUMBERS = "at least two different numbers"
#: Invalid arguments of each function, and their error messages.
REFUSED = {
    plot_redatuming: [
        ([SPECTRA, SPECTRA[:, 1:], SPECTRA], r"^nuisance_source must .*\(2, 29\)\.$"),
        ([SPECTRA, SPECTRA, SPECTRA[:, 1:]], r"^virtual must have .*\(2, 29\)\.$"),
        ([*[SPECTRA] * 3, SPECTRA[:, 1:]], r"^truth must have .*\(2, 29\)\.$"),
        ([SPECTRA] * 4 + [AXIS], WRONG_AXIS),
        ([SPECTRA[0]] * 4, "coherent_source must have 2 or 3 or 4"),
        ([np.ones((2, 4, 4, 2))] * 4, "received 2: select the chan"),
        ([IMAGES] * 4 + [AXIS], AXIS_OF_IMAGES),
    ],
    plot_redatuming_grid: [
        ([IMAGES, IMAGES, IMAGES[:, None]], r"^virtual .*\(2, 2, 4, 4\).*\(2, 1, 4,"),
        (
            [IMAGES, IMAGES[:, 1:], IMAGES[None]],
            r"^nuisances .*received \(2, 3, 4\)\.$",
        ),
        ([IMAGES, IMAGES, [IMAGES] * 2, AXIS], AXIS_OF_IMAGES),
    ],
    plot_reconstruction: [([SPECTRA, SPECTRA[:, 1:]], "reconstructions must have")],
    plot_codes: [
        ([CODES, CODES[1:, 0], "t"], r"^colour must have the shape \(30,"),
        ([CODES, np.arange(30), "t"], "30 different labels"),
        ([SPECTRA, np.ones(2), "t"], "at least two different codes"),
        ([CODES[:0], np.ones(0), "t"], "codes is empty"),
    ],
    plot_dictionary: [
        ([np.ones(3)], "^atoms must have 2 or 3 or 4 axes"),
        ([np.ones((2, 4, 4, 3))], "one channel; received 3"),
        ([IMAGES, 32, AXIS], AXIS_OF_IMAGES),
        ([SPECTRA, 32, AXIS], WRONG_AXIS),
        ([SPECTRA, 0], "n_atoms must be at least 1; received 0"),
    ],
    plot_history: [
        ([{"accuracy": [1.0]}], r"received \['accuracy'\]"),
        ([{}], "received nothing"),
        ([3], "received int"),
    ],
    plot_error_over_instances: [
        ([[1, 2], {"a": np.ones((3, 3))}], r"^errors\['a'\] .*\(2, 3\).*\(3, 3\)\.$"),
        ([[1, 2], {"a": [1, 1]}, [1]], r"^limit .* \(2,\)"),
        ([[1, 2], {"a": [1, 0]}], r"^errors\['a'\] must be p"),
        ([[1, 2], {}], "contains no method"),
    ],
    plot_one_over_t: [
        ([[4], {"a": [1.0]}], TWO_NUMBERS),
        ([[4, 4], {"a": [1.0, 1.0]}], TWO_NUMBERS),
        ([[1, 2], {"a": [1, 0]}], r"errors\['a'\] must be positive"),
    ],
    plot_bottleneck_sweep: [
        ([[4, 16], {"a": [1, 2, 3]}], r"code_dims; .*\(3, 1\)"),
        ([[0, 16], {"a": [1, 2]}], "code_dims must be positive"),
    ],
    traversal: [
        ({"latents": [4]}, r"indices from 0 to 3.* received \[4\]"),
        ({"latents": []}, r"received \[\]"),
        ({"names": ["a"]}, "a title for each of the 4 latents; received 1"),
        ({"n_steps": 1}, "n_steps must be at least 2; received 1"),
        ({"axis": AXIS}, WRONG_AXIS),
    ],
    plot_trade_off: [
        ([[1, 2], [1], "ab", "x", "y"], r"^y must .* shape \(2,\)"),
        ([[1, 2], [1, 2], "a", "x", "y"], "labels must have 2 entries"),
        ([[1, 2], [1, 2], "ab", "x", "y", "g"], "groups must have 2 entries"),
        ([[1, np.nan], [1, 2], "ab", "x", "y"], "must be finite"),
        (
            [[1, 0], [1, 2], "ab", "x", "y", None, True],
            "must be positive on logarithmic axes; received values down to 0",
        ),
    ],
    plot_trials: [
        ([[1, 2], [1], "ab", [True] * 2], r"^estimate must .* shape \(2,\)"),
        ([[1, 2], [1, 2], "ab", [True]], r"^complete must .* shape \(2,\)"),
        ([[1, 2], [1, 2], "a", [True] * 2], "kinds must have 2 entries"),
        ([[1, np.nan], [1, 2], "ab", [True] * 2], "must be finite"),
    ],
    plot_residuals: [
        ([IMAGES, {}], "reconstructions is empty"),
        (
            [IMAGES, {"one": IMAGES[:, 1:]}],
            r"reconstructions\['one'\] must have the shape \(2, 4, 4\)",
        ),
        ([np.ones((2, 4, 4, 3)), {}], "grey images; received 3 chan"),
    ],
    plot_estimates: [([{}], "estimates contains no method")],
    plot_replicates: [
        ([SPECTRA, SPECTRA[:1], SPECTRA], "^reconstructions must have the shape"),
        ([SPECTRA, SPECTRA, SPECTRA[:1]], "^virtual must have the shape"),
        ([SPECTRA, SPECTRA, SPECTRA, SPECTRA[0, 1:]], "^truth must have the shape"),
        ([SPECTRA, SPECTRA, SPECTRA, None, AXIS], WRONG_AXIS),
        ([IMAGES, IMAGES, IMAGES, IMAGES[0]], "truth is only drawn for spectra"),
        ([IMAGES, IMAGES, IMAGES, None, AXIS], AXIS_OF_IMAGES),
    ],
    plot_replicate_spread: [
        ([SPECTRA, [0, 1], SPECTRA[:, 1:], [0, 1]], "^after must contain instances"),
        ([SPECTRA, [0], SPECTRA, [0, 1]], r"^group_before must have the shape \(2,"),
        ([SPECTRA, [0, 1], SPECTRA, [1, 1]], "at least two groups; received 1"),
    ],
    plot_segmentation: [
        ([IMAGES, MAPS[:1], {}], "^labels must have the shape"),
        ([IMAGES, MAPS, {"a": 9 * MAPS}], "labels from 1 to 9"),
        ([IMAGES, MAPS, {}, ["one"]], "labels 0 to 1; received 1"),
    ],
}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [(function, *case) for function, cases in REFUSED.items() for case in cases],
)
def test_bad_input(function, arguments, message):
    with pytest.raises(InputError, match=message):
        if isinstance(arguments, dict):
            function(**arguments)
        else:
            function(*arguments)


def test_no_global_state_is_touched(run_python):
    run_python(
        """
import io, sys, warnings
warnings.simplefilter("error")
import matplotlib
before = matplotlib.rcParams.copy()
import numpy as np
from symae_keras import plotting
x = np.random.default_rng(0).random((2, 8))
plotting.plot_redatuming(x, x, x, x).savefig(io.BytesIO())
plotting.plot_codes(x, x[:, 0], "t").savefig(io.BytesIO())
plotting.plot_trade_off([1.0], [2.0], ["a"], "x", "y").savefig(io.BytesIO())
assert "matplotlib.pyplot" not in sys.modules
assert "keras" not in sys.modules
# A copy, because looking up the backend in the original would select one.
assert matplotlib.rcParams.copy() == before
"""
    )


def test_text_that_is_no_mathtext_is_drawn_as_it_is():
    from symae_keras.plotting import style

    figure = style.new_figure(2, 2)
    ax = figure.subplots()
    ax.set(xlabel=r"wavelength ($\mu$m)", ylabel="flux $_{bad$")
    ax.set_title("one\n$\\frac{1$")
    ax.set_yscale("log")
    style.finish(figure)
    figure.savefig(io.BytesIO())
    assert ax.xaxis.label.get_parse_math()
    assert not ax.yaxis.label.get_parse_math() and not ax.title.get_parse_math()


# === Replicates and estimates ===


@pytest.mark.parametrize("truth", [False, True])
def test_replicates_of_spectra(truth, rng):
    x, made, virtual = rng.normal(size=(3, 5, 16))
    x[0, 4] = np.nan
    axis = np.linspace(4.0, 5.0, 16)
    exact = virtual[0] if truth else None
    figure = rendered(plot_replicates(x, made, virtual, exact, axis, "um", "flux"))
    for ax, rows in zip(figure.axes, (x, made, virtual), strict=True):
        assert_array_equal([line.get_ydata() for line in ax.lines[:5]], rows)
        assert_array_equal(ax.lines[0].get_xdata(), axis)
    assert len(figure.axes[2].lines) == 5 + truth
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("um", "flux")


@pytest.mark.parametrize("shape", [(2, 8, 6), (5, 8, 6, 1), (1, 8, 6, 3)])
def test_replicates_of_images(shape, rng):
    x, made, virtual = rng.uniform(size=(3, *shape))
    figure = rendered(plot_replicates(x, made, virtual))
    columns = min(4, shape[0])
    # Grey images have a colour bar.
    assert len(figure.axes) == 3 * columns + (shape[3:] != (3,))
    if shape[3:] != (3,):
        first = virtual[0] if len(shape) == 3 else virtual[0][..., 0]
        assert_array_equal(pixels(figure.axes[2 * columns]), first)


def test_spread_is_drawn_in_the_plane_of_the_states(rng):
    """State and nuisance are orthogonal: the nuisance has no effect in that plane."""
    group = np.repeat(np.arange(5), 6)
    state = np.zeros((30, 3, 4))
    state[:, 0, :2] = rng.normal(size=(5, 2))[group]
    before = state + 0.0
    before[:, 2, 2] = 100.0 * rng.normal(size=30)
    figure = rendered(plot_replicate_spread(before, group, state + 7.0, group))
    spreads = []
    for ax in figure.axes:
        assert len(ax.lines) == 5
        looks = {(line.get_color(), line.get_marker()) for line in ax.lines}
        assert len(looks) == 5
        points = np.concatenate([line.get_xydata() for line in ax.lines])
        spreads.append(points.std(axis=0))
        assert_allclose(points.mean(axis=0), 0.0, atol=1e-9)
    assert_allclose(spreads[0], spreads[1])
    (one,) = (
        plot_replicate_spread(
            rng.normal(size=(4, 1)), [0, 0, 1, 1], rng.normal(size=(2, 1)), [0, 1]
        )
        .axes[1]
        .lines[:1]
    )
    assert one.get_ydata().tolist() == [0.0]


def test_bars_of_estimates():
    """Parts add up to the total, and a slightly negative part is drawn as 0."""
    parts = SimpleNamespace(
        reconstruction=0.01,
        state_in_nuisance=0.02,
        nuisance_in_state=0.03,
        interval=(0.08, 0.2),
        level=0.9,
    )
    negative = SimpleNamespace(**{**vars(parts), "state_in_nuisance": -0.01})
    figure = rendered(
        plot_estimates({"one": parts, "other": negative}, {"one": 0.15, "none": 3.0})
    )
    (ax,) = figure.axes
    bars = [[each.get_width() for each in container] for container in ax.containers]
    # From bottom to top: the first method is at the top.
    assert_allclose(bars, [[1.0, 1.0], [0.0, 4.0], [6.0, 6.0]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["other", "one"]
    assert_allclose(ax.lines[1].get_xdata(), [8.0, 20.0])
    assert_allclose(ax.lines[-1].get_xydata(), [[15.0, 1.0]])
