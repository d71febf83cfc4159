"""Write the files in this folder, which later versions must read.

    python tests/golden/make.py 0.1

was run with version 0.1.0, before any release changed the contents of files. 0.1.zip
contains a `.keras` file and a preset of each model, a run folder and a folder of
shards, and in `expected.npz` the results that this version computed from them.
`tests/test_golden.py` reads them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import keras
import numpy as np

import symae_keras as sk
from symae_keras import cli, zoo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))

from conformance import CASES, standard

#: One case of each model, and those with a normalisation layer of this package.
NAMES = (
    *("linear", "autoencoder", "autoencoder-decay", "sparse-top_k"),
    *("denoising", "contractive", "vae", "vqvae", "adversarial", "wasserstein"),
    *("unet", "unet-inpainting", "segnet", "segresnet_vae", "stellar"),
    *("latent_mean_swap", "symae", "symae-original", "symae-attention"),
    *("symae-variational", "mlvae", "gvae", "neural_statistician"),
    *("autoencoder-image", "vae-standardized", "mlvae-standardized"),
    "symae-standardized",
)
RECIPE = '''"""A recipe that trains in seconds."""

from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def model(groups, seed):
    return SymAE(
        groups.instance_shape,
        coherent_dim=3,
        nuisance_dim=2,
        encoder=DenseEncoder(8, units=(16,)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, epochs=3, batch_size=8, instances=3)
'''


def main(folder: str) -> None:
    """Write everything into a new folder, and zip it into this folder."""
    out = Path(folder)
    out.mkdir(parents=True)
    expected: dict[str, np.ndarray] = {}
    for name in NAMES:
        case = CASES[name.removesuffix("-standardized")]
        scaled = {"normalization": standard} if name.endswith("-standardized") else {}
        keras.utils.set_random_seed(0)
        model = case.build(**scaled)
        rng = np.random.default_rng(0)
        for variable in model.trainable_variables:
            noise = rng.normal(0.0, 0.5 * case.moved, variable.shape)
            variable.assign_add(noise.astype("float32"))
        x = case.data(3)
        model.save(out / f"{name}.keras")
        zoo.save_preset(model, out / "presets" / name)
        expected[f"{name}/x"] = x
        expected[f"{name}/reconstruct"] = np.asarray(model.reconstruct(x))
        for k, code in enumerate(keras.tree.flatten(model.encode(x))):
            expected[f"{name}/code{k}"] = np.asarray(code)

    groups = sk.data.simulate_exposures(20, 4, seed=0)
    x = groups.x[:, :, :32]
    mask = np.arange(4) < np.array([4] * 15 + [2] * 5)[:, None]
    axis = np.linspace(500.0, 515.5, 32)
    data = sk.data.GroupedData(
        x, mask=mask, axis=axis, axis_label="wavelength (nm)", ids=np.arange(20) + 100
    )
    sk.data.save(data, out / "data.npz")
    (out / "small.py").write_text(RECIPE, encoding="utf-8")
    train = ("train", out / "small.py", "--data", out / "data.npz", "--out")
    assert cli.main([str(each) for each in (*train, out / "run")]) == 0
    shutil.rmtree(out / "run" / "figures")  # large, and not read by any test
    for path in (out / "run").glob("*.json"):
        text = path.read_text(encoding="utf-8").replace(f"{out.resolve()}/", "")
        path.write_text(text, encoding="utf-8")
    convert = ("data", "convert", out / "data.npz", "--out", out / "shards")
    assert cli.main([str(each) for each in convert]) == 0
    model = keras.saving.load_model(out / "run" / "model.keras", compile=False)
    expected["run/redatum"] = np.asarray(model.redatum(x[:3], x[3:6]))
    np.savez(out / "expected.npz", **expected)
    shutil.make_archive(str(Path(__file__).with_name(out.name)), "zip", out)


if __name__ == "__main__":
    main(sys.argv[1])
