"""A hand-written service: Flask, the run's model, `model.predict` for each request.

python benchmarks/peers/flask_script.py runs:/RUN/model PORT
"""

from __future__ import annotations

import sys

import mlflow
import numpy as np
from flask import Flask, jsonify, request

app = Flask(__name__)
model = mlflow.tensorflow.load_model(sys.argv[1])


@app.get("/ping")
def ping():
    return "ready"


@app.post("/predict")
def predict():
    images = np.array(request.get_json()["instances"], "uint8")
    return jsonify(predictions=model.predict(images, verbose=0).tolist())


app.run(port=int(sys.argv[2]), threaded=True)
