"""The demo: a toy category to run on, and whether a plain classifier recognizes what was painted on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from defectfill.config.run import RunConfig, load_config
from defectfill.io.errors import ConfigError
from defectfill.io.files import read_table
from defectfill.io.images import read_mask
from defectfill.io.progress import progress
from defectfill.io.s3 import is_remote
from defectfill.io.white_level import read_stretched
from defectfill.model.base.identity import identify_base
from defectfill.painting.window import Window, crop_window, window_box
from defectfill.toy import DEFECTS, check_names, make_sample, write_category

if TYPE_CHECKING:
    from defectfill.model.base.base import Base
    from defectfill.model.evaluation.recognition import Recognizer

TOY_CONFIG = Path(__file__).parent / "toy" / "washer.yaml"
"""A link to configs/toy.yaml; in what is installed a copy of it."""
COUNTS = {"normals": 24, "test_normals": 6, "defective": 12}
UNSEEN = 31_415_926
"""Seed of the toys that the classifier learns from and is tried on; no category is made of them."""
LEARNT, TRIED = 150, 48
"""How many of each class."""


@dataclass(frozen=True)
class Recognition:
    """Shares of the images of a defect that a plain classifier calls by its name."""

    defect: str
    painted_share: float
    """Of the kept images, those that it calls by the defect's name."""
    toy_share: float
    """The same of unseen toys with that damage."""


def shipped_config(folder: Path) -> RunConfig:
    """Return the config of the toy category that comes with the package, its data and its output in `folder`."""
    config = load_config(TOY_CONFIG)
    data = config.data.model_copy(update={"root": str(folder / "data")})
    output = config.output.model_copy(update={"root": str(folder / "out")})
    return config.model_copy(update={"data": data, "output": output})


def make_toy_category(config: RunConfig) -> None:
    """Write the toy category of `config` where it expects it, unless something is there already.

    Raises ConfigError for a category or defect that there are no toys of, a base that is not there, data on storage.
    """
    if is_remote(config.data.root):
        raise ConfigError(f"data.root: the toys are made in a folder, not in {config.data.root}")
    check_names(config.category, config.data.defects)
    identify_base(config.base)
    if not config.category_folder.exists():
        write_category(Path(config.data.root), config.category, config.seed, **COUNTS, defects=config.data.defects)


def recognize(config: RunConfig, dataset: Path) -> list[Recognition]:
    """Return for each defect how many kept images of a toy dataset a plain classifier calls by the defect's name.

    The classifier is a logistic regression on the base's features of mask crops, and tells every toy defect and
    undamaged parts apart. It learns from toys that are nobody's reference; those it is tried on it has not seen
    either.
    """
    from defectfill.model.base.base import load_base

    base = load_base(config.base)
    recognizer = train_recognizer(base, config)
    painted = {defect: list(painted_windows(config, dataset, defect)) for defect in config.data.defects}
    real = {defect: list(toy_windows(config, defect, TRIED, first=LEARNT)) for defect in config.data.defects}
    shares, real_shares = recognized(recognizer, painted), recognized(recognizer, real)
    return [Recognition(defect, shares[defect], real_shares[defect]) for defect in config.data.defects]


def train_recognizer(base: "Base", config: RunConfig) -> "Recognizer":
    """Return a classifier of all toy defects and undamaged parts of the config's category."""
    from defectfill.model.evaluation.recognition import fit_recognizer

    classes = progress(["good", *DEFECTS], "toys for the classifier")
    return fit_recognizer(base, {name: list(toy_windows(config, name, LEARNT)) for name in classes})


def recognized(recognizer: "Recognizer", windows: Mapping[str, Sequence[Window]]) -> dict[str, float]:
    """Return for each defect the share of its windows that are called by its name."""
    shares = {}
    for defect, examples in windows.items():
        names = recognizer.classify(examples)
        shares[defect] = names.count(defect) / max(len(names), 1)
    return shares


def toy_windows(config: RunConfig, name: str, count: int, first: int = 0) -> Iterator[Window]:
    """Yield windows of toys with a defect or, for `good`, of undamaged parts where each defect in turn would be."""
    for index in range(first, first + count):
        defect = list(DEFECTS)[index % len(DEFECTS)] if name == "good" else name
        sample = make_sample((UNSEEN, index), config.category, defect)
        image = make_sample((UNSEEN, index), config.category).image if name == "good" else sample.image
        box = window_box(sample.defect_mask, config.window, config.base.latent_side)
        yield crop_window(image, sample.defect_mask, box, config.base.resolution)


def painted_windows(config: RunConfig, dataset: Path, defect: str) -> Iterator[Window]:
    """Yield windows of the kept images of a defect, with their drawn masks."""
    for row in read_table(dataset / "manifest.parquet"):
        if row["origin"] == "synthetic" and row["defect"] == defect:
            mask = read_mask(dataset / row["mask_path"])
            image = read_stretched(dataset / row["image_path"], row["white_level"])
            yield crop_window(image, mask, row["window"], config.base.resolution)
