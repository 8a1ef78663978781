"""Photos with boxes or masks: COCO, Pascal VOC, YOLO, Oxford-IIIT Pet, index and color masks."""

from cifar.data.annotated import coco, masks, pets, voc, yolo

__all__ = ["coco", "masks", "pets", "voc", "yolo"]
