"""What a small base can do: python -m benchmarks.base FOLDER [--fills 32] [--sheet fills.jpg] [--real-sheet real.jpg]

Tables, then one JSON line, over pictures the base was not trained on: the toy categories with other seeds and, where
DEFECTFILL_REAL_DATA names them, real categories scaled to 128 px.

Reconstruction: PSNR in dB of the autoencoder, and the edges it keeps: mean absolute difference of neighbouring pixels
of what it returns, over that of the picture.

Filling: distance of an unadapted fill of a random box to the true content, by the autoencoder's features inside it.
aligned  position by position (the selection's distance): mean over pictures
pooled   of mean and deviation of the features over the box, in deviations between true pictures
fill     what the base paints; flat: the mean colour around the box; moved: the same picture's true content from
         elsewhere, which shows what the distance makes of a texture that is right but lies otherwise
edges    inside the box, of the fill over those of the truth; without meaning for flat fills

Captions: share of fills of a box that a plain classifier calls by the mark that the caption asked for ("A nut with a
line"; none: "A nut"), having learnt from other fills. It sees by how much they differ from a fill by "A photo of nut"
from the same noise: of the fills themselves even true marks are called by their word no more than three times of five.
And what such a classifier makes of true marks. It takes the extras `features` and `detector`.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from defectfill.config.base import BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.ingest.find import find_images
from defectfill.io.images import read_image
from defectfill.model.base.base import Base, decode_latents, encode_images, load_base
from defectfill.model.evaluation.features import open_extractor
from defectfill.model.evaluation.recognition import pooled_features
from defectfill.model.inpaint.painter import DiffusionPainter, to_tensor
from defectfill.model.inpaint.perceptual import Distance, vae_distance
from defectfill.model.pretraining.pictures import MATERIALS_CAPTION
from defectfill.painting.window import Window, resize, unit_rgb
from defectfill.toy import CATEGORIES, make_sample, world
from defectfill.toy.world.marks import MARKS

Pictures = dict[str, list[NDArray[np.float32]]]
"""Category -> images [R, R, 3] in [0, 1]."""
RESOLUTION = 128
KINDS = ("fill", "flat", "moved")
MOVED_PX = (37, 23)
SHOWN = 6
"""Pictures of each category on the sheet."""
NO_MARK = "none"
WORDS = (*MARKS, NO_MARK)
BOX_PX = 48
"""Side of the box that is filled by captions."""
UNSEEN = 987_654_321
"""Seed of pictures that no pretraining config uses."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fills", type=int, default=32, help="pictures to fill per category and caption")
    parser.add_argument("--sheet", type=Path, help="where to write a picture of originals, flat fills and fills")
    parser.add_argument("--real-sheet", type=Path, help="the same of real categories")
    arguments = parser.parse_args()
    base = load_base(BaseConfig(model=str(arguments.folder.resolve()), resolution=RESOLUTION, precision="fp32"))
    toys = {name: _toys(name, arguments.fills) for name in CATEGORIES}
    real = {name: images[: arguments.fills] for name, images in _real_categories().items()}
    report = {
        "reconstruction": _reconstructions(base, {"toys": toys, "real": real}),
        "fills": {
            "toys": _fills(base, toys, arguments.sheet),
            "real": _fills(base, real, arguments.real_sheet),
        },
        "captions": _captions(base, arguments.fills),
    }
    print(json.dumps(report))


def _reconstructions(base: Base, groups: dict[str, Pictures]) -> dict[str, dict[str, float]]:
    """Return name -> figures of the autoencoder, of all categories and of each group's mean, and print them."""
    figures: dict[str, dict[str, float]] = {}
    print(f"{'reconstruction':30} {'PSNR dB':>7} {'edges':>7}")
    for group, pictures in groups.items():
        each = {f"{group} {name}": reconstruction(base, images) for name, images in pictures.items()}
        if each:
            figures |= {**each, f"{group} all": _means(each)}
    for name, row in figures.items():
        print(f"  {name:28} {row['psnr_db']:7.2f} {row['edges']:7.2f}")
    return figures


def _fills(base: Base, pictures: Pictures, sheet: Path | None) -> dict[str, dict[str, float]]:
    """Return name -> figures of fills of categories and of their mean, print them and write their pictures."""
    if not pictures:
        return {}
    figures, shown = {}, []
    for name, images in pictures.items():
        figures[name], rows = fill_figures(base, name, images)
        shown += [np.concatenate(row[:SHOWN], axis=1) for row in rows]
    if sheet:
        Image.fromarray(np.rint(np.concatenate(shown) * 255).astype(np.uint8)).save(sheet, quality=92)
    figures["all"] = _means(figures)
    columns = ["aligned", "flat", "moved", "ratio", "moved's", "pooled", "flat", "ratio", "edges"]
    print("filling, distance to the truth", *(f"{name:>7}" for name in columns))
    for name, each in figures.items():
        fill, flat, moved = (each[f"aligned {kind}"] for kind in KINDS)
        pooled, pooled_flat = each["pooled fill"], each["pooled flat"]
        row = [fill, flat, moved, fill / flat, moved / flat, pooled, pooled_flat, pooled / pooled_flat, each["edges"]]
        print(f"  {name:27} ", *(f"{figure:7.3f}" for figure in row))
    return figures


def _captions(base: Base, count: int) -> dict[str, float]:
    """Return word -> share of fills called by it, with the mean of all and that of true marks, and print them."""
    shares, true = caption_shares(base, count)
    shares |= {"all": float(np.mean(list(shares.values()))), "true marks": true}
    print("captions:", ", ".join(f"{word} {share:.2f}" for word, share in shares.items()))
    return shares


def _means(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    first = next(iter(figures.values()))
    return {key: float(np.mean([each[key] for each in figures.values()])) for key in first}


def _toys(name: str, count: int, first: int = 0) -> list[NDArray[np.float32]]:
    numbers = range(first, first + count)
    return [unit_rgb(make_sample((UNSEEN, index), name, size_px=RESOLUTION).image) for index in numbers]


def _real_categories() -> Pictures:
    """Return category -> the middle squares of its normal images at 128 px."""
    root = os.environ.get("DEFECTFILL_REAL_DATA")
    folders = sorted(Path(root).glob("*/train/good")) if root else []
    return {folder.parents[1].name: [_middle(path) for path in find_images(folder)] for folder in folders}


def _middle(path: Path) -> NDArray[np.float32]:
    image = read_image(path)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(unit_rgb(image[top : top + side, left : left + side]), RESOLUTION)


@torch.inference_mode()
def reconstruction(base: Base, images: list[NDArray[np.float32]]) -> dict[str, float]:
    """Return mean PSNR in dB and mean share of edges kept of images [R, R, 3] in [0, 1] through the autoencoder."""
    pictures = torch.stack([to_tensor(image) for image in images])
    decoded = torch.cat([decode_latents(base, encode_images(base, part)).cpu() for part in pictures.split(16)])
    error = ((decoded - pictures) / 2).square().mean(dim=(1, 2, 3))
    pairs = zip(decoded.permute(0, 2, 3, 1).numpy() / 2 + 0.5, images, strict=True)
    kept = [edge_energy(after) / edge_energy(before) for after, before in pairs]
    return {"psnr_db": float((-10 * error.log10()).mean()), "edges": float(np.mean(kept))}


def edge_energy(image: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> float:
    """Return the mean absolute difference of neighbouring pixels of an image [H, W, 3], inside a mask or all."""
    inside = np.ones(image.shape[:2], dtype=bool) if mask is None else mask
    down, right = np.abs(np.diff(image, axis=0)), np.abs(np.diff(image, axis=1))
    return float(down[inside[1:] & inside[:-1]].mean() + right[inside[:, 1:] & inside[:, :-1]].mean())


@torch.inference_mode()
def fill_figures(
    base: Base, name: str, images: list[NDArray[np.float32]]
) -> tuple[dict[str, float], list[list[NDArray[np.float32]]]]:
    """Return mean distances to the truth, aligned and pooled, of the base's fills, of flat fills and of moved content.

    With them the fills' edges over the true ones, and three rows of pictures: the images, flat fills and fills.
    """
    distance = vae_distance(base)
    windows = [_with_box(image, index) for index, image in enumerate(images)]
    insides = {
        "fill": _paint(base, windows, [f"A {name.replace('_', ' ')}"] * len(windows)),
        "flat": [_flat_fill(window) for window in windows],
        "moved": [np.roll(window.image, MOVED_PX, axis=(0, 1)) for window in windows],
    }
    true_features = pooled_features(base, windows)
    result, rows = {}, [[window.image for window in windows]]
    for kind in KINDS:
        pictures = [
            np.where(window.mask[..., None], inside, window.image)
            for window, inside in zip(windows, insides[kind], strict=True)
        ]
        result[f"aligned {kind}"] = float(
            np.mean([_aligned(distance, *pair) for pair in zip(windows, pictures, strict=True)])
        )
        filled = [Window(window.box, picture, window.mask) for window, picture in zip(windows, pictures, strict=True)]
        difference = (pooled_features(base, filled) - true_features) / true_features.std(dim=0)
        result[f"pooled {kind}"] = float(difference.abs().mean())
        rows.append(pictures)
    energies = [
        [edge_energy(picture, window.mask) for picture, window in zip(row, windows, strict=True)] for row in rows[:2]
    ]
    result["edges"] = float(np.sum(energies[1]) / np.sum(energies[0]))
    return result, [rows[0], rows[2], rows[1]]


def caption_shares(base: Base, count: int) -> tuple[dict[str, float], float]:
    """Return for each mark's word, and for none, the share of `count` fills that a classifier calls by it.

    With it the share of true marks in the same boxes that another such classifier calls by their word. The classifier
    learns from as many others. Each picture is filled five times, in the same box, from the same noise: by the four
    captions and by one more without a mark, from which the others' difference is judged.
    """
    scenes = [_scene(index) for index in range(2 * count)]
    windows = [window for window, _ in scenes]
    plain = _paint(base, windows, [f"A photo of {name}" for _, name in scenes])
    fills, true = {}, {}
    for word in WORDS:
        captions = [f"A {name}" + ("" if word == NO_MARK else f" with a {word}") for _, name in scenes]
        pairs = zip(windows, _paint(base, windows, captions), plain, strict=True)
        fills[word] = [_difference(window, fill, other) for window, fill, other in pairs]
        true[word] = [
            _difference(window, _marked(window, word, index), window.image) for index, window in enumerate(windows)
        ]
    return _told_apart(fills), float(np.mean(list(_told_apart(true).values())))


def _scene(index: int) -> tuple[Window, str]:
    """Return an unmarked picture with a box in it, and what it shows."""
    rng = np.random.default_rng([UNSEEN, index])
    name = [MATERIALS_CAPTION, *CATEGORIES][index % (1 + len(CATEGORIES))]
    is_toy = name != MATERIALS_CAPTION
    picture = _toys(name, 1, first=index)[0] if is_toy else unit_rgb(world.draw_scene(rng, RESOLUTION))
    top, left = rng.integers(RESOLUTION // 8, RESOLUTION - RESOLUTION // 8 - BOX_PX, 2, endpoint=True)
    mask = np.zeros((RESOLUTION, RESOLUTION), dtype=bool)
    mask[top : top + BOX_PX, left : left + BOX_PX] = True
    return Window((0, 0, RESOLUTION, RESOLUTION), picture, mask), name


def _marked(window: Window, word: str, index: int) -> NDArray[np.float32]:
    """Return the window's picture with a true mark inside its mask, or without one."""
    rng = np.random.default_rng([UNSEEN, index, WORDS.index(word)])
    while word != NO_MARK:
        mark = world.draw_mark(window.image, rng, word)
        if not (mark.mask & ~window.mask).any():
            return mark.picture
    return window.image


def _difference(window: Window, picture: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much a picture differs from another inside the window's mask, a box [BOX_PX, BOX_PX, 3]."""
    return np.abs(picture - other)[window.mask].reshape(BOX_PX, BOX_PX, 3)


def _told_apart(cuts: dict[str, list[NDArray[np.float32]]]) -> dict[str, float]:
    """Return word -> share of its second half of cuts that a classifier of the first halves calls by it.

    It is a logistic regression on means, deviations and largest values of EfficientNet-Lite0's maps.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    extractor = open_extractor(None, "efficientnet")
    features = {}
    for word, pictures in cuts.items():
        pixels = torch.from_numpy(np.stack([resize(picture, RESOLUTION) for picture in pictures])).permute(0, 3, 1, 2)
        features[word] = torch.cat([_summaries(extractor.maps(part)) for part in pixels.split(16)]).numpy()
    half = len(next(iter(cuts.values()))) // 2
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
    learnt = np.concatenate([rows[:half] for rows in features.values()])
    classifier.fit(learnt, np.repeat(list(features), half))
    return {word: float(np.mean(classifier.predict(rows[half:]) == word)) for word, rows in features.items()}


def _summaries(maps: Sequence[Tensor]) -> Tensor:
    """Return features [B, F] of L maps [B, C, h, w]: mean, deviation and largest value of every channel."""
    return torch.cat(
        [each for level in maps for each in (level.mean((2, 3)), level.std((2, 3)), level.amax((2, 3)))], 1
    )


def _paint(base: Base, windows: Sequence[Window], prompts: Sequence[str]) -> list[NDArray[np.float32]]:
    """Return one fill [R, R, 3] of every window; what its mask covers stays hidden from the base."""
    settings = GenerateConfig(candidates=1, steps=20, guidance_scale=1, samples_per_batch=8)
    painter = DiffusionPainter(base, settings, vae_distance(base))
    hidden = [Window(window.box, _flat_fill(window), window.mask) for window in windows]
    return [painting.candidates[0] for painting in painter.paint(hidden, range(len(windows)), prompts)]


def _aligned(distance: Distance, window: Window, picture: NDArray[np.float32]) -> float:
    mask = torch.from_numpy(window.mask)[None, None].float()
    return float(distance(to_tensor(window.image)[None], to_tensor(picture)[None], mask))


def _with_box(image: NDArray[np.float32], index: int) -> Window:
    """Return the image with a random box of a fifth to two fifths of its side to fill."""
    rng = np.random.default_rng([UNSEEN, index])
    height, width = (int(rng.uniform(0.2, 0.4) * RESOLUTION) for _ in range(2))
    top, left = int(rng.integers(0, RESOLUTION - height)), int(rng.integers(0, RESOLUTION - width))
    mask = np.zeros((RESOLUTION, RESOLUTION), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return Window((0, 0, RESOLUTION, RESOLUTION), image, mask)


def _flat_fill(window: Window) -> NDArray[np.float32]:
    """Return the window's image with the mean colour of a rim of 8 pixels around the box inside it."""
    from scipy import ndimage

    rim = ndimage.binary_dilation(window.mask, iterations=8) & ~window.mask
    return np.where(window.mask[..., None], window.image[rim].mean(axis=0), window.image)


if __name__ == "__main__":
    main()
