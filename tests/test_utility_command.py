"""`mammogan utility`, from prepared/ and its sources to the files of the result."""

import csv
import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labelled_blobs import blobs, utility_config
from mammogan.config import Checkout, load
from mammogan.errors import DataError, MammoganError
from mammogan.models import Classes, build, store
from mammogan.tracking.store import environment
from mammogan.utility_sources import real_images, synthetic_images
from mammogan.utility_stage import utility
from small_networks import small_config, with_contrast

__all__ = ["small_config"]


def write_prepared(folder, train=16, holdout=12):
    """Tiles of 32 px of one image a patient, half of them with cancer; of a density where they show none."""
    folder.mkdir(exist_ok=True)
    rows = []
    for split, n in (("train", train), ("holdout", holdout)):
        tiles = blobs(n, seed=len(split))
        np.save(folder / f"{split}.npy", tiles.images)
        for index, cancer in enumerate(tiles.labels):
            density = "" if cancer else "ABCD"[index % 4]
            rows.append((index, split, f"{split}{index}", int(cancer), density, "CC"))
    columns = ["index", "split", "patient_id", "cancer", "density", "view"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)


@pytest.fixture
def here(checkout, monkeypatch):
    write_prepared(checkout / "prepared")
    monkeypatch.chdir(checkout)
    for name in (*environment(checkout), "MAMMOGAN_TRACKING_URI"):
        if name != "PATH":
            monkeypatch.setenv(name, "")  # so that the value of before comes back after the test
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    return Checkout(checkout, checkout)


def settings_of(here, **changes):
    return load(here.root / "params.yaml").model_copy(update={"utility": utility_config(**changes)})


def write_images(folder, images):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def folders(here):
    synthetic = blobs(30, seed=3)
    for value in (0, 1):
        write_images(here.root / f"made-{value}", synthetic.images[synthetic.labels == value])
    return ("1=made-1", "0=made-0")


def generator_file(here, small_config, classes, resolution=32):
    G = with_contrast(build(small_config("dcgan"), resolution, classes)[0])
    G.classes = classes
    store.save(here.root / "run" / "generator.safetensors", G, small_config("dcgan"), resolution)
    return "run"


CANCER = Classes("cancer", ("0", "1"), (0.9, 0.1))


def test_a_folder_of_images_a_class_is_measured_and_written(here, folders):
    measured = utility(here, settings_of(here), folders, None)
    folder = here.root / "utility" / "1-made-1-0-made-0"
    assert measured.folder == folder
    facts = json.loads((folder / "utility.json").read_text(encoding="utf-8"))
    assert facts["verdict"] == measured.utility.verdict
    assert facts["sources"] == list(folders)
    assert (facts["n_train"], facts["n_added"], facts["n_test"]) == (16, 16, 12)
    rows = list(csv.DictReader((folder / "utility.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["arm"] for row in rows] == ["real", "augmented", "mixed", "synthetic"]


def test_a_conditional_generator_draws_as_many_of_each_class_as_are_real(here, small_config):
    source = generator_file(here, small_config, CANCER)
    drawn = synthetic_images(here, settings_of(here), [source], {True: 5, False: 8}, {"1": 5, "0": 8}, 32)
    assert drawn.images.shape == (13, 32, 32)
    assert drawn.labels.tolist() == [True] * 5 + [False] * 8
    assert len(np.unique(drawn.images, axis=0)) == 13


def test_several_values_of_a_class_come_in_the_proportions_of_the_real_images(here, small_config):
    source = generator_file(here, small_config, Classes("density", ("A", "B", "C", "D"), (0.25,) * 4))
    config = settings_of(here, label="density", positive=["C", "D"], negative=["A", "B"])
    asked = []

    def spy(G, n, seed, **arguments):
        asked.append((int(arguments["classes"][0]), n))
        return sample(G, n, seed, **arguments)

    from mammogan import utility_sources
    from mammogan.serving.sample import sample

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utility_sources, "sample", spy)
        shares = {"A": 1, "B": 3, "C": 2, "D": 1}
        synthetic_images(here, config, [source], {True: 6, False: 4}, shares, 32)
    assert asked == [(2, 4), (3, 2), (0, 1), (1, 3)]


def test_an_unconditional_generator_a_class_will_do(here, small_config, folders):
    source = generator_file(here, small_config, None)
    drawn = synthetic_images(here, settings_of(here), [f"1={source}", "0=made-0"], {True: 3, False: 4}, {}, 32)
    assert drawn.labels.sum() == 3
    assert len(drawn.images) == 7


def test_a_set_that_a_conditional_generator_made_says_itself_what_it_shows(here):
    synthetic = blobs(30, seed=3)
    write_images(here.root / "set" / "images", synthetic.images)
    rows = [(f"images/{k:03d}.png", int(label)) for k, label in enumerate(synthetic.labels)]
    pd.DataFrame(rows, columns=["file", "cancer"]).to_csv(here.root / "set" / "manifest.csv", index=False)
    read = synthetic_images(here, settings_of(here), ["set"], {True: 15, False: 15}, {}, 32)
    assert (read.images == synthetic.images).all()
    assert (read.labels == synthetic.labels).all()


def test_images_of_other_values_are_left_out_and_counted(here):
    write_prepared(here.root / "prepared")
    from mammogan.data.tiles import read_tiles

    section = utility_config(label="density", positive=["D"], negative=["A"])
    kept, left_out = real_images(section, read_tiles(here.root / "prepared", "train"))
    assert kept.labels.tolist() == [False, True] * 2
    assert left_out == 12


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["nowhere"], "nowhere is no file, folder, model or run; name dcgan"),
        (["2=made-1", "0=made-0"], "'2' is no value of utility.positive or utility.negative, which are 1, 0"),
        (["1=made-1"], "no source for cancer 0, only for 1; add 0=SOURCE"),
        (["1=made-1", "1=made-0"], "there is another source for cancer 1; give one for each"),
        (["made-1"], "made-1 does not say which of its images show cancer 1"),
        (["1=few", "0=made-0"], "few holds 2 images of cancer 1, and utility.per_real 1 asks for 8"),
        (["1=large", "0=made-0"], "large has images of 64 px and prepared/ holds 32 px"),
        (["1=broken", "0=made-0"], "000.png cannot be read as a PNG"),
        (["run"], "run is unconditional, so nobody knows .* train one with train.condition: cancer"),
        (["1=models:/none@champion", "0=made-0"], "knows no champion of none"),
    ],
)
def test_a_source_that_will_not_do_is_one_message(here, folders, small_config, sources, message):
    write_images(here.root / "few", blobs(2).images)
    write_images(here.root / "large", blobs(20, px=64).images)
    write_images(here.root / "broken", blobs(20).images)
    for file in (here.root / "broken").iterdir():
        file.write_bytes(file.read_bytes()[:80])
    generator_file(here, small_config, None)
    with pytest.raises(MammoganError, match=message):
        utility(here, settings_of(here), sources, None)
    assert not (here.root / "utility").exists()


def test_a_generator_of_another_label_or_size_is_one_message(here, small_config):
    source = generator_file(here, small_config, Classes("view", ("CC", "MLO"), (0.5, 0.5)))
    with pytest.raises(DataError, match="run is conditional on view, so nobody knows"):
        utility(here, settings_of(here), [source], None)
    generator_file(here, small_config, CANCER, resolution=64)
    with pytest.raises(DataError, match="run has images of 64 px and prepared/ holds 32 px"):
        utility(here, settings_of(here), [source], None)


def test_a_label_that_the_manifest_lacks_is_one_message(here, folders):
    config = settings_of(here, label="view", positive=["MLO"], negative=["CC"])
    with pytest.raises(DataError, match=r"no train image has view MLO .* has: CC \(16\)"):
        utility(here, config, ["dcgan"], None)


def test_the_command_prints_the_answer_and_where_its_figures_are(here, folders, mammogan):
    text = (here.root / "params.yaml").read_text(encoding="utf-8").replace("epochs: 30", "epochs: 1")
    (here.root / "params.yaml").write_text(text, encoding="utf-8")
    done = mammogan("utility", *folders, "--out", "answer")
    assert done.returncode == 0, done.stderr
    assert "Detector of cancer 1 against 0, 32 px, 5 seeds" in done.stdout
    assert "Synthetic images added to the real ones: " in done.stdout
    assert done.stdout.endswith("figures: answer\n")
    assert {path.name for path in (here.root / "answer").iterdir()} == {"utility.json", "utility.csv"}
    refused = mammogan("utility", "1=made-1")
    assert refused.returncode == 1
    assert refused.stderr == (
        "mammogan: no source for cancer 0, only for 1; add 0=SOURCE, or set utility.positive and utility.negative\n"
    )
