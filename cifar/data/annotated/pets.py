"""The Oxford-IIIT Pet data set: 37 breeds of cats and dogs, with boxes of heads and trimaps.

Source: Parkhi et al., "Cats and Dogs", 2012, https://www.robots.ox.ac.uk/~vgg/data/pets/
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import check_size, checked_classes, checked_mask, object_targets, photo_size
from cifar.data.annotated.mask_files import read_index_mask
from cifar.data.annotated.voc_file import pixel_box, read_lines, read_xml
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import Example, Listing, Options, Reader, Resize, Size, checked_file, photo_dataset
from cifar.files.tree import TreePath, open_tree
from cifar.interfaces import VOID, Dataset
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

SPECIES = ("cat", "dog")
LINE = re.compile(r"\S+_\d+ [1-9]\d{0,3} [12] [1-9]\d{0,3}", re.ASCII)
INSIDE, OUTSIDE, BORDER = 1, 2, 3
"""The values of a trimap."""


@dataclass(frozen=True)
class Pet:
    """A line of a list file: an image's name, its breed from 1 and its species, 1 or 2."""

    name: str
    breed: int
    species: int
    where: str

    @property
    def breed_name(self) -> str:
        return self.name.rpartition("_")[0]


class Head(NamedTuple):
    """The boxes of heads as targets, and the (height, width) of the photo that their file states."""

    size: tuple[int, int]
    targets: dict[str, np.ndarray]


@DATASETS.register
def pets(
    seed: int,
    *,
    path: str,
    classes: Literal["species", "breed"],
    boxes: Literal["body", "head"],
    size: Size,
    resize: Resize = "letterbox",
    cached_size: Size | None = None,
    val_fraction: Share,
    test_fraction: Share,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """Photos of the Oxford-IIIT Pet data set at `path` as images of `size`, each with a box and a mask.

    `path` contains `images/` and `annotations/`. The mask is the trimap; its border becomes `VOID`. With `boxes=body`,
    boxes are the bounding boxes of trimaps, and the splits are the published ones. Boxes of heads are published for
    most training photos only: with `boxes=head`, `test_fraction` of the photos with an XML file is used for testing,
    the same for every seed. Validation images are split off the training images. Lists may lack breeds. For
    the other settings and errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        lists = [root / "annotations" / f"{part}.txt" for part in ("trainval", "test")]
        train, test = (_read_list(file) for file in lists)
        breeds = _breeds([*train, *test])
        class_names: tuple[str, ...]
        if classes == "species":
            class_names, labels = SPECIES, {number: pet.species - 1 for number, pet in breeds.items()}
        else:
            class_names = checked_classes([pet.breed_name for pet in breeds.values()], lists[0])
            labels = {number: label for label, number in enumerate(breeds)}
        make = functools.partial(_examples, root, labels, boxes == "head")
        splits = {"train": make(train), "test": make(test)} if boxes == "body" else {"train": make([*train, *test])}
        listing = Listing("pets", root, class_names, **splits)
        return photo_dataset(
            listing, Options(seed, size, resize, val_fraction, test_fraction, limit, reader, cached_size)
        )


def _read_list(path: TreePath) -> list[Pet]:
    pets = []
    seen: set[str] = set()
    for where, stated in read_lines(path):
        name, *rest = stated.split()
        line = " ".join([name, *rest])
        if name in seen:
            raise InputError(f"{where}: {name} is repeated; accepted: each image once")
        seen.add(name)
        if not LINE.fullmatch(line):
            raise InputError(
                f"{where}: {line[:80]}; accepted: name (of breed and number, such as Abyssinian_100), "
                f"breed from 1, species 1 or 2, breed within the species"
            )
        pets.append(Pet(name, int(rest[0]), int(rest[1]), where))
    return pets


def _breeds(pets: Sequence[Pet]) -> dict[int, Pet]:
    """Return the first pet of each breed by its number, sorted; raises `InputError` if lines contradict each other."""
    breeds: dict[int, Pet] = {}
    for pet in pets:
        first = breeds.setdefault(pet.breed, pet)
        if (first.breed_name, first.species) != (pet.breed_name, pet.species):
            raise InputError(
                f"{pet.where}: {pet.name} has breed {pet.breed} and species {pet.species}, and "
                f"{first.name} {first.breed} and {first.species}; accepted: one number and one species per breed"
            )
    return dict(sorted(breeds.items()))


def _examples(root: TreePath, labels: Mapping[int, int], heads: bool, pets: Sequence[Pet]) -> list[Example]:
    examples = []
    for pet in pets:
        with skipping_invalid("photo"):
            photo = checked_file(root.member(f"images/{pet.name}.jpg"), pet.where)
            trimap = checked_file(root.member(f"annotations/trimaps/{pet.name}.png"), pet.where)
            xml = root.member(f"annotations/xmls/{pet.name}.xml")
            if heads and not xml.is_file():
                continue
            label = labels[pet.breed]
            head = _head(xml, photo, label) if heads else None
            examples.append(Example(photo, label, functools.partial(_targets, photo, trimap, xml, head, label)))
    return examples


def _head(xml: TreePath, photo: TreePath, label: int) -> Head:
    """The boxes of heads in an XML file, in a photo of the size that it states; raises `InputError`."""
    content = read_xml(xml)
    size = content.size or photo_size(photo)
    boxes, difficult = [], []
    for item in content.objects:
        with skipping_invalid("annotation"):
            boxes.append(pixel_box(item, 1, size))
            difficult.append(item.difficult)
    if not boxes:
        raise InputError(f"{xml}: no object; accepted: the box of at least one head")
    return Head(size, object_targets(boxes, [label] * len(boxes), difficult))


def _targets(
    photo: TreePath, trimap: TreePath, xml: TreePath, head: Head | None, label: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    if head is not None:
        check_size(size, head.size, photo, xml)
    values = checked_mask(read_index_mask(trimap), size, (INSIDE, OUTSIDE, BORDER), photo, trimap)
    targets = _body(values == INSIDE, label, trimap) if head is None else head.targets
    meaning = np.array([0, label + 1, 0, VOID], np.uint8)
    return {**targets, "mask": meaning[values]}


def _body(inside: np.ndarray, label: int, where: TreePath) -> dict[str, np.ndarray]:
    """Return the bounding box of `inside`, bool (height, width), as targets."""
    ys, xs = np.nonzero(inside)
    if not len(ys):
        raise InputError(f"{where}: no pixel of the pet; accepted: at least one of value {INSIDE}")
    return object_targets([(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)], [label], [False])
