"""Image files in every form, broken ones too."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from benchmarks.mutations.common import put

SIDE = 96
"""Pixels of the toys."""

Writer = Callable[[Path], Any]
"""Writes another picture into a file."""


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    """Return an image file of an array or a Pillow image."""
    content = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(content, kind, **options)
    return content.getvalue()


def tiff(pixels: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    tifffile.imwrite(content, pixels, **options)
    return content.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG that says its size in the header and has no more than the given chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def huge_bmp() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def huge_jpeg() -> bytes:
    content = encoded(noise(), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", 65_000, 65_000) + content[at + 4 :]


def huge_tiff() -> bytes:
    tags = [(256, 4, 1, 100_000), (257, 4, 1, 100_000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 4, 1, 100_000), (279, 4, 1, 100)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def tiff_without_end() -> bytes:
    """Return a TIFF whose directory of tags says that the next directory is itself."""
    content = bytearray(tiff(noise()[..., 0], photometric="minisblack"))
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * count, at)
    return bytes(content)


def noise(height: int = SIDE, width: int = SIDE, channels: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def photo(path: Path) -> Any:
    return np.array(Image.open(path).convert("RGB"))


def as_is(content: bytes | str) -> Writer:
    return lambda path: put(path, content)


def anew(make: Callable[[Any], bytes]) -> Writer:
    """Return what writes the photograph in the file in another form."""
    return lambda path: put(path, make(photo(path)))


def animated(path: Path, kind: str) -> None:
    image = Image.fromarray(photo(path))
    put(path, encoded(image, kind, save_all=True, append_images=[image.rotate(90)]))


def with_text(path: Path) -> None:
    """Write a PNG with a comment that unpacks to 100 MB."""
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))
    content = path.read_bytes()
    put(path, content[:33] + comment + content[33:])


def wrong_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    put(path, bytes(content))


def disc(value: Any = 255, dtype: Any = np.uint8, radius: int = 8) -> Any:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.where((rows - 48) ** 2 + (columns - 48) ** 2 < radius**2, value, 0).astype(dtype)


def with_pixel(mask: Any, value: int) -> Any:
    mask[48, 48] = value
    return mask
