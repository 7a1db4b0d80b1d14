"""RunConfig: one YAML file per product category, checked whole before anything runs.

Every key of the YAML is a field here, with its unit, its range and its default. Defaults are the paper's
values (Song et al., CVPR 2025) where the paper gives one; `configs/hazelnut.yaml` spells them all out.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from defectfill.config.affects import Affects
from defectfill.config.base import LATENT_SIDE, BaseConfig, resolve_base
from defectfill.config.data import DataConfig, OutputConfig
from defectfill.config.dataset import DatasetConfig
from defectfill.config.evaluate import EvaluateConfig
from defectfill.config.gates import GatesConfig
from defectfill.config.generate import GenerateConfig
from defectfill.config.loading import ConfigSection, absolute, load_yaml
from defectfill.config.masks import MasksConfig
from defectfill.config.runner import RunnerConfig, ScheduleConfig
from defectfill.config.train import TrainConfig
from defectfill.config.types import FolderName
from defectfill.config.window import WindowConfig
from defectfill.io.errors import ConfigError
from defectfill.io.names import folder_named
from defectfill.io.s3 import is_remote, local_folder


class RunConfig(ConfigSection):
    """Everything one run depends on. `load_config` makes it from a YAML file."""

    category: Annotated[FolderName, Affects.SNAPSHOT | Affects.PLAN | Affects.ADAPTER]
    """The folder below `data.root` that holds the images of the product."""
    object_name: Annotated[str, Affects.PLAN | Affects.RESOLVED | Affects.DIFFUSION] = Field(min_length=1)
    """The noun of the object prompt, for instance `metal nut` for the category `metal_nut`. An adapter counts the
    prompts that it makes."""
    seed: Annotated[int, Affects.SNAPSHOT | Affects.PLAN | Affects.ADAPTER] = Field(default=0, ge=0, lt=2**32)
    """Everything random follows from it: the choice of references, training, masks, noise."""
    data: DataConfig
    base: BaseConfig
    window: Annotated[WindowConfig, Affects.PLAN | Affects.ADAPTER | Affects.SHARDS] = WindowConfig()
    train: Annotated[TrainConfig, Affects.ADAPTER] = TrainConfig()
    masks: Annotated[MasksConfig, Affects.PLAN] = MasksConfig()
    generate: Annotated[GenerateConfig, Affects.SHARDS] = GenerateConfig()
    gates: Annotated[GatesConfig, Affects.SHARDS] = GatesConfig()
    dataset: Annotated[DatasetConfig, Affects.DATASET] = DatasetConfig()
    evaluate: Annotated[EvaluateConfig, Affects.NOTHING] = EvaluateConfig()
    output: OutputConfig
    report: Annotated[bool, Affects.NOTHING] = True
    """A report to look at and to review samples in is written beside the finished dataset, `report/index.html`."""
    runner: Annotated[RunnerConfig, Affects.NOTHING] = RunnerConfig()
    schedule: Annotated[ScheduleConfig | None, Affects.NOTHING] = None

    @property
    def latent_side(self) -> float:
        """Latent pixels along a window's side, by which thin defects get a closer one: the base's, where one paints."""
        return self.base.latent_side if self.generate.uses_base else LATENT_SIDE

    @property
    def category_folder(self) -> Path:
        """The folder of the category's real images, or their local copy."""
        return folder_named(local_folder(self.data.root), self.category)

    @property
    def category_output(self) -> Path:
        """The folder of all that is made of the category, or its local copy."""
        return local_folder(self.output.root) / self.category

    @model_validator(mode="before")
    @classmethod
    def _base_where_none_is_needed(cls, values: Any) -> Any:
        """Name the bundled base where the painter needs none and none is named; it decides nothing then."""
        generate = values.get("generate") if isinstance(values, dict) else None
        painter = generate.get("painter", "diffusion") if isinstance(generate, dict) else "diffusion"
        return values if painter == "diffusion" else {"base": {"model": "mini"}, **values}

    @model_validator(mode="after")
    def _one_word_per_defect(self) -> Self:
        if unknown := sorted(set(self.train.tokens) - set(self.data.defects)):
            raise ValueError(f"train.tokens: expected defects of data.defects, found {', '.join(unknown)}")
        if self.train.joint and set(self.train.tokens) != set(self.data.defects):
            raise ValueError(f"train.tokens: train.joint needs a word for each of {', '.join(self.data.defects)}")
        return self

    def defects_learnt_with(self, defect: str) -> tuple[str, ...]:
        """Return the defects of the adapter that paints `defect`."""
        return self.data.defects if self.train.joint else (defect,)

    def token(self, defect: str) -> str:
        """Return [V*] of a defect."""
        return self.train.tokens.get(defect, self.train.token)

    def prompts(self, defect: str) -> tuple[str, str]:
        """Return the prompts of the defect branch and of the object branch."""
        words = {"token": self.token(defect), "object_name": self.object_name}
        return self.train.prompt_defect.format(**words), self.train.prompt_object.format(**words)


def load_config(path: Path, count: int | None = None) -> RunConfig:
    """Return the config in the YAML file `path`, with `count` instead of generate.count where it is given.

    `${NAME}` is replaced by the environment variable, and relative paths are resolved against the file's
    folder. Raises ConfigError with one message per mistake, each with the key's path.
    """
    config = _resolve(load_yaml(path, RunConfig), Path(path))
    if count is None:
        return config
    try:
        generate = GenerateConfig.model_validate({**config.generate.model_dump(), "count": count})
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Input should be ")
        expected = message.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
        raise ConfigError(f"count: expected {expected}, found {count}") from error
    return config.model_copy(update={"generate": generate})


def _resolve(config: RunConfig, file: Path) -> RunConfig:
    """Return the `config` of a file with absolute paths; a base that is a folder is told from a hub id."""
    data = config.data.model_copy(update={"root": _resolve_root(config.data.root, file, "data.root")})
    output = config.output.model_copy(update={"root": _resolve_root(config.output.root, file, "output.root")})
    base, masks = resolve_base(config.base, file), _resolve_masks(config.masks, file)
    return config.model_copy(update={"data": data, "output": output, "base": base, "masks": masks})


def _resolve_root(root: str, file: Path, key: str) -> str:
    return root if is_remote(root) else str(absolute(Path(root), file, key))


def _resolve_masks(masks: MasksConfig, file: Path) -> MasksConfig:
    def resolved(part: ConfigSection, block: str, *names: str) -> dict[str, Path]:
        paths = {name: getattr(part, name) for name in names}
        return {name: absolute(path, file, f"{block}.{name}") for name, path in paths.items() if path}

    drawn = ("allowed", "forbidden", "drawn_on")
    found: dict[str, Any] = dict(resolved(masks, "masks", "folder"))
    if masks.zones:  # what is not given stays unset
        found["zones"] = masks.zones.model_copy(update=resolved(masks.zones, "masks.zones", *drawn))
    return masks.model_copy(update=found)
