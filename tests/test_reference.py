"""docs/configuration.md says of every key what the code says."""

from pathlib import Path

from defectfill.config.affects import keys_of
from defectfill.config.reference import reference, tables
from defectfill.config.run import RunConfig
from defectfill.model.pretraining.config import PretrainConfig

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


def test_the_page_is_current() -> None:
    expected = "python -m defectfill.config.reference > docs/configuration.md"
    assert PAGE.read_text(encoding="utf-8") == reference(), f"to be written anew: {expected}"


def test_every_key_has_a_row_that_tells_its_meaning() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        key.path.rpartition(".")[2]
        for section in dict.fromkeys(key.path.rpartition(".")[0] for key in keys_of(RunConfig))
        for key in keys_of(RunConfig)
        if key.path.rpartition(".")[0] == section
    ]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_a_row_tells_type_range_default_and_what_the_key_affects() -> None:
    assert "| `rank` | integer, from 1 to 10000 | `8` | adapter | LoRA's rank. |" in reference()
    assert '| `kind` | `local` or `dask` | `"local"` | nothing |' in reference()


def test_another_config_class_has_tables_too() -> None:
    assert "| `polish_steps` | integer, from 0 | `0` |" in tables(PretrainConfig)
