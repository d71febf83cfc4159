"""Grid search over two sizes of the coherent code, with scikit-learn.

The data are the 30 samples x 4 replicates of `benchmarks/small.py`. A pipeline of
`Redatum` and partial least squares predicts the height of a band. `GridSearchCV`
compares two sizes in a `GroupKFold` by sample, which needs 11 trainings: five per size,
and one of the best size on all rows. Each row is predicted separately. The error of the
mean prediction of the four rows of a sample is computed by `cross_val_predict` with the
chosen size; this needs five more trainings, which are not included in the time. On a
busy machine, use the processor time.

    python benchmarks/sklearn_search.py --out search.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import sklearn
from common import print_table, write_json
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.sklearn import Redatum
from symae_keras.training import Training

N_SAMPLES: Final = 30
N_REPLICATES: Final = 4
#: The label is the height of the second band.
LABEL: Final = 1
FOLDS: Final = 5
COMPONENTS: Final = 6
SIZES: Final = (4, 8)
#: Half of the default number of updates for small data.
TRAINING: Final = Training(min_updates=1000)


def search(seed: int) -> dict[str, Any]:
    """Return time and errors of one data set."""
    groups = simulate_replicates(N_SAMPLES, N_REPLICATES, seed)
    X = groups.x.reshape(N_SAMPLES * N_REPLICATES, -1)
    ids = np.repeat(np.arange(N_SAMPLES), N_REPLICATES)
    y = np.repeat(groups.state["heights"][:, LABEL], N_REPLICATES)
    pls = PLSRegression(COMPONENTS, scale=False)
    model = GridSearchCV(
        make_pipeline(Redatum(training=TRAINING, random_state=seed), pls),
        {"redatum__coherent_dim": list(SIZES)},
        scoring="neg_root_mean_squared_error",
        cv=GroupKFold(FOLDS),
        n_jobs=1,
    )
    start, processor = time.perf_counter(), time.process_time()
    model.fit(X, y, groups=ids)
    seconds = time.perf_counter() - start
    processor = time.process_time() - processor
    print(f"{seconds:.0f} s, {processor:.0f} s of processor time", flush=True)

    def error_of_means(predictor: Any) -> float:
        cv, params = GroupKFold(FOLDS), {"groups": ids}
        found = cross_val_predict(predictor, X, y, cv=cv, params=params)
        means = found.reshape(N_SAMPLES, N_REPLICATES).mean(axis=1)
        return float(np.sqrt(np.mean((means - y[::N_REPLICATES]) ** 2)))

    scores = -model.cv_results_["mean_test_score"]
    return {
        "seed": seed,
        "seconds": seconds,
        "processor seconds": processor,
        **{f"RMSE of rows, {n}": float(s) for n, s in zip(SIZES, scores, strict=True)},
        "chosen": model.best_params_["redatum__coherent_dim"],
        "RMSE of samples": error_of_means(model.best_estimator_),
        "raw spectra": error_of_means(make_pipeline(pls)),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with sklearn.config_context(enable_metadata_routing=True):
        result = search(options.seed)
    print_table([result], list(result))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
