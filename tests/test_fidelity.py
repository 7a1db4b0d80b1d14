"""Fidelity and diversity of a dataset: against slow versions, and on toys whose order is known."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from defectfill.io.errors import DataError
from defectfill.io.files import write_table
from defectfill.io.images import read_image, write_png
from defectfill.model.evaluation import fidelity as module
from defectfill.model.evaluation.features import FeatureExtractor, has_backbone, open_extractor
from defectfill.model.evaluation.fidelity import (
    DefectFidelity,
    Signatures,
    clustered_diversity,
    compare,
    distances,
    fidelity,
    footnote,
    signatures,
    table_rows,
)
from defectfill.model.evaluation.kid import LEAST_IMAGES
from defectfill.records.manifest import SCHEMA, ManifestRow
from defectfill.toy import write_category

COUNT = 10
"""Images of a kind."""


def filters(images: Tensor) -> list[Tensor]:
    """Colours and edges [B, 7, h, w] at three scales."""
    levels = []
    for scale in (1, 2, 4):
        small = F.avg_pool2d(images, scale)
        grey = F.pad(small.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        inner = grey[..., 1:-1, 1:-1]
        across, down = inner - grey[..., 1:-1, :-2], inner - grey[..., :-2, 1:-1]
        edges = [(8 * each * sign).clamp(min=0) for each in (across, down) for sign in (1, -1)]
        levels.append(torch.cat([small, *edges], dim=1))
    return levels


FILTERS = FeatureExtractor("filters", "0" * 64, torch.device("cpu"), filters)
needs_backbone = pytest.mark.skipif(not has_backbone(), reason="the extra `features` is not installed")


@pytest.fixture(scope="module", params=["filters", pytest.param("efficientnet", marks=needs_backbone)])
def extractor(request: pytest.FixtureRequest) -> FeatureExtractor:
    return FILTERS if request.param == "filters" else open_extractor(None, "efficientnet")


def pictures(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def slow_distance(extractor: FeatureExtractor, one: Tensor, other: Tensor) -> float:
    """The distance of two pictures [3, H, W], position by position."""
    levels = []
    for a, b in zip(extractor.maps(one[None]), extractor.maps(other[None]), strict=True):
        sums = []
        for row in range(a.shape[2]):
            for column in range(a.shape[3]):
                x, y = a[0, :, row, column].double(), b[0, :, row, column].double()
                sums.append(float((x / x.norm() - y / y.norm()).square().sum()))
        levels.append(np.mean(sums))
    return float(np.mean(levels))


def test_distances_are_means_over_positions_and_levels(extractor: FeatureExtractor) -> None:
    one, other = pictures(2, 0), pictures(3, 1)
    found = distances(signatures(extractor, one), signatures(extractor, other))
    expected = [[slow_distance(extractor, a, b) for b in other] for a in one]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_equal_pictures_are_at_distance_zero(extractor: FeatureExtractor) -> None:
    signed = signatures(extractor, pictures(3, 0))
    assert (np.diag(distances(signed, signed)) == 0).all()


def slow_diversity(among: Sequence[Sequence[float]], to_references: Sequence[Sequence[float]]) -> float:
    clusters: dict[int, list[int]] = {}
    for image, row in enumerate(to_references):
        clusters.setdefault(list(row).index(min(row)), []).append(image)
    means = []
    for members in clusters.values():
        pairs = [among[one][other] for one in members for other in members if one < other]
        if pairs:
            means.append(sum(pairs) / len(pairs))
    return sum(means) / len(means)


def test_diversity_is_a_mean_over_clusters() -> None:
    generator = np.random.default_rng(0)
    points, references = generator.normal(size=(20, 2)), generator.normal(size=(5, 2))
    among = np.linalg.norm(points[:, None] - points, axis=2)
    to_references = np.linalg.norm(points[:, None] - references, axis=2)
    diversity, clusters = clustered_diversity(among, to_references)
    assert diversity == pytest.approx(slow_diversity(among.tolist(), to_references.tolist()))
    assert 1 < clusters <= 5


def test_one_image_for_each_reference_has_no_diversity() -> None:
    to_references = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert clustered_diversity(np.array([[0.0, 1.0], [1.0, 0.0]]), to_references) == (None, 0)


def test_without_images_every_figure_is_missing() -> None:
    none = Signatures(np.zeros((0, 1)), torch.zeros(0, 1))
    found = compare(none, none, none)
    assert {name for name, value in found.model_dump().items() if value is not None} == {"clusters"}


def test_near_copies_are_nearer_than_references_are_to_each_other(extractor: FeatureExtractor) -> None:
    references = signatures(extractor, pictures(6, 0))
    found = compare(signatures(extractor, pictures(6, 0) * 0.999), references, references)
    assert found.nearest is not None
    assert found.reference_nearest is not None
    assert found.nearest.p95 < 0.01 * found.reference_nearest.p05


class Rows:
    """Rows of a manifest over files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[ManifestRow] = []

    def add(self, defect: str, origin: str, split: str, images: Sequence[Path], masks: Sequence[Path]) -> None:
        for image, mask in zip(images, masks, strict=True):
            row = {
                "sample_id": f"{defect}-{origin}-{split}-{image.stem}",
                "image_path": image.relative_to(self.folder).as_posix(),
                "mask_path": mask.relative_to(self.folder).as_posix(),
                "label_index": 1,
                "category": "toy",
                "defect": defect,
                "split": split,
                "origin": origin,
                "width": 96,
                "height": 96,
                "image_sha256": "",
            }
            self.rows.append(ManifestRow.model_validate(row))

    def write(self) -> None:
        write_table(self.folder / "manifest.parquet", [row.model_dump() for row in self.rows], SCHEMA)


def blurred(path: Path, target: Path) -> Path:
    image = read_image(path)
    write_png(target, cv2.GaussianBlur(image, (0, 0), 1).reshape(image.shape))
    return target


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset of four defects, with the same real images in each and other synthetic ones."""
    folder = tmp_path_factory.mktemp("fidelity")
    for category, count in (("washer", 3 * COUNT), ("leather", COUNT)):
        write_category(folder, category, 1, normals=1, test_normals=1, defective=count, size_px=96, defects=("stain",))
    images, masks, others, other_masks = (
        sorted((folder / category / part / "stain").iterdir())
        for category in ("washer", "leather")
        for part in ("test", "ground_truth")
    )
    (folder / "blurred").mkdir()
    dull = [blurred(path, folder / "blurred" / path.name) for path in images[2 * COUNT :]]
    rows = Rows(folder)
    for defect, made, made_masks in (
        ("alike", images[2 * COUNT :], masks[2 * COUNT :]),
        ("blurred", dull, masks[2 * COUNT :]),
        ("other", others, other_masks),
        ("repeated", [images[0]] * COUNT, [masks[0]] * COUNT),
    ):
        rows.add(defect, "synthetic", "train", made, made_masks)
        rows.add(defect, "real", "train", images[:COUNT], masks[:COUNT])
        rows.add(defect, "real", "test", images[COUNT : 2 * COUNT], masks[COUNT : 2 * COUNT])
    rows.write()
    return folder


@pytest.fixture(scope="module")
def found(dataset: Path, extractor: FeatureExtractor) -> dict[str, DefectFidelity]:
    return fidelity(dataset, extractor)


@pytest.mark.parametrize("view", ["crop", "window"])
def test_the_less_alike_the_farther(found: dict[str, DefectFidelity], view: str) -> None:
    figures = {defect: getattr(each, view) for defect, each in found.items()}
    for name in ("kid_references", "kid_held_out"):
        alike, dull, other = (getattr(figures[defect], name) for defect in ("alike", "blurred", "other"))
        assert abs(alike.value) < 2 * alike.standard_error
        assert alike.value < dull.value
        if view == "window":  # a stain by itself may look like one of leather
            assert 3 * other.standard_error < other.value > dull.value
    assert len({each.kid_real for each in figures.values()}) == 1


@pytest.mark.parametrize("view", ["crop", "window"])
def test_one_image_again_and_again_has_no_diversity(found: dict[str, DefectFidelity], view: str) -> None:
    repeated, alike = getattr(found["repeated"], view), getattr(found["alike"], view)
    assert (repeated.diversity, repeated.clusters, repeated.nearest.p95) == (0, 1, 0)
    assert alike.diversity > 0.3 * alike.reference_diversity


def test_figures_survive_json(found: dict[str, DefectFidelity]) -> None:
    for each in found.values():
        assert DefectFidelity.model_validate_json(each.model_dump_json()) == each


def test_of_many_images_some_are_drawn_by_the_seed(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IMAGES", LEAST_IMAGES)
    found = fidelity(dataset, FILTERS)
    assert {(each.synthetic, each.references, each.held_out) for each in found.values()} == {(LEAST_IMAGES,) * 3}
    assert fidelity(dataset, FILTERS) == found
    assert fidelity(dataset, FILTERS, seed=1) != found


def test_a_table_names_figures_and_how_they_were_had(found: dict[str, DefectFidelity]) -> None:
    rows = table_rows(found)
    assert [(row["defect"], row["view"]) for row in rows[:3]] == [
        ("alike", "crop"),
        ("alike", "window"),
        ("blurred", "crop"),
    ]
    kid = found["alike"].crop.kid_references
    assert kid is not None
    assert rows[0]["KID x1000 to references"] == f"{1000 * kid.value:.1f} +- {1000 * kid.standard_error:.1f}"
    assert rows[0]["images"] == f"{COUNT} to {COUNT} and {COUNT}"
    assert f"{found['alike'].extractor} (weights {found['alike'].extractor_sha256[:12]})" in footnote(found)


def test_a_defect_with_few_images_says_so(dataset: Path, extractor: FeatureExtractor, tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    images, masks = (sorted((dataset / "washer" / part / "stain").iterdir())[:3] for part in ("test", "ground_truth"))
    copies = [(tmp_path / f"{kind}-{path.name}") for kind, paths in (("i", images), ("m", masks)) for path in paths]
    for copy, path in zip(copies, [*images, *masks], strict=True):
        copy.write_bytes(path.read_bytes())
    rows.add("stain", "real", "train", copies[:3], copies[3:])
    rows.write()
    (row, _) = table_rows(fidelity(tmp_path, extractor))
    assert row["images"] == "0 to 3 and 0"
    assert row["KID x1000 to references"] == row["diversity"] == row["nearest reference"] == "too few"
    assert float(row["of references"]) > 0


def test_a_missing_image_is_named(dataset: Path, extractor: FeatureExtractor, tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes((dataset / "manifest.parquet").read_bytes())
    with pytest.raises(DataError, match=r"washer.test.stain"):
        fidelity(tmp_path, extractor)
