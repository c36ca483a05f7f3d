"""Any folder: column mapping, and what files themselves tell where no table does."""

import logging
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_folders import add, by_id, kinds, labels_of, write, write_dicom

from mammogan.data.sources import catalogue
from mammogan.data.sources.folder import side_and_view
from mammogan.data.sources.headers import read_header
from mammogan.errors import DataError

TABLE = "Scan,Who,Side of breast,Projection,Tissue,Finding,Years\nx.png,p1,left,CC,D,MALIGNANT,045Y\n"
MAPPING = {
    "file": "scan",
    "patient_id": "Who",
    "laterality": "side of breast",
    "view": "Projection",
    "density": "Tissue",
    "cancer": "Finding",
    "age": "Years",
}


def test_a_mapping_tells_whose_column_is_which(tmp_path):
    found = catalogue(write(tmp_path, TABLE, "x.png", name="export.csv"), columns=MAPPING)
    assert (found.source, found.rejected) == ("folder", [])
    assert labels_of(found.mammograms[0]) == ("p1", "L", "CC", "D", "1", "45")
    assert found.mammograms[0].image_id == "x"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {**MAPPING, "patient_id": "Whoo"},
            r"has no column 'Whoo', which prepare\.columns gives for patient_id; found: Scan, Side of breast, .*, "
            "1 column whose name is not known",
        ),
        ({**MAPPING, "age": "Jahre"}, "has no column 'Jahre', .*; found: Scan, Who, Side of breast"),
        ({"files": "Scan"}, r"prepare\.columns: 'files' is none of file, .* \(nearest: 'file'\)"),
        ({"patient_id": "Who"}, r"lacks the column image_id"),
    ],
)
def test_a_mapping_that_does_not_fit_is_answered_with_the_nearest_column(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        catalogue(write(tmp_path, TABLE, "x.png", name="export.csv"), "folder", columns)


def test_a_mapping_without_a_table_or_for_another_source_is_refused(tmp_path):
    add(tmp_path, "x.png")
    with pytest.raises(DataError, match="has no table that the column mapping could belong to"):
        catalogue(tmp_path, columns=MAPPING)
    with pytest.raises(DataError, match="belongs to the source folder, not to rsna"):
        catalogue(tmp_path, "rsna", MAPPING)


def test_several_tables_are_not_guessed_among(tmp_path):
    write(tmp_path, TABLE, "x.png", name="one.csv")
    write(tmp_path, TABLE, name="two.csv")
    with pytest.raises(DataError, match=r"has 2 tables; name the one to use labels\.csv"):
        catalogue(tmp_path, "folder")


@pytest.mark.parametrize("name", ["patinet_id", "Patient", "subject id", "patientID"])
def test_a_patient_by_another_name_is_not_overlooked(tmp_path, name):
    root = write(tmp_path, f"image_id,laterality,{name}\nx,L,p\n", "x.png")
    with pytest.raises(DataError, match=rf"lacks the column patient_id \(nearest: '{name}'\); rename it, or set"):
        catalogue(root, "folder")


def test_of_two_tables_the_first_in_the_documented_order_is_taken(tmp_path):
    write(tmp_path, "nonsense\n", name="train.csv")
    write(tmp_path, "image_id,file,patient_id,laterality\na,a.png,p,L\n", "a.png", name="metadata.csv")
    assert len(catalogue(tmp_path, "folder").mammograms) == 1


def test_a_table_without_patients_leaves_every_image_to_itself(tmp_path):
    found = catalogue(write(tmp_path, "image_id,laterality\na,L\nb,L\n", "a.png", "images/b.png"), "folder")
    assert [mammogram.patient_known for mammogram in found.mammograms] == [False, False]
    assert len({mammogram.patient_id for mammogram in found.mammograms}) == 2


def test_without_a_table_side_and_view_come_from_clear_words_of_the_name(tmp_path):
    found = catalogue(add(tmp_path, "a/one_L_CC.png", "b/one_L_CC.tif", "two.pgm", "notes.txt"), "folder")
    assert found.why == "prepare.source says so; no table, so no labels but side and view"
    assert {name: (entry.laterality, entry.view) for name, entry in by_id(found).items()} == {
        "a/one_L_CC.png": ("L", "CC"),
        "b/one_L_CC.tif": ("L", "CC"),
        "two.pgm": ("", ""),
    }
    assert not any(mammogram.patient_known for mammogram in found.mammograms)
    assert len({mammogram.patient_id for mammogram in found.mammograms}) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("17_L_CC", ("L", "CC")),
        ("LEFT_MLO", ("L", "MLO")),
        ("case3 right cc", ("R", "CC")),
        ("RMLO", ("R", "MLO")),
        ("L-MLO-2", ("L", "MLO")),
        ("Right", ("R", "")),
        ("x_R", ("", "")),
        ("l_23", ("", "")),
        ("left_or_right_cc", ("", "CC")),
        ("L_CC_or_MLO", ("L", "")),
        ("RCC_left", ("", "CC")),
        ("account", ("", "")),
        ("", ("", "")),
    ],
)
def test_only_clear_words_of_a_name_count(name, expected):
    assert side_and_view(name) == expected


def test_dicom_headers_group_images_by_patient_and_tell_side_and_view(tmp_path):
    write_dicom(tmp_path / "1.dcm", PatientID="Doe^77", ImageLaterality="L", ViewPosition="MLO")
    write_dicom(tmp_path / "2.dcm", ("R-10242", "x"), PatientID="Doe^77", Laterality="R")
    write_dicom(tmp_path / "3_R_CC.dcm", PatientID="ANONYMOUS")
    write_dicom(tmp_path / "4.dcm")
    found = catalogue(tmp_path, "folder")
    first, second, third, fourth = found.mammograms
    assert (first.laterality, first.view, second.laterality, second.view) == ("L", "MLO", "R", "CC")
    assert (third.laterality, third.view, fourth.laterality, fourth.view) == ("R", "CC", "", "")
    assert first.patient_id == second.patient_id
    assert [mammogram.patient_known for mammogram in found.mammograms] == [True, True, False, False]
    assert third.patient_id != fourth.patient_id
    assert "Doe" not in repr(found)


def test_a_damaged_dicom_is_rejected_without_a_word_of_its_header(tmp_path, caplog):
    write_dicom(tmp_path / "good.dcm", PatientID="Doe", ImageLaterality="L")
    raw = (tmp_path / "good.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(raw[: raw.index(b"Doe ") + 2])
    (tmp_path / "bad.dcm").write_bytes(raw.replace(b"CS\x02\x00L ", b"C\x0b\x02\x00L "))
    (tmp_path / "odd.dcm").write_bytes(raw.replace(b"LO\x04\x00Doe ", b"SQ\x04\x00Doe "))
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text.dcm").write_bytes(b"Doe, Jane, no DICOM at all")
    with caplog.at_level(logging.DEBUG):
        found = catalogue(tmp_path, "folder")
    assert kinds(tmp_path, source="folder") == dict.fromkeys(("bad.dcm", "empty.dcm", "text.dcm"), "unreadable")
    assert "Doe" not in repr(found) + caplog.text
    assert not re.search("good", repr(found.rejected))


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(place=st.integers(0, 10**6), new=st.binary(min_size=1, max_size=12), cut=st.integers(0, 10**6) | st.none())
def test_any_damage_to_a_header_gives_a_patient_or_one_clear_error(tmp_path_factory, place, new, cut):
    file = tmp_path_factory.mktemp("dicom") / "a.dcm"
    write_dicom(file, ("R-10242", "cranio-caudal"), PatientID="Doe^Jane", PatientName="Doe^Jane", ImageLaterality="L")
    raw = file.read_bytes()
    place %= len(raw)
    raw = raw[:place] + new + raw[place + len(new) :]
    file.write_bytes(raw if cut is None else raw[: cut % len(raw)])
    try:
        seen = read_header(file)
    except DataError as err:
        assert "Doe" not in str(err)  # noqa: PT017  both outcomes are right
    else:
        assert "Doe" not in repr(seen)


def test_headers_are_left_alone_where_the_table_tells_all(tmp_path):
    root = write(tmp_path, "image_id,patient_id,laterality,view\nx,p,L,CC\n", "x.dcm")  # no DICOM file at all
    assert len(catalogue(root).mammograms) == 1


def test_looking_up_sources_loads_no_table_library():
    check = "import sys, mammogan.data.sources; sys.exit('pandas' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
