"""Data sets of photos: a loader lists examples of a `TreePath`, and `photo_dataset` splits, decodes and checks them."""

from cifar.data.photos.dataset import photo_dataset
from cifar.data.photos.listing import Example, Listing, Options, checked_file

__all__ = ["Example", "Listing", "Options", "checked_file", "photo_dataset"]
