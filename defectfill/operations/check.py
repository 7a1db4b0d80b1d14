"""What a config would do, and everything that is wrong with it, without a GPU and without writing anything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from defectfill.adapters.files import is_trained
from defectfill.adapters.references import divide_references
from defectfill.config.run import RunConfig
from defectfill.ingest.find import mask_files
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import ConfigError, DefectFillError
from defectfill.io.images import read_image, read_mask
from defectfill.masks.category import folder_masks
from defectfill.operations.prepare import prepare_run
from defectfill.operations.remote import fetch_data
from defectfill.painting.window import latent_cells, window_box
from defectfill.records.snapshot import ImageRecord, references_of
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards


def check_config(config: RunConfig, run: Run | None = None, *, measure: bool = False) -> list[str]:
    """Lines that say what a run of `config` finds and would do; `run` where it is prepared already.

    measure: with a forecast of time, memory and disk from a few steps of training and painting.

    Raises one error with every problem: of the base and its tokenizer, of the folders, of each image, of the output, of
    the user's own masks and zones.
    """
    errors: list[DefectFillError] = []
    records: Sequence[ImageRecord] = ()
    try:
        run = run or prepare_run(config)
    except DefectFillError as error:
        errors.append(error)
    try:
        fetch_data(config)
        records = ingest(config)
    except DefectFillError as error:
        errors.append(error)
    errors += _token_errors(config) if run else []
    errors += _division_errors(config, records) if records else []
    errors += _mask_errors(config)
    if errors or run is None:
        problems = dict.fromkeys(problem for error in errors for problem in error.problems)
        raise type(errors[0])(list(problems))
    lines = [*_found(config, records), *to_do(run, records), *_warnings(config, records)]
    return [*lines, *_forecast(run, records)] if measure and not run.is_finished() else lines


def _token_errors(config: RunConfig) -> list[DefectFillError]:
    """Whether [V*] is one token of the base's tokenizer; a hub's base shows it only when it is loaded."""
    if not Path(config.base.model).is_absolute():
        return []
    from transformers import CLIPTokenizer

    from defectfill.model.base.base import find_token

    try:
        tokenizer = CLIPTokenizer.from_pretrained(config.base.model, subfolder="tokenizer", local_files_only=True)
        for defect in config.data.defects:
            for prompt in config.prompts(defect):
                find_token(tokenizer, prompt, config.token(defect))
    except DefectFillError as error:
        return [error]
    except Exception as error:  # the library raises nearly anything over damaged files
        return [ConfigError(f"base.model: {config.base.model}/tokenizer cannot be loaded: {error}")]
    return []


def _division_errors(config: RunConfig, records: Sequence[ImageRecord]) -> list[DefectFillError]:
    """Whether validation leaves references to learn from."""
    try:
        for defect in config.data.defects:
            divide_references(config, records, defect)
    except DefectFillError as error:
        return [error]
    return []


def _mask_errors(config: RunConfig) -> list[DefectFillError]:
    """Whether zones and masks of the user's own can be read."""
    try:
        for path in mask_files(config.masks).values():
            read_image(path)
        for _ in folder_masks(config.masks):
            pass
    except DefectFillError as error:
        return [error]
    return []


def _found(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    roles = Counter((record.role, record.defect) for record in records)
    yield (
        f"{config.category}: {roles['normal', 'good']} normals to paint on, "
        f"{roles['test_normal', 'good']} normals set aside for test"
    )
    for defect in config.data.defects:
        names = ", ".join(Path(record.path).name for record in references_of(records, defect))
        yield f"{defect}: references {names}; {roles['held_out', defect]} held out"


def to_do(run: Run, records: Sequence[ImageRecord]) -> Iterator[str]:
    """What a run has left to do."""
    config = run.config
    if run.is_finished():
        yield f"everything is done: {run.dataset_uri}"
        return
    generate = config.generate
    passes = generate.candidates * generate.steps * (2 if generate.guidance_scale > 1 else 1)
    for defect in config.data.defects:
        trained = "is there" if is_trained(run, defect, records) else f"to be trained for {config.train.steps} steps"
        left = _left(run, defect)
        yield f"{defect}: adapter {trained}; {left} of {generate.count} samples to paint, {left * passes:,} UNet passes"
    yield f"base {run.record.base.model} ({run.record.base.revision[:12]}), selection by {run.record.distance}"
    yield f"output: {run.uri}"


def _left(run: Run, defect: str) -> int:
    """How many samples are still to be painted, if none is rejected."""
    painted = max((shard.stop for shard in finished_shards(run, defect)), default=0)
    return max(run.config.generate.count - painted, 0)


def _forecast(run: Run, records: Sequence[ImageRecord]) -> list[str]:
    from defectfill.model.forecast import forecast

    return forecast(run.config, run.record.distance, records, *left_to_do(run, records))


def left_to_do(run: Run, records: Sequence[ImageRecord]) -> tuple[int, int]:
    """How many adapters are still to be trained, and how many samples to be painted if none is rejected."""
    defects = run.config.data.defects
    untrained = {run.adapter_folder(defect, records) for defect in defects if not is_trained(run, defect, records)}
    return len(untrained), sum(_left(run, defect) for defect in defects)


def _warnings(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    """References too thin in their window to be learnt well."""
    for record in records:
        if record.role != "reference":
            continue
        mask = read_mask(config.category_folder / record.mask_path)
        box = window_box(mask, config.window, config.base.latent_side)
        cells = latent_cells(mask, box, config.base.latent_side)
        if cells < 1:
            yield (
                f"warning: {record.path}: the width of its defect spans {cells:.1f} latent cells; "
                "a larger base.resolution shows more of it"
            )
