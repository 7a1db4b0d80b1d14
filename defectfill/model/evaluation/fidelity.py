"""How like the real defects of a dataset its synthetic ones are, and how unlike each other.

Shapes: B, N, M images, F pooled features, D numbers of a signature, R side of a picture in pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from defectfill.config.window import WindowConfig
from defectfill.io.hashing import derive_seed
from defectfill.io.images import read_mask
from defectfill.io.progress import progress
from defectfill.io.white_level import read_stretched
from defectfill.model.evaluation.features import FeatureExtractor, pool, unit_maps
from defectfill.model.evaluation.kid import LEAST_IMAGES, SUBSET_SIZE, SUBSETS, Kid, Matrix, kid
from defectfill.painting.window import crop_window, window_box
from defectfill.records.manifest import ManifestRow
from defectfill.records.reading import manifest_rows

View = Literal["crop", "window"]

VIEWS: dict[View, WindowConfig] = {
    "crop": WindowConfig(context=1.0, min_side_px=16, min_cells=0),
    "window": WindowConfig(min_cells=0),
}
"""The square around the mask alone, and with its surroundings. One rule from the label, for real and synthetic images
alike: were they cut by different rules, the figures would compare the rules."""

SIDE_PX = 128
"""Side that pictures are brought to. At 224, with which it was trained, the backbone told real screws and tiles apart
no better and took five times as long."""
BATCH = 16
MOST_IMAGES = 200
"""Of a defect and an origin; of more, so many are drawn."""
QUANTILES = (0.05, 0.5, 0.95)


class Spread(BaseModel):
    """Quantiles of distances; 0 for equal pictures, at most 4."""

    model_config = ConfigDict(frozen=True)

    p05: float
    median: float
    p95: float


class ViewFidelity(BaseModel):
    """The figures of one defect in one view. None: too few images."""

    model_config = ConfigDict(frozen=True)

    kid_references: Kid | None
    """Synthetic images to the references they were learnt from."""
    kid_held_out: Kid | None
    """Synthetic images to the real ones held out."""
    kid_real: Kid | None
    """References to the real ones held out: how near real is to real with so few images."""
    diversity: float | None
    """Mean distance of synthetic pairs with the same nearest reference, then mean over references: the scheme of
    IC-LPIPS (Ojha et al., CVPR 2021) with this extractor's distance. References nearest to fewer than two do not
    count."""
    clusters: int
    """References that count in it."""
    reference_diversity: float | None
    """Mean distance of pairs of references."""
    nearest: Spread | None
    """Distances of synthetic images to their nearest reference; near 0: copies."""
    reference_nearest: Spread | None
    """Distances of references to the nearest other one."""


class DefectFidelity(BaseModel):
    """The figures of one defect."""

    model_config = ConfigDict(frozen=True)

    extractor: str
    extractor_sha256: str
    side_px: int
    synthetic: int
    """Images that were compared: of the train split,"""
    references: int
    """real ones of the train split,"""
    held_out: int
    """and real ones of the test split."""
    crop: ViewFidelity
    window: ViewFidelity


@dataclass(frozen=True)
class Signatures:
    """What an extractor says of a set of pictures."""

    pooled: Matrix
    """[N, F], for KID."""
    unit: Tensor
    """[N, D], float32: squared Euclidean distances of rows are LPIPS-like distances."""

    def __len__(self) -> int:
        return len(self.pooled)


def fidelity(dataset_folder: Path, extractor: FeatureExtractor, seed: int = 0) -> dict[str, DefectFidelity]:
    """Return the figures of every defect in a dataset: synthetic images of the train split against the real ones.

    Held-out images are compared with, and nothing is learnt from them. Equal datasets, extractors and seeds give equal
    figures on the same machine. Raises DataError where a file of the dataset cannot be read.
    """
    anomalous = [row for row in manifest_rows(dataset_folder) if row.label_index]
    found = {}
    for defect in sorted({row.defect for row in anomalous}):
        groups = [
            _drawn([row for row in anomalous if (row.defect, row.origin, row.split) == (defect, origin, split)], seed)
            for origin, split in (("synthetic", "train"), ("real", "train"), ("real", "test"))
        ]
        synthetic, references, held_out = (sign(dataset_folder, group, extractor, defect) for group in groups)
        found[defect] = DefectFidelity(
            extractor=extractor.name,
            extractor_sha256=extractor.digest,
            side_px=SIDE_PX,
            synthetic=len(groups[0]),
            references=len(groups[1]),
            held_out=len(groups[2]),
            crop=compare(synthetic["crop"], references["crop"], held_out["crop"], seed),
            window=compare(synthetic["window"], references["window"], held_out["window"], seed),
        )
    return found


def _drawn(rows: list[ManifestRow], seed: int) -> list[ManifestRow]:
    """Return at most MOST_IMAGES of the rows, in their order."""
    if len(rows) <= MOST_IMAGES:
        return rows
    chosen = np.random.default_rng(derive_seed(seed, "fidelity images")).choice(len(rows), MOST_IMAGES, replace=False)
    return [rows[index] for index in sorted(chosen.tolist())]


def sign(
    dataset_folder: Path, rows: Sequence[ManifestRow], extractor: FeatureExtractor, label: str
) -> dict[View, Signatures]:
    """Return the signatures [N] of anomalous rows' pictures in both views."""
    parts: dict[View, list[Signatures]] = {view: [] for view in VIEWS}
    for batch in _batches(dataset_folder, progress(rows, f"features {label}", shown=bool(rows))):
        for view, pictures in batch.items():
            parts[view].append(signatures(extractor, pictures))
    return {view: _joined(each) for view, each in parts.items()}


def _batches(dataset_folder: Path, rows: Iterator[ManifestRow]) -> Iterator[dict[View, Tensor]]:
    """Yield pictures [B, 3, R, R] in [0, 1] by view."""
    batch: dict[View, list[Tensor]] = {view: [] for view in VIEWS}
    for row in rows:
        image = read_stretched(dataset_folder / row.image_path, row.white_level)
        mask = read_mask(dataset_folder / row.mask_path)
        for view, config in VIEWS.items():
            window = crop_window(image, mask, window_box(mask, config, SIDE_PX / 8), SIDE_PX)
            batch[view].append(torch.from_numpy(window.image).permute(2, 0, 1))
        if len(batch["crop"]) == BATCH:
            yield {view: torch.stack(pictures) for view, pictures in batch.items()}
            batch = {view: [] for view in VIEWS}
    if batch["crop"]:
        yield {view: torch.stack(pictures) for view, pictures in batch.items()}


def signatures(extractor: FeatureExtractor, pictures: Tensor) -> Signatures:
    """Return the signatures of pictures [N, 3, R, R] in [0, 1].

    The distance of two pictures is that of LPIPS (Zhang et al., CVPR 2018) without its learnt weights: the squared
    difference of unit feature vectors, summed over channels, averaged over positions and then over levels.
    """
    maps = extractor.maps(pictures)
    parts = [unit.flatten(1) / (unit.shape[2] * unit.shape[3] * len(maps)) ** 0.5 for unit in unit_maps(maps)]
    return Signatures(pool(maps).double().cpu().numpy(), torch.cat(parts, dim=1).cpu())


def _joined(parts: Sequence[Signatures]) -> Signatures:
    if not parts:
        return Signatures(np.zeros((0, 1)), torch.zeros(0, 1))
    return Signatures(np.concatenate([part.pooled for part in parts]), torch.cat([part.unit for part in parts]))


def compare(synthetic: Signatures, references: Signatures, held_out: Signatures, seed: int = 0) -> ViewFidelity:
    """Return the figures of one view."""
    to_references = distances(synthetic, references)
    among_references = distances(references, references)
    diversity, clusters = clustered_diversity(distances(synthetic, synthetic), to_references)
    apart = ~np.eye(len(references), dtype=bool)
    several = len(references) > 1
    return ViewFidelity(
        kid_references=kid(synthetic.pooled, references.pooled, seed),
        kid_held_out=kid(synthetic.pooled, held_out.pooled, seed),
        kid_real=kid(references.pooled, held_out.pooled, seed),
        diversity=diversity,
        clusters=clusters,
        reference_diversity=float(among_references[apart].mean()) if several else None,
        nearest=_spread(to_references.min(axis=1)) if to_references.size else None,
        reference_nearest=_spread(np.where(apart, among_references, np.inf).min(axis=1)) if several else None,
    )


def distances(one: Signatures, other: Signatures) -> Matrix:
    """Return the distances [N, M] of two sets of pictures; exactly 0 for equal ones."""
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    lengths = torch.cdist(one.unit, other.unit, compute_mode="donot_use_mm_for_euclid_dist")  # mm is inexact near 0
    return lengths.double().square().numpy()


def clustered_diversity(among: Matrix, to_references: Matrix) -> tuple[float | None, int]:
    """Return the diversity of synthetic images, and how many references count in it; None where none does.

    among: their distances [N, N]. to_references: [N, M].
    """
    if not to_references.size:
        return None, 0
    nearest = to_references.argmin(axis=1)
    means = []
    for reference in np.unique(nearest):
        members = np.flatnonzero(nearest == reference)
        if len(members) > 1:
            pairs = among[np.ix_(members, members)]
            means.append(pairs[np.triu_indices(len(members), k=1)].mean())
    return (float(np.mean(means)), len(means)) if means else (None, 0)


def _spread(values: Matrix) -> Spread:
    p05, median, p95 = np.quantile(values, QUANTILES).tolist()
    return Spread(p05=p05, median=median, p95=p95)


def table_rows(found: Mapping[str, DefectFidelity]) -> list[dict[str, str]]:
    """Return a row of words per defect and view, by column."""
    return [
        {
            "defect": defect,
            "view": view,
            "images": f"{each.synthetic} to {each.references} and {each.held_out}",
            "KID x1000 to references": _kid_words(figures.kid_references),
            "to held-out": _kid_words(figures.kid_held_out),
            "references to held-out": _kid_words(figures.kid_real),
            "diversity": _number(figures.diversity),
            "of references": _number(figures.reference_diversity),
            "nearest reference": _spread_words(figures.nearest),
            "of a reference": _spread_words(figures.reference_nearest),
        }
        for defect, each in found.items()
        for view, figures in (("crop", each.crop), ("window", each.window))
    ]


def footnote(found: Mapping[str, DefectFidelity]) -> str:
    """Return how the figures of the table were had."""
    used = sorted({f"{each.extractor} (weights {each.extractor_sha256[:12]})" for each in found.values()})
    return (
        f"Features: {', '.join(used)}, pictures of {SIDE_PX} px. KID: unbiased, cubic kernel, mean of {SUBSETS} "
        f"subsets of at most {SUBSET_SIZE}, +- its standard error over images; from {LEAST_IMAGES} images a side. "
        "Distances: 5 %, median, 95 %. Only figures by the same features compare."
    )


def _kid_words(found: Kid | None) -> str:
    return f"{1000 * found.value:.1f} +- {1000 * found.standard_error:.1f}" if found else "too few"


def _number(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f}"


def _spread_words(found: Spread | None) -> str:
    return f"{found.p05:.3f} / {found.median:.3f} / {found.p95:.3f}" if found else "too few"
