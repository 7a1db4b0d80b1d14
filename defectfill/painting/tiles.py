"""Crops as tiles of a contact sheet."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from defectfill.painting.window import Window

TILE_PX = 160
GAP_PX = 4
LEAST_TEXT_PX = 13
CHARACTERS = 24
"""So many fit under a tile, about: text is as large as that allows, to be read where a sheet is shown small."""

OUTLINE = np.array([1.0, 0.2, 0.1], dtype=np.float32)

Tile = NDArray[np.float32]
"""[side, side, 3] in [0, 1]; the side is TILE_PX unless a sheet says otherwise."""


def outlined(window: Window) -> Tile:
    """Return the crop with its mask's outline drawn just outside the mask."""
    from scipy import ndimage

    outline = ndimage.binary_dilation(window.mask) & ~window.mask
    return np.where(outline[..., None], OUTLINE, window.image)


def text_px(tile_px: int) -> int:
    """Return the size of the text at tiles of such a side."""
    return max(2 * tile_px // CHARACTERS, LEAST_TEXT_PX)


def title_px(tile_px: int) -> int:
    """Return the height of a title above tiles of such a side."""
    return text_px(tile_px) + 5


def caption_line_px(tile_px: int) -> int:
    """Return the height of a line of text under tiles of such a side."""
    return text_px(tile_px) + 3


def titled_row(
    title: str,
    tiles: Sequence[Tile],
    columns: int,
    tile_px: int = TILE_PX,
    captions: Sequence[Sequence[str]] = (),
) -> NDArray[np.uint8]:
    """Return tiles side by side under a title, and lines of text under each where there are captions.

    [title_px + tile_px + GAP_PX, columns * (tile_px + GAP_PX), 3], and caption_line_px more for each line.
    """
    lines, top, line_px = max(map(len, captions), default=0), title_px(tile_px), caption_line_px(tile_px)
    size = columns * (tile_px + GAP_PX), top + tile_px + GAP_PX + lines * line_px
    row = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(row)
    font = ImageFont.load_default(text_px(tile_px))
    draw.text((GAP_PX, 2), title, fill="black", font=font)
    for column, tile in enumerate(tiles):
        pixels = Image.fromarray(np.rint(tile * 255).astype(np.uint8))
        row.paste(pixels, (column * (tile_px + GAP_PX), top))
    for column, caption in enumerate(captions):
        for line, text in enumerate(caption):
            place = (column * (tile_px + GAP_PX) + 2, top + tile_px + 1 + line * line_px)
            draw.text(place, text, fill=(60, 60, 60), font=font)
    return np.asarray(row)
