"""A run killed at any point ends as an unbroken one, in its folder and in MLflow."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from checkouts import small_checkout
from mammogan import config, figures, run
from mammogan.config import Checkout
from mammogan.data.phantom import phantom
from mammogan.data.prepare import prepare
from mammogan.data.tiles import SPLITS, Tiles, read_tiles
from mammogan.errors import EvaluationError, TrainingError
from mammogan.evaluation.look import look
from mammogan.evaluation.weights import find_weights
from mammogan.models import Classes
from mammogan.models import store as weights_store
from mammogan.provenance import Provenance
from mammogan.serving.sample import draw
from mammogan.tracking import store

try:
    find_weights(None)
except EvaluationError:
    pytest.skip("the FID network is not installed; run `mammogan weights`", allow_module_level=True)

LABEL = run.Label("train", "test", "dcgan: test", "train", {"mammogan.identity": "x"})
PROVENANCE = Provenance("c0ffee", "d0d0.dir", "5ca1ab1e")


class Killed(BaseException):
    """Stands in for the end of the process."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small checkout with tiles, an empty MLflow store and a judge."""
    root = small_checkout(tmp_path_factory.mktemp("run"))
    settings = config.load(root / "params.yaml")
    phantom(settings.phantom, root / "data")
    prepare(settings.prepare, root / "data", root / "prepared", cache=root / "tiles.db", id_key=b"k" * 32)
    kept = dict(os.environ)
    store.setup(root)
    os.environ.clear()
    os.environ.update(kept)
    train = settings.train.model_copy(update={"epochs": 6, "batch_size": 4, "precision": "fp32", "evaluate_kimg": 0.1})
    tiles = [read_tiles(root / "prepared", split) for split in SPLITS]
    judge = run.Judge(*tiles, settings.evaluate, torch.device("cpu"), root / ".cache")
    return root, train, judge


@pytest.fixture
def attempt(prepared, tmp_path):
    """A function that starts the run, or goes on with it, and is killed when `killed_at` of it is done."""
    root, train, judge = prepared
    for file in root.glob("mlflow.db*"):
        shutil.copy(file, tmp_path / file.name)
    kept = dict(os.environ)

    def start(killed_at=2.0, judge=judge, train=train, weights=None, name="x"):
        def progress(share, losses=None):
            if share >= killed_at:
                raise Killed

        return run.run(
            Checkout(root, tmp_path),
            train,
            judge,
            folder=tmp_path / "checkpoints" / name,
            label=LABEL,
            provenance=PROVENANCE,
            progress=progress,
            start=weights,
        )

    yield start
    os.environ.clear()
    os.environ.update(kept)


def runs_in(folder):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
    found = client.search_experiments(filter_string="name = 'train'")
    return client, client.search_runs([experiment.experiment_id for experiment in found])


def test_a_killed_run_goes_on_as_one_run_with_every_point_once(attempt, tmp_path):
    with pytest.raises(Killed):
        attempt(killed_at=0.7)
    result = attempt()
    client, runs = runs_in(tmp_path)
    assert [one.info.status for one in runs] == ["FINISHED"]
    for name in ("loss/G", "loss/D", "images_per_s", "fid", "kid"):
        steps = [point.step for point in client.get_metric_history(runs[0].info.run_id, name)]
        assert len(steps) == len(set(steps)) > 0
    history = pd.read_csv(result.folder / "history.csv")
    assert history["n_images"].is_unique
    assert history["fid"].notna().sum() == 2


def test_a_finished_run_called_again_gives_the_same_result_and_trains_nothing(attempt, tmp_path):
    first = attempt()
    assert attempt(killed_at=0.0) == first
    assert len(runs_in(tmp_path)[1]) == 1


def test_a_result_that_could_not_be_written_makes_no_second_run_and_no_second_model(attempt, tmp_path):
    first = attempt()
    (first.folder / "result.json").unlink()
    second = attempt()
    client, runs = runs_in(tmp_path)
    assert second.run_id == first.run_id
    assert second.scores == first.scores
    assert len(runs) == 1
    assert len(client.search_logged_models([runs[0].info.experiment_id])) == 1


def test_a_damaged_record_is_measured_again(attempt):
    with pytest.raises(Killed):
        attempt(killed_at=0.7)
    folder = attempt().folder
    (folder / "result.json").write_text("")
    for scores in folder.glob("scores-*.json"):
        scores.write_text('{"sco')
    assert attempt().scores.fid > 0
    json.loads((folder / "result.json").read_text())


def test_a_finished_run_leaves_its_weights_but_no_checkpoints(attempt):
    folder = attempt().folder
    assert (folder / "generator.safetensors").exists()
    assert not (folder / "checkpoints").exists()


def test_a_run_whose_samples_do_not_vary_is_called_collapsed(attempt, monkeypatch, caplog):
    all_alike(monkeypatch)
    result = attempt()
    assert result.collapsed
    assert "collapsed, its samples hardly vary with z" in caplog.text


def all_alike(monkeypatch):
    monkeypatch.setattr(run, "look", lambda images: replace(look(images), mean=50.0, white=0.0, spread=0.5))


def artifacts(client, run_id, folder=None):
    return {file.path for file in client.list_artifacts(run_id, folder)}


def test_an_event_stands_in_the_folder_and_in_mlflow_once_however_often_the_run_meets_it(
    attempt, tmp_path, monkeypatch, caplog
):
    all_alike(monkeypatch)
    result = attempt()
    events = (result.folder / "events.txt").read_text().splitlines()
    assert len(events) == 1
    assert "after 100 images: the samples hardly vary with z (spread 0.5" in events[0]
    assert events[0] in caplog.text
    caplog.clear()
    (result.folder / "result.json").unlink()  # and its checkpoints are gone: all is met again
    attempt()
    assert (result.folder / "events.txt").read_text().splitlines() == events
    assert events[0] not in caplog.text
    client, runs = runs_in(tmp_path)
    assert [one.data.tags["mammogan.event"] for one in runs] == events
    assert "events.txt" in artifacts(client, result.run_id)


def test_what_the_watchdog_is_told_does_not_depend_on_a_kill(prepared, attempt, monkeypatch):
    with monkeypatch.context() as patch:
        all_alike(patch)
        folder = attempt().folder
    kept = json.loads((folder / "scores-000000100.json").read_text())
    _, _, judge = prepared
    record = run._Record(folder, judge, SimpleNamespace(log=print, log_file=print, tag=print))
    verdict = record.snapshot(None, 100)  # nothing is drawn again
    assert "hardly vary" in verdict.complaint
    assert (verdict.score, verdict.complaint) == (kept["scores"]["fid"], kept["complaint"])


def test_a_run_that_training_ends_tells_why(attempt, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise TrainingError("loss/G is nan after 12 images")

    monkeypatch.setattr(run, "train", fails)
    with pytest.raises(TrainingError):
        attempt()
    _, runs = runs_in(tmp_path)
    assert [(one.info.status, one.data.tags["mammogan.event"]) for one in runs] == [
        ("FAILED", "failed: loss/G is nan after 12 images")
    ]


def test_the_best_point_and_the_end_are_kept_apart(prepared, attempt, tmp_path, monkeypatch):
    fids, score = [7.0, 9.0], run.Judge.score
    monkeypatch.setattr(run.Judge, "score", lambda *args: replace(score(*args), fid=fids.pop(0)))
    result = attempt()
    history = pd.read_csv(result.folder / "history.csv").dropna(subset=["fid"])
    assert history["fid"].tolist() == [7.0, 9.0]
    first = history.iloc[0]
    assert (result.best_fid, result.best_kid, result.best_n_images) == (7.0, first["kid"], first["n_images"])
    assert result.scores.fid == 9.0
    best, end = (weights_store.load(file) for file in (result.best, result.generator))
    assert any(not torch.equal(a, b) for a, b in zip(best.parameters(), end.parameters(), strict=True))
    grid = figures.grid(figures.shrunk(draw(best, 36, prepared[2].config.seed), 128), 6)
    with Image.open(result.folder / f"samples-{result.best_n_images:09d}.png") as shown:
        assert np.array_equal(shown, grid)

    client, (tracked,) = runs_in(tmp_path)
    assert {name: tracked.data.metrics[name] for name in ("final/fid", "best/fid", "best/n_images")} == {
        "final/fid": 9.0,
        "best/fid": 7.0,
        "best/n_images": 100,
    }
    (model,) = client.search_logged_models([tracked.info.experiment_id])
    assert model.tags["mammogan.weights_sha256"] == hashlib.sha256(result.generator.read_bytes()).hexdigest()


def test_generator_best_and_discriminator_are_artifacts(attempt, tmp_path):
    result = attempt()
    client, _ = runs_in(tmp_path)
    names = {"generator.safetensors", "best.safetensors", "discriminator.safetensors"}
    assert artifacts(client, result.run_id, "weights") == {f"weights/{name}" for name in names}
    assert names <= {file.name for file in result.folder.iterdir()}
    assert weights_store.read(result.discriminator)[0]["network"] == "discriminator"
    assert artifacts(client, result.run_id, "pictures") == {"pictures/training.webp"}
    with Image.open(result.folder / "training.webp") as film:
        assert film.n_frames == len(list(result.folder.glob("samples-*.png"))) == 3


def test_a_stylegan_by_label_goes_from_settings_to_pictures_and_another_run_starts_from_it(attempt, prepared, tmp_path):
    train = prepared[1].model_copy(update={"model": "stylegan", "condition": "view", "epochs": 1})
    result = attempt(train=train)
    client, _ = runs_in(tmp_path)
    pictures = {f"pictures/{name}" for name in ("training.webp", "interpolation.png", "truncation.png")}
    assert artifacts(client, result.run_id, "pictures") == pictures
    G = weights_store.load(result.generator)
    assert G.classes == Classes("view", ("CC", "MLO"), (0.5, 0.5))
    again = attempt(train=train.model_copy(update={"seed": 9}), weights=result.folder, name="y")
    with pytest.raises(TrainingError, match="init_from holds a stylegan"):
        attempt(weights=again.folder, name="z")


def test_the_images_that_are_scored_are_the_first_of_their_seed(prepared):
    from mammogan.models import build_generator
    from mammogan.serving.sample import sample

    _, train, judge = prepared
    G = build_generator(train.dcgan, 32).eval()
    assert np.array_equal(judge.draw(G)[:5], sample(G, 5, judge.config.seed)[:, 0].numpy())


@pytest.fixture(scope="module")
def judge_16(prepared):
    """A judge of the same tiles in 16 bits, none of them a multiple of 257, so that all are rounded."""
    root, _, judge = prepared
    chance = np.random.default_rng(0)
    wide = 257 * judge.tiles.images.astype(int) + chance.choice([-128, -1, 1, 128], judge.tiles.images.shape)
    tiles = Tiles(wide.clip(0, 65535).astype(np.uint16), judge.tiles.manifest)
    return run.Judge(tiles, judge.holdout, judge.config, torch.device("cpu"), root / ".cache")


def test_sixteen_bits_are_judged_as_their_eight(prepared, judge_16):
    _, _, judge = prepared
    assert (judge_16.floor, judge_16.look_real) == (judge.floor, judge.look_real)
    fakes = np.random.default_rng(1).integers(0, 255, (judge.n_fake, 32, 32)).astype(np.uint8)
    assert judge_16.score(fakes.astype(np.uint16) * 257 + 128) == judge.score(fakes)


def test_a_run_on_sixteen_bits_leaves_a_generator_of_sixteen_and_shows_eight(attempt, judge_16):
    result = attempt(judge=judge_16)
    assert weights_store.load(result.generator).bits == 16
    assert result.scores.fid > 0
    with Image.open(sorted(result.folder.glob("samples-*.png"))[-1]) as grid:
        assert grid.mode == "L"
