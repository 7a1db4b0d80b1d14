"""A finished dataset as a torch Dataset, and the sampler by which real references keep their share of the draws."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, WeightedRandomSampler

from defectfill.config.window import WindowConfig
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray, read_mask
from defectfill.io.white_level import read_stretched
from defectfill.painting.window import crop_mask, crop_window, unit_rgb, window_box
from defectfill.records.manifest import ManifestRow, Split, sampling_weights
from defectfill.records.reading import manifest_rows


class Item(TypedDict):
    """One image of a dataset; torch's DataLoader makes a batch of them: tensors, and a list of defects."""

    image: Tensor
    """[3, H, W], float32 in [0, 1] with 1 for the camera's white; grey is repeated, alpha dropped."""
    mask: Tensor
    """[1, H, W], float32: 1 on the defect, 0 elsewhere; all 0 for a normal."""
    label: int
    """0 normal, 1 anomalous."""
    defect: str
    """`good` for normals."""
    weight: float
    """The manifest's sampling_weight; 0 in test."""


class DefectDataset(Dataset[Item]):
    """The images of a finished dataset, real and synthetic, in the order of its manifest; rejected samples never.

    Args:
        folder: The dataset's folder, which holds manifest.parquet; of one at a URL `open_dataset(url).folder`.
        split: `train` or `test`; None for both.
        side: Pixels that images and masks are brought to, [side, side]; what is not square is mirrored at its longer
            edges. None leaves every image its size.
        rows: Rows of the manifest to take in place of a split's, in this order.

    Raises DataError where there is no dataset, its manifest is damaged or a row's file cannot be read (then when the
    item is asked for), ValueError for an unknown split.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split | None = "train",
        side: int | None = None,
        rows: Sequence[ManifestRow] | None = None,
    ) -> None:
        self.folder, self.side = Path(folder), side
        self.rows = tuple(manifest_rows(self.folder, split) if rows is None else rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = self.rows[index]
        image = read_stretched(self.folder / row.image_path, row.white_level)
        mask = read_mask(self.folder / row.mask_path) if row.mask_path else np.zeros(image.shape[:2], dtype=bool)
        pixels, mask = _whole(image, mask, self.side) if self.side else (unit_rgb(image), mask)
        return Item(
            image=torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
            mask=torch.from_numpy(mask)[None].float(),
            label=row.label_index,
            defect=row.defect,
            weight=row.sampling_weight,
        )


def _whole(image: ImageArray, mask: NDArray[np.bool_], side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return all of an image [H, W, C] and its mask [H, W] as [side, side, 3] in [0, 1] and [side, side].

    Beyond the shorter side both are mirrored, so that a defect that shows twice is labelled twice.
    """
    everything = window_box(np.ones_like(mask), WindowConfig(mode="whole"), side / 8)
    return crop_window(image, mask, everything, side).image, crop_mask(mask, everything, side, beyond="symmetric")


def real_share_sampler(
    dataset: DefectDataset, real_share: float | None, draws: int, seed: int, *, normal_share: float | None = None
) -> WeightedRandomSampler:
    """Return a sampler of `draws` rows a pass, with replacement, in which real references keep a share of the draws.

    Shares are expectations; each pass draws anew, and equal rows and arguments give the same passes.

    real_share: of the draws of a defect, in [0, 1], the rest being synthetic; a defect of one origin alone is drawn
    from that. None draws by the manifest's own sampling_weight. normal_share: of all draws, in [0, 1]; None leaves
    normals, and every defect, the share that their rows have. Rows of the test split are never drawn.

    Raises ValueError for a share outside of [0, 1], or where no row can be drawn.
    """
    weights = _weights(dataset.rows, real_share, normal_share)
    if not weights.any():
        raise ValueError(f"{dataset.folder}: expected rows of the train split to draw, found none of {len(dataset)}")
    generator = torch.Generator().manual_seed(derive_seed(seed, "draws"))
    return WeightedRandomSampler(weights.tolist(), draws, generator=generator)


def _weights(rows: Sequence[ManifestRow], real_share: float | None, normal_share: float | None) -> NDArray[np.float64]:
    """Return the weight of each of N rows, [N]."""
    for name, share in (("real_share", real_share), ("normal_share", normal_share)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name}: expected a share between 0 and 1, found {share}")
    keys = [(row.defect, row.split, row.origin) for row in rows]
    by_key = sampling_weights(Counter(keys), real_share or 0.0)
    own = real_share is None
    weights = np.array([row.sampling_weight if own else by_key[key] for row, key in zip(rows, keys, strict=True)])
    if normal_share is not None:
        normal = np.array([row.label_index == 0 for row in rows])
        for chosen, share in ((normal, normal_share), (~normal, 1 - normal_share)):
            weights[chosen] *= share / max(weights[chosen].sum(), np.finfo(np.float64).tiny)
    return weights
