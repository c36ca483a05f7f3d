"""The key of a cut in the cache: all that shapes a cut is in it."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import mammogan.data
from mammogan.data.cutting import CUTTING, cut_key
from mammogan.data.sources import Mammogram
from raw_data import config

DATA = Path(mammogan.data.__file__).parent


def imported_by(name: str) -> set[str]:
    """The modules of this area that a module needs, directly or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((DATA / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mammogan.data."):
            module = f"{(node.module or '').removeprefix('mammogan.data.')}.py"
            found |= {module} | imported_by(module)
    return found


def test_every_module_that_shapes_a_cut_is_in_its_key():
    assert set(CUTTING) == {"cut.py"} | imported_by("cut.py")


@pytest.fixture
def image(tmp_path) -> Mammogram:
    return Mammogram(tmp_path / "a.png", "i", "p", True, "L", "MLO", "B", "0", "50")


def key(image, **changes) -> str:
    return cut_key(config(**changes), image, "source")


@pytest.mark.parametrize("changes", [{"resolution": 64}, {"bits": 16}, {"pectoral": "mask"}, {"decoding": "full"}])
def test_a_setting_that_shapes_a_cut_changes_its_key(image, changes):
    assert key(image, **changes) != key(image)


@pytest.mark.parametrize("changes", [{"seed": 5}, {"workers": 7}, {"laterality": "both"}, {"max_rejected": 1.0}])
def test_other_settings_do_not(image, changes):
    assert key(image, **changes) == key(image)


def test_labels_that_steer_the_cut_change_the_key_and_others_do_not(image):
    plain = key(image)
    assert key(replace(image, laterality="R")) != plain
    assert key(replace(image, view="CC")) != plain
    assert key(replace(image, patient_id="q", cancer="1", density="D", age="")) == plain


def test_another_file_has_another_key(image):
    assert cut_key(config(), image, "source") != cut_key(config(), image, "other")
