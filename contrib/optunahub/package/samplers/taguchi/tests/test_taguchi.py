import importlib.util
import re
from pathlib import Path

import optuna
from ruamel.yaml import YAML

PACKAGE = Path(__file__).parent.parent


def loaded():
    """The package as OptunaHub loads it: from its folder, under a name of its own."""
    spec = importlib.util.spec_from_file_location("taguchi", PACKAGE / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_package_runs_each_row_once():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    module = loaded()
    factors = {"x": [-1.0, 0.0, 1.0], "y": [1, 2, 3]}
    study = optuna.create_study(sampler=module.TaguchiSampler(module.find_array("l9"), factors))
    module.optimize(study, lambda trial: trial.suggest_float("x", -2, 2) ** 2 + trial.suggest_int("y", 1, 3))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == len(study.trials) == 9


def test_the_front_matter_has_what_the_hub_asks_for():
    front = re.match(r"---\n(.*?)---\n", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    facts = YAML(typ="safe").load(front.group(1))
    assert set(facts) == {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert all((PACKAGE / name).exists() for name in ("__init__.py", "LICENSE", "example.py"))
