"""A service with BentoML (https://docs.bentoml.com): the run's model, with its adaptive batching.

python benchmarks/peers/bentoml_script.py runs:/RUN/model PORT
"""

from __future__ import annotations

import os
import sys

import bentoml
import numpy as np


@bentoml.service(traffic={"timeout": 60})
class Classifier:
    def __init__(self) -> None:
        import mlflow

        self.model = mlflow.tensorflow.load_model(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000, route="/predict")
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.model.predict_on_batch(instances.astype("uint8"))


if __name__ == "__main__":
    os.environ["MODEL"] = sys.argv[1]
    bentoml.serve(f"{__file__.removesuffix('.py')}:Classifier", host="127.0.0.1", port=int(sys.argv[2]), blocking=True)
