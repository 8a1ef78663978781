"""A config-driven experiment framework for image classification on Keras 3."""
