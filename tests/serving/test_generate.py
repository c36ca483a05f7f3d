import base64
import csv
import hashlib
import json

import pandas as pd
import pytest

from mammogan.config import GenerateConfig
from mammogan.serving.generate import generate

CONFIG = GenerateConfig(n_images=5, seed=7, truncation=0.8)


@pytest.fixture
def synthetic_set(tmp_path, generator, stamp):
    generate(CONFIG, generator, stamp, tmp_path / "synthetic" / "dcgan")
    return tmp_path / "synthetic" / "dcgan"


def test_every_image_is_listed_with_its_hash(synthetic_set):
    with (synthetic_set / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert {row["seed"] for row in rows} == {"7"}
    for row in rows:
        assert hashlib.sha256((synthetic_set / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    assert len(list((synthetic_set / "images").iterdir())) == 5


def test_the_manifest_says_where_the_set_comes_from(synthetic_set, stamp):
    assert json.loads((synthetic_set / "manifest.json").read_text(encoding="utf-8")) == {
        "synthetic": True,
        "n_images": 5,
        "seed": 7,
        "truncation": 0.8,
        "precision": "fp32",
        "resolution": 32,
        "bits": 8,
        "model": "dcgan",
        "model_version": "",
        "run_id": stamp.run_id,
        "git_commit": "0123abc",
        "data_hash": stamp.data_hash,
        "weights_sha256": stamp.weights_sha256,
    }


def test_the_server_answers_with_the_same_bytes(synthetic_set, served):
    answer = served.predict(pd.DataFrame({"n": [3], "seed": [7]}), params={"truncation": 0.8})
    files = [synthetic_set / "images" / f"{index:06d}.png" for index in range(3)]
    assert [base64.b64decode(image) for image in answer["image_png_base64"]] == [file.read_bytes() for file in files]


def test_a_set_that_fails_half_way_leaves_the_earlier_one(synthetic_set, generator, stamp, monkeypatch):
    before = sorted(path.name for path in synthetic_set.rglob("*"))

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("mammogan.serving.generate.png_of", full_disk)
    with pytest.raises(OSError, match="no space left"):
        generate(CONFIG, generator, stamp, synthetic_set)
    assert sorted(path.name for path in synthetic_set.rglob("*")) == before
    assert [path.name for path in synthetic_set.parent.iterdir()] == ["dcgan"]
