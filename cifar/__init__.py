"""A config-driven experiment framework for image classification on Keras 3."""

import os

# TensorFlow's notes on its own start-up; its errors still raise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
