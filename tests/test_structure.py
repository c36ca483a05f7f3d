"""The picture of the package that README and CONTRIBUTING draw stays true."""

import ast
import hashlib
import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mammogan import provenance
from mammogan.cli import cli
from mammogan.config import MODEL_NAMES, Config, EvaluateConfig, PrepareConfig, TrainConfig

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "mammogan"
AREAS = ["data", "models", "training", "evaluation", "design", "tracking", "serving", "enrich"]
FOUNDATION = {"config", "errors", "atomic"}
SIDEWAYS = {
    "training": {"models", "data"},
    "serving": {"models", "data"},
    "evaluation": {"data"},
    "enrich": {"serving", "models", "data"},
}
MLFLOW_ALLOWED = {"tracking", "serving/pyfunc.py"}


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts_imported_by(folder: Path) -> set[str]:
    imported = set().union(*(imports_of(path) for path in folder.rglob("*.py")))
    return {name.split(".")[1] for name in imported if name.startswith("mammogan.")} - {"__version__"}


def sections() -> set[str]:
    return {field.alias or name for name, field in Config.model_fields.items()}


@pytest.mark.parametrize("area", AREAS)
def test_imports_point_one_way(area):
    assert parts_imported_by(SRC / area) <= {area} | FOUNDATION | SIDEWAYS.get(area, set())


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: path.relative_to(SRC).as_posix())
def test_only_the_tracking_adapter_and_the_served_model_import_mlflow(path):
    place = path.relative_to(SRC)
    if place.parts[0] in MLFLOW_ALLOWED or place.as_posix() in MLFLOW_ALLOWED:
        return
    assert not any(name.split(".")[0] == "mlflow" for name in imports_of(path))


def test_design_is_free_of_torch():
    for path in (SRC / "design").glob("*.py"):
        assert not any(name.split(".")[0] == "torch" for name in imports_of(path))


def test_a_stage_is_also_a_command_and_a_section():
    stages = set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
    assert stages <= set(cli.commands)
    assert stages <= sections()


def test_the_study_depends_on_all_code_that_shapes_its_results():
    study = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["study"]
    shaping = (*provenance.RESULT_AREAS, *provenance.RESULT_FILES)
    assert {f"src/mammogan/{name}" for name in shaping} <= set(study["deps"])


def test_the_study_reruns_for_every_setting_that_shapes_its_results():
    listed = set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["study"]["params"])
    train = {f"train.{name}" for name in TrainConfig.model_fields if name not in {*MODEL_NAMES, "model"}}
    speed_only = {"batch_size", "weights"}
    evaluate = {f"evaluate.{name}" for name in EvaluateConfig.model_fields if name not in speed_only}
    per_model = {"train.${item.model}", "study.factors.${item.model}"}
    assert listed == train | evaluate | per_model | {"study.array", "study.replicates"}


def test_preparing_reruns_for_every_setting_that_shapes_its_tiles():
    listed = set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["prepare"]["params"])
    changes_nothing = {"workers", "expected_images"}
    assert listed == {f"prepare.{name}" for name in PrepareConfig.model_fields if name not in changes_nothing}


def test_the_changelog_speaks_of_the_present_version():
    from mammogan import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_data_dvc_records_the_committed_samples():
    """DVC's hash of a folder: md5 of the JSON list of its files' md5 and paths, sorted by path."""
    samples = ROOT / "samples" / "phantoms"
    files = sorted(path.relative_to(samples).as_posix() for path in samples.rglob("*") if path.is_file())
    listed = [{"md5": hashlib.md5((samples / file).read_bytes()).hexdigest(), "relpath": file} for file in files]
    digest = hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    recorded = YAML(typ="safe").load(ROOT / "data.dvc")
    if "deps" not in recorded:
        pytest.skip("data.dvc holds data of one's own")
    assert recorded["outs"][0]["md5"] == f"{digest}.dir", "run `dvc repro data.dvc` and commit data.dvc"


@pytest.mark.parametrize(
    "page",
    sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")),
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_links_between_the_documents_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken
