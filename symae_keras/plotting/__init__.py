"""Figures for papers and reports.

Every function returns a `matplotlib.figure.Figure` and shows nothing: save it with
`figure.savefig("name.pdf")`, or let a notebook display it after `%matplotlib inline`.
`matplotlib.pyplot` is never imported, so no window or global state is involved.
"""

from symae_keras.plotting.bottleneck_sweep import plot_bottleneck_sweep
from symae_keras.plotting.codes import plot_codes
from symae_keras.plotting.dictionary import plot_dictionary
from symae_keras.plotting.history import plot_history
from symae_keras.plotting.instances import plot_error_over_instances
from symae_keras.plotting.latent_traversal import plot_latent_traversal
from symae_keras.plotting.model_reconstruction import plot_model_reconstruction
from symae_keras.plotting.model_redatuming import plot_model_redatuming
from symae_keras.plotting.one_over_t import plot_one_over_t
from symae_keras.plotting.reconstruction import plot_reconstruction
from symae_keras.plotting.redatuming import plot_redatuming
from symae_keras.plotting.redatuming_grid import plot_redatuming_grid
from symae_keras.plotting.residuals import plot_residuals
from symae_keras.plotting.segmentation import plot_segmentation
from symae_keras.plotting.trade_off import plot_trade_off

__all__ = [
    "plot_bottleneck_sweep",
    "plot_codes",
    "plot_dictionary",
    "plot_error_over_instances",
    "plot_history",
    "plot_latent_traversal",
    "plot_model_reconstruction",
    "plot_model_redatuming",
    "plot_one_over_t",
    "plot_reconstruction",
    "plot_redatuming",
    "plot_redatuming_grid",
    "plot_residuals",
    "plot_segmentation",
    "plot_trade_off",
]
