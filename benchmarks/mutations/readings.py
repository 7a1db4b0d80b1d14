"""Pictures and masks as cameras and labelling tools write them, and names as people give them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from benchmarks.mutations.common import Expected, Sandbox, Trial, put
from benchmarks.mutations.encode import SIDE, animated, disc, encoded, photo, tiff

Pixels = Any
"""An array, [H, W] or [H, W, C], or a Pillow image."""
CLASSES, SMOOTH = ("every value above 0 counts as the defect",), ("have smooth outlines",)


def halves(left: Any, right: Any, background: Any = 0, dtype: Any = np.uint8) -> Any:
    """A disc of two values, numbers or colours, on a background."""
    inside, columns = disc(1).astype(bool), np.arange(SIDE)[None, :] < SIDE // 2
    values = [np.broadcast_to(np.asarray(each, dtype), (SIDE, SIDE, *np.shape(left))) for each in (left, right)]
    ground = np.broadcast_to(np.asarray(background, dtype), values[0].shape)
    shape = (...,) + (None,) * np.ndim(left)
    return np.where(inside[shape], np.where(columns[shape], *values), ground).astype(dtype)


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    """A mask of indices 0, 1 and 2, with colours."""
    image = Image.fromarray(halves(1, 2), "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def blurred(sigma: float, share: float = 1.0) -> Any:
    return (cv2.GaussianBlur(disc(radius=12), (0, 0), sigma) * share).astype(np.uint8)


def beside(line: int) -> Any:
    """A disc and, far from it, a line of another value."""
    mask = disc()
    mask[:, 10] = line
    return mask


BLACK = (0, 0, 0)
MASKS: dict[str, tuple[Callable[[], Pixels], str, Expected, tuple[str, ...]]] = {
    "classes 1 and 2": (lambda: halves(1, 2), "PNG", "accepted", CLASSES),
    "classes 1 and 2, BMP": (lambda: halves(1, 2), "BMP", "accepted", CLASSES),
    "classes 1 and 2, TIFF": (lambda: halves(1, 2), "TIFF", "accepted", CLASSES),
    "classes 1 and 2 of 16 bits": (lambda: halves(1, 2, dtype=np.uint16), "PNG", "accepted", CLASSES),
    "parts 300 and 40000": (lambda: halves(300, 40000, dtype=np.uint16), "PNG", "accepted", CLASSES),
    "class 1 and 255 to be ignored": (lambda: halves(1, 255), "PNG", "accepted", CLASSES),
    "grey 48 and 176": (lambda: halves(48, 176), "PNG", "accepted", CLASSES),
    "grey 48 alone": (lambda: disc(48), "PNG", "accepted", ()),
    "grey 4095 of 16 bits alone": (lambda: disc(4095, np.uint16), "PNG", "accepted", ()),
    "browns of two tools": (lambda: halves((176, 112, 32), (48, 112, 32), BLACK), "PNG", "accepted", CLASSES),
    "dark red and dark blue": (lambda: halves((100, 0, 0), (0, 0, 90), BLACK), "PNG", "accepted", CLASSES),
    "red and green": (lambda: halves((255, 0, 0), (0, 255, 0), BLACK), "PNG", "accepted", ()),
    "colours with alpha": (lambda: halves((60, 0, 0, 9), (0, 200, 0, 9), (0, 0, 0, 0)), "PNG", "accepted", CLASSES),
    "a palette as VOC has it": (lambda: palette(BLACK, (128, 0, 0), (64, 0, 0)), "PNG", "accepted", CLASSES),
    "a palette of dark colours": (lambda: palette(BLACK, (10, 0, 0), (0, 20, 0)), "PNG", "accepted", CLASSES),
    "a palette of black alone": (lambda: palette(BLACK, BLACK, BLACK), "PNG", "accepted", CLASSES),
    "a palette whose second colour is black": (lambda: palette(BLACK, BLACK, (9, 9, 9)), "PNG", "accepted", CLASSES),
    "a narrow smooth edge": (lambda: blurred(0.6), "PNG", "accepted", SMOOTH),
    "a smooth edge": (lambda: blurred(2), "PNG", "accepted", SMOOTH),
    "a wide smooth edge": (lambda: blurred(5), "PNG", "accepted", SMOOTH),
    "a smooth edge, JPEG": (lambda: blurred(2), "JPEG", "accepted", SMOOTH),
    "a smooth edge, WebP": (lambda: blurred(2), "WEBP", "accepted", SMOOTH),
    "a JPEG of quality 95": (lambda: disc(), "JPEG", "accepted", ()),
    "inverted": (lambda: 255 - disc(), "PNG", "accepted", ("inverted",)),
    "inverted 0 and 1": (lambda: 1 - disc(1), "PNG", "accepted", ("inverted",)),
    "one bit inverted": (lambda: Image.fromarray(255 - disc()).convert("1"), "PNG", "accepted", ("inverted",)),
    "a thin line of a darker value beside": (lambda: beside(90), "PNG", "refused", ()),
    "a smooth edge that stays dark": (lambda: blurred(4, 0.4), "PNG", "refused", ()),
    "a dark area, JPEG": (lambda: disc(60, radius=20), "JPEG", "refused", ()),
    "areas on both sides of half, JPEG": (lambda: cv2.resize(halves(90, 255), None, fx=1, fy=1), "JPEG", "either", ()),
    "red on white": (lambda: halves((255, 0, 0), (255, 0, 0), (255, 255, 255)), "PNG", "refused", ()),
    "classes on a background of 1": (lambda: halves(2, 3, 1), "PNG", "refused", ()),
    "black in alpha alone": (lambda: halves((0, 0, 0, 255), (0, 0, 0, 255), (0, 0, 0, 0)), "PNG", "refused", ()),
}
NAMES = (
    "bent wire",
    "Löcher",
    "划痕",
    "50% & more",
    "it's",
    "[x]*?",
    "-dash",
    "trou (rond)",
    "a,b",
    "#1",
    "~tilde",
    "Ø",
)
UNQUOTED = {"01": "unless it stands in quotes", "no": "unless it stands in quotes", "on": "unless it stands in quotes"}
UNQUOTED |= {
    "1.0": "unless it stands in quotes",
    "0x1F": "unless it stands in quotes",
    "2026-01-01": "put text in quotes",
}
PASSED_OVER = {"x.heic": "1 files", "x.GIF": "1 files", "day 1/x.png": "1 files", "a/b/x.jpg": "1 files", "x.tga": "1"}


def trials() -> Iterator[Trial]:
    for name, (make, kind, expected, tells) in MASKS.items():
        content = encoded(make(), kind, **({"quality": 95} if kind == "JPEG" else {}))
        yield _trial("masks as written", name, _to_mask(content), expected, "000_mask", tells=tells)
    yield from _cameras()
    for name in NAMES:
        yield _trial("names", f"a defect {name!r}", _renamed_defect(name), "accepted", tells=(f"{name}: references",))
        yield _trial("names", f"a category {name!r}", _renamed_category(name), "accepted", tells=(f"{name}: ",))
    yield _trial("names", "a run of a defect '划 [x]*'", _renamed_defect("划 [x]*"), "accepted", command="run")
    for text, hint in UNQUOTED.items():
        change = _config("defects: [hole]", f"defects: [{text}]")
        yield _trial("names", f"a defect {text} without quotes", change, "refused", hint)
    for name, told in PASSED_OVER.items():
        for folder in ("test/hole", "train/good"):

            def add(sandbox: Sandbox, path: str = f"{folder}/{name}") -> None:
                put(sandbox.category / path, "x")

            yield _trial("passed over", f"{folder}/{name}", add, "accepted", tells=("passed over", told, name))
    for suffix, kind in ((".webp", "WEBP"), (".jfif", "JPEG"), (".JPG", "JPEG")):
        yield _trial(
            "passed over", f"a normal as {suffix}", _another_normal(suffix, kind), "accepted", tells=("4 normals",)
        )
    yield _trial("passed over", "an animated WebP", _animate, "refused", "000.png")


def _animate(sandbox: Sandbox) -> None:
    animated(sandbox.category / "train/good/000.png", "WEBP")


def _cameras() -> Iterator[Trial]:
    """Yield trials of images of 10, 12 and 14 bits."""
    for bits, factor in ((10, 4), (12, 16), (14, 64)):
        for kind in ("grey PNG", "colour PNG", "grey TIFF"):
            tells = (f"white is {(1 << bits) - 1} of 65535", f"({bits} bits)")
            yield _trial("cameras", f"{bits} bits, {kind}", _deepened(factor, kind), "accepted", tells=tells)
    yield _trial("cameras", "12 bits, a whole run", _deepened(16, "grey PNG"), "accepted", command="run")
    yield _trial("cameras", "16 bits", _deepened(257, "grey PNG"), "accepted")
    for white, expected in ((4095, "accepted"), (5000, "accepted"), (65535, "accepted"), (900, "refused")):
        outcome: Expected = "accepted" if expected == "accepted" else "refused"
        change = _both(_deepened(16, "grey PNG"), _config("root: data,", f"root: data, white_level: {white},"))
        yield _trial("cameras", f"12 bits, white_level {white}", change, outcome, "data.white_level, 900")
    for text in ("0", "65536", "bright", "[1]", "4095.5"):
        change = _config("root: data,", f"root: data, white_level: {text},")
        yield _trial("cameras", f"white_level {text}", change, "refused", "white_level")


def _trial(
    kind: str,
    name: str,
    change: Callable[[Sandbox], Any],
    expected: Expected,
    *culprits: str,
    tells: tuple[str, ...] = (),
    command: Literal["check", "run"] = "check",
) -> Trial:
    def mutate(sandbox: Sandbox) -> None:
        sandbox.undo("data")
        change(sandbox)

    return Trial(kind, f"{kind}: {name}", command, mutate, expected, culprits, tells)


def _both(*changes: Callable[[Sandbox], Any]) -> Callable[[Sandbox], Any]:
    return lambda sandbox: [change(sandbox) for change in changes]


def _to_mask(content: bytes) -> Callable[[Sandbox], None]:
    return lambda sandbox: put(sandbox.category / "ground_truth/hole/000_mask.png", content)


def _config(old: str, new: str) -> Callable[[Sandbox], None]:
    return lambda sandbox: put(sandbox.config, sandbox.config.read_text().replace(old, new, 1))


def _renamed_defect(name: str) -> Callable[[Sandbox], None]:
    def change(sandbox: Sandbox) -> None:
        for kind in ("test", "ground_truth"):
            (sandbox.category / kind / "hole").rename(sandbox.category / kind / name)
        _config("defects: [hole]", f'defects: ["{name}"]')(sandbox)

    return change


def _renamed_category(name: str) -> Callable[[Sandbox], None]:
    def change(sandbox: Sandbox) -> None:
        sandbox.category.rename(sandbox.category.with_name(name))
        _config("category: washer", f'category: "{name}"')(sandbox)

    return change


def _another_normal(suffix: str, kind: str) -> Callable[[Sandbox], None]:
    def change(sandbox: Sandbox) -> None:
        image = photo(sandbox.category / "train/good/000.png")
        put(sandbox.category / f"train/good/more{suffix}", encoded(image[::-1], kind))

    return change


def _deepened(factor: int, kind: str) -> Callable[[Sandbox], None]:
    """Return what makes all photographs images of 16 bits, each value times a factor."""

    def write(path: Path) -> None:
        image = photo(path).astype(np.uint16) * np.uint16(factor)
        if kind == "colour PNG":
            done, content = cv2.imencode(".png", image[..., ::-1])
            assert done
            put(path, content.tobytes())
        else:
            grey = image[..., 0]
            put(path, tiff(grey) if kind == "grey TIFF" else encoded(grey, "PNG"))

    return lambda sandbox: [write(path) for path in sandbox.category.glob("t*/*/*.png")]
