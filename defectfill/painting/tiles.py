"""Crops as tiles of a contact sheet."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from defectfill.painting.window import Window

TILE_PX = 160
GAP_PX = 4
TITLE_PX = 18
CAPTION_LINE_PX = 14

OUTLINE = np.array([1.0, 0.2, 0.1], dtype=np.float32)

Tile = NDArray[np.float32]
"""[side, side, 3] in [0, 1]; the side is TILE_PX unless a sheet says otherwise."""


def outlined(window: Window) -> Tile:
    """Return the crop with its mask's outline drawn just outside the mask."""
    from scipy import ndimage

    outline = ndimage.binary_dilation(window.mask) & ~window.mask
    return np.where(outline[..., None], OUTLINE, window.image)


def titled_row(
    title: str,
    tiles: Sequence[Tile],
    columns: int,
    tile_px: int = TILE_PX,
    captions: Sequence[Sequence[str]] = (),
) -> NDArray[np.uint8]:
    """Return tiles side by side under a title, and lines of text under each where there are captions.

    [TITLE_PX + tile_px + GAP_PX, columns * (tile_px + GAP_PX), 3], and CAPTION_LINE_PX more for each line.
    """
    lines = max(map(len, captions), default=0)
    size = columns * (tile_px + GAP_PX), TITLE_PX + tile_px + GAP_PX + lines * CAPTION_LINE_PX
    row = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(row)
    draw.text((GAP_PX, 2), title, fill="black", font=ImageFont.load_default(13))
    for column, tile in enumerate(tiles):
        pixels = Image.fromarray(np.rint(tile * 255).astype(np.uint8))
        row.paste(pixels, (column * (tile_px + GAP_PX), TITLE_PX))
    font = ImageFont.load_default(11)
    for column, caption in enumerate(captions):
        for line, text in enumerate(caption):
            place = (column * (tile_px + GAP_PX) + 2, TITLE_PX + tile_px + 1 + line * CAPTION_LINE_PX)
            draw.text(place, text, fill=(70, 70, 70), font=font)
    return np.asarray(row)
