"""A config-driven experiment framework for image classification on Keras 3."""

import os

# TensorFlow's notes on its own start-up; its errors still raise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# It looks for plugins in every package that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
