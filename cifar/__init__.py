"""A config-driven experiment framework for image classification on Keras 3."""

import os

__version__ = "0.2.0"

# TensorFlow's notes on its own start-up; its errors still raise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow and MLflow would look for Keras 2.
os.environ.pop("TF_USE_LEGACY_KERAS", None)
# Notebooks set one of their own for all that they start, where matplotlib, which Keras imports, may not find it.
os.environ["MPLBACKEND"] = "agg"
# Pydantic looks for plugins in every package that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
