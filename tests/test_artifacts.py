"""What Prefect's pages show of a finished dataset, without a server: its samples, a picture, where it lies."""

import base64
import json
import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from defectfill.dataset.summary import format_summary, summary
from defectfill.io.embedded import data_uri
from defectfill.io.images import write_png
from defectfill.runs.run import Run
from flows.artifacts import dataset_page, samples_table

START = "data:image/webp;base64,"


def picture_of(uri: str) -> Image.Image:
    assert uri.startswith(START)
    return Image.open(BytesIO(base64.b64decode(uri.removeprefix(START))))


def test_a_picture_is_embedded_as_large_as_its_bytes_allow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_png(tmp_path / "noise.png", rng.integers(0, 256, (300, 200, 3), dtype=np.uint8))
    write_png(tmp_path / "plain.png", np.full((3000, 900, 3), 90, np.uint8))
    noise, plain = (data_uri(tmp_path / f"{name}.png", 12_000) for name in ("noise", "plain"))
    assert len(noise) <= len(START) + 12_000 * 4 / 3 + 4
    assert 50 < picture_of(noise).width < 200
    assert abs(picture_of(noise).width / picture_of(noise).height - 2 / 3) < 0.02
    assert picture_of(plain).size == (600, 2000)
    assert np.abs(np.asarray(picture_of(plain)).astype(int) - 90).max() < 5


def test_the_table_has_the_numbers_of_the_summary_and_the_verdict_of_an_evaluation(
    finished: Run, tmp_path: Path
) -> None:
    run = Run.at(Path(shutil.copytree(finished.folder, tmp_path / "out" / "runs" / finished.folder.name)))
    rows = samples_table(run)
    made = summary(run.dataset)
    assert [(row["defect"], row["planned"], row["kept"], row["wanted"]) for row in rows] == [
        (defect, each.planned, each.kept, each.wanted) for defect, each in made.defects.items()
    ]
    assert "verdict" not in rows[0]
    assert format_summary(made)[1].split()[-3:] == [str(rows[0]["kept"]), "of", str(rows[0]["wanted"])]
    verdict = run.folder / "evaluation" / "verdict.json"
    verdict.parent.mkdir()
    verdict.write_text(json.dumps({"defects": {"hole": {"verdict": "helps", "sentence": "It helps."}}}))
    assert [row["verdict"] for row in samples_table(run)] == ["helps", ""]
    os.utime(verdict, (0, 0))
    assert [row["verdict"] for row in samples_table(run)] == ["helps, of an earlier dataset", ""]
    verdict.write_text("{}")
    assert samples_table(run) == rows


def test_the_page_says_where_dataset_and_report_lie(finished: Run, tmp_path: Path) -> None:
    run = Run.at(Path(shutil.copytree(finished.folder, tmp_path / "out" / "runs" / finished.folder.name)))
    assert dataset_page(run).startswith(f"- Dataset: `{run.dataset}`\n\n# washer: real and synthetic defects\n")
    (run.folder / "report").mkdir()
    (run.folder / "report" / "index.html").write_text("a report")
    assert f"\n- Report: `{run.folder}/report/index.html`\n" in dataset_page(run)
