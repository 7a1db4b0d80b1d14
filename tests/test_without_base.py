"""Report and review of runs whose painters need no base: they judge by the gates that those samples were judged by."""

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
from defectfill.dataset.report.limits import Limit
from defectfill.dataset.writer import write_dataset
from defectfill.io.files import read_table
from defectfill.operations.prepare import start_run
from defectfill.operations.review.apply import apply_review
from defectfill.painting.gates import MEANINGLESS
from defectfill.runs.run import Run


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


GATES = "tolerance: 1, max_off_mask_fraction: 0.6, min_drawn_fraction: 0.7"


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
