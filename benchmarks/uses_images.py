"""Applications on simulated views of shapes, 24 x 24 pixels."""

from __future__ import annotations

import io
from typing import Any

import keras
import numpy as np
from PIL import Image
from skimage import restoration
from sklearn.linear_model import Ridge
from sklearn.mixture import GaussianMixture
from uses_common import (
    Components,
    Data,
    LinearFilter,
    Result,
    apply,
    best,
    fit,
    flat,
    with_white_noise,
)

from symae_keras.data import GroupedData, simulate_shapes
from symae_keras.data.groups import Array
from symae_keras.evaluation import (
    RateDistortion,
    energy_distance,
    rate_distortion,
    relative_error,
    snr_gain,
)
from symae_keras.layers import BlockCorruption, GaussianCorruption
from symae_keras.models import VAE, DenoisingAutoencoder, UNet
from symae_keras.training import normalization

#: A multiple of the 8 pixels of a JPEG block.
SIZE = 24
CODE_DIM = 16
N_TRAIN, N_INSTANCES = 500, 8
N_TEST = 200
#: Standard deviation of the noise to remove; the contrast of shapes is 0.3 to 0.6.
NOISE = 0.15
#: Side of the hole to fill.
HOLE = 8
#: Relative error at which bits are compared, and the mosaic for JPEG.
ERROR, MOSAIC = 0.1, 32
#: Colours of tall and of wide shapes, equally bright.
BRIGHTNESS = np.array([0.2989, 0.587, 0.114])
TALL, WIDE = np.array([0.4, 1.1312, 1.9]), np.array([1.6, 0.85, 0.2003])


#: Channels of the U-Nets at the three depths.
FILTERS = (8, 16, 32)


class Images(Data):
    """Data and model that several applications share, created when needed."""

    def __init__(self, scale: float) -> None:
        super().__init__(scale)
        # Many shapes for codes, fewer for networks that use neighbourhoods.
        self.groups = simulate_shapes(int(N_TRAIN * scale), N_INSTANCES, 0, SIZE)
        self.x = flat(self.groups)
        self.more = simulate_shapes(int(4 * N_TRAIN * scale), N_INSTANCES, 1, SIZE)
        self._vae: VAE | None = None

    @property
    def vae(self) -> VAE:
        """Train a variational autoencoder."""
        if self._vae is None:
            vae = VAE(
                (SIZE, SIZE, 1),
                CODE_DIM,
                kl_weight=2e-3,
                normalization=normalization(self.more),
                seed=0,
            )
            self._vae = fit(vae, flat(self.more), self.epochs(12))
        return self._vae


def _test() -> tuple[Array, Array]:
    """Return measured images, and the same without noise."""
    shapes = simulate_shapes(N_TEST, 1, 2, SIZE)
    i = np.arange(N_TEST)
    return flat(shapes), shapes.virtual(i, i, 0)


def _each(function: Any, x: Array, **options: Any) -> Array:
    """Apply a function of scikit-image to grey images."""
    return np.stack([function(image, **options) for image in x[..., 0]])[..., None]


def _jpeg(x: Array) -> RateDistortion:
    """Compress all images as one JPEG, so that its tables count once."""
    tiles = x.reshape(MOSAIC, MOSAIC, SIZE, SIZE).transpose(0, 2, 1, 3)
    scale = 200.0  # images are in about [0, 1.1]
    mosaic = np.rint(np.clip(tiles.reshape(MOSAIC * SIZE, -1) * scale, 0, 255))
    image = Image.fromarray(mosaic.astype("uint8"))
    qualities, bits, errors = np.arange(5, 100, 5), [], []
    for quality in qualities:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality), optimize=True)
        bits.append(8.0 * len(file.getvalue()) / len(x))
        back = np.asarray(Image.open(file), "float64") / scale
        back = back.reshape(MOSAIC, SIZE, MOSAIC, SIZE).transpose(0, 2, 1, 3)
        errors.append(relative_error(back.reshape(x.shape), x))
    return RateDistortion(qualities, np.array(bits), np.array(errors))


def compression(images: Images) -> list[Result]:
    """Compare the bytes of rounded codes with the error."""
    x = flat(simulate_shapes(MOSAIC, MOSAIC, 3, SIZE))
    steps = np.geomspace(3.0, 0.05, 12)
    curves = {
        "VAE": rate_distortion(images.vae.encode, images.vae.decode, x, steps),
        "JPEG": _jpeg(x),
    }
    for n in (16, 32, 64):
        pca = Components(flat(images.more), n)
        curves[f"PCA {n}"] = rate_distortion(pca.encode, pca.decode, x, steps)
    bits = {name: curve.bits_at(ERROR) for name, curve in curves.items()}
    least = min((name for name in bits if "PCA" in name), key=lambda name: bits[name])
    return [
        Result(
            "compression of images",
            f"bits per image at an error of {ERROR:g}",
            {"VAE": bits["VAE"]},
            {"JPEG": bits["JPEG"], f"{least}, the best of 16, 32, 64": bits[least]},
            higher_is_better=False,
        )
    ]


def denoising(images: Images) -> list[Result]:
    """Remove white noise of a third of the contrast."""
    model = UNet(
        (SIZE, SIZE, 1),
        filters=FILTERS,
        corruption=GaussianCorruption(NOISE),
        normalization=normalization(images.groups),
        seed=0,
    )
    fit(model, images.x, images.epochs(4), batch_size=32)
    _, clean = _test()
    noisy, tried_noisy = with_white_noise(NOISE, clean, images.x[:100])

    def means(x: Array, h: float) -> Array:
        return _each(
            restoration.denoise_nl_means, x, h=h * NOISE, sigma=NOISE, patch_size=5
        )

    def variation(x: Array, weight: float) -> Array:
        return _each(restoration.denoise_tv_chambolle, x, weight=weight)

    def wavelets(x: Array, wavelet: str) -> Array:
        return _each(
            restoration.denoise_wavelet,
            x,
            wavelet=wavelet,
            sigma=NOISE,
            rescale_sigma=True,
        )

    def chosen(function: Any, settings: Any) -> Array:
        """Denoise with the setting that performs best on training images."""
        setting, _ = best(
            settings,
            lambda each: snr_gain(
                images.x[:100], tried_noisy, function(tried_noisy, each)
            ),
        )
        return np.asarray(function(noisy, setting))

    denoised = {
        "U-Net": apply(model.reconstruct, noisy),
        "non-local means": chosen(means, (0.6, 0.8, 1.0, 1.2)),
        "total variation": chosen(variation, (0.05, 0.1, 0.2, 0.3)),
        "wavelets": chosen(wavelets, ("db1", "db2", "sym4")),
        "trained linear filter": LinearFilter(images.x, NOISE).denoise(noisy),
    }
    gains = {name: snr_gain(clean, noisy, each) for name, each in denoised.items()}
    return [
        Result(
            "denoising of images",
            "gain in dB",
            {"U-Net": gains.pop("U-Net")},
            gains,
            higher_is_better=True,
            drawn={
                "rows": {
                    "noisy": noisy,
                    "U-Net": denoised["U-Net"],
                    "total variation": denoised["total variation"],
                    "truth": clean,
                }
            },
        )
    ]


def _linear_inpainting(train: Array, x: Array, hole: Array) -> Array:
    """Predict missing pixels from their covariance with the visible ones."""
    rows = train.reshape(len(train), -1)
    mean, covariance = rows.mean(axis=0), np.cov(rows.T)
    filled = x.reshape(len(x), -1).copy()
    for row, missing in zip(filled, hole.reshape(len(x), -1), strict=True):
        there = covariance[np.ix_(~missing, ~missing)]
        weights = np.linalg.solve(there, covariance[np.ix_(~missing, missing)])
        row[missing] = mean[missing] + (row - mean)[~missing] @ weights
    return filled.reshape(x.shape)


def inpainting(images: Images) -> list[Result]:
    """Fill a square hole of a third of the side."""
    train = flat(images.more)
    model = DenoisingAutoencoder(
        (SIZE, SIZE, 1),
        4 * CODE_DIM,
        corruption=BlockCorruption(HOLE / SIZE, seed=0),
        normalization=normalization(images.more),
        seed=0,
    )
    fit(model, train, images.epochs(16))
    x, clean = _test()
    hole = np.zeros(x.shape, bool)
    places = np.random.default_rng(0).integers(4, SIZE - HOLE - 3, (len(x), 2))
    for each, (row, column) in zip(hole, places, strict=True):
        each[row : row + HOLE, column : column + HOLE] = True
    ours = "denoising autoencoder"
    filled = {
        # Corruption sets pixels to 0, so the hole is also 0 here.
        ours: apply(model.reconstruct, np.where(hole, np.float32(0), x)),
        "biharmonic": np.stack(
            [
                restoration.inpaint_biharmonic(image, missing)
                for image, missing in zip(x[..., 0], hole[..., 0], strict=True)
            ]
        )[..., None],
        "trained linear prediction": _linear_inpainting(train, x, hole),
    }
    errors = {name: relative_error(each, clean, hole) for name, each in filled.items()}
    return [
        Result(
            "inpainting",
            "error in the hole over the variance",
            {ours: errors.pop(ours)},
            errors,
            higher_is_better=False,
            drawn={
                "rows": {
                    "hole": np.where(hole, np.nan, x),
                    "autoencoder": np.where(hole, filled[ours], x),
                    "biharmonic": np.where(hole, filled["biharmonic"], x),
                    "truth": clean,
                }
            },
        )
    ]


def _coloured(groups: GroupedData) -> Array:
    """Return the same shapes in a colour that depends on their elongation."""
    n, t = groups.x.shape[:2]
    state = {name: np.repeat(each, t, axis=0) for name, each in groups.state.items()}
    nuisance = {
        name: each.reshape(n * t, *each.shape[2:])
        for name, each in groups.nuisance.items()
    }
    dark = {name: 0.0 * nuisance[name] for name in ("background", "gradient")}
    assert groups.render is not None  # simulated
    shape = groups.render(state, {**nuisance, **dark})
    blend = 0.5 + state["harmonics"][:, :1] / 0.6
    tint = (blend * WIDE + (1.0 - blend) * TALL)[:, None, None]
    return np.asarray(0.6 * (flat(groups) - shape + shape * tint), "float32")


def _patches(grey: Array, side: int = 7) -> Array:
    """Return the neighbourhood of each pixel, one per row."""
    margin = side // 2
    wide = np.pad(grey, ((0, 0), (margin, margin), (margin, margin)), "edge")
    view = np.lib.stride_tricks.sliding_window_view(wide, (side, side), axis=(1, 2))
    return np.asarray(view.reshape(-1, side * side))


def colourisation(images: Images) -> list[Result]:
    """Predict colour from grey images."""
    train = _coloured(images.groups)
    x = _coloured(simulate_shapes(N_TEST, 1, 2, SIZE))
    grey_train, grey = (each @ BRIGHTNESS for each in (train, x))
    # The target is the difference from grey.
    colour, truth = train - grey_train[..., None], x - grey[..., None]
    given = np.repeat(grey[..., None], 3, axis=-1).astype("float32")

    scale = float(train.std())
    model = UNet(
        (SIZE, SIZE, 3),
        filters=FILTERS,
        corruption=keras.layers.RandomGrayscale(1.0),
        normalization=keras.layers.Normalization(
            mean=float(train.mean()), variance=scale**2
        ),
        seed=0,
    )
    fit(model, train, images.epochs(4), batch_size=32)

    edges = np.quantile(grey_train, np.linspace(0, 1, 65)[1:-1])
    level = np.digitize(grey_train, edges)
    means = np.stack([colour[level == each].mean(axis=0) for each in range(64)])
    few = slice(None, None, 8)  # enough instances for 49 weights
    patches = Ridge().fit(_patches(grey_train[few]), colour[few].reshape(-1, 3))
    whole = Ridge().fit(
        grey_train.reshape(len(train), -1), colour.reshape(len(train), -1)
    )
    told = {
        "U-Net": apply(model.reconstruct, given) - grey[..., None],
        "mean colour of each grey": means[np.digitize(grey, edges)],
        "ridge regression of patches": patches.predict(_patches(grey)),
        "ridge regression of images": whole.predict(grey.reshape(len(x), -1)),
    }
    told = {name: each.reshape(x.shape) for name, each in told.items()}
    errors = {name: relative_error(each, truth) for name, each in told.items()}
    return [
        Result(
            "colourisation",
            "error of the colour over its variance",
            {"U-Net": errors.pop("U-Net")},
            errors,
            higher_is_better=False,
            drawn={
                "rows": {
                    "grey": given,
                    "U-Net": told["U-Net"] + given,
                    "ridge, images": told["ridge regression of images"] + given,
                    "truth": x,
                }
            },
        )
    ]


def generation(images: Images) -> list[Result]:
    """Compare generated images with held-out ones."""
    n = 2000
    train = flat(images.more)
    real, other = (flat(simulate_shapes(n, 1, seed, SIZE)) for seed in (4, 5))
    rng = np.random.default_rng(0)

    def with_noise(samples: Array, reconstructed: Array) -> Array:
        """Add the white noise that models of means leave in the training data."""
        noise = np.std(reconstructed - train[: len(reconstructed)])
        return np.asarray(samples + noise * rng.normal(size=samples.shape))

    made = with_noise(
        keras.ops.convert_to_numpy(images.vae.sample(n)),
        apply(images.vae.reconstruct, train[:n]),
    )

    def mixture(setting: tuple[int, int]) -> Array:
        n_components, n_gaussians = setting
        pca = Components(train, n_components)
        codes = pca.encode(train[:4000]).astype("float64")
        gaussians = GaussianMixture(
            n_gaussians, reg_covar=1e-5, random_state=0, max_iter=30, tol=1e-2
        ).fit(codes)
        samples = gaussians.sample(n)[0][rng.permutation(n)]
        return with_noise(pca.decode(samples), pca.reconstruct(train[:n]))

    settings = [(k, g) for k in (16, 32) for g in (1, 10)]
    tried = {setting: mixture(setting) for setting in settings}
    chosen, _ = best(settings, lambda each: -energy_distance(tried[each], train[:n]))
    return [
        Result(
            "generation of images",
            "energy distance to new images",
            {"VAE": energy_distance(made, real)},
            {
                f"mixture of {chosen[1]} Gaussians on {chosen[0]} components": (
                    energy_distance(tried[chosen], real)
                )
            },
            higher_is_better=False,
            floor=energy_distance(other, real),
            drawn={
                "rows": {"VAE": made, "mixture": tried[chosen], "real": real},
            },
        )
    ]


USES = {
    "image-compression": compression,
    "image-denoising": denoising,
    "inpainting": inpainting,
    "colourisation": colourisation,
    "generation": generation,
}
