"""`mammogan enrich` from the user's side, with untrained networks and a breast check that lets all pass."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from mammogan import config, enriching
from mammogan.config import Checkout
from mammogan.data.sources import catalogue
from mammogan.enriching import Wish, enrich, undo
from mammogan.errors import DataError, TrackingError
from mammogan.models import Classes, build_generator, store
from mammogan.tracing import trace
from small_networks import small_config, with_contrast

__all__ = ["small_config"]
CANCER = Classes("cancer", ("0", "1"), (0.8, 0.2))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A checkout whose prepared/ holds twelve tiles of 32 px, all CC, and whose store knows no generator."""
    root = tmp_path / "clone"
    (root / "prepared").mkdir(parents=True)
    tiles = np.random.default_rng(0).integers(0, 256, (12, 32, 32), dtype=np.uint8)
    np.save(root / "prepared/train.npy", tiles[:8])
    np.save(root / "prepared/holdout.npy", tiles[8:])
    rows = [(k if k < 8 else k - 8, "train" if k < 8 else "holdout", f"p{k}", "CC", "0.5") for k in range(12)]
    columns = ["index", "split", "patient_id", "view", "spacing_mm"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "prepared/manifest.csv", index=False)

    def unknown(*_):
        raise TrackingError("no such weights")

    monkeypatch.setattr("mammogan.generators.lineage", unknown)
    monkeypatch.setattr("mammogan.enrich.screen.COPY_NCC", 0.9999)  # what an untrained network draws is all much alike
    monkeypatch.setattr(enriching, "breast_like", lambda tiles: lambda images: [True] * len(images))
    return Checkout(root, root)


@pytest.fixture
def settings():
    return config.load(Path(__file__).parents[1] / "params.yaml")


@pytest.fixture
def weights(tmp_path, small_config):
    """A function that saves a generator of 32 px."""

    def save(classes=None, resolution=32):
        section = small_config("dcgan")
        path = tmp_path / f"{'conditional' if classes else 'plain'}-{resolution}.safetensors"
        store.save(path, with_contrast(build_generator(section.dcgan, resolution, classes)), section, resolution)
        return path

    return save


@pytest.fixture
def rsna(tmp_path):
    root = tmp_path / "rsna"
    lines = ["patient_id,image_id,laterality,view,cancer"]
    for k in range(4):
        file = root / f"train_images/{k}/{k}0.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(np.full((9, 9), 40 * k, np.uint8)).save(file)
        lines.append(f"{k},{k}0,L,CC,{int(k == 0)}")
    (root / "train.csv").write_text("\n".join(lines))
    return root


def wish(path, **changes):
    plain = {"n": 6, "balance": "trained", "seed": 7, "truncation": 0.9, "format": None, "side": "L"}
    return Wish(generators=(str(path),), **(plain | changes))


def state(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows(root):
    return pd.read_csv(root / "train.csv", dtype=str, keep_default_na=False)


def test_a_batch_joins_the_set_and_leaves_it_to_the_byte(here, settings, rsna, weights):
    before = state(rsna)
    told = enrich(here, settings, rsna, wish(weights()))
    added = rows(rsna).iloc[4:]
    assert added["patient_id"].tolist() == [f"190000000{k}" for k in range(1, 7)]
    assert set(added["synthetic"]) == {"1"}
    assert set(added["view"]) == {"CC"}, "all training images are CC"
    assert set(added["cancer"]) == {""}, "an unconditional generator knows no class"
    assert set(rows(rsna)["synthetic"].iloc[:4]) == {"0"}
    batch = told[1].split()[1].rstrip(":")
    for one in added["patient_id"]:
        found = trace(rsna / f"train_images/{one}/{one}.png", None, weights())
        assert found.identical
        assert found.lines[1] == f"batch           {batch} of {rsna}"
    assert len(catalogue(rsna).mammograms) == 4
    undo(here, rsna, batch)
    assert state(rsna) == before


def test_the_same_command_again_does_nothing_and_says_so(here, settings, rsna, weights):
    enrich(here, settings, rsna, wish(weights()))
    before = state(rsna)
    assert enrich(here, settings, rsna, wish(weights()))[0].startswith("nothing to do: batch ")
    assert state(rsna) == before
    (rsna / "train_images/1900000003/1900000003.png").unlink()
    assert "1 are missing and 0 changed" in enrich(here, settings, rsna, wish(weights()))[1]


def test_the_same_generator_by_another_name_is_the_same_wish(here, settings, rsna, weights, tmp_path):
    enrich(here, settings, rsna, wish(weights()))
    shutil.copy(weights(), tmp_path / "copy.safetensors")
    assert enrich(here, settings, rsna, wish(tmp_path / "copy.safetensors"))[0].startswith("nothing to do")


def test_the_same_wish_makes_the_same_bytes_elsewhere(here, settings, rsna, weights, tmp_path):
    shutil.copytree(rsna, tmp_path / "other")
    for root in (rsna, tmp_path / "other"):
        enrich(here, settings, root, wish(weights()))
    assert state(rsna) == state(tmp_path / "other")


def test_a_second_batch_repeats_no_image_of_the_first(here, settings, rsna, weights):
    enrich(here, settings, rsna, wish(weights(), n=3))
    told = enrich(here, settings, rsna, wish(weights(), n=5))
    assert "near-duplicate of another synthetic image" in told[2]
    assert rows(rsna)["patient_id"].is_unique


def test_a_set_is_made_level_and_then_needs_nothing(here, settings, rsna, weights):
    level = wish(weights(CANCER), n=None, balance="level")
    enrich(here, settings, rsna, level)
    assert rows(rsna)["cancer"].value_counts().to_dict() == {"0": 3, "1": 3}
    told = enrich(here, settings, rsna, wish(weights(CANCER), n=None, balance="level", seed=8))
    assert told == [f"nothing to do: {rsna} has as many images of each cancer already"]


def test_dicom_shows_right_breasts_from_the_right_and_is_traced(here, settings, rsna, weights):
    enrich(here, settings, rsna, wish(weights(CANCER), n=4, balance="even", side="both", format="dicom"))
    found = [pydicom.dcmread(rsna / f"train_images/190000000{k}/190000000{k}.dcm") for k in (1, 2)]
    assert [one.ImageLaterality for one in found] == ["L", "R"]
    assert [one.PixelSpacing[0] for one in found] == [0.5, 0.5], "the median of the training tiles"
    assert found[0].PatientID == "1900000001"
    for k in range(1, 5):
        assert trace(rsna / f"train_images/190000000{k}/190000000{k}.dcm", None, weights(CANCER)).identical


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"generators": ("nothing.safetensors",)}, "there is no generator nothing.safetensors"),
        ({"balance": "even"}, "conditional"),
        ({"n": None}, "say how many"),
        ({"format": "dicom", "spacing_mm": 20.0}, "pixel spacing of 20 mm"),
    ],
)
def test_a_wish_that_cannot_be_leaves_the_set_alone(here, settings, rsna, weights, change, word):
    before = state(rsna)
    with pytest.raises(DataError, match=word):
        enrich(here, settings, rsna, Wish(**(wish(weights()).__dict__ | change)))
    assert state(rsna) == before


def test_a_generator_of_another_size_than_prepared_is_refused(here, settings, rsna, weights):
    with pytest.raises(DataError, match="draws 64 px, 8 bits, and prepared/ holds 32 px"):
        enrich(here, settings, rsna, wish(weights(resolution=64)))


def test_two_generators_are_one_for_each_class(here, settings, rsna, weights):
    each = (f"cancer=1:{weights()}", f"cancer=0:{weights()}")
    enrich(here, settings, rsna, Wish(**(wish("").__dict__ | {"generators": each, "balance": "1=2,0=1", "n": None})))
    assert sorted(rows(rsna)["cancer"].iloc[4:]) == ["0", "1", "1"]
    for wrong, word in (
        ((str(weights()), str(weights())), "one for each class"),
        ((each[0], each[0]), "another class"),
    ):
        with pytest.raises(DataError, match=word):
            enrich(here, settings, rsna, Wish(**(wish("").__dict__ | {"generators": wrong, "balance": "even"})))


def test_a_folder_without_a_table_is_enriched_by_file_names(here, settings, rsna, weights):
    folder = rsna / "train_images"
    with pytest.raises(DataError, match=r"of no known layout.*for enrich, that is --layout"):
        enrich(here, settings, folder, wish(weights()))
    enrich(here, settings, folder, wish(weights(), n=2, layout="folder", side="both"))
    assert sorted(path.name for path in folder.rglob("SYN*")) == ["SYN1900000001_L_CC.png", "SYN1900000002_R_CC.png"]
    assert len(catalogue(folder, "folder").mammograms) == 4


@pytest.mark.parametrize(("pointer", "command"), [("rsna.dvc", "dvc add {0} && git add {0}.dvc && git commit")])
def test_a_set_under_dvc_is_one_command_from_its_commit(here, settings, rsna, weights, pointer, command):
    (rsna.parent / pointer).write_text("outs: []\n")
    assert f"next: {command.format(rsna)}" in enrich(here, settings, rsna, wish(weights()))
