"""Nobody's name comes out: names are planted in every text element, and all that is written and said is searched."""

from pathlib import Path

import numpy as np
import pytest

from mammogan.data.phantom import draw
from mammogan.errors import EvaluationError
from mammogan.evaluation.weights import find_weights
from planted import NAME, SECRETS, planted_dicom

IDS = ("ZPATIENT47", "ZIMAGE08")  # in the table


@pytest.fixture
def hospital(checkout: Path) -> Path:
    """The layout of the RSNA competition, twelve patients, two of whose files cannot be used."""
    images = checkout / "data" / "train_images"
    rows = ["patient_id,image_id,laterality,view,age,cancer,density"]
    for number in range(12):
        patient = f"ZPATIENT47{number:02d}"
        (images / patient).mkdir(parents=True)
        for side in "LR":
            image, _ = draw(number, side, "CC", "BC"[number % 2], "none", 128)
            name = f"ZIMAGE08{number:02d}{side}"
            broken = {"VOILUTFunction": NAME, "WindowCenter": "100", "WindowWidth": "50"} if number == 3 else {}
            broken = {"PhotometricInterpretation": NAME} if number == 4 else broken
            planted_dicom(images / patient / f"{name}.dcm", image.astype(np.uint16) * 16, side, **broken)
            rows.append(f"{patient},{name},{side},CC,50,{int(number < 4)},B")
    (checkout / "data" / "train.csv").write_text("\n".join(rows), encoding="utf-8")
    return checkout


def found_in(folder: Path, words: tuple[str, ...]) -> list[str]:
    """The files below `folder`, but for the raw ones, that hold any of the words, in their name or in their bytes."""
    places = []
    for path in folder.rglob("*"):
        if not path.is_file() or "data" in path.relative_to(folder).parts[:1]:
            continue
        content = path.read_bytes()
        places += [
            f"{path.relative_to(folder)}: {word}"
            for word in words
            if word.encode() in content or word.encode("utf-16-le") in content or word in str(path)
        ]
    return places


def test_no_planted_name_reaches_tiles_tables_cache_or_messages(hospital, mammogan):
    text = (hospital / "params.yaml").read_text(encoding="utf-8")
    (hospital / "params.yaml").write_text(text.replace("max_rejected: 0.1", "max_rejected: 0.5"), encoding="utf-8")
    done = mammogan("prepare")
    assert done.returncode == 0, done.stderr
    assert "rejected 2 " in done.stdout
    assert (hospital / "prepared" / "rejected.csv").read_text().count("\n") == 3
    assert found_in(hospital, (*SECRETS, *IDS)) == []
    said = done.stdout + done.stderr
    assert [word for word in (*SECRETS, *IDS) if word in said] == []


def test_a_tracked_run_knows_nobody_either(hospital, mammogan):
    try:
        find_weights(None)
    except EvaluationError:
        pytest.skip("the FID network is not installed; run `mammogan weights`")
    text = (hospital / "params.yaml").read_text(encoding="utf-8")
    for old, new in {
        "max_rejected: 0.1": "max_rejected: 0.5",
        "batch_size: 16": "batch_size: 4",
        "epochs: 40": "epochs: 1",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    (hospital / "params.yaml").write_text(text, encoding="utf-8")
    said = ""
    for command in ("prepare", "train"):
        done = mammogan(command)
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    assert (hospital / "mlflow.db").exists()
    assert found_in(hospital, (*SECRETS, *IDS)) == []
    assert [word for word in (*SECRETS, *IDS) if word in said] == []


def test_a_stopped_stage_tells_no_name_either(hospital, mammogan):
    done = mammogan("prepare")  # a sixth of the images is rejected, a tenth allowed
    assert done.returncode == 1
    assert "more than prepare.max_rejected allows" in done.stderr
    assert [word for word in (*SECRETS, *IDS) if word in done.stdout + done.stderr] == []
    assert found_in(hospital, (*SECRETS, *IDS)) == []


def test_looking_at_the_data_names_files_and_nothing_of_their_headers(hospital, mammogan):
    done = mammogan("data", "check")
    assert done.returncode == 0, done.stderr
    assert "train_images/ZPATIENT4703/ZIMAGE0803L.dcm" in done.stdout
    assert [word for word in SECRETS if word in done.stdout + done.stderr] == []
    assert found_in(hospital, (*SECRETS, *IDS)) == []


def test_the_search_would_find_a_name(hospital):
    (hospital / "prepared").mkdir()
    (hospital / "prepared" / "manifest.csv").write_text(f"x,{NAME}\n", encoding="utf-8")
    assert found_in(hospital, SECRETS) == [f"prepared/manifest.csv: {NAME}"]
    assert found_in(hospital / "data", SECRETS), "the raw files hold the names"
