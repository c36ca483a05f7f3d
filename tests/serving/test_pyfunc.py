import base64
import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image

from mammogan.serving.sample import sample


def ask(served, n=1, seed=7, **params) -> pd.DataFrame:
    return served.predict(pd.DataFrame({"n": [n], "seed": [seed]}), params=params)


def post(served, body: str) -> list[dict[str, object]]:
    """What POST /invocations answers; a refusal is raised with its status and text."""
    answer = invocations(body, "application/json", served, served.metadata.get_input_schema())
    assert answer.status == 200
    return json.loads(answer.response)["predictions"]


def table(*row: object, columns: tuple[str, ...] = ("n", "seed")) -> str:
    return json.dumps({"dataframe_split": {"columns": columns, "data": [row]}})


def test_each_image_comes_with_all_that_is_known_of_it(served, stamp):
    answer = ask(served, n=2, truncation=0.5)
    assert list(answer["index"]) == [0, 1]
    assert answer.drop(columns=["index", "image_png_base64"]).iloc[1].to_dict() == {
        "request": 0,
        "seed": 7,
        "truncation": 0.5,
        "width": 32,
        "height": 32,
        "bits": 8,
        "synthetic": True,
        "model": "dcgan",
        "model_version": "",
        "run_id": stamp.run_id,
        "git_commit": "0123abc",
        "data_hash": stamp.data_hash,
        "weights_sha256": stamp.weights_sha256,
    }


def test_the_answer_has_the_columns_of_the_signature(served):
    assert list(ask(served).columns) == served.metadata.get_output_schema().input_names()


def test_the_images_are_those_of_the_generator(served, generator):
    answer = ask(served, n=3, seed=11)
    expected = sample(generator, 3, 11)[:, 0].numpy()
    for image, pixels in zip(answer["image_png_base64"], expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))), pixels)


def test_the_same_seed_gives_the_same_bytes_and_a_longer_answer_starts_with_the_shorter(served):
    first, again, longer = ask(served, n=2), ask(served, n=2), ask(served, n=20)
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(first, longer.head(2))
    assert ask(served, seed=8)["image_png_base64"][0] != first["image_png_base64"][0]


def test_threads_do_not_disturb_one_another(served):
    alone = [ask(served, n=4, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: ask(served, n=4, seed=seed), range(8)))
    for one, other in zip(alone, together, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_seed_that_was_drawn_is_told_and_gives_the_same_image_again(served):
    drawn = ask(served, seed=None)
    assert ask(served, seed=drawn["seed"][0])["image_png_base64"][0] == drawn["image_png_base64"][0]


@pytest.mark.parametrize(
    "body",
    [
        table(2, 7),
        '{"dataframe_records": [{"n": 2, "seed": 7}]}',
        '{"inputs": {"n": [2], "seed": [7]}}',
        '{"instances": [{"n": 2, "seed": 7}]}',
    ],
)
def test_every_json_form_of_mlflow_is_understood(served, body):
    assert [image["seed"] for image in post(served, body)] == [7, 7]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (table(0, 7), "n must be from 1 to 256, got 0"),
        (table(-1, 7), "n must be from 1 to 256, got -1"),
        (table(1e9, 7), "n must be from 1 to 256, got 1000000000.0"),
        (table("abc", 7), "n must be a whole number from 1 to 256, got 'abc'"),
        (table(1.5, 7), "n must be a whole number from 1 to 256, got 1.5"),
        (table(True, 7), "n must be a whole number from 1 to 256, got True"),
        (table(None, 7), "n is missing"),
        (table(7, columns=("seed",)), "n is missing"),
        (table(7, columns=("number",)), "the request has no rows with n or seed"),
        ('{"dataframe_split": {"columns": ["n"], "data": []}}', "the request has no rows"),
        (table(1, 7)[:-1] + ', "params": {"truncation": 0}}', "truncation must be a number above 0"),
        (table(1, 7)[:-1] + ', "params": {"truncation": "x"}}', "Can not safely convert"),
        ("{}", "must be a JSON dictionary with exactly one of the input fields"),
        ("", "valid JSON"),
        ("[1]", "Received a list"),
    ],
)
def test_a_bad_request_is_answered_400_with_words_and_no_stack_trace(served, body, message):
    with pytest.raises(MlflowException) as refused:
        post(served, body)
    assert refused.value.get_http_status_code() == 400
    assert message in refused.value.message
    assert "Traceback" not in refused.value.serialize_as_json()


def test_weights_that_were_changed_are_not_served(model_folder, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(model_folder, folder)
    weights = folder / "artifacts" / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(Exception, match="is not the file that was logged"):
        mlflow.pyfunc.load_model(str(folder))


def test_the_version_is_told_when_the_model_is_loaded_by_its_registered_name(model_folder, tmp_path):
    folder = tmp_path / "registered"
    shutil.copytree(model_folder, folder)
    # What MLflow writes beside MLmodel on models:/mammogan-dcgan@champion.
    (folder / "registered_model_meta").write_text("model_name: mammogan-dcgan\nmodel_version: '3'\n")
    assert ask(mlflow.pyfunc.load_model(str(folder)))["model_version"][0] == "3"


def test_the_model_carries_signature_example_and_short_requirements(model_folder, served):
    assert served.metadata.signature.params.to_dict()[0]["name"] == "truncation"
    assert served.input_example.to_dict("records") == [{"n": 1, "seed": 7}]
    requirements = (model_folder / "requirements.txt").read_text().split()
    assert len(requirements) <= 8
    assert not any("+" in requirement for requirement in requirements)
    assert not list(model_folder.rglob("*.pkl"))


def test_serving_needs_none_of_the_pipelines_libraries():
    alone = """
import pandas, torch, sys
before = set(sys.modules)
import mammogan.models.store, mammogan.serving.sample, mammogan.serving.images, mammogan.serving.request
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
    result = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True)
    new = set(result.stdout.split())
    assert "mammogan" in new
    assert not new & {"click", "dvc", "filelock", "matplotlib", "mlflow", "optuna", "pydicom", "scipy", "tqdm"}
