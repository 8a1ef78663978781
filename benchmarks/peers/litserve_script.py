"""A service with LitServe (https://lightning.ai/docs/litserve): the run's model, batches as its guide makes them.

python benchmarks/peers/litserve_script.py runs:/RUN/model PORT
"""

from __future__ import annotations

import sys

import litserve
import mlflow
import numpy as np


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.model = mlflow.tensorflow.load_model(sys.argv[1])

    def decode_request(self, request):
        return np.array(request["instances"][0], "uint8")

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.model.predict_on_batch(x)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"predictions": [output.tolist()]}


if __name__ == "__main__":
    api = Classifier(max_batch_size=64, batch_timeout=0.002)
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False
    )
