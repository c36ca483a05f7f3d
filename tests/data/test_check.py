"""Looking at raw data: what is told, what is shown, and the way back from an id to its file."""

import shutil
from pathlib import Path

import pytest

from mammogan.data.check import check, find
from mammogan.data.ids import keyed
from mammogan.errors import DataError
from raw_data import KEY, config, half_disk, write_row


def test_what_would_be_kept_and_rejected_is_told_with_files_and_nothing_is_written(raw, tmp_path):
    (raw / "images" / "0L.png").write_bytes(b"nothing")
    half_disk("L", 90).save(raw / "images" / "stray.png")
    before = sorted(tmp_path.rglob("*"))
    found = check(config(), raw)
    assert sorted(tmp_path.rglob("*")) == before
    lines = found.text.splitlines()
    assert lines[0].startswith("source folder: ")
    assert "kept 7 images of 7 patients" in lines
    assert "  laterality: L 7" in lines
    assert "  cancer: 0 6, 1 1" in lines
    assert "8 images of the other side" in lines
    assert any(line.startswith("rejected 2 (") for line in lines)
    assert any(line.startswith("  images/0L.png: unreadable") for line in lines)
    assert any(line.startswith("  images/stray.png: image without a row") for line in lines)
    assert found.sheet is not None
    assert found.sheet.ndim == 3


def test_where_nothing_is_kept_there_is_no_sheet(raw):
    for file in (raw / "images").iterdir():
        file.write_bytes(b"nothing")
    found = check(config(), raw)
    assert found.sheet is None
    assert "kept 0 images" in found.text


def test_more_images_than_the_sheet_holds_are_drawn_by_the_seed(raw):
    for number in range(30):
        name = f"more{number}"
        half_disk("L", 60 + 5 * number, radius=30 + number % 9).save(raw / "images" / f"{name}.png")
        write_row(raw, f"{name},images/{name}.png,q{number},L,CC,B,0")
    first, again, other = (check(config(seed=seed), raw).sheet for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_an_id_leads_back_to_its_file_under_its_key_alone(raw):
    image, patient = keyed(KEY, "image", "3L"), keyed(KEY, "patient", "p3")
    (raw / "images" / "stray.png").write_bytes(b"x")
    stray = keyed(KEY, "file", "images/stray.png")
    assert find(config(), raw, [image, patient, stray, "0123"], KEY) == {
        image: ["images/3L.png"],
        patient: ["images/3L.png", "images/3R.png"],
        stray: ["images/stray.png"],
        "0123": [],
    }
    assert find(config(), raw, [image], b"another key, as long as it has to")[image] == []


def test_a_folder_that_is_not_there_is_one_message(tmp_path: Path):
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    with pytest.raises(DataError, match="data is missing"):
        check(config(), tmp_path / "data")
