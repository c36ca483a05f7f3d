"""A synthetic image stands in each layout where its makers would have put it, in the spelling of its neighbours."""

import pytest

from mammogan.data.sources import catalogue, recognise
from mammogan.data.sources.files import list_files
from mammogan.enrich import batch
from mammogan.enrich.batch import NewFile, NewRows
from mammogan.enrich.layouts import Addition, layout_of
from mammogan.errors import DataError

RSNA = "site_id,patient_id,image_id,laterality,view,age,cancer\n1,173,418,L,CC,50,0\n1,173,419,L,MLO,,1\n"
ROI = "Patient_id,Image_id,Laterality,View,Cancer,Path_save\n173,418,L,CC,0,images/173_418.png\n"
FOLDER = "file;patient_id;laterality;view;cancer;density\nscans/a.jpg;anna;left;CC;benign;DENSITY B\n"
CESM = "image_id,file,patient_id,patient_id_status,laterality,view,cancer\nIM1,images/IM1.png,P1,matched,L,CC,0\n"
INFO = (
    "file_path,image_path,PatientID,SeriesDescription\nx,CBIS-DDSM/jpeg/1.2/1-1.jpg,Mass-Training_P_00001_LEFT_CC,f\n"
)
CASES = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,pathology\nP_00001,3,LEFT,CC,1,BENIGN\n"
)
ONE = Addition(1900000001, "R", "MLO", cancer="1")

LAYOUTS = {
    "rsna": (
        {"train.csv": RSNA, "train_images/173/418.dcm": "", "train_images/173/419.dcm": ""},
        "train_images/1900000001/1900000001.dcm",
        {"train.csv": {"patient_id": "1900000001", "image_id": "1900000001", "laterality": "R", "cancer": "1"}},
    ),
    "rsna-roi": (
        {"description.csv": ROI, "images/173_418.png": ""},
        "images/1900000001_1900000001.png",
        {"description.csv": {"path_save": "images/1900000001_1900000001.png", "view": "MLO", "cancer": "1"}},
    ),
    "rsna-roi without a table": (
        {"cancer/1_2.png": "", "no_cancer/3_4.png": ""},
        "cancer/1900000001_1900000001.png",
        {},
    ),
    "folder": (
        {"labels.csv": FOLDER, "scans/a.jpg": ""},
        "scans/SYN1900000001.jpg",
        {"labels.csv": {"patient_id": "SYN1900000001", "laterality": "R", "cancer": "1", "density": ""}},
    ),
    "cdd-cesm": (
        {"metadata.csv": CESM, "images/IM1.png": ""},
        "images/SYN1900000001.png",
        {"metadata.csv": {"patient_id_status": "unknown", "file": "images/SYN1900000001.png"}},
    ),
    "cbis-ddsm": (
        {"csv/dicom_info.csv": INFO, "csv/mass_case_description_train_set.csv": CASES, "jpeg/1.2/1-1.jpg": ""},
        "jpeg/2.25.1900000001/1-001.jpg",
        {
            "csv/dicom_info.csv": {"patientid": "Mass-Training_P_1900000001_RIGHT_MLO"},
            "csv/mass_case_description_train_set.csv": {"patient_id": "P_1900000001", "pathology": "MALIGNANT"},
        },
    ),
}


def make(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root


def layout(root, format_=None):
    files, name, _ = recognise(list_files(root))
    return layout_of(files, name, None, format_)


@pytest.mark.parametrize("name", LAYOUTS)
def test_file_and_rows_are_those_of_the_layout(tmp_path, name):
    files, place, rows = LAYOUTS[name]
    found = layout(make(tmp_path, files)).place(ONE)
    assert found.file == place
    assert found.rows.keys() == rows.keys()
    for table, cells in rows.items():
        assert {column: found.rows[table].get(column) for column in cells} == cells
        assert found.rows[table]["synthetic"] == "1"


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_was_added_is_never_read_as_real_and_the_layout_stays_what_it_was(tmp_path, name):
    root = make(tmp_path, LAYOUTS[name][0])
    before = catalogue(root)
    there = layout(root)
    place = there.place(ONE)
    keys = {table: row[there.keys[table]] for table, row in place.rows.items()}
    rows = [NewRows(table, there.keys[table], [row]) for table, row in place.rows.items()]
    batch.add(root, "b1", {}, [NewFile(place.file, b"pixels", {"keys": keys})], rows)
    after = catalogue(root)
    assert after.source == before.source
    assert after.mammograms == before.mammograms
    assert after.rejected == before.rejected
    assert "1 synthetic images of `mammogan enrich` left aside" in after.why


def test_the_record_lost_the_column_still_tells(tmp_path):
    root = make(tmp_path, LAYOUTS["rsna"][0] | {"train_images/9/9.dcm": ""})
    (root / "train.csv").write_text(RSNA.replace("cancer\n", "cancer,synthetic\n") + "1,9,9,L,CC,,,1\n")
    assert [one.image_id for one in catalogue(root).mammograms] == ["418", "419"]


def test_spelling_follows_the_rows_that_are_there(tmp_path):
    row = (
        layout(make(tmp_path, LAYOUTS["folder"][0])).place(Addition(1900000001, "L", "CC", "0", "B")).rows["labels.csv"]
    )
    assert (row["laterality"], row["cancer"], row["density"]) == ("left", "benign", "DENSITY B")


def test_a_format_of_ones_own_gets_its_usual_suffix(tmp_path):
    assert layout(make(tmp_path, LAYOUTS["folder"][0]), "dicom").place(ONE).file == "scans/SYN1900000001.dcm"


def test_folders_by_class_need_a_class_and_cbis_a_view(tmp_path):
    with pytest.raises(DataError, match="conditional on cancer"):
        layout(make(tmp_path / "a", LAYOUTS["rsna-roi without a table"][0])).place(Addition(1900000001, "L"))
    with pytest.raises(DataError, match="give --view"):
        layout(make(tmp_path / "b", LAYOUTS["cbis-ddsm"][0])).place(Addition(1900000001, "L"))


def test_sets_to_which_nothing_can_be_added_say_which_can(tmp_path):
    with pytest.raises(DataError, match="enrich writes rsna, rsna-roi"):
        layout(make(tmp_path, {"all-mias/mdb001.pgm": "", "all-mias/Info.txt": "mdb001 G CIRC B 1 2 3\n"}))
