"""The pictures of the report: windows of samples before and after, small enough that thousands of them open at once."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectfill.io.images import ImageArray
from defectfill.painting.window import Box, Window, crop_window, unit_rgb

TOTAL_BYTES = 120_000_000
"""Of all pictures of samples together, at most."""
MOST_SIDE_PX, LEAST_SIDE_PX = 448, 160
"""Of a picture; never more than the window has."""
BYTES_PER_PIXEL = 0.2
"""Of a WebP of quality 80, of a photograph with some texture."""
PICTURES_PER_SAMPLE = 2.4
"""Before, after, and what changed, which is smaller."""
QUALITIES = (80, 60, 40, 20)
"""Tried from the first on, until a picture is small enough."""
MOST_POINTS = 400
"""Of an outline."""

CHANGE_COLOUR = (255, 0, 140)
FULL_CHANGE = 0.3
"""A change of so much of the value range is shown opaque."""


@dataclass(frozen=True)
class Budget:
    """How large each picture may be."""

    side_px: int
    bytes: int

    @classmethod
    def of(cls, samples: int) -> "Budget":
        """Return the budget of each picture of so many samples, so that all together keep to TOTAL_BYTES."""
        each = TOTAL_BYTES / max(samples, 1) / PICTURES_PER_SAMPLE
        side = min(max(int((each / BYTES_PER_PIXEL) ** 0.5), LEAST_SIDE_PX), MOST_SIDE_PX)
        return cls(side, int(each))


def window_at(image: ImageArray, mask: NDArray[np.bool_], box: Box, budget: Budget) -> Window:
    """Return the window of an image [H, W, C] and a mask [H, W], at most as large as the budget allows."""
    return crop_window(image, mask, box, min(box[2] - box[0], budget.side_px))


def write_webp(path: Path, image: NDArray[np.float32], budget: Budget) -> None:
    """Write an image [h, w, 3 or 4] in [0, 1], of the best quality that keeps to the budget; else at half its size."""
    path.write_bytes(_encoded(Image.fromarray(np.rint(image * 255).astype(np.uint8)), budget))


def _encoded(pixels: Image.Image, budget: Budget) -> bytes:
    for quality in QUALITIES:
        content = io.BytesIO()
        pixels.save(content, "webp", quality=quality, method=2, alpha_quality=quality)
        if content.tell() <= budget.bytes:
            return content.getvalue()
    return _encoded(pixels.reduce(2), budget)


def change_of(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what changed from one image [h, w, 3] to another as a layer [h, w, 4] that is clear where nothing did."""
    strength = np.clip(np.abs(after - before).max(axis=2) / FULL_CHANGE, 0, 1)
    layer = np.empty((*strength.shape, 4), dtype=np.float32)
    layer[..., :3] = np.divide(CHANGE_COLOUR, 255, dtype=np.float32)
    layer[..., 3] = np.where(strength > 0, 0.15 + 0.8 * strength, 0)
    return layer


def outline(mask: NDArray[np.bool_]) -> str:
    """Return the outlines of a mask [h, w] as an SVG path in its pixels, holes included; empty for an empty mask."""
    import cv2

    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    tolerance = max(len(mask) / 400, 0.5)
    rings = [cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0] for ring in found]
    while sum(map(len, rings)) > MOST_POINTS and tolerance < len(mask):
        tolerance *= 2
        coarser = [cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0] for ring in found]
        rings = [ring for ring in coarser if len(ring) > 2] or rings[:1]
    return "".join(map(_ring, rings))


def _ring(points: NDArray[np.int32]) -> str:
    """Return a closed path through the centres of pixels; of a single one its square."""
    if len(points) < 3:
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return f"M{left} {top}H{right + 1}V{bottom + 1}H{left}Z"
    steps = "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in points.tolist())
    return f"M{steps}Z"


def whole(image: ImageArray, side_px: int) -> NDArray[np.float32]:
    """Return a whole image [H, W, C] as [h, w, 3] in [0, 1], its longer side at most `side_px`."""
    import cv2

    unit = unit_rgb(image)
    scale = side_px / max(unit.shape[:2])
    if scale >= 1:
        return unit
    size = (max(round(unit.shape[1] * scale), 1), max(round(unit.shape[0] * scale), 1))
    return np.asarray(cv2.resize(unit, size, interpolation=cv2.INTER_AREA))
