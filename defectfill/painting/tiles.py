"""Crops as tiles of a contact sheet."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from defectfill.painting.window import Window

TILE_PX = 160
GAP_PX = 4
TITLE_PX = 18

OUTLINE = np.array([1.0, 0.2, 0.1], dtype=np.float32)

Tile = NDArray[np.float32]
"""[TILE_PX, TILE_PX, 3] in [0, 1]"""


def outlined(window: Window) -> Tile:
    """Return the crop with its mask's outline drawn just outside the mask."""
    from scipy import ndimage

    outline = ndimage.binary_dilation(window.mask) & ~window.mask
    return np.where(outline[..., None], OUTLINE, window.image)


def titled_row(title: str, tiles: Sequence[Tile], columns: int) -> NDArray[np.uint8]:
    """Return tiles side by side under a title, [TITLE_PX + TILE_PX + GAP_PX, columns * (TILE_PX + GAP_PX), 3]."""
    row = Image.new("RGB", (columns * (TILE_PX + GAP_PX), TITLE_PX + TILE_PX + GAP_PX), "white")
    ImageDraw.Draw(row).text((GAP_PX, 3), title, fill="black")
    for column, tile in enumerate(tiles):
        pixels = Image.fromarray(np.rint(tile * 255).astype(np.uint8))
        row.paste(pixels, (column * (TILE_PX + GAP_PX), TITLE_PX))
    return np.asarray(row)
