"""What a run will take, from a few steps."""

import re
from pathlib import Path

import pytest
from conftest import contents

from defectfill.cli_format import check_lines, duration
from defectfill.config.run import load_config
from defectfill.model.forecast import few_and_each
from defectfill.operations.check import check_config
from defectfill.runs.run import Run


def test_the_forecast_grows_with_the_steps_and_writes_nothing(toy_config: Path) -> None:
    before = contents(toy_config.parent)
    few = load_config(toy_config)
    many = few.model_copy(update={"train": few.train.model_copy(update={"steps": 40_000, "latent_cache": 0})})
    told = [list(check_lines(check_config(config, measure=True)))[-2:] for config in (few, many)]
    spans = [re.findall(r"forecast: 2 trainings of (.*), 10 paintings of [\d.]+ s", lines[0])[0] for lines in told]
    assert "min" not in spans[0]
    assert "min" in spans[1]
    assert all(re.fullmatch(r"forecast: [\d,]+ MiB of memory, \d+ MiB of disk .*", lines[1]) for lines in told)
    assert contents(toy_config.parent) == before


def test_a_training_without_a_cache_is_measured_without_one(toy_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = set()
    monkeypatch.setattr(
        "defectfill.model.forecast.train_lora", lambda base, job, settings: measured.add(settings.latent_cache)
    )
    config = load_config(toy_config)
    train = config.train.model_copy(update={"latent_cache": 0})
    check_config(config.model_copy(update={"train": train}), measure=True)
    assert measured == {0}


def test_what_one_more_takes_is_told_by_so_many_that_it_shows() -> None:
    counts = []

    def seconds(count: int) -> float:
        counts.append(count)
        return 10 + 0.1 * count

    assert few_and_each(seconds, few=2) == pytest.approx((10.2, 0.1))
    assert sorted(set(counts)) == [2, 8, 16, 32]
    assert few_and_each(lambda count: 10, few=1) == (10, 0)


def test_nothing_is_measured_where_everything_is_done(finished: Run) -> None:
    config = load_config(Path(finished.config.output.root).parent / "toy.yaml")
    assert check_config(config, measure=True) == check_config(config)


@pytest.mark.parametrize(("seconds", "span"), [(3.4, "3 s"), (75, "1 min 15 s"), (7300, "2 h 1 min")])
def test_spans_read_well(seconds: float, span: str) -> None:
    assert duration(seconds) == span
