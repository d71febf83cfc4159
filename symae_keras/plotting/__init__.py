"""Figures for papers and reports.

Every function returns a `matplotlib.figure.Figure` and does not show it. Save it with
`figure.savefig("name.pdf")`, or let a notebook display it after `%matplotlib inline`.
`matplotlib.pyplot` is never imported, so no window or global state is involved.
"""

from symae_keras.plotting.codes import (
    plot_codes,
    plot_dictionary,
    plot_latent_traversal,
)
from symae_keras.plotting.curves import (
    plot_bottleneck_sweep,
    plot_error_over_instances,
    plot_history,
    plot_one_over_t,
)
from symae_keras.plotting.estimates import plot_estimates
from symae_keras.plotting.reconstruction import (
    plot_model_reconstruction,
    plot_reconstruction,
    plot_residuals,
    plot_segmentation,
)
from symae_keras.plotting.redatuming import (
    plot_model_redatuming,
    plot_redatuming,
    plot_redatuming_grid,
)
from symae_keras.plotting.replicates import plot_replicate_spread, plot_replicates
from symae_keras.plotting.trade_off import plot_trade_off
from symae_keras.plotting.trials import plot_trials

__all__ = [
    "plot_bottleneck_sweep",
    "plot_codes",
    "plot_dictionary",
    "plot_error_over_instances",
    "plot_estimates",
    "plot_history",
    "plot_latent_traversal",
    "plot_model_reconstruction",
    "plot_model_redatuming",
    "plot_one_over_t",
    "plot_reconstruction",
    "plot_redatuming",
    "plot_redatuming_grid",
    "plot_replicate_spread",
    "plot_replicates",
    "plot_residuals",
    "plot_segmentation",
    "plot_trade_off",
    "plot_trials",
]


def __dir__() -> list[str]:
    return sorted(__all__)
