"""Which source a folder is taken for, and what is said where that is not clear."""

from pathlib import Path

import pytest
from raw_folders import RSNA, add, write

from mammogan.config import SOURCE_NAMES
from mammogan.data.sources import READERS, catalogue
from mammogan.errors import DataError


def test_every_source_of_the_settings_has_a_reader():
    assert tuple(READERS) == SOURCE_NAMES


def test_a_missing_and_an_empty_folder_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is missing or no folder; put the images and their table there"):
        catalogue(tmp_path / "nowhere")
    (tmp_path / ".hidden").write_bytes(b"")
    with pytest.raises(DataError, match="is empty; put the images and their table there"):
        catalogue(tmp_path)


def test_an_unknown_layout_lists_what_was_found_and_what_to_choose_from(tmp_path):
    add(tmp_path, "a.png", "scans/b.png", "readme.txt")
    with pytest.raises(DataError) as err:
        catalogue(tmp_path)
    assert "found: a.png, readme.txt, scans/" in str(err.value)
    assert all(name in str(err.value) for name in SOURCE_NAMES)


def test_a_folder_that_fits_two_sources_is_not_guessed(tmp_path):
    write(tmp_path, RSNA + "1,7,42,L,CC,,0,0,0,,0,B,4\n", "train_images/7/42.png", name="train.csv")
    add(tmp_path, "more/A_2011_1.LEFT_CC.png")
    with pytest.raises(DataError, match=r"fits several sources: rsna \(train\.csv with .*\); mini-ddsm \(.*; set prep"):
        catalogue(tmp_path)
    assert catalogue(tmp_path, "rsna").why == "prepare.source says so"


def test_a_broken_table_of_another_kind_does_not_hide_what_a_folder_is(tmp_path):
    add(tmp_path, "Cancer/A_2011_1.LEFT_CC.png")
    write(tmp_path, b"a,a\n\x00", name="metadata.csv")
    assert catalogue(tmp_path).source == "mini-ddsm"


def test_a_source_that_does_not_exist_is_answered_with_those_that_do(tmp_path):
    with pytest.raises(DataError, match=r"prepare\.source is 'rnsa'; give auto or one of rsna, rsna-roi"):
        catalogue(add(tmp_path, "a.png"), "rnsa")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rsna", r"train\.csv is missing"),
        ("rsna-roi", r"description\.csv or train\.csv, or folders cancer/ and no_cancer/, is missing"),
        ("cbis-ddsm", "image without a row"),
        ("cmmd", r"CMMD_clinicaldata_revision\.xlsx \(or \.csv\) is missing"),
        ("cdd-cesm", r"Radiology-manual-annotations\.xlsx \(or \.csv\), or metadata\.csv, is missing"),
        ("vindr", r"breast-level_annotations\.csv is missing"),
        ("inbreast", r"INbreast\.csv or INbreast\.xlsx is missing"),
        ("mias", r"Info\.txt is missing"),
        ("mini-ddsm", "image without a side"),
        ("phantom", r"labels\.csv is missing"),
    ],
)
def test_a_chosen_source_whose_files_are_missing_says_which(tmp_path, source, expected):
    add(tmp_path, "scan.png")
    if expected.startswith("image"):
        assert catalogue(tmp_path, source).rejected[0].reason.startswith(expected)
        return
    with pytest.raises(DataError, match=rf"{expected}, which this source needs; found: scan\.png"):
        catalogue(tmp_path, source)


@pytest.mark.parametrize("source", ["folder", "cbis-ddsm", "mini-ddsm"])
def test_a_source_without_any_image_says_what_it_expects(tmp_path, source):
    with pytest.raises(DataError, match=rf"holds no image of the source {source}, which expects .*; found: notes\.txt"):
        catalogue(add(tmp_path, "notes.txt"), source)


def test_the_same_folder_is_the_same_catalogue(tmp_path):
    add(tmp_path, *(f"cancer/{k}_{k}.png" for k in range(20)), *(f"no_cancer/{k}_9{k}.png" for k in range(20)))
    first, again = catalogue(tmp_path), catalogue(Path(tmp_path))
    assert first == again
    assert first.mammograms == sorted(first.mammograms, key=lambda mammogram: mammogram.file)
