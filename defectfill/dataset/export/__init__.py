"""A finished dataset in the formats of those who train on it; `export.py` is the code to read first."""

from typing import Literal

Format = Literal["anomalib", "mvtec", "coco", "yolo-seg", "yolo-sem", "labelstudio"]
