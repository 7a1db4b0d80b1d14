"""Whatever a run can refuse, check refuses first, unless only the work itself can show it."""

import ast
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import free_port
from safetensors.numpy import load_file, save_file

from defectfill.config.run import load_config
from defectfill.io.errors import ConfigError, DefectFillError
from defectfill.io.images import read_mask, write_png
from defectfill.operations.check import check_config, start_checked

ROOT = Path(__file__).parents[1]
ERRORS = {"ConfigError", "DataError", "PlacementError", "UncertainObject"}
"""What is not worth a retry."""
ONLY_WORK = {
    "what the steps of a run have written, or the user has changed on the way": {
        "dataset/writer.py _finished_rows",
        "model/lora/adapter.py load_adapter",
        "runs/defect_planner.py DefectPlanner.plan",  # as check_placement, where images have changed on the way
        "runs/plan.py _remedy_named",
    },
    "other users of the output at that time": {"operations/lock.py _Lease.take", "operations/lock.py locked"},
    "the same as requirement_problems, where it is needed": {
        "flows/runners.py open_dask",
        "model/training/tensorboard.py open_tensorboard",
    },
    "arguments and inputs of other commands": {
        "api.py export_dataset",
        "cli.py _remedy",
        "dataset/export/export.py _check_arguments",
        "dataset/export/export.py _check_folders",
        "dataset/export/labelstudio.py _document_root",
        "dataset/export/selection.py _refuse_clashes",
        "dataset/export/selection.py select",
        "dataset/export/yolo.py write_yolo_sem",
        "dataset/export/yolo.py write_yolo_seg",
        "dataset/verify.py verify_dataset",
        "operations/report.py _current",
        "operations/report.py _run_in",
        "operations/report.py _run_of",
        "operations/report.py finished_run",
        "operations/report.py page_of",
        "operations/review/apply.py _check_place",
        "operations/review/apply.py apply_review",
        "operations/review/table.py _rows",
        "operations/review/table.py _text",
        "operations/review/table.py read_table",
        "operations/storage/fetch.py fetch_dataset",
        "demo.py make_toy_category",
        "flows/deploy.py _check_pool",
        "flows/deploy.py _find",
        "flows/deploy.py _load",
        "masks/sheet.py _check_sheet_path",
        "masks/sheet.py write_mask_sheet",  # as check_placement
        "model/evaluation/detector.py _fit",
        "model/evaluation/detector.py divide",
        "model/evaluation/detector.py train_detector",
        "model/pretraining/pictures.py _images_in",
        "model/pretraining/pretrain.py _finished",
        "model/pretraining/pretrain.py _record",
        "operations/requirements.py check_evaluation",
    },
    "the server, which is asked when everything is checked": {
        "api.py _settings_of_prefect",
        "flows/server.py check_server",
        "operations/environment.py check_connections",
    },
    "the output's file system, which is tried where it is written to": {"operations/file_system.py check_file_system"},
}
"""Reason -> functions that refuse what no check can have refused."""


class Function:
    """A function or method of ours: what it may call, and whether it refuses something."""

    def __init__(self, path: Path, node: ast.FunctionDef, of: str, imported: dict[str, Path]) -> None:
        self.site = f"{path.relative_to(ROOT).as_posix().removeprefix('defectfill/')} {f'{of}.' * bool(of)}{node.name}"
        nodes = list(ast.walk(node))
        names = {each.id for each in nodes if isinstance(each, ast.Name)}
        self.calls = {(imported.get(name, path), name) for name in names}
        self.attributes = {each.attr for each in nodes if isinstance(each, ast.Attribute)}
        raised = [each.exc.func for each in nodes if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call)]
        self.refuses = any(isinstance(kind, ast.Name) and kind.id in ERRORS for kind in raised)


class Code:
    """All functions of ours: by file and name, classes standing for what makes them; methods by their name alone."""

    def __init__(self) -> None:
        self.functions: dict[tuple[Path, str], list[Function]] = {}
        self.methods: dict[str, list[Function]] = {}
        for layer in ("mask_sampling", "defectfill", "flows"):
            for path in (ROOT / layer).rglob("*.py"):
                if "toy" not in path.parts:
                    self._read(path)

    def _read(self, path: Path) -> None:
        module = ast.parse(path.read_text("utf-8"))
        imported = dict(_imported(module))
        for outer in module.body:
            if isinstance(outer, ast.FunctionDef):
                self.functions[path, outer.name] = [Function(path, outer, "", imported)]
            for node in outer.body if isinstance(outer, ast.ClassDef) else ():
                if isinstance(outer, ast.ClassDef) and isinstance(node, ast.FunctionDef):
                    method = Function(path, node, outer.name, imported)
                    made = node.name.startswith("__") or bool(node.decorator_list)
                    self.functions.setdefault((path, outer.name), []).extend([method] if made else [])
                    self.methods.setdefault(node.name, []).append(method)

    def everything(self) -> list[Function]:
        return [each for group in (*self.functions.values(), *self.methods.values()) for each in group]

    def reached_from(self, *starts: tuple[Path, str]) -> set[str]:
        """The sites of what these functions call, and what that calls; a method by its name, whatever has it."""
        reached: set[str] = set()
        waiting = [each for start in starts for each in self.functions[start]]
        while waiting:
            function = waiting.pop()
            if function.site not in reached:
                reached.add(function.site)
                waiting += [each for call in function.calls for each in self.functions.get(call, ())]
                waiting += [each for name in function.attributes for each in self.methods.get(name, ())]
        return reached


def _imported(module: ast.Module) -> Iterator[tuple[str, Path]]:
    """Yield each name that a module imports from one of ours, with that module's file, inside functions too."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module:
            path = ROOT.joinpath(*node.module.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            yield from ((alias.asname or alias.name, file) for alias in node.names)


def test_every_refusal_is_one_that_check_comes_to_or_has_a_reason_why_not() -> None:
    code = Code()
    refusing = {each.site for each in code.everything() if each.refuses}
    reached = code.reached_from(
        (ROOT / "defectfill/config/run.py", "load_config"), (ROOT / "defectfill/operations/check.py", "check_config")
    )
    late = {site for sites in ONLY_WORK.values() for site in sites}
    assert len(refusing) > 50
    assert refusing - reached == late


Place = Callable[[Path], str]
"""Breaks something below the folder of toy.yaml, and returns what the refusal says."""


def copied_base(folder: Path) -> Path:
    """Let the config name a copy of its base, and return that."""
    path = folder / "toy.yaml"
    model = path.read_text().split("model: ")[1].split(",")[0]
    path.write_text(path.read_text().replace(model, "base"))
    return Path(shutil.copytree(model, folder / "base"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def add(folder: Path, text: str) -> None:
    (folder / "toy.yaml").write_text(f"{(folder / 'toy.yaml').read_text()}{text}\n")


def only_fp16(folder: Path) -> str:
    for path in copied_base(folder).rglob("*.safetensors"):
        path.rename(path.with_name(f"{path.stem}.fp16.safetensors"))
    return r"has no unet/diffusion_pytorch_model\.safetensors \(variants such as .*\.fp16\.safetensors are not loaded\)"


def two_text_encoders(folder: Path) -> str:
    base = copied_base(folder)
    shutil.copytree(base / "text_encoder", base / "text_encoder_2")
    return "has text_encoder_2; bases with two text encoders, such as SDXL, are not supported"


def more_than_a_text(folder: Path) -> str:
    edit(copied_base(folder) / "unet/config.json", addition_embed_type="text_time")
    return "told nothing but a text, found addition_embed_type 'text_time', as SDXL has it"


def another_width(folder: Path) -> str:
    edit(copied_base(folder) / "unet/config.json", cross_attention_dim=96)
    return r"expected cross_attention_dim to be \d+, the hidden_size of the text encoder, found 96"


def another_width_in_both(folder: Path) -> str:
    base = copied_base(folder)
    edit(base / "unet/config.json", cross_attention_dim=96)
    edit(base / "text_encoder/config.json", hidden_size=96)
    return "base.model: .*base cannot be loaded"


def nan_in_the_vae(folder: Path) -> str:
    path = copied_base(folder) / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    last = sorted(tensors)[-1]
    tensors[last] = tensors[last] * np.float32(np.nan)
    save_file(tensors, path, metadata={"format": "pt"})
    return f"base.model: .*base: vae: 1 of its weights are not finite, such as {last}"


def zone_without_white(folder: Path) -> str:
    write_png(folder / "zone.png", np.zeros((96, 96), bool))
    add(folder, "masks: {zones: {allowed: zone.png}}")
    return r"zone\.png: expected white where defects may be, found none"


def zone_all_forbidden(folder: Path) -> str:
    write_png(folder / "zone.png", np.ones((96, 96), bool))
    add(folder, "masks: {zones: {forbidden: zone.png}}")
    return r"zone\.png: expected something that is not white"


def zone_of_another_size(folder: Path) -> str:
    write_png(folder / "zone.png", np.ones((48, 96), bool))
    add(folder, "masks: {zones: {allowed: zone.png}}")
    return r"zone\.png: expected 96 x 96 pixels like the image it is for, found 96 x 48"


def zone_beside_the_object(folder: Path) -> str:
    write_png(folder / "zone.png", np.pad(np.ones((3, 3), bool), ((0, 93), (0, 93))))
    add(folder, "masks: {zones: {allowed: zone.png}}")
    return "hole: no mask finds room, see masks in the config; .*the zones leave nothing of the object"


def zone_on_what_is_hardly_an_object(folder: Path) -> str:
    image = np.repeat(np.linspace(90, 160, 96).astype(np.uint8)[:, None, None], 96, axis=1)
    image[40:48, 40:48] = 0
    write_png(folder / "on.png", image)
    write_png(folder / "zone.png", np.ones((96, 96), bool))
    add(folder, "masks: {zones: {allowed: zone.png, drawn_on: on.png}}")
    return r"on\.png: what stands out .*; see masks\.foreground"


def a_file_in_place_of_masks(folder: Path) -> str:
    write_png(folder / "own.png", np.ones((9, 9), bool))
    add(folder, "masks: {samplers: {folder: 1}, folder: own.png}")
    return "masks.folder: expected images in .*own.png, found none"


def the_category_for_its_root(folder: Path) -> str:
    path = folder / "toy.yaml"
    path.write_text(path.read_text().replace("/data,", "/data/washer,"))
    return "beside it only ground_truth, test, train; data.root is the folder above the category's"


def a_scheduler_that_does_not_answer(folder: Path) -> str:
    add(folder, f"runner: {{kind: dask, address: 'tcp://127.0.0.1:{free_port()}'}}")
    return r"runner\.address: no Dask scheduler answers at tcp://127\.0\.0\.1:\d+: Connection refused"


def no_address_of_a_scheduler(folder: Path) -> str:
    add(folder, "runner: {kind: dask, address: scheduler}")
    return "runner.address: expected the address of a Dask scheduler, tcp://host:port, found 'scheduler'"


def an_hour_that_is_none(folder: Path) -> str:
    add(folder, "schedule: {cron: 0 25 * * 1}")
    return "schedule.cron: no such time: Bad hour, found '0 25"


def a_day_that_is_none(folder: Path) -> str:
    add(folder, "schedule: {cron: 0 2 31 2 *}")
    return "schedule.cron: no such time"


def all_references_kept_for_validation(folder: Path) -> str:
    path = folder / "toy.yaml"
    path.write_text(path.read_text().replace("steps: 2, batch_size: 1", "steps: 2, validation_references: 2", 1))
    return "train.validation_references: expected fewer than the 2 references of hole"


def output_among_the_images(folder: Path) -> str:
    path = folder / "toy.yaml"
    path.write_text(path.read_text().replace(f"{folder}/out", f"{folder}/data/washer/train/good"))
    return "output.root: expected a folder that is not among the category's images, found one in .*washer/train"


def promoted_by_nothing_held_out(folder: Path) -> str:
    path = folder / "toy.yaml"
    path.write_text(path.read_text().replace("references: {count: 2}", "references: {count: 4}"))
    add(folder, "dataset: {promote: unless_harmful}")
    return "dataset.promote: unless_harmful evaluates: expected defective images held out to test on, found none"


def promoted_with_one_normal(folder: Path) -> str:
    for path in sorted((folder / "data/washer/train/good").iterdir())[1:]:
        path.unlink()
    add(folder, "dataset: {promote: unless_harmful}")
    return "dataset.promote: unless_harmful evaluates: expected two images in train/good, .*, found 1"


def promoted_by_features_of_no_base(folder: Path) -> str:
    path = folder / "toy.yaml"
    model = path.read_text().split("model: ")[1].split(",")[0]
    path.write_text(path.read_text().replace(model, "models/sd2").replace("generate: {", "generate: {painter: paste, "))
    add(folder, "dataset: {promote: unless_harmful}\nevaluate: {features: vae}")
    return "base.model: models/sd2 is no folder beside the config; .*; evaluate.features takes its VAE"


REFUSED: tuple[Place, ...] = (
    only_fp16, two_text_encoders, more_than_a_text, another_width, another_width_in_both, nan_in_the_vae,
    zone_without_white, zone_all_forbidden, zone_of_another_size, zone_beside_the_object,
    zone_on_what_is_hardly_an_object, a_file_in_place_of_masks, the_category_for_its_root,
    a_scheduler_that_does_not_answer, no_address_of_a_scheduler, an_hour_that_is_none,
    a_day_that_is_none, all_references_kept_for_validation, promoted_by_nothing_held_out,
    output_among_the_images, promoted_with_one_normal, promoted_by_features_of_no_base,
)  # fmt: skip


@pytest.mark.parametrize("breaks", REFUSED, ids=lambda breaks: breaks.__name__)
def test_check_refuses_what_a_run_would_refuse_after_training(toy_config: Path, breaks: Place) -> None:
    message = breaks(toy_config.parent)
    with pytest.raises(DefectFillError, match=message):
        check_config(load_config(toy_config))
    assert not (toy_config.parent / "out").exists()


def test_a_scheduled_run_checks_everything_too_and_logs_what_was_decided(
    toy_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = toy_config.parent / "data/washer/ground_truth/hole/000_mask.png"
    write_png(mask, ~read_mask(mask))
    with caplog.at_level("INFO", "defectfill"):
        run = start_checked(load_config(toy_config))
    assert [record.path for record in run.snapshot()]
    assert any("is it inverted" in record.getMessage() for record in caplog.records)
    shutil.rmtree(toy_config.parent / "out")
    zone_all_forbidden(toy_config.parent)
    with pytest.raises(DefectFillError, match=r"zone\.png"):
        start_checked(load_config(toy_config))
    assert not (toy_config.parent / "out").exists()


def test_a_scheduler_that_answers_is_taken(toy_config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        add(toy_config.parent, f"runner: {{kind: dask, address: '127.0.0.1:{server.getsockname()[1]}'}}")
        check_config(load_config(toy_config))


def test_a_gpu_beyond_those_that_are_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from defectfill.config.base import BaseConfig
    from defectfill.model.base.device import resolve_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(resolve_device(BaseConfig(model="m", device="cuda:1"))[0]) == "cuda:1"
    with pytest.raises(ConfigError, match="cuda:2 was asked for, but torch finds 2 CUDA devices, from cuda:0"):
        resolve_device(BaseConfig(model="m", device="cuda:2"))
