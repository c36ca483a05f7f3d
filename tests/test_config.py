from pathlib import Path

import pytest

from mammogan import config
from mammogan.errors import ConfigError

ROOT = Path(__file__).parent.parent
SETTINGS = sorted((ROOT / "settings").glob("*.yaml"))


@pytest.fixture
def params(tmp_path):
    """A copy of params.yaml in which `edit(old, new)` replaces a text and loads the result."""
    text = (ROOT / "settings" / "demo.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"

    def edit(old: str, new: str) -> config.Config:
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return config.load(path)

    return edit


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.stem)
def test_every_ready_made_setting_is_valid(path):
    config.load(path)


def test_a_fresh_clone_stands_on_the_demo_settings():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "settings" / "demo.yaml").read_bytes()


def test_the_settings_of_the_paper_hold_its_table_1():
    for name, array in {"paper": "paper", "paper-l9": "l9"}.items():
        paper = config.load(ROOT / "settings" / f"{name}.yaml")
        assert paper.study.array == array
        assert (paper.prepare.resolution, paper.prepare.laterality) == (512, "L")
        assert (paper.prepare.source, paper.prepare.expected_images) == ("rsna-roi", 1821)
        for factors in (paper.study.factors.dcgan, paper.study.factors.stylegan):
            assert factors["lr"] == [0.0001, 0.0002, 0.0003]
            assert factors["batch_size"] == [16, 32, 64]
            assert factors["epochs"] == [250, 500, 750]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("instance_noise:", "instance_nose:", "train.instance_nose: unknown key; did you mean 'instance_noise'?"),
        ("prefix:", "perfix:", "register.perfix: unknown key; did you mean 'prefix'?"),
        (
            "batch_size: [",
            "batchsize: [",
            "batchsize is no key of the train section that a study can set; did you mean 'batch_size'?",
        ),
        ("register:", "registre:", "registre: unknown key; did you mean 'register'?"),
        ("model: dcgan", "model: dcgans", "train.model: Input should be 'dcgan' or 'stylegan', got 'dcgans'"),
        ("resolution: 64", "resolution: 65", "prepare.resolution: Input should be 32, 64, 128, 256 or 512, got 65"),
        ("resolution: 64", "resolution: '64'", "prepare.resolution: Input should be 32, 64"),
        ("laterality: L", "laterality: left", "prepare.laterality: Input should be 'L', 'R' or 'both', got 'left'"),
        ("grid_side: 6", "grid_side: six", "report.grid_side: Input should be a valid integer, got 'six'"),
        ("instance_noise: 0.2", "instance_noise: .nan", "train.instance_noise: Input should be "),
        ("kimg: 100.0", "kimg: .inf", "train.augment.kimg: Input should be a finite number, got inf"),
        ("ema_kimg: 1.0", "ema_kimg: .inf", "train.ema_kimg: Input should be a finite number, got inf"),
        ("per_real: 1.0", "per_real: .inf", "utility.per_real: Input should be "),
        ("z_dim: 64", "z_dim: 1", "train.dcgan.z_dim: Input should be greater than or equal to 2, got 1"),
        ("array: l9", "array: [", "is not valid YAML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(params, old, new, message):
    with pytest.raises(ConfigError) as caught:
        params(old, new)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ("batch_size: [8, 16, 16]", r"batch_size has a level twice in \[8, 16, 16\]; make them different"),
        ("batch_size: [8]", r"batch_size needs at least two levels, got \[8\]"),
        ("seed: [1, 2, 3]", "seed is no key of the train section that a study can set"),
        ("augment.mod: [none, ada]", "augment.mod is no key .* did you mean 'mode'?"),
        ("kimg: [1, 2, 3]", "epochs and kimg are both factors; a run has one budget"),
    ],
)
def test_a_factor_is_a_key_of_train_with_different_levels(params, levels, message):
    with pytest.raises(ConfigError, match=rf"study\.factors\.dcgan: {message}"):
        params("batch_size: [8, 16, 32]", levels)


def test_any_key_of_train_can_be_a_factor(params):
    factors = params("epochs: [20, 40, 60]", "augment.mode: [none, ada, diffaugment]").study.factors.dcgan
    train = config.load(ROOT / "settings" / "demo.yaml").train
    assert config.with_row(train, **{name: levels[1] for name, levels in factors.items()}).augment.mode == "ada"


def test_a_level_of_one_budget_takes_the_place_of_the_other():
    train = config.load(ROOT / "settings" / "demo.yaml").train
    by_images = config.with_row(train, kimg=2.0)
    assert (by_images.epochs, by_images.kimg) == (None, 2.0)
    assert config.with_row(by_images, epochs=3).kimg is None


def test_the_command_line_says_how_many_runs_at_a_time_and_where():
    settings = config.load(ROOT / "settings" / "demo.yaml")
    nothing = {"workers": None, "storage": None, "ray": None, "cpus": None, "gpus": None}
    assert config.elsewhere(settings, **nothing) == settings
    changed = config.elsewhere(settings, **{**nothing, "workers": 5, "ray": "auto", "gpus": 1.0}).study
    assert (changed.workers, changed.ray.address, changed.ray.cpus, changed.ray.gpus) == (5, "auto", 1, 1)
    with pytest.raises(ConfigError, match="name it by --ray"):
        config.elsewhere(settings, **{**nothing, "gpus": 1.0})


def test_a_small_learning_rate_in_exponent_form_is_a_number(params):
    assert params("lr: 0.0006", "lr: 2e-4").train.lr == 2e-4


def test_the_levels_of_a_row_pass_the_same_checks():
    train = config.load(ROOT / "settings" / "demo.yaml").train
    assert config.with_row(train, lr=0.01).lr == 0.01
    with pytest.raises(ConfigError, match="batch_size"):
        config.with_row(train, batch_size=1)
    with pytest.raises(ConfigError, match="did you mean 'lr'"):
        config.with_row(train, lrr=0.1)


def test_a_missing_file_says_where_to_run_the_command(tmp_path):
    with pytest.raises(ConfigError, match="run the command in the root of the repository"):
        config.load(tmp_path / "params.yaml")


def test_a_file_that_is_not_text_is_one_message(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"train: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(tmp_path / "params.yaml")


def test_the_root_is_the_nearest_folder_with_a_pipeline(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert config.checkout() == config.Checkout(tmp_path, tmp_path)


def test_an_experiment_in_a_copy_reads_its_own_settings_and_writes_to_the_stores_of_the_checkout(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "x"
    copy.mkdir(parents=True)
    (tmp_path / "dvc.yaml").touch()
    (copy / "dvc.yaml").touch()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert config.checkout() == config.Checkout(root=copy, stores=tmp_path)
