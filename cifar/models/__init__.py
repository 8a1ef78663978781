"""Backbones, one file per family; each builder returns a `keras.Model` from image to named feature maps."""
