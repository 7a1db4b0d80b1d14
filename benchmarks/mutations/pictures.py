"""Broken images, masks and groups of parts; each that is accepted goes through a whole run."""

import random
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.mutations.common import Expected, Sandbox, Trial, cut, flip, loop, put
from benchmarks.mutations.encode import (
    SIDE,
    Writer,
    anew,
    animated,
    as_is,
    chunk,
    disc,
    encoded,
    huge_bmp,
    huge_jpeg,
    huge_tiff,
    noise,
    photo,
    png,
    tiff,
    tiff_without_end,
    with_pixel,
    with_text,
    wrong_checksum,
)

NORMAL, TEST_NORMAL = "train/good/000.png", "test/good/000.png"
REFERENCE, MASK = "test/hole/000.png", "ground_truth/hole/000_mask.png"


ANYWHERE: dict[str, tuple[Writer, Expected]] = {
    "an empty file": (as_is(b""), "refused"),
    "text": (as_is("not a picture\n"), "refused"),
    "a GIF": (anew(lambda image: encoded(image, "GIF")), "refused"),
    "a WebP": (anew(lambda image: encoded(image, "WEBP")), "accepted"),
    "a JPEG 2000": (anew(lambda image: encoded(image, "JPEG2000")), "refused"),
    "an icon": (anew(lambda image: encoded(image, "ICO", sizes=[(64, 64)])), "refused"),
    "a PDF": (anew(lambda image: encoded(image, "PDF")), "refused"),
    "an SVG": (as_is('<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96"/>'), "refused"),
    "PostScript": (as_is("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n"), "refused"),
    "a ZIP": (as_is(b"PK\x03\x04" + bytes(100)), "refused"),
    "zeros": (as_is(bytes(5000)), "refused"),
    "a PNG's signature alone": (as_is(b"\x89PNG\r\n\x1a\n"), "refused"),
    "a PNG without pixels": (as_is(png(SIDE, SIDE)), "refused"),
    "a PNG of no width": (as_is(png(0, SIDE, chunk(b"IDAT", zlib.compress(b"")))), "refused"),
    "a PNG of 40000 x 40000": (as_is(png(40_000, 40_000, chunk(b"IDAT", b""))), "refused"),
    "a PNG of 2147483647 x 2147483647": (as_is(png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b""))), "refused"),
    "a PNG of 1 x 300000000": (as_is(png(1, 300_000_000, chunk(b"IDAT", b""))), "refused"),
    "a PNG with a wrong checksum": (wrong_checksum, "refused"),
    "a PNG with a text of 100 MB": (with_text, "refused"),
    "a PNG of two frames": (partial(animated, kind="PNG"), "refused"),
    "a JPEG of 65000 x 65000": (as_is(huge_jpeg()), "refused"),
    "a JPEG's signature alone": (as_is(b"\xff\xd8\xff\xe0"), "refused"),
    "a BMP of 60000 x 60000": (as_is(huge_bmp()), "refused"),
    "a BMP's signature alone": (as_is(b"BM"), "refused"),
    "a TIFF of 100000 x 100000": (as_is(huge_tiff()), "refused"),
    "a TIFF's signature alone": (as_is(b"II*\0"), "refused"),
    "a TIFF of two frames": (partial(animated, kind="TIFF"), "refused"),
    "a TIFF without end": (as_is(tiff_without_end()), "either"),
    "a TIFF of floats": (anew(lambda image: tiff(image.astype(np.float32) / 255)), "refused"),
    "a TIFF of nan": (as_is(tiff(np.full((SIDE, SIDE), np.nan, np.float32))), "refused"),
    "a TIFF of infinities": (as_is(tiff(np.full((SIDE, SIDE), np.inf, np.float64))), "refused"),
    "a TIFF of complex numbers": (as_is(tiff(np.zeros((SIDE, SIDE), np.complex64))), "refused"),
    "a TIFF of 32 bits": (anew(lambda image: tiff(image[..., 0].astype(np.uint32) * 70_000)), "refused"),
    "a TIFF of negative numbers": (anew(lambda image: tiff(image[..., 0].astype(np.int32) - 300)), "refused"),
    "a TIFF of five channels": (
        as_is(tiff(noise(channels=5), photometric="minisblack", planarconfig="contig")),
        "refused",
    ),
    "a TIFF in 16-bit planes": (
        anew(
            lambda image: tiff(
                image.transpose(2, 0, 1).astype(np.uint16) * 257, photometric="rgb", planarconfig="separate"
            )
        ),
        "refused",
    ),
    "a link to nothing": (lambda path: (path.unlink(), path.symlink_to("nothing.png")), "refused"),
    "a link to itself": (loop, "refused"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "either"),
    "no file": (lambda path: path.unlink(), "either"),
}
"""What is broken wherever it stands. Where a normal is gone, the others are taken."""

NORMALS: dict[str, tuple[Writer, Expected]] = {
    "a JPEG under PNG's name": (anew(lambda image: encoded(image, "JPEG")), "accepted"),
    "a CMYK JPEG": (anew(lambda image: encoded(Image.fromarray(image).convert("CMYK"), "JPEG")), "accepted"),
    "grey": (anew(lambda image: encoded(image[..., 0], "PNG")), "accepted"),
    "grey of 16 bits": (anew(lambda image: encoded(image[..., 0].astype(np.uint16) * 257, "PNG")), "accepted"),
    "one bit": (anew(lambda image: encoded(Image.fromarray(image).convert("1"), "PNG")), "either"),
    "a palette": (anew(lambda image: encoded(Image.fromarray(image).convert("P"), "PNG")), "accepted"),
    "grey with alpha": (anew(lambda image: encoded(Image.fromarray(image).convert("LA"), "PNG")), "accepted"),
    "transparent": (anew(lambda image: encoded(np.dstack([image, image[..., 0] * 0]), "PNG")), "accepted"),
    "a BMP": (anew(lambda image: encoded(image, "BMP")), "accepted"),
    "a compressed TIFF": (anew(lambda image: encoded(image, "TIFF", compression="tiff_lzw")), "accepted"),
    "a BigTIFF": (anew(lambda image: tiff(image, bigtiff=True, photometric="rgb")), "accepted"),
    "trailing bytes": (lambda path: put(path, path.read_bytes() + b"trailing" * 100), "accepted"),
    "another size": (anew(lambda image: encoded(Image.fromarray(image).resize((150, 70)), "PNG")), "either"),
    "one pixel": (as_is(encoded(noise(1, 1), "PNG")), "either"),
    "one row": (as_is(encoded(noise(1, 500), "PNG")), "either"),
    "one column": (as_is(encoded(noise(500, 1), "PNG")), "either"),
    "2 x 2 pixels": (as_is(encoded(noise(2, 2), "PNG")), "either"),
    "16 x 16 pixels": (as_is(encoded(noise(16, 16), "PNG")), "either"),
    "black": (as_is(encoded(np.zeros((SIDE, SIDE, 3), np.uint8), "PNG")), "either"),
    "white": (as_is(encoded(np.full((SIDE, SIDE, 3), 255, np.uint8), "PNG")), "either"),
    "noise": (as_is(encoded(noise(), "PNG")), "either"),
    "another normal's pixels": (lambda path: put(path, path.with_name("001.png").read_bytes()), "refused"),
    "a reference's pixels": (lambda path: put(path, (path.parents[2] / REFERENCE).read_bytes()), "refused"),
    "a link to a picture elsewhere": (
        lambda path: (
            put(path.parents[5] / "far.png", path.read_bytes()),
            path.unlink(),
            path.symlink_to(path.parents[5] / "far.png"),
        ),
        "accepted",
    ),
    "a name in Greek": (lambda path: path.rename(path.with_name("κανονικό 1.png")), "accepted"),
    "a name with a newline": (lambda path: path.rename(path.with_name("0\n0.png")), "accepted"),
    "a name of 255 bytes": (lambda path: path.rename(path.with_name("n" * 251 + ".png")), "accepted"),
    "a name that is not UTF-8": (lambda path: path.rename(path.with_name("\udcff.png")), "refused"),
    "a second file of its stem": (lambda path: put(path.with_suffix(".bmp"), encoded(noise(), "BMP")), "refused"),
    "a pickle beside it": (lambda path: put(path.with_suffix(".npy"), b"\x93NUMPY\x01\0"), "accepted"),
    "upside down by EXIF": (
        lambda path: put(path, encoded(photo(path), "PNG", exif=b"Exif\0\0" + turned())),
        "accepted",
    ),
    "EXIF that is none": (lambda path: put(path, encoded(photo(path), "PNG", exif=b"Exif\0\0garbage!")), "either"),
}


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif.tobytes().removeprefix(b"Exif\0\0")


MASKS: dict[str, tuple[Writer, Expected]] = {
    "nothing white": (as_is(encoded(np.zeros((SIDE, SIDE), np.uint8), "PNG")), "refused"),
    "all white": (as_is(encoded(np.full((SIDE, SIDE), 255, np.uint8), "PNG")), "refused"),
    "all 1": (as_is(encoded(np.ones((SIDE, SIDE), np.uint8), "PNG")), "refused"),
    "all 127": (as_is(encoded(np.full((SIDE, SIDE), 127, np.uint8), "PNG")), "refused"),
    "half its size": (as_is(encoded(disc()[::2, ::2], "PNG")), "refused"),
    "twice its size": (as_is(encoded(np.kron(disc(), np.ones((2, 2), np.uint8)), "PNG")), "refused"),
    "a row short": (as_is(encoded(disc()[1:], "PNG")), "refused"),
    "one pixel wide and high": (as_is(encoded(np.full((1, 1), 255, np.uint8), "PNG")), "refused"),
    "colour": (as_is(encoded(np.dstack([disc(), disc(0), disc(0)]), "PNG")), "accepted"),
    "the photograph": (lambda path: put(path, (path.parents[2] / REFERENCE).read_bytes()), "either"),
    "0 and 1": (as_is(encoded(disc(1), "PNG")), "accepted"),
    "16 bits": (as_is(encoded(disc(65535, np.uint16), "PNG")), "accepted"),
    "one bit": (as_is(encoded(Image.fromarray(disc()).convert("1"), "PNG")), "accepted"),
    "white with alpha": (as_is(encoded(np.dstack([disc()] * 3 + [disc(0)]), "PNG")), "accepted"),
    "a JPEG": (as_is(encoded(disc(), "JPEG", quality=30)), "accepted"),
    "one white pixel": (as_is(encoded(with_pixel(disc(0), 255), "PNG")), "either"),
    "one black pixel": (as_is(encoded(with_pixel(disc(radius=200), 0), "PNG")), "either"),
    "the upper half": (
        as_is(encoded(np.repeat([255, 0], SIDE // 2).astype(np.uint8)[:, None].repeat(SIDE, 1), "PNG")),
        "either",
    ),
    "a frame": (as_is(encoded(np.pad(np.zeros((94, 94), np.uint8), 1, constant_values=255), "PNG")), "either"),
    "specks": (as_is(encoded(np.where(noise(channels=1)[..., 0] > 250, 255, 0).astype(np.uint8), "PNG")), "either"),
    "a hairline": (as_is(encoded(np.eye(SIDE, dtype=np.uint8) * np.uint8(255), "PNG")), "either"),
    "beside the object": (as_is(encoded(np.pad(np.full((6, 6), 255, np.uint8), ((0, 90), (0, 90))), "PNG")), "either"),
    "another reference's mask": (lambda path: put(path, path.with_name("001_mask.png").read_bytes()), "accepted"),
    "without _mask": (lambda path: path.rename(path.with_name("000.png")), "refused"),
    "of no image": (lambda path: path.rename(path.with_name("007_mask.png")), "refused"),
    "a second one": (lambda path: put(path.with_suffix(".bmp"), encoded(disc(), "BMP")), "refused"),
    "one too many": (lambda path: put(path.with_name("000_mask_mask.png"), encoded(disc(), "PNG")), "refused"),
    "none at all": (lambda path: [each.unlink() for each in path.parent.iterdir()], "refused"),
    "no folder": (lambda path: [[each.unlink() for each in path.parent.iterdir()], path.parent.rmdir()], "refused"),
}


def table(*rows: str, header: str = "file,group", drop: int = 0) -> bytes:
    files = ["train/good/000.png", "train/good/001.png", "train/good/002.png", "test/good/000.png"]
    files += [f"test/hole/{index:03d}.png" for index in range(3)]
    lines = [f"{file},part{number}" for number, file in enumerate(files[drop:])]
    return "\n".join([header, *lines, *rows, ""]).encode()


GROUPS: dict[str, tuple[bytes, Expected]] = {
    "every file": (table(), "accepted"),
    "with a byte order mark": (b"\xef\xbb\xbf" + table(), "accepted"),
    "with more files than there are": (table("train/good/999.png,part9", "../../../etc/passwd,part1"), "accepted"),
    "with one file less": (table(drop=1), "refused"),
    "with a file twice": (table("train/good/000.png,part8"), "refused"),
    "with an empty group": (table().replace(b"part3", b""), "refused"),
    "with other columns": (table(header="name,part"), "refused"),
    "without a group": (table(header="file,colour"), "refused"),
    "with two groups": (table(header="file,a_group,b_group"), "refused"),
    "with semicolons": (table().replace(b",", b";"), "refused"),
    "with nothing in it": (b"", "refused"),
    "with a header alone": (b"file,group\n", "refused"),
    "in UTF-16": (table().decode().encode("utf-16"), "refused"),
    "in Latin-1": (table("ä,1").decode().encode("latin-1"), "refused"),
    "in binary": (bytes(range(256)) * 20, "refused"),
    "with NUL": (table("\0,\0"), "either"),
    "with a quote that is not closed": (table('"train'), "either"),
    "with a field of a megabyte": (table("x" * 2**20 + ",1"), "refused"),
    "with rows of ten columns": (table(*["x,1,2,3,4,5,6,7,8,9"]), "accepted"),
    "with paths above the category": (table().replace(b"train/", b"../train/"), "refused"),
    "with absolute paths": (table().replace(b"train/", b"/train/"), "refused"),
    "with all in one group": (
        b"file,group\n" + b"".join(line.split(b",")[0] + b",same\n" for line in table().splitlines()[1:]),
        "refused",
    ),
    "with a normal of each defect's group": (table().replace(b"part4", b"part3"), "accepted"),
}

NAMED = {"no folder": "ground_truth/hole", "none at all": "ground_truth/hole"}


def trials() -> Iterator[Trial]:
    def trial(kind: str, target: str, name: str, write: Writer, expected: Expected) -> Trial:
        def mutate(sandbox: Sandbox) -> None:
            sandbox.undo("data")
            write(sandbox.category / target)

        shown = target.split("/")[1 if "good" in target else 0]
        named = (target, Path(target).stem.removesuffix("_mask"), NAMED.get(name, target), "\\udcff")
        return Trial(kind, f"{kind}: {name} ({shown}, {target})", "run", mutate, expected, named)

    gone = ("a folder", "no file")
    for number, (name, (write, expected)) in enumerate(ANYWHERE.items()):
        for target in (NORMAL, (TEST_NORMAL, REFERENCE)[number % 2]):
            yield trial("image", target, name, write, expected)
        lost = "refused" if name in gone else expected
        yield trial("mask", MASK, name, write, lost)
    for name, (write, expected) in NORMALS.items():
        yield trial("image", NORMAL, name, write, expected)
    for name, (write, expected) in MASKS.items():
        yield trial("mask", MASK, name, write, expected)
    for name, (content, expected) in GROUPS.items():
        yield trial("groups", "groups.csv", name, partial(put, content=content), expected)
    for key in ("allowed", "forbidden", "drawn_on"):
        for name in ("an empty file", "text", "a PNG of 40000 x 40000", "a TIFF of nan"):
            yield zone(key, name, ANYWHERE[name][0], "refused")
    yield zone("allowed", "half its size", MASKS["half its size"][0], "refused")
    yield zone("allowed", "nothing white", MASKS["nothing white"][0], "refused")
    yield zone("forbidden", "all white", MASKS["all white"][0], "refused")
    yield zone("forbidden", "nothing white", MASKS["nothing white"][0], "accepted")
    for name in ("an empty file", "text", "a PNG of 40000 x 40000"):
        yield own_mask(name, ANYWHERE[name][0], "refused")
    for name, expected in (("nothing white", "refused"), ("all white", "either"), ("one white pixel", "either")):
        yield own_mask(name, MASKS[name][0], expected)


def zone(key: str, name: str, write: Writer, expected: Expected) -> Trial:
    """Return a trial of a zone image, told by `masks`."""

    def mutate(sandbox: Sandbox) -> None:
        path = sandbox.root / "zone.png"
        put(path, encoded(disc(radius=40), "PNG"))
        write(path)
        others = "" if key != "drawn_on" else "forbidden: data/washer/ground_truth/hole/000_mask.png, "
        put(sandbox.config, f"{sandbox.config.read_text()}masks: {{zones: {{{others}{key}: zone.png}}}}\n")

    return Trial("mask", f"zones.{key}: {name}", "masks", mutate, expected, ("zone.png", "zones"))


def own_mask(name: str, write: Writer, expected: Expected) -> Trial:
    """Return a trial of a mask of the sampler `folder`, told by `check`."""

    def mutate(sandbox: Sandbox) -> None:
        put(sandbox.root / "own/shape.png", encoded(disc(), "PNG"))
        write(sandbox.root / "own/shape.png")
        put(sandbox.config, f"{sandbox.config.read_text()}masks: {{samplers: {{folder: 1}}, folder: own}}\n")

    return Trial("mask", f"masks.folder: {name}", "check", mutate, expected, ("own/shape.png",))


def random_trial(rng: random.Random, number: int) -> Trial:
    """Return a trial of an image or a mask that is cut short or has another bit."""
    target, share = rng.choice([NORMAL, TEST_NORMAL, REFERENCE, MASK]), rng.random()
    change, word = rng.choice([(cut, "cut"), (flip, "flipped")])

    def mutate(sandbox: Sandbox) -> None:
        sandbox.undo("data")
        change(sandbox.category / target, share)

    # The last bytes of a PNG are checksums: a cut there loses no pixel. A mask is a small file.
    loses_pixels = share < (0.75 if target == MASK else 0.95)
    expected: Expected = "refused" if word == "cut" and loses_pixels else "either"
    kind = "mask" if target == MASK else "image"
    return Trial(kind, f"{target} {word} at {share:.4f} ({number})", "run", mutate, expected, (target,), listed=False)
