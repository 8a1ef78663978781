"""Data sets of photos: a loader lists examples of a `TreePath`, and `photo_dataset` splits, decodes and checks them."""

from cifar.data.photos.dataset import photo_dataset
from cifar.data.photos.find import Finder
from cifar.data.photos.listing import SPLITS, Example, Listing, Options, Reader, Size, checked_file, is_image
from cifar.interfaces import Resize

__all__ = [
    "SPLITS",
    "Example",
    "Finder",
    "Listing",
    "Options",
    "Reader",
    "Resize",
    "Size",
    "checked_file",
    "is_image",
    "photo_dataset",
]
