"""Pixels in and out of files."""

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from defectfill.io.errors import DataError
from defectfill.io.images import MAX_PIXELS, content_sha256, file_sha256, read_image, write_png

ORIENTATION = 0x0112


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """A picture with every value possible, so that a wrong channel, bit or corner shows."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(path: Path, image: NDArray[Any], **options: Any) -> Path:
    """Saves an 8-bit picture by Pillow."""
    Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image).save(path, **options)
    return path


def save_tagged(path: Path, image: NDArray[Any], orientation: int) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(path, image, exif=exif)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bytes(width: int, height: int, bits: int, colour_type: int, rows: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def refusal(path: Path) -> str:
    """The one line with which `path` is refused."""
    with pytest.raises(DataError) as caught:
        read_image(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: expected ")
    assert "found" in problem
    assert "\n" not in problem
    return problem


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, suffix: str, channels: int) -> None:
    image = noise(7, 9, channels)
    read = read_image(save(tmp_path / f"image{suffix}", image))
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_gives_what_pillow_decodes(tmp_path: Path, suffix: str, channels: int) -> None:
    path = save(tmp_path / f"image{suffix}", noise(16, 24, channels))
    with Image.open(path) as expected:
        np.testing.assert_array_equal(read_image(path).squeeze(), np.asarray(expected))


def test_pixels_can_be_written_to(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "image.png", noise(4, 5, 3))).flags.writeable


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_kept_exactly(tmp_path: Path, suffix: str) -> None:
    image = noise(6, 5, 1, dtype=np.uint16)
    path = save(tmp_path / f"image{suffix}", image)
    read = read_image(path)
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.uint16


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_is_kept_exactly(tmp_path: Path, channels: int) -> None:
    image = noise(6, 5, channels, dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    path = tmp_path / "image.png"
    path.write_bytes(png_bytes(5, 6, 16, {3: 2, 4: 6}[channels], rows))
    read = read_image(path)
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.uint16


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tif_is_kept_exactly(tmp_path: Path, byteorder: Any, compression: str | None, channels: int) -> None:
    image = noise(6, 5, channels, dtype=np.uint16)
    photometric = "rgb" if channels == 3 else "minisblack"
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, image, photometric=photometric, byteorder=byteorder, compression=compression)
    read = read_image(path)
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.dtype("=u2")


def test_16_bit_tif_whose_zero_is_white_is_turned(tmp_path: Path) -> None:
    image = noise(6, 5, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif")[..., 0], 65535 - image)


def test_16_bits_stored_as_32_are_read_where_they_fit(tmp_path: Path) -> None:
    image = noise(6, 5, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "fits.tif", image.astype(np.int32))
    tifffile.imwrite(tmp_path / "large.tif", image.astype(np.int32) + 65536)
    tifffile.imwrite(tmp_path / "negative.tif", image.astype(np.int32) - 65536)
    np.testing.assert_array_equal(read_image(tmp_path / "fits.tif")[..., 0], image)
    assert "0..65535" in refusal(tmp_path / "large.tif")
    assert "0..65535" in refusal(tmp_path / "negative.tif")


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_other_modes_become_grey_rgb_or_rgba(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(noise(8, 9, 3)).convert(mode)
    path = tmp_path / f"image.{'jpg' if mode == 'CMYK' else 'png'}"
    picture.save(path)
    target = {"1": "L", "P": "RGB", "LA": "RGBA", "RGBA": "RGBA", "CMYK": "RGB"}[mode]
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert(target)).reshape(8, 9, -1)
    np.testing.assert_array_equal(read_image(path), expected)


def test_a_transparent_palette_becomes_rgba(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(8, 9)).convert("P")
    picture.save(tmp_path / "image.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "image.png").shape == (8, 9, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    path = save_tagged(tmp_path / "image.png", noise(4, 6, 3), orientation)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.tif"])
def test_orientation_6_turns_a_lying_image_clockwise(tmp_path: Path, name: str) -> None:
    image = np.zeros((16, 32, 3), np.uint8)
    image[:8, :8] = 255
    upright = read_image(save_tagged(tmp_path / name, image, 6))
    assert upright.shape == (32, 16, 3)
    assert upright[2, -3].min() > 200
    assert upright[-3, 2].max() < 50


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tif_is_turned_once(tmp_path: Path, channels: int) -> None:
    image = noise(4, 6, channels, dtype=np.uint16)
    photometric = "rgb" if channels == 3 else "minisblack"
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, image, photometric=photometric, extratags=[(ORIENTATION, 3, 1, 6, True)])
    np.testing.assert_array_equal(read_image(path), np.rot90(image, -1))


def test_16_bit_colour_png_is_turned_once(tmp_path: Path) -> None:
    image = noise(4, 6, 3, dtype=np.uint16)
    write_png(tmp_path / "image.png", image)
    plain = (tmp_path / "image.png").read_bytes()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    header = 33  # signature and IHDR
    tag = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "image.png").write_bytes(plain[:header] + tag + plain[header:])
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), np.rot90(image, -1))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "image.png")
    assert "directory" in refusal(tmp_path)


def test_text_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture\n")
    (tmp_path / "empty.png").touch()
    assert "no picture" in refusal(tmp_path / "text.png")
    assert "empty" in refusal(tmp_path / "empty.png")


def test_another_image_format_is_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / "image.png", format="GIF")
    assert "GIF8" in refusal(tmp_path / "image.png")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.bmp", "image.tif"])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    path = save(tmp_path / name, noise(64, 64, 3))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refusal(path)


def test_a_truncated_16_bit_colour_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    write_png(path, noise(64, 64, 3, dtype=np.uint16))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


def test_several_frames_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", noise(3, 8, 8), photometric="minisblack")
    assert "3 frames" in refusal(tmp_path / "image.tif")


def test_floating_point_values_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", noise(8, 8).astype(np.float32))
    assert "floating-point" in refusal(tmp_path / "image.tif")


def test_16_bit_colour_in_planes_is_refused(tmp_path: Path) -> None:
    image = noise(3, 8, 8, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb", planarconfig="separate")
    assert "interleaved" in refusal(tmp_path / "image.tif")


def test_a_header_of_40000_by_40000_pixels_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png_bytes(40_000, 40_000, 8, 2, b""))
    started = time.process_time()
    assert "40000 x 40000" in refusal(path)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_an_image_above_pillows_own_limit_is_read_without_a_warning(tmp_path: Path, name: str) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    assert limit
    height, width = 9_500, 9_500
    assert limit < height * width < MAX_PIXELS
    Image.new("1", (width, height), 1).save(tmp_path / name)
    assert read_image(tmp_path / name).shape == (height, width, 1)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trips(tmp_path: Path, dtype: Any, channels: int) -> None:
    image = noise(7, 9, channels, dtype=dtype)
    write_png(tmp_path / "image.png", image)
    read = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(read, image)
    assert read.dtype == image.dtype


def test_a_written_mask_is_8_bit_0_and_255(tmp_path: Path) -> None:
    mask = noise(7, 9) > 127
    write_png(tmp_path / "mask.png", mask)
    with Image.open(tmp_path / "mask.png") as stored:
        assert stored.mode == "L"
        np.testing.assert_array_equal(np.asarray(stored), mask * np.uint8(255))


def test_written_bytes_depend_on_the_pixels_alone(tmp_path: Path) -> None:
    image = noise(30, 20, 3)
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "b.png", np.asfortranarray(image))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", noise(4, 4))
    write_png(tmp_path / "a.png", noise(5, 5))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_png(tmp_path / "folder", noise(4, 4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "folder"]


def test_what_other_programs_read_is_what_was_written(tmp_path: Path) -> None:
    image = noise(7, 9, 3, dtype=np.uint16)
    write_png(tmp_path / "image.png", image)
    read = cv2.imread(str(tmp_path / "image.png"), cv2.IMREAD_UNCHANGED)
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1], image)


def test_the_content_hash_tells_shape_and_type_apart_but_not_the_file(tmp_path: Path) -> None:
    image = noise(4, 6, 3)
    fast = save(tmp_path / "fast.png", image, compress_level=1)
    small = save(tmp_path / "small.bmp", image)
    assert file_sha256(fast) != file_sha256(small)
    assert content_sha256(read_image(fast)) == content_sha256(read_image(small)) == content_sha256(image)
    others = [image.reshape(6, 4, 3), image.astype(np.uint16), image ^ np.uint8(1)]
    assert len({content_sha256(each) for each in [image, *others]}) == 4


def test_a_file_that_cannot_be_hashed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.png"):
        file_sha256(tmp_path / "missing.png")
