"""params.yaml as one frozen, typed tree; the only reader of that file.

Every section carries the name of the stage or command that receives it. YAML is read by the 1.2 rules that
DVC uses, since the 1.1 rules read `2e-4` as text.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mammogan.errors import ConfigError

ModelName = Literal["dcgan", "stylegan"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)
SourceName = Literal[
    "rsna",
    "rsna-roi",
    "cbis-ddsm",
    "cmmd",
    "cdd-cesm",
    "vindr",
    "inbreast",
    "mias",
    "mini-ddsm",
    "phantom",
    "folder",
]
SOURCE_NAMES: tuple[SourceName, ...] = get_args(SourceName)
Label = Literal["cancer", "density", "view"]
Augmentation = Literal["translate", "rotate", "scale", "brightness", "contrast", "cutout", "noise", "blur", "mirror"]
ColumnName = Literal["file", "image_id", "patient_id", "laterality", "view", "density", "cancer", "age"]

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
LatentLength = Annotated[int, Field(ge=2)]  # on a line there is nothing between two latents but the way through 0
LearningRate = Annotated[float, Field(gt=0, lt=1)]
S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """A section of params.yaml: frozen, no unknown keys, no silent conversion of types, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PhantomConfig(Section):
    """Mammogram-like phantoms: `patients` x (left, right) x (CC, MLO)."""

    patients: Positive
    height_px: Annotated[int, Field(ge=64, le=2048)]
    seed: Seed


class PrepareConfig(Section):
    """Raw mammograms to square tiles, split by patient."""

    source: Literal["auto"] | SourceName
    columns: Mapping[ColumnName, str] | None
    laterality: Literal["L", "R", "both"]
    resolution: Literal[32, 64, 128, 256, 512]
    bits: Literal[8, 16]
    pectoral: Literal["keep", "mask"]
    decoding: Literal["reduced", "full"]
    holdout_fraction: Annotated[float, Field(gt=0, lt=0.9)]
    max_rejected: Annotated[float, Field(ge=0, le=1)]
    expected_images: Positive | None
    workers: Positive | None
    seed: Seed


class DCGANConfig(Section):
    """Widths and options of the DCGAN (Radford et al. 2016); 64 and 512 are the widths of the textbook."""

    z_dim: LatentLength
    base_channels: Positive
    max_channels: Positive
    spectral_norm: bool
    minibatch_std: bool
    r1_gamma: Annotated[float, Field(ge=0)] | None
    r1_every: Positive


class StyleGANConfig(Section):
    """Widths and regularisation of the StyleGAN (Karras et al. 2019); 512, 512, 8, 8192, 512 are the paper's widths."""

    z_dim: LatentLength
    w_dim: Positive
    mapping_layers: Positive
    base_channels: Positive
    max_channels: Positive
    style_mixing: Annotated[float, Field(ge=0, le=1)]
    normalisation: Literal["adain", "demodulation"]
    r1_gamma: Annotated[float, Field(ge=0)] | None
    r1_every: Positive
    path_length: Annotated[float, Field(ge=0)]
    path_length_every: Positive
    grow_from: Literal[8, 16, 32, 64, 128, 256] | None
    grow_kimg: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _path_length_needs_demodulation(self) -> Self:
        if self.path_length and self.normalisation != "demodulation":
            raise ValueError(
                f"path_length {self.path_length:g} needs normalisation demodulation; set path_length to 0 for adain"
            )
        return self


class AugmentConfig(Section):
    """What D sees in place of the images: both real and synthetic ones, changed at random."""

    mode: Literal["none", "diffaugment", "ada"]
    operations: list[Augmentation]
    target: Annotated[float, Field(gt=0, lt=1)]
    every: Positive
    kimg: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _each_operation_once(self) -> Self:
        if len(set(self.operations)) != len(self.operations):
            raise ValueError(f"an operation is listed twice: {', '.join(self.operations)}")
        if self.mode != "none" and not self.operations:
            raise ValueError(f"mode {self.mode} needs operations; list some, or set mode to none")
        return self


class WatchdogConfig(Section):
    """What happens once when training goes wrong."""

    act: Literal["report", "roll_back", "fail"]
    overfit: Annotated[float, Field(gt=0, le=1)]


class TrainConfig(Section):
    """One training run."""

    model: ModelName
    lr: LearningRate
    lr_d_ratio: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=2)]
    epochs: Positive | None
    kimg: Annotated[float, Field(gt=0)] | None
    seed: Seed
    loss: Literal["non_saturating", "minimax"]
    instance_noise: Annotated[float, Field(ge=0, le=1)]
    augment: AugmentConfig
    ema_kimg: Annotated[float, Field(gt=0)]
    evaluate_kimg: Annotated[float, Field(gt=0)]
    condition: Label | None
    init_from: str | None
    freeze_d: Count
    watchdog: WatchdogConfig
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: bool
    device: Literal["auto", "cpu", "cuda", "mps"]
    dcgan: DCGANConfig
    stylegan: StyleGANConfig

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.epochs is None) == (self.kimg is None):
            raise ValueError(
                "the budget is either epochs or kimg (thousands of real images shown); set the other to null"
            )
        if self.freeze_d and not self.init_from:
            raise ValueError(f"freeze_d {self.freeze_d} freezes layers that init_from brings; set init_from, or 0 here")
        return self

    @property
    def architecture(self) -> DCGANConfig | StyleGANConfig:
        """The section of the model."""
        return self.dcgan if self.model == "dcgan" else self.stylegan


class EvaluateConfig(Section):
    """How a generator is scored against the real training images."""

    n_images: Annotated[int, Field(ge=16, le=50_000)] | None
    batch_size: Positive
    floor_splits: Annotated[int, Field(ge=2)]
    weights: str | None
    seed: Seed


class ExtractorConfig(Section):
    """A further feature space of the assessment: a name of evaluation.extractors, and the file of its weights."""

    name: str
    file: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class AssessConfig(Section):
    """How the best generator of a study is assessed."""

    n_images: Annotated[int, Field(ge=16, le=50_000)] | None
    draws: Annotated[int, Field(ge=5)]
    extractors: list[ExtractorConfig]
    seed: Seed


class UtilityConfig(Section):
    """Whether synthetic images help a detector: which one, and how it is trained."""

    label: Label
    positive: Annotated[list[str], Field(min_length=1)]
    negative: Annotated[list[str], Field(min_length=1)]
    resolution: Literal[32, 64, 128, 256, 512]
    per_real: Annotated[float, Field(gt=0, le=100)]
    seeds: Annotated[int, Field(ge=3, le=100)]
    epochs: Positive
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)]
    lr: LearningRate
    seed: Seed

    @model_validator(mode="after")
    def _a_contrast(self) -> Self:
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise ValueError(f"{', '.join(both)} stands in positive and in negative; a value is one or the other")
        return self


Level = bool | int | float | str | None
_SET_BY_THE_STUDY = ("model", "seed")  # the study's argument, and what its replicates differ in


def _known_factors(factors: dict[str, list[Level]]) -> dict[str, list[Level]]:
    """Keys of the train section, nested ones as `augment.mode`, each with two different levels or more."""
    if not factors:
        raise ValueError("a study needs at least one factor, such as lr: [0.0001, 0.0002, 0.0003]")
    for name, levels in factors.items():
        section = _section_at(TrainConfig, name.split(".")[:-1])
        known = [key for key in (_keys(section) if section else _keys(TrainConfig)) if key not in _SET_BY_THE_STUDY]
        if name in _SET_BY_THE_STUDY or not section or name.split(".")[-1] not in known:
            near = difflib.get_close_matches(name.split(".")[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{name} is no key of the train section that a study can set; {hint}")
        if len(levels) < 2:
            raise ValueError(f"{name} needs at least two levels, got {levels}")
        if any(a == b for position, a in enumerate(levels) for b in levels[:position]):
            raise ValueError(f"{name} has a level twice in {levels}; make them different")
    if {"epochs", "kimg"} <= factors.keys():
        raise ValueError("epochs and kimg are both factors; a run has one budget, so leave out one of them")
    return factors


Factors = Annotated[dict[str, list[Level]], AfterValidator(_known_factors)]


class ModelFactors(Section):
    """Factor levels of the study of each model, in the order of the array's columns."""

    dcgan: Factors
    stylegan: Factors


class RayConfig(Section):
    """What one trial needs of a Ray cluster."""

    address: str
    cpus: Annotated[float, Field(gt=0)]
    gpus: Annotated[float, Field(ge=0)]


class StudyConfig(Section):
    """The designed experiment: the rows of an array, each a training run in every replicate, for each model."""

    array: Annotated[str, Field(min_length=1)]
    replicates: Positive
    order: Literal["random", "array"]
    seed: Seed
    storage: Annotated[str, Field(min_length=1)] | None
    heartbeat_s: Positive
    ray: RayConfig | None
    workers: Positive
    max_retries: Count
    factors: ModelFactors


class ConfirmConfig(Section):
    """How often the levels that a study favours are run again."""

    replicates: Positive


class RegisterConfig(Section):
    """Names in the model registry: `<prefix>-<model>`."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class GenerateConfig(Section):
    """The synthetic set that the champion makes."""

    n_images: Positive
    seed: Seed
    truncation: Annotated[float, Field(gt=0, le=1)]


class ReportConfig(Section):
    """The one-page report."""

    grid_side: Annotated[int, Field(ge=2, le=12)]


class Config(Section):
    """The whole of params.yaml."""

    phantom: PhantomConfig
    prepare: PrepareConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    utility: UtilityConfig
    study: StudyConfig
    confirm: ConfirmConfig
    assess: AssessConfig
    register_: RegisterConfig = Field(alias="register")  # the bare name belongs to pydantic's metaclass
    generate: GenerateConfig
    report: ReportConfig


def load(path: Path = Path("params.yaml")) -> Config:
    """Read and check params.yaml.

    Raises:
        ConfigError: the file is missing, is not YAML, or a key or value in it does not fit.
    """
    try:
        with path.open(encoding="utf-8") as file:
            tree = YAML(typ="safe").load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is missing; run the command in the root of the repository, or `git checkout {path.name}`"
        ) from None
    except YAMLError as err:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(str(err))}") from None
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 text (byte {err.start}); save it as UTF-8") from None
    return validate(Config, tree, str(path))


def validate(section: type[S], tree: Any, where: str) -> S:
    """Check `tree` against `section`; one message names every key that is wrong."""
    try:
        return section.model_validate(tree)
    except ValidationError as err:
        lines = [_explain(section, problem) for problem in err.errors()]
        raise ConfigError("\n".join([f"{where} does not fit:", *lines])) from None


def with_row(train: TrainConfig, **levels: Any) -> TrainConfig:
    """The training section under the levels of one row of the array, checked again.

    A level of `epochs` takes the place of `kimg` and the other way round; `augment.mode` is the key of a part.
    """
    tree = train.model_dump()
    for name, level in levels.items():
        *path, key = name.split(".")
        section = tree
        for part in path:
            section = section[part]
        section[key] = level
    if "epochs" in levels or "kimg" in levels:
        tree |= {budget: None for budget in ("epochs", "kimg") if budget not in levels}
    return validate(TrainConfig, tree, f"train section with {levels}")


def elsewhere(
    settings: Config,
    *,
    workers: int | None,
    storage: str | None,
    ray: str | None,
    cpus: float | None,
    gpus: float | None,
) -> Config:
    """The settings with how many runs at a time, and where, as the command line says; None leaves what stands there.

    Raises:
        ConfigError: resources without a cluster.
    """
    study = settings.study
    if ray is None and study.ray is None and (cpus or gpus):
        raise ConfigError("--cpus and --gpus are asked of a Ray cluster; name it by --ray ADDRESS")
    kept = study.ray or RayConfig(address="auto", cpus=1.0, gpus=0.0)
    asked = {"address": ray, "cpus": cpus, "gpus": gpus}
    cluster = {**kept.model_dump(), **{name: value for name, value in asked.items() if value is not None}}
    changes = {
        "workers": workers or study.workers,
        "storage": storage or study.storage,
        "ray": cluster if ray or study.ray else None,
    }
    changed = validate(StudyConfig, {**study.model_dump(), **changes}, "the command line")
    return settings.model_copy(update={"study": changed})


def level_text(level: Level) -> str:
    """A level of a factor as people write it: 16, 0.0003, ada."""
    return f"{level:g}" if isinstance(level, int | float) and not isinstance(level, bool) else str(level)


def _explain(section: type[BaseModel], problem: ErrorDetails) -> str:
    path = [str(part) for part in problem["loc"]]
    where = ".".join(path) or "(top level)"
    if problem["type"] == "extra_forbidden":
        parent = _section_at(section, path[:-1])
        known = list(_keys(parent)) if parent else []
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys here: {', '.join(known)}"
        return f"  {where}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"  {where}: missing; add it (settings/ holds complete examples)"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"  {where}: {message}"
    return f"  {where}: {message}, got {problem['input']!r}"


def _keys(section: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _section_at(section: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    for part in path:
        field = _keys(section).get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        section = annotation
    return section


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True)
class Checkout:
    """Where a command works.

    Attributes:
        root: the nearest folder upwards with a dvc.yaml; settings, data and results are here.
        stores: MLflow, Optuna, checkpoints and caches are here: the same folder, except in the copy in which
            `dvc exp run --temp` and `--queue` work, which is thrown away afterwards.
    """

    root: Path
    stores: Path


def checkout() -> Checkout:
    """The checkout of the current directory.

    Raises:
        ConfigError: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").exists():
            return Checkout(folder, Path(os.environ.get("DVC_ROOT") or folder))
    raise ConfigError(f"no dvc.yaml in {here} or above it; run the command inside a clone of mammogan")
