"""What names a study: pixels and which images share a patient, not how the patients are called."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from checkouts import small_checkout
from mammogan import config, stages
from mammogan.config import Checkout
from mammogan.errors import TrackingError, TrainingError

PATIENTS = [f"{patient:02}" for patient in range(12)]
RENAMED = dict(zip(PATIENTS, reversed(PATIENTS), strict=True))  # another key, under which they sort the other way


@pytest.fixture
def name_of(tmp_path):
    """A function that prepares noise with the given patients, two images each, and tells the name of its study."""
    made = iter(range(100))

    def name(patients: list[str], dtype: type = np.uint8, seed: int = 0) -> str:
        root = tmp_path / str(next(made))
        (root / "prepared").mkdir(parents=True)
        small_checkout(root)
        save_tiles(root / "prepared", patients, dtype, seed)
        settings = config.load(root / "params.yaml")
        first, *_ = stages.plan_study(Checkout(root, root), settings, "dcgan").splitlines()
        assert first.startswith("study dcgan-l9-")
        return first

    return name


def save_tiles(prepared: Path, patients: list[str], dtype: type, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (24, 32, 32)).astype(dtype)
    np.save(prepared / "train.npy", images[:20])
    np.save(prepared / "holdout.npy", images[20:])
    rows = {
        "index": [*range(20), *range(4)],
        "split": ["train"] * 20 + ["holdout"] * 4,
        "patient_id": np.repeat(patients, 2),
    }
    pd.DataFrame(rows).to_csv(prepared / "manifest.csv", index=False)


def test_a_study_keeps_its_name_under_another_key_of_the_ids(name_of):
    assert name_of(PATIENTS) == name_of([RENAMED[patient] for patient in PATIENTS])


def test_a_study_is_another_when_images_share_patients_otherwise(name_of):
    assert name_of(PATIENTS) != name_of(["00", "00", *PATIENTS[2:]])


def test_a_study_is_another_with_other_pixels_or_another_depth(name_of):
    assert len({name_of(PATIENTS), name_of(PATIENTS, seed=1), name_of(PATIENTS, dtype=np.uint16)}) == 3


@pytest.fixture
def training(tmp_path):
    """A checkout with tiles, and its settings under some changes of the section train."""
    (tmp_path / "prepared").mkdir()
    small_checkout(tmp_path)
    save_tiles(tmp_path / "prepared", PATIENTS, np.uint8, 0)
    settings = config.load(tmp_path / "params.yaml")

    def changed(**changes: object) -> config.Config:
        train = settings.train.model_copy(update={"batch_size": 4, **changes})
        return settings.model_copy(update={"train": train})

    return Checkout(tmp_path, tmp_path), changed


def grown(settings: config.Config) -> config.Config:
    stylegan = settings.train.stylegan.model_copy(update={"grow_from": 64})
    return settings.model_copy(update={"train": settings.train.model_copy(update={"stylegan": stylegan})})


def test_misfits_are_refused_before_the_real_images_are_looked_at(training, monkeypatch):
    here, changed = training
    monkeypatch.setattr(stages, "_judge", lambda *_: pytest.fail("the features of the real images are computed"))
    settings = grown(changed(model="stylegan"))
    for refuse in (
        lambda: stages.train(here, settings),
        lambda: stages.plan_train(here, settings),
        lambda: stages.study(here, settings, "stylegan"),
        lambda: stages.plan_study(here, settings, "stylegan"),
    ):
        with pytest.raises(TrainingError, match="grow_from is 64 px and the images have 32 px"):
            refuse()
    with pytest.raises(TrackingError, match="is no folder"):
        stages.plan_train(here, changed(init_from="nowhere"))
    assert not (here.root / "checkpoints").exists()


def test_training_with_changed_settings_says_that_it_starts_afresh(training, monkeypatch, caplog):
    here, changed = training
    monkeypatch.setattr(stages, "_judge", lambda *_: None)
    monkeypatch.setattr(stages, "run", lambda *_, **__: None)
    stages.train(here, changed(precision="fp32"))
    stages.train(here, changed(precision="fp32"))
    assert "afresh" not in caplog.text
    stages.train(here, changed(precision="fp32", lr=0.5))
    assert "settings, data or code differ from the earlier run of dcgan: this one starts afresh" in caplog.text
