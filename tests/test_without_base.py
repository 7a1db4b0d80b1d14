"""Report and review of runs whose painters need no base: they judge by the gates that those samples were judged by."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import paint
from test_painters import config_without_base
from test_report import page_at, refusals
from test_review import table_of

from defectfill.config.run import load_config
from defectfill.dataset.report.build import write_report
from defectfill.dataset.report.compare import write_comparison
from defectfill.dataset.report.limits import Limit
from defectfill.dataset.writer import write_dataset
from defectfill.io.files import read_table
from defectfill.operations.prepare import start_run
from defectfill.operations.review.apply import apply_review
from defectfill.painting.gates import MEANINGLESS, REMEDIES_WITHOUT_BASE
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards, shard_rows


@pytest.fixture(scope="module", params=["paste", "perlin"])
def without_base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Run:
    """A finished run of a painter by gates that reject some of its samples; not to be changed."""
    config_path = config_without_base(tmp_path_factory.mktemp("without_base"), toy_data, request.param)
    text = config_path.read_text().replace("tolerance: 20, max_off_mask_fraction: 1, min_drawn_fraction: 0.05", GATES)
    config_path.write_text(text)
    run = start_run(load_config(config_path))
    paint(run)
    write_dataset(run)
    return run


GATES = "tolerance: 1, max_off_mask_fraction: 0.3, min_drawn_fraction: 0.9"


def test_no_kept_sample_lies_outside_of_what_is_allowed_and_each_rejected_one_does(
    without_base: Run, tmp_path: Path
) -> None:
    data, said = page_at(write_report(without_base, tmp_path / "report")).data, Counter[bool]()
    shown = {reason for limits in data["limits"].values() for limit in limits for reason in limit["reasons"]}
    assert not shown & MEANINGLESS[without_base.config.generate.painter]
    for sample in data["samples"]:
        outside = refusals([Limit.model_validate(each) for each in data["limits"][sample["defect"]]], sample)
        assert outside >= {sample["reason"]} if sample["reason"] else not outside
        said[bool(outside)] += 1
    assert min(said[True], said[False]) > 0


def test_the_page_counts_every_painted_sample_once_and_tells_of_no_base(
    without_base: Run, finished: Run, tmp_path: Path
) -> None:
    in_tables = [
        row for name in ("manifest", "rejected") for row in read_table(without_base.dataset / f"{name}.parquet")
    ]
    listed = sum(row["origin"] == "synthetic" for row in in_tables)
    kept = sum(row["origin"] == "synthetic" and not row.get("reason") for row in in_tables)
    defects = without_base.config.data.defects
    made = sum(
        len(shard_rows(without_base, each)) for defect in defects for each in finished_shards(without_base, defect)
    )
    assert made > listed
    page = page_at(write_report(without_base, tmp_path / "report"))
    said = f"{made} painted, {listed - kept} rejected by the gates, {made - listed} more than needed, 2 defects"
    assert said in page.text
    assert "surplus " in page.text
    assert f"The painter {without_base.config.generate.painter} needs no base and no training." in page.text
    assert "inherit their licence." in page.text
    assert "base model" not in page.text
    assert page.data["remedies"] == REMEDIES_WITHOUT_BASE
    text = re.sub(r"\s+", " ", page_at(write_comparison(finished, without_base)).text)
    assert f"distance{finished.record.distance}pixels" in text
    assert re.search(r"basesmall \S+–", text)
    assert "train." not in text
    assert "median contrast" in text
    assert "median score" not in text


def test_people_are_held_against_the_gates_that_apply(without_base: Run, tmp_path: Path) -> None:
    copied = shutil.copytree(without_base.category_output, tmp_path / "as made")
    rows = read_table(without_base.dataset / "manifest.parquet")
    kept = [row["sample_id"] for row in rows if row["origin"] == "synthetic"]
    found = apply_review(without_base, table_of(tmp_path, dict.fromkeys(kept, "keep"))).agreement
    assert (found.agree, found.kept) == (len(kept), len(kept))
    assert not {each.gate for each in found.gates} & MEANINGLESS[without_base.config.generate.painter]
    assert {each.refused_of_kept for each in found.gates} == {0}
    shutil.rmtree(without_base.category_output)
    shutil.copytree(copied, without_base.category_output)
