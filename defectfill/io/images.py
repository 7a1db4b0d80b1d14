"""Pixels in and out of files: the only place where images are decoded and encoded.

In memory an image is [H, W, C], uint8 or uint16, with one channel (grey), three (RGB) or four (RGBA); a mask is
bool [H, W], True on the defect. A file that cannot be used is a DataError of one line: the file, what was
expected, what was found.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from defectfill.io.errors import DataError
from defectfill.io.files import write_bytes
from defectfill.io.mask_values import MaskReading, interpret

ImageArray: TypeAlias = NDArray[np.uint8 | np.uint16]
"""[H, W, C]; C is 1 (grey), 3 (RGB) or 4 (RGBA)."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of image files, in lower case."""
MAX_PIXELS = 200_000_000
"""A larger image is refused by its header, before any memory is taken for it."""

_IMAGE = "a PNG, JPEG, BMP, TIFF or WebP image"
_READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"II+\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0+", TiffImagePlugin.TiffImageFile),
)
"""First bytes -> Pillow's reader. `Image.open` brings a limit of pixels of its own, and warns below it."""
_CONVERTED = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _EXTRA_SAMPLES = 0x0112, 258, 262, 284, 338
_without_limit = threading.Lock()


def read_image(path: Path) -> ImageArray:
    """Return the image in the file `path`, [H, W, C], upright by its EXIF orientation.

    PNG, JPEG, BMP, TIFF and WebP, told apart by their first bytes. Eight bits and fewer come as uint8, more as
    uint16 with the values of the file; grey with alpha comes as RGBA, palettes and CMYK as RGB. Raises
    DataError for a file that is missing, damaged, of several frames, of more than MAX_PIXELS pixels, or of
    other values than 8 or 16 bits hold.
    """
    with _named(path), Path(path).open("rb") as file:
        return _decode(file)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn errors of opening and decoding the file `path` into a DataError that begins with its name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error.__cause__
    except OSError as error:
        expected = "a readable file" if error.strerror else _IMAGE  # Pillow's errors have none
        raise DataError(f"{path}: expected {expected}, found: {error.strerror or _one_line(error)}") from error


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return the mask in the file `path`, bool [H, W], True on the defect; any file `read_image` takes.

    See `mask_values` for which values count. Raises DataError as `read_image`, and where that is not plain.
    """
    return examine_mask(path).mask


def examine_mask(path: Path) -> MaskReading:
    """Return the mask in the file `path` with what was decided about its values; raises as `read_mask`.

    Of a colour the largest channel counts, alpha does not; where two indices of a palette have one colour, the indices.
    """
    with _named(path), Path(path).open("rb") as file:
        image = _decode(file, keep_indices=True)
        file.seek(0)
        return interpret(image[..., :3].max(axis=2), lossy=_is_lossy(file.read(16)))


def write_png(path: Path, image: NDArray[Any]) -> str:
    """Write `image` losslessly as PNG: [H, W, C] or [H, W], uint8 or uint16, or a mask, bool [H, W], as 0 and 255.

    Gives the SHA-256 of the file's bytes, as hex digits. These depend on the pixels alone, and the file appears whole
    or not at all.
    """
    import cv2

    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.ndim == 2:
        image = image[..., None]
    assert image.dtype in (np.uint8, np.uint16), f"cannot write {image.dtype}"
    assert image.shape[2:] in ((1,), (3,), (4,)), f"cannot write the shape {image.shape}"
    # On photographs run lengths are both the fastest and the smallest of zlib's strategies.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, encoded = cv2.imencode(".png", _swap_red_and_blue(image), options)
    assert done, "OpenCV cannot encode PNG"
    content = encoded.tobytes()
    write_bytes(Path(path), content)
    return hashlib.sha256(content).hexdigest()


def is_turned(path: Path) -> bool:
    """Return whether EXIF says that the image is shown turned or mirrored, as `read_image` gives it."""
    with Path(path).open("rb") as file:
        return _open(file, file.read(32)).getexif().get(_ORIENTATION, 1) != 1


def bits_of(path: Path) -> int:
    """Return how many bits a channel has in the file `path`; no pixel is decoded. DataError where it is no image."""
    with _named(path), Path(path).open("rb") as file:
        head = file.read(32)
        return _bits_per_sample(_open(file, head), head)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, as hex digits; DataError where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found: {error.strerror or error}") from error


def content_sha256(image: NDArray[Any]) -> str:
    """Return the SHA-256 of shape, dtype and pixels, as hex digits; equal for files that hold the same pixels."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype.name} ".encode())
    little_endian = image.astype(image.dtype.newbyteorder("<"), copy=False)
    digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


def _is_lossy(head: bytes) -> bool:
    """Return whether a file that starts like this may have lost the exact values of its pixels."""
    return head.startswith(b"\xff\xd8") or (head.startswith(b"RIFF") and head[12:16] != b"VP8L")


def _decode(file: BinaryIO, *, keep_indices: bool = False) -> ImageArray:
    """Return the upright pixels in `file`; DataError without the file's path.

    keep_indices: of a palette in which two indices have one colour, the indices instead of the colours.
    """
    head = file.read(32)
    image = _open(file, head)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"expected at most {MAX_PIXELS} pixels, found {width} x {height}")
    with _damage_is_a_data_error():
        frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"expected a single image, found {frames} frames in one {image.format} file")
    bits = _bits_per_sample(image, head)
    with _damage_is_a_data_error():
        _load(image)
    if image.mode == "F":
        raise DataError("expected values of 8 or 16 bits, found floating-point numbers")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = _grey16(image, bits)
    elif bits <= 8:
        pixels = _indices(image) if keep_indices and _is_ambiguous(image) else _eight_bits(image)
    else:
        pixels = _colour16(image, file)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return pixels  # both Pillow and OpenCV turn TIFF upright by themselves
    with _damage_is_a_data_error():
        orientation = image.getexif().get(_ORIENTATION, 1)
    return _upright(pixels, orientation)


def _open(file: BinaryIO, head: bytes) -> ImageFile.ImageFile:
    """Return pillow's reader of `file`, with the header read and no pixel decoded."""
    if not head:
        raise DataError(f"expected {_IMAGE}, found an empty file")
    for signature, reader in _READERS:
        if head.startswith(signature):
            file.seek(0)
            with _damage_is_a_data_error():
                return reader(file)
    raise DataError(f"expected {_IMAGE}, found a file that starts with {head[:12]!r}")


def _load(image: ImageFile.ImageFile) -> None:
    """Decode `image`, with Pillow's own limit of pixels out of the way."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or image.width * image.height <= limit:
        image.load()
        return
    with _without_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image.load()
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _damage_is_a_data_error() -> Iterator[None]:
    """Turn errors over damaged bytes, for which decoders raise nearly anything, into DataError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"expected {_IMAGE}, found a damaged or unusual file ({_one_line(error)})") from error


def _bits_per_sample(image: ImageFile.ImageFile, head: bytes) -> int:
    """Return how many bits a channel has in the file, which Pillow's mode does not tell for colour."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        return head[24]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    return 8


def _eight_bits(image: Image.Image) -> ImageArray:
    """Return the pixels of a loaded image of at most eight bits per channel, uint8 [H, W, C]."""
    mode = _CONVERTED.get(image.mode, image.mode)
    if "transparency" in image.info:
        mode = "RGBA"
    if mode not in ("L", "RGB", "RGBA"):
        raise DataError(f"expected grey, RGB or RGBA pixels, found Pillow's mode {image.mode}")
    pixels = np.array(image if mode == image.mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _is_ambiguous(image: Image.Image) -> bool:
    """Return whether a loaded image has a palette in which two of the indices that occur have one colour."""
    if image.mode != "P":
        return False
    used = np.flatnonzero(image.histogram())
    palette = bytes(image.getpalette() or ()).ljust(768, b"\0")
    return len({palette[3 * index : 3 * index + 3] for index in used.tolist()}) < len(used)


def _indices(image: Image.Image) -> ImageArray:
    """Return the indices of a loaded image with a palette, uint8 HW1."""
    return np.array(image)[..., None]


def _grey16(image: Image.Image, bits: int) -> ImageArray:
    """Return the pixels of a loaded grey image of more than eight bits, uint16 HW1."""
    values = np.array(image)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # 0 is white; Pillow minds this up to eight bits
        values = (1 << bits) - 1 - values.astype(np.int64)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise DataError(f"expected grey values within 0..65535, found {lowest}..{highest}")
    return values.astype(np.uint16)[..., None]


def _colour16(image: ImageFile.ImageFile, file: BinaryIO) -> ImageArray:
    """Return the pixels of a colour image of 16 bits, uint16 [H, W, C], which Pillow would cut to eight."""
    import cv2

    tags = getattr(image, "tag_v2", {})
    if image.mode not in ("RGB", "RGBA") or tags.get(_PLANAR) == 2 or tags.get(_EXTRA_SAMPLES) == (1,):
        raise DataError(
            "expected 16-bit colour as RGB or RGBA, channels interleaved, alpha not multiplied in, "
            "found another kind of 16-bit colour"
        )
    file.seek(0)
    with _damage_is_a_data_error():
        pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    size = None if pixels is None else (pixels.shape[1], pixels.shape[0])
    if pixels is None or pixels.dtype != np.uint16 or size != image.size or pixels.ndim != 3:
        raise DataError(f"expected {_IMAGE}, found 16-bit colour that OpenCV cannot decode")
    return _swap_red_and_blue(pixels)


def _swap_red_and_blue(image: NDArray[Any]) -> NDArray[Any]:
    """Return `image` ([H, W, C]) with its first and third channel swapped, as OpenCV wants and gives them."""
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[image.shape[2]]
    return np.ascontiguousarray(image[..., order])


def _upright(pixels: ImageArray, orientation: int) -> ImageArray:
    """Return `pixels` turned as the EXIF orientation (1 to 8) asks; any other value leaves them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
