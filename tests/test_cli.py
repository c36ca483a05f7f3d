import shutil
import signal
import socket

import numpy as np
import pytest
from PIL import Image

from mammogan import stages
from mammogan.cli import cli


def replace_in(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def write_raw(checkout, patients, size=(96, 64)):
    """A raw set of one left image a patient, in the table layout."""
    images = checkout / "data" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["image_id,file,patient_id,laterality"]
    for k in range(patients):
        pixels = np.zeros(size, np.uint8)
        pixels[10:-10, : size[1] - 12] = rng.integers(90, 220, (size[0] - 20, size[1] - 12))
        Image.fromarray(pixels).save(images / f"{k}.png")
        lines.append(f"{k},images/{k}.png,p{k},L")
    (checkout / "data" / "labels.csv").write_text("\n".join(lines) + "\n")


def assert_one_clear_message(done, *words):
    assert done.returncode == 1
    assert done.stderr.startswith("mammogan: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_missing_data_folder_is_one_message(mammogan):
    assert_one_clear_message(mammogan("prepare"), "data")


def test_a_fresh_clone_is_told_how_to_get_the_sample_data(checkout, mammogan):
    (checkout / "data.dvc").touch()
    assert_one_clear_message(mammogan("prepare"), "data is missing; `dvc repro prepare`")


def test_sigterm_ends_training_as_ctrl_c_does(checkout, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(stages, "train", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        cli(["train"])
    signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 143
    assert "stopped; the same command goes on where it stood" in capsys.readouterr().err


def test_a_misspelt_key_stops_every_command_before_it_does_anything(checkout, mammogan):
    replace_in(checkout / "params.yaml", "laterality: L", "lateralty: L")
    assert_one_clear_message(mammogan("prepare"), "prepare.lateralty: unknown key", "did you mean 'laterality'?")
    assert not (checkout / "prepared").exists()


def test_an_unknown_model_name_is_told_the_known_ones(mammogan):
    done = mammogan("study", "biggan")
    assert done.returncode == 2
    assert "'biggan' is not one of 'dcgan', 'stylegan'" in done.stderr


def test_a_study_without_prepared_tiles_says_which_command_comes_first(mammogan):
    assert_one_clear_message(mammogan("study", "dcgan"), "mammogan prepare")


def test_a_batch_larger_than_the_data_is_refused_before_any_row_runs(checkout, mammogan):
    write_raw(checkout, patients=12)
    assert mammogan("prepare").returncode == 0
    done = mammogan("study", "dcgan")
    assert_one_clear_message(done, "study.factors.dcgan.batch_size 16 is larger than the 10 training images")
    assert not (checkout / "optuna.db").exists()


def test_a_failed_prepare_leaves_the_earlier_tiles_whole(checkout, mammogan):
    write_raw(checkout, patients=12)
    mammogan("prepare")
    before = {path.name: path.read_bytes() for path in (checkout / "prepared").iterdir()}
    replace_in(checkout / "params.yaml", "laterality: L", "laterality: R")
    assert_one_clear_message(mammogan("prepare"), "L (12 images)")
    assert {path.name: path.read_bytes() for path in (checkout / "prepared").iterdir()} == before


def test_a_dry_run_of_a_study_lists_the_nine_rows_and_their_cost(checkout, mammogan):
    write_raw(checkout, patients=30)
    mammogan("prepare")
    done = mammogan("study", "dcgan", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.count("\nrow ") == 9
    assert "GFLOP an image" in done.stdout
    assert not (checkout / "checkpoints").exists()


def test_registering_without_a_study_says_which_command_comes_first(mammogan):
    assert_one_clear_message(mammogan("register", "dcgan"), "mammogan study dcgan")


def test_a_folder_without_a_pipeline_is_not_worked_in(tmp_path, checkout, mammogan):
    (checkout / "dvc.yaml").unlink()
    assert_one_clear_message(mammogan("prepare"), "run the command inside a clone of mammogan")


def test_ready_made_settings_are_switched_by_one_command(checkout, mammogan):
    shutil.copy(checkout / "settings" / "demo.yaml", checkout / "params.yaml")
    assert mammogan("use", "paper").returncode == 0
    assert (checkout / "params.yaml").read_bytes() == (checkout / "settings" / "paper.yaml").read_bytes()
    assert "* paper " in mammogan("use").stdout


def test_settings_of_ones_own_are_never_overwritten(checkout, mammogan):
    before = (checkout / "params.yaml").read_bytes()
    assert_one_clear_message(mammogan("use", "paper"), "copy it to settings/NAME.yaml")
    assert (checkout / "params.yaml").read_bytes() == before


def test_unknown_settings_are_answered_with_the_known_ones(mammogan):
    assert_one_clear_message(mammogan("use", "labtop"), "did you mean 'laptop-8gb'?")
    assert_one_clear_message(mammogan("use", "xyz"), "demo, laptop-8gb, paper, paper-l9")


def test_a_busy_port_is_told_before_any_server_starts(mammogan):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_one_clear_message(mammogan("ui", "--port", port), f"port {port} is in use")


@pytest.mark.parametrize("name", ["dcgan", "generator.safetensors"])
def test_scoring_a_generator_that_is_not_there_is_one_message(checkout, mammogan, name):
    write_raw(checkout, patients=30)
    mammogan("prepare")
    assert_one_clear_message(mammogan("evaluate", name), "missing" if "." in name else "champion")


def test_raw_data_is_looked_at_before_anything_is_written(checkout, mammogan):
    mammogan("phantom", "data")
    done = mammogan("data", "check")
    assert done.returncode == 0, done.stderr
    assert "source phantom: " in done.stdout
    assert "kept 40 images of 20 patients" in done.stdout
    assert (checkout / "check" / "contact-sheet.png").read_bytes().startswith(b"\x89PNG")
    assert not (checkout / "prepared").exists()


def test_an_id_of_prepared_leads_back_to_its_raw_file(checkout, mammogan):
    mammogan("phantom", "data")
    assert mammogan("prepare").returncode == 0
    row = (checkout / "prepared" / "manifest.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    done = mammogan("data", "find", row[2])
    assert done.stdout.startswith(f"{row[2]}: images/P0")
    assert mammogan("data", "find", "00").stdout == "00: no file under this key\n"


def test_a_set_that_cannot_be_fetched_is_one_message(mammogan):
    assert_one_clear_message(mammogan("data", "fetch", "rsna-rio"), "rsna-roi")
