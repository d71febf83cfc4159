"""Callbacks of experiment trackers, without a network."""

from __future__ import annotations

import pytest

from symae_keras.data import simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE

pytestmark = pytest.mark.large


def fit(*callbacks) -> dict[str, list[float]]:
    groups = simulate_exposures(n_states=8, n_instances=3, seed=0)
    encoder = DenseEncoder(8, units=(16,))
    model = SymAE(groups.instance_shape, encoder=encoder, seed=0)
    model.compile("adam", "mse", run_eagerly=True)
    return model.fit(groups, epochs=2, callbacks=callbacks, verbose=0).history


def test_weights_and_biases(tmp_path, monkeypatch) -> None:
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    config = {"coherent_dim": 8}
    run = wandb.init(project="symae", mode="offline", dir=tmp_path, config=config)
    try:
        history = fit(WandbMetricsLogger())
        logged = dict(run.summary)
    finally:
        run.finish()
    assert logged["epoch/loss"] == pytest.approx(history["loss"][-1])
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1


# Of SQLAlchemy, about how MLflow uses it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow(tmp_path, monkeypatch) -> None:
    import mlflow
    from mlflow.keras import MlflowCallback

    monkeypatch.chdir(tmp_path)  # it makes a folder for files there
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    try:
        with mlflow.start_run() as run:
            history = fit(MlflowCallback())
            mlflow.log_metrics({"estimate": 0.1})
        data = mlflow.get_run(run.info.run_id).data
        client = mlflow.MlflowClient()
        losses = [m.value for m in client.get_metric_history(run.info.run_id, "loss")]
    finally:
        mlflow.set_tracking_uri(None)
    assert losses == pytest.approx(history["loss"])
    assert data.metrics["estimate"] == 0.1
    assert data.params["optimizer_learning_rate"] == "0.0010000000474974513"
