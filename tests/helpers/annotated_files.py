"""Small data sets of photos with boxes and masks, in the layouts of COCO, PASCAL VOC, Oxford-IIIT Pet and folders."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image
from pycocotools import mask as coco_masks

from cifar.config.registry import DATASETS
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError
from helpers.runs import composed

COCO_TEST = "annotations/instances_val2017.json"
SIZES = ((20, 32), (32, 20), (24, 24), (11, 40))
"""(height, width) of photos, in turn."""


def photo(path: Path, number: int) -> tuple[int, int]:
    """Write photo `number` to `path`; its (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = SIZES[number % len(SIZES)]
    pixels = np.random.default_rng([number, len(path.parts)]).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return size


def indexed(path: Path, values: np.ndarray) -> None:
    """Write a PNG image of a palette whose indices are `values`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette([(37 * k) % 256 for k in range(768)])
    image.save(path)


def coco_content(folder: Path, photos: int, first: int = 0) -> dict:
    """Photos in `folder`, and the annotations of them: in each a polygon, in each second one a packed mask as well, in
    each third one a crowd of plain run lengths."""
    content = {
        "info": {"year": 2026},
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in ((7, "cat"), (3, "ant"), (90, "bee"))],
    }

    def add(image, category, box, segmentation, crowd=0):
        content["annotations"].append({"id": 100 + len(content["annotations"]), "image_id": image, "iscrowd": crowd,
                                       "category_id": category, "bbox": box, "segmentation": segmentation})  # fmt: skip

    for number in range(first, first + photos):
        height, width = photo(folder / f"{number:03}.jpg", number)
        content["images"].append({"id": number, "file_name": f"{number:03}.jpg", "height": height, "width": width})
        corners = [1.5, 2, width - 3, 2.25, width - 4, height - 1.5, 2, height - 2]
        add(number, (3, 7, 90)[number % 3], [1.5, 2, width - 4.5, height - 3.5], [corners])
        area = np.zeros((height, width), np.uint8, order="F")
        area[3 : height // 2, 4 : width // 2] = 1
        box = [4, 3, width // 2 - 4, height // 2 - 3]
        if number % 2:
            packed = coco_masks.encode(area)
            add(number, 7, box, {"size": packed["size"], "counts": packed["counts"].decode()})
        if number % 3 == 0:
            ends = np.flatnonzero(np.diff(np.concatenate([[0], area.ravel("F"), [2]])))
            add(number, 90, box, {"size": [height, width], "counts": np.diff(ends, prepend=0).tolist()}, crowd=1)
    return content


def write_coco(root: Path) -> Path:
    """Twelve training and four test photos."""
    for split, photos, first in (("train2017", 12, 0), ("val2017", 4, 12)):
        write_json(root / "annotations" / f"instances_{split}.json", coco_content(root / split, photos, first))
    return root


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def altered(root: Path, change: Callable[[dict], object], file: str = COCO_TEST) -> Path:
    """`root`, with the content of its JSON `file` changed."""
    content = json.loads((root / file).read_text())
    change(content)
    write_json(root / file, content)
    return root


def voc_xml(size: tuple[int, int], objects: list[tuple[str, tuple, int]]) -> str:
    """An annotation of a photo of `size` with objects of (name, (xmin, ymin, xmax, ymax), difficult)."""
    height, width = size
    lines = ["<annotation>", f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"]
    for name, (left, top, right, bottom), difficult in objects:
        lines += ["<object>", f"<name>{name}</name>", f"<difficult>{difficult}</difficult>",
                  f"<bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>",
                  "</object>"]  # fmt: skip
    return "\n".join([*lines, "</annotation>"])


def write_voc(root: Path) -> Path:
    """Sixteen photos, of which twelve are to train and four to test, all with masks."""
    for name in ("Annotations", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    names = [f"2026_{number:06}" for number in range(16)]
    for number, name in enumerate(names):
        height, width = photo(root / "JPEGImages" / f"{name}.jpg", number)
        objects = [(("person", "cat", "sofa")[number % 3], (2, 3, width - 1, height), 0)]
        mask = np.zeros((height, width), np.uint8)
        mask[2:, 1 : width - 1] = (15, 8, 18)[number % 3]
        mask[2, 1 : width - 1] = 255
        if number % 2:
            objects.append(("dog", (1, 1, 5.5, 6), 1))
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml((height, width), objects))
        indexed(root / "SegmentationClass" / f"{name}.png", mask)
    for sets in ("Main", "Segmentation"):
        for split, part in (("train", names[:12]), ("val", names[12:])):
            (root / "ImageSets" / sets / f"{split}.txt").write_text("\n".join(part) + "\n")
    return root


def write_masks(root: Path) -> Path:
    """Sixteen photos with masks of 0, 1 and void."""
    for number in range(16):
        height, width = photo(root / "images" / f"{number:02}.jpg", number)
        mask = np.zeros((height, width), np.uint8)
        mask[2:9, 3 : width - 4] = 1
        mask[0] = 255
        indexed(root / "masks" / f"{number:02}.png", mask)
    return root


def write_pets(root: Path) -> Path:
    """Twelve training photos, all but one with a head, and eight test photos; two breeds of each species."""
    breeds = (("Birman", 1, 1), ("beagle", 2, 2), ("Bombay", 3, 1), ("pug", 4, 2))
    lists = {"trainval": ["# name breed species"], "test": []}
    for number in range(20):
        breed, index, species = breeds[number % 4]
        name = f"{breed}_{number}"
        height, width = photo(root / "images" / f"{name}.jpg", number)
        trimap = np.full((height, width), 2, np.uint8)
        trimap[2 : height - 1, 3 : width - 2] = 3
        trimap[3 : height - 2, 4 : width - 3] = 1
        (root / "annotations" / "trimaps").mkdir(parents=True, exist_ok=True)
        Image.fromarray(trimap).save(root / "annotations" / "trimaps" / f"{name}.png")
        if number < 11:
            (root / "annotations" / "xmls").mkdir(exist_ok=True)
            head = (("cat", "dog")[species - 1], (5, 4, 9, 8), 0)
            (root / "annotations" / "xmls" / f"{name}.xml").write_text(voc_xml((height, width), [head]))
        lists["trainval" if number < 12 else "test"].append(f"{name} {index} {species} {(index + 1) // 2}")
    for part, lines in lists.items():
        (root / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_yolo_photos(root: Path, images: str, labels: str, numbers: Iterable[int], polygons: bool = False) -> None:
    """Photos of `numbers` in the folder `images`, with two lines in `labels`: a class of 0 to 2, and class 0."""
    for number in numbers:
        height, width = photo(root / images / f"{number:02}.jpg", number)
        (root / labels).mkdir(parents=True, exist_ok=True)
        if polygons:
            corners = np.array([[2, 3], [width - 2, 3], [width - 2, height - 2], [2, height - 2]]) / (width, height)
            lines = [f"{number % 3} {' '.join(map(str, corners.ravel()))}"]
        else:
            lines = [f"{number % 3} 0.5 0.5 0.5 0.25", "0 0.25 0.25 0.5 0.5"]
        (root / labels / f"{number:02}.txt").write_text("\n".join(lines) + "\n")


def write_yolo(root: Path, polygons: bool = False, **config: object) -> Path:
    """Eight training, three validation and three test photos, as Ultralytics has them."""
    for split, numbers in (("train", range(8)), ("val", range(8, 11)), ("test", range(11, 14))):
        write_yolo_photos(root, f"images/{split}", f"labels/{split}", numbers, polygons)
    splits = {split: f"images/{split}" for split in ("train", "val", "test")}
    (root / "data.yaml").write_text(yaml.safe_dump({**splits, "names": ["ant", "bee", "cat"], **config}))
    return root


WRITERS = {
    "coco": write_coco,
    "voc": write_voc,
    "masks": write_masks,
    "pets": write_pets,
    "yolo": functools.partial(write_yolo, val=None),
}


def whole(array: np.ndarray, size: int, resample: Image.Resampling, around: int) -> np.ndarray:
    """An image or mask as Pillow brings it to (size, size), whole and in its proportions, `around` it one value."""
    height, width = array.shape[:2]
    scale = size / max(height, width)
    new = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(array)
    square = Image.new(image.mode, (size, size), (around,) * 3 if image.mode == "RGB" else around)
    square.paste(image.resize(new, resample), ((size - new[0]) // 2, (size - new[1]) // 2))
    return np.asarray(square)


def whole_box(box: tuple, shape: tuple[int, int], size: int) -> np.ndarray:
    """The box (left, top, right, bottom) of a photo of `shape` in that image, to within rounding to whole pixels."""
    height, width = shape
    scale = size / max(height, width)
    return np.array(box) * scale + np.tile([(size - round(width * scale)) // 2, (size - round(height * scale)) // 2], 2)


def build(
    name: str, path: Path, *, seed: int = 0, wanted: tuple[str, ...] | None = None, **settings: object
) -> Dataset:
    """The data set `name` at `path`, in images of 16 pixels, with the targets that a task has `wanted`, or all."""
    stated = {**_stated(name), "path": str(path), "size": 16, "val_fraction": 0.25, **settings}
    return DATASETS.build(stated, seed=seed, wanted=wanted)


@functools.cache
def _stated(name: str) -> dict:
    return OmegaConf.to_container(composed(f"data={name}").data)


def refusal(*arguments: object, **settings: object) -> str:
    """The one line in which `build` refuses."""
    with pytest.raises(InputError) as caught:
        build(*arguments, **settings)
    line = str(caught.value)
    assert "\n" not in line and "accepted" in line, line
    return line


def overwrite(path: Path, alter: Callable[[bytes, int], bytes], offsets: Iterable[int]) -> Iterator[int]:
    """The file at `path` altered at each of `offsets` in turn, and as it was at the end."""
    content = path.read_bytes()
    for offset in offsets:
        path.write_bytes(alter(content, offset))
        yield offset
    path.write_bytes(content)
