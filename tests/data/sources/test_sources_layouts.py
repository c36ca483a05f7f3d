"""Every layout, with the traps that its makers left in it; recognised by itself unless the test says otherwise."""

import shutil
from pathlib import Path

import pytest
from raw_folders import RSNA, add, by_id, kinds, labels_of, write, write_dicom, write_sheet

from mammogan.data.sources import READERS, catalogue
from mammogan.data.sources.files import list_files
from real_sets import SHARED, needs_real_sets

ROOT = Path(__file__).parents[3]
CASES = "patient_id,breast_density,left or right breast,image view,abnormality id,pathology,image file path\n"


@pytest.mark.parametrize("suffix", ["dcm", "png"])
def test_rsna(tmp_path, suffix):
    rows = "1,7,42,L,MLO,61.0,1,1,1,,0,B,49\n1,7,43,R,CC,61.0,0,0,0,,0,,49\n"
    write(tmp_path, RSNA + rows, f"train_images/7/42.{suffix}", f"train_images/7/43.{suffix}", name="train.csv")
    add(tmp_path, "test_images/9/99.dcm", "test.csv", "sample_submission.csv")
    found = catalogue(tmp_path)
    assert (found.source, found.rejected) == ("rsna", [])
    assert found.why == "train.csv with the columns of the RSNA competition beside train_images/"
    assert labels_of(found.mammograms[0]) == ("7", "L", "MLO", "B", "1", "61")
    assert labels_of(found.mammograms[1]) == ("7", "R", "CC", "", "0", "61")


def test_rsna_roi_takes_the_place_from_path_save(tmp_path):
    table = "Patient_id,Image_id,Laterality,View,Age,Cancer,Density,Path,Path_save\n"
    table += "7,42,L,CC,61.0,1,C,x/42.dcm,images/x.png\n"
    found = catalogue(write(tmp_path, table, "images/x.png", name="description.csv"))
    assert (found.source, found.rejected) == ("rsna-roi", [])
    assert labels_of(found.mammograms[0]) == ("7", "L", "CC", "C", "1", "61")
    assert found.mammograms[0].file == tmp_path / "images/x.png"


def test_rsna_roi_without_ids_takes_them_from_the_path_of_the_dicom(tmp_path):
    table = "Path,Cancer,View,Laterality,Path_save\n"
    table += "/in/train_images/7/42.dcm,0,MLO,L,images/a.png\nodd,0,CC,L,images/b.png\n"
    root = write(tmp_path, table, "images/a.png", "images/b.png", name="description.csv")
    found = catalogue(root)
    assert {image: labels_of(mammogram) for image, mammogram in by_id(found).items()} == {
        "42": ("7", "L", "MLO", "", "0", "")
    }
    assert kinds(root) == {"images/b.png": "row without image_id"}


@pytest.mark.parametrize("place", ["7/42.png", "7_42.png", "images/42.png", "images/7_42.png", "7/42.jpg"])
@pytest.mark.parametrize("table", ["description.csv", "train.csv"])
def test_rsna_roi_finds_images_that_the_table_does_not_place(tmp_path, place, table):
    found = catalogue(write(tmp_path, RSNA.upper() + "1,7,42,L,CC,,0,0,0,,0,B,4\n", place, name=table))
    assert (found.source, found.rejected) == ("rsna-roi", [])
    assert [mammogram.file for mammogram in found.mammograms] == [tmp_path / place]


def test_rsna_roi_in_two_folders_and_without_a_table(tmp_path):
    found = catalogue(add(tmp_path, "cancer/7_42.png", "cancer/7_43.png", "no_cancer/odd.png"))
    assert (found.source, found.rejected) == ("rsna-roi", [])
    assert labels_of(by_id(found)["42"]) == ("7", "", "", "", "1", "")
    assert [mammogram.patient_known for mammogram in found.mammograms] == [True, True, False]
    assert by_id(found)["no_cancer/odd.png"].cancer == "0"


def test_cbis_ddsm_from_kaggle(tmp_path):
    info = "file_path,image_path,PatientID,SeriesDescription\n"
    info += "a,CBIS-DDSM/jpeg/1.1/1-1.jpg,Mass-Training_P_00001_LEFT_CC,full mammogram images\n"
    info += "a,CBIS-DDSM/jpeg/1.2/1-1.jpg,Mass-Training_P_00001_LEFT_CC_1,cropped images\n"
    info += "a,CBIS-DDSM/jpeg/1.2/1-2.jpg,Mass-Training_P_00001_LEFT_CC_1,\n"
    info += "a,CBIS-DDSM/jpeg/1.3/1-1.jpg,Calc-Test_P_00002_RIGHT_MLO,\n"
    write(
        tmp_path,
        info,
        *(f"jpeg/{name}.jpg" for name in ("1.1/1-1", "1.2/1-1", "1.2/1-2", "1.3/1-1")),
        name="csv/dicom_info.csv",
    )
    rows = "P_00001,3,LEFT,CC,1,BENIGN,x\nP_00001,3,LEFT,CC,2,MALIGNANT,x\n"
    write(tmp_path, CASES + rows, name="csv/mass_case_description_train_set.csv")
    calc = CASES.replace("breast_density", "breast density") + "P_00002,2,RIGHT,MLO,1,BENIGN_WITHOUT_CALLBACK,x\n"
    write(tmp_path, calc + "P_00009,2,RIGHT,CC,1,BENIGN,x\n", name="csv/calc_case_description_test_set.csv")
    found = catalogue(tmp_path)
    assert found.source == "cbis-ddsm"
    assert found.why.endswith("2 crops and masks left aside")
    assert [labels_of(mammogram) for mammogram in found.mammograms] == [
        ("P_00001", "L", "CC", "C", "1", ""),
        ("P_00002", "R", "MLO", "B", "0", ""),
    ]
    reason = "row without an image: line 3 of calc_case_description_test_set.csv names a film that has no file"
    assert [entry.reason for entry in found.rejected] == [reason]


def test_cbis_ddsm_from_tcia(tmp_path):
    add(tmp_path, "Calc-Test_P_00038_LEFT_CC/1.2/1.3/1-1.dcm", "Calc-Test_P_00038_LEFT_CC_1/1.2/1.3/1-1.dcm")
    add(tmp_path, "Mass-Test_P_00038_LEFT_CC.dcm", "Mass-Test_P_00016_LEFT_CC.dcm")
    rows = "P_00038,0,LEFT,CC,1,MALIGNANT,x\n"
    write(tmp_path, CASES + rows, name="mass_case_description_test_set.csv")
    found = catalogue(tmp_path)
    assert found.source == "cbis-ddsm"
    assert {name: labels_of(mammogram) for name, mammogram in by_id(found).items()} == {
        # the same film, of both halves of the set: the finding of one is in the picture of the other
        "Calc-Test_P_00038_LEFT_CC": ("P_00038", "L", "CC", "", "1", ""),
        "Mass-Test_P_00038_LEFT_CC": ("P_00038", "L", "CC", "", "1", ""),
    }
    assert kinds(tmp_path) == {"Mass-Test_P_00016_LEFT_CC.dcm": "image without a row"}


def test_cmmd(tmp_path):
    sheet = [
        {"ID1": "D1-0001", "LeftRight": "R", "Age": 44, "number": 2, "abnormality": "mass", "classification": "Benign"},
        {
            "ID1": "D1-0001",
            "LeftRight": "R",
            "Age": 44,
            "number": 2,
            "abnormality": "mass",
            "classification": "Malignant",
        },
        {"ID1": "D2-0009", "LeftRight": "L", "Age": 50, "number": 2, "abnormality": "mass", "classification": "Benign"},
    ]
    write_sheet(tmp_path / "CMMD_clinicaldata_revision.xlsx", sheet)
    folder = tmp_path / "CMMD" / "D1-0001" / "07-18-2010-NA-NA-1" / "1.000000-NA-2"
    write_dicom(folder / "1-1.dcm", ("R-10242", "cranio-caudal"), ImageLaterality="R", PatientID="D1-0001")
    write_dicom(folder / "1-2.dcm", ("other", "medio-lateral oblique"), ImageLaterality="L", PatientID="D1-0001")
    write_dicom(folder / "1-3.dcm", PatientID="D1-0001")
    add(folder, "1-4.dcm")
    add(tmp_path, "CMMD/D1-0002/a/b/1-1.dcm")
    found = catalogue(tmp_path)
    assert found.source == "cmmd"
    assert [labels_of(mammogram) for mammogram in found.mammograms] == [
        ("D1-0001", "R", "CC", "", "1", "44"),
        ("D1-0001", "L", "MLO", "", "", "44"),  # the table tells nothing of this breast
    ]
    assert sorted(kinds(tmp_path).values()) == [
        "image without a row",
        "image without a side",
        "row without an image",
        "unreadable",
    ]


def test_cmmd_says_what_was_seen(tmp_path):
    add(tmp_path, "D1-0001/a/b/1-1.dcm")
    assert READERS["cmmd"].recognise(list_files(tmp_path)) == "patient folders of CMMD, such as D1-0001/"
    write(tmp_path, "ID1\n", name="CMMD_clinicaldata_revision.csv")
    assert READERS["cmmd"].recognise(list_files(tmp_path)) == "the table CMMD_clinicaldata_revision"


def test_cdd_cesm_as_published(tmp_path):
    row = {"Patient_ID": 1, "Side": "L", "Type": "DM", "View": "MLO", "Age": 50}
    density, pathology = "Breast density (ACR)", "Pathology Classification/ Follow up"
    write_sheet(
        tmp_path / "Radiology-manual-annotations.xlsx",
        [
            {"Image_name": " P1_L_DM_MLO", density: "b", pathology: "Benign", **row},
            {"Image_name": "P1_L_DM_MLO", density: "b", pathology: "Malignant", **row},
            {"Image_name": "P1_L_CM_MLO", density: "b", pathology: "Malignant", **row},
            {"Image_name": "P2_R_DM_CC", density: "_", pathology: "Normal", **row},
            {"Image_name": "P3_R_DM_CC", density: "A", pathology: "Normal", **row},
        ],
    )
    low = "Low energy images of CDD-CESM"
    add(tmp_path, f"{low}/P1_L_DM_MLO .jpg", f"{low}/P2_R_DM_CC.jpg", f"{low}/P4_R_DM_CC.jpg")
    add(tmp_path, "Subtracted images of CDD-CESM/P1_L_CM_MLO.jpg")
    found = catalogue(tmp_path)
    assert (found.source, found.why.split("; ")[-1]) == ("cdd-cesm", "1 subtracted images left aside")
    assert {name: labels_of(mammogram) for name, mammogram in by_id(found).items()} == {
        "P1_L_DM_MLO": ("P1", "L", "MLO", "B", "1", "50"),
        "P2_R_DM_CC": ("P2", "R", "CC", "", "0", "50"),
    }
    assert [entry.reason.split(":")[0] for entry in found.rejected] == ["image without a row", "row without an image"]


def test_the_selection_of_cdd_cesm_marks_made_up_patients(tmp_path):
    table = "image_id,file,patient_id,patient_id_status,laterality,view,cancer,age,density\n"
    table += "a,images/a.png,U1,unknown,R,CC,0,,\nb,images/b.png,P37,matched,L,CC,1,63,_\n"
    found = catalogue(write(tmp_path, table, "images/a.png", "images/b.png", name="metadata.csv"))
    assert (found.source, found.rejected) == ("cdd-cesm", [])
    assert [mammogram.patient_known for mammogram in found.mammograms] == [False, True]
    assert labels_of(found.mammograms[1]) == ("P37", "L", "CC", "", "1", "63")


def test_vindr_has_no_cancer_label(tmp_path):
    table = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split\n"
    table += "s1,x,i1,L,CC,1,1,BI-RADS 5,DENSITY C,training\n"
    write(tmp_path, table, "images/s1/i1.dicom", name="breast-level_annotations.csv")
    write(tmp_path, "SOP Instance UID,Patient's Age\ni1,053Y\n", name="metadata.csv")
    write(tmp_path, "study_id,finding\n", name="finding_annotations.csv")
    found = catalogue(tmp_path)
    assert (found.source, found.rejected) == ("vindr", [])
    assert labels_of(found.mammograms[0]) == ("s1", "L", "CC", "C", "", "53")


def test_inbreast(tmp_path):
    table = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass \n"
    table += "removed;removed;R;MLO;201001;22678622;4;5;X\nremoved;removed;L;CC;201001;20586908; ;2;\n"
    table += ";;;;;;;;\n;;;;;see the paper;;;\nTotal;;;;;;;;410\n"
    write(
        tmp_path,
        table,
        "AllDICOMs/22678622_61b13c59bcba149e_MG_R_ML_ANON.dcm",
        "AllXML/22678622.xml",
        name="INbreast.csv",
    )
    found = catalogue(tmp_path)
    assert found.source == "inbreast"
    assert [labels_of(mammogram) for mammogram in found.mammograms] == [("61b13c59bcba149e", "R", "MLO", "D", "", "")]
    assert [(entry.image_id, entry.reason) for entry in found.rejected] == [
        ("20586908", "row without an image: line 3 of INbreast.csv has no file")
    ]


def test_mias_counts_odd_films_as_left_and_joins_several_lines(tmp_path):
    info = "This file lists the films\nREFNUM BG CLASS SEVERITY X Y RADIUS\n"
    info += "mdb001 G CIRC B 535 425 197\nmdb001 G CALC M\nmdb002 D NORM\nmdb059 F CIRC B *NOTE 3*\nmdb004 D MISC\n"
    write(tmp_path, info, *(f"all-mias/mdb{k:03}.pgm" for k in (1, 2, 3, 4)), name="all-mias/Info.txt")
    found = catalogue(tmp_path)
    assert found.source == "mias"
    assert {name: labels_of(mammogram) for name, mammogram in by_id(found).items()} == {
        "mdb001": ("pair 1", "L", "MLO", "", "1", ""),
        "mdb002": ("pair 1", "R", "MLO", "", "0", ""),
        "mdb004": ("pair 2", "R", "MLO", "", "", ""),
    }
    assert [(entry.file, entry.image_id, entry.reason.split(":")[0]) for entry in found.rejected] == [
        ("all-mias/mdb003.pgm", "", "image without a row"),
        ("", "mdb059", "row without an image"),
    ]


def test_mini_ddsm_leaves_masks_aside(tmp_path):
    add(
        tmp_path,
        "Cancer/2011/A_2011_1.LEFT_CC.png",
        "Cancer/2011/A_2011_1.LEFT_CC_Mask.png",
        "Cancer/2011/A-2011-1.ics",
    )
    add(tmp_path, "Benign/3011/C_3011_1.RIGHT_MLO.png", "Normal/odd.png")
    sheet = [
        {
            "fileName": "A_2011_1.LEFT_CC.png",
            "Side": "LEFT",
            "View": "CC",
            "Status": "Cancer",
            "Age": 61.0,
            "Density": 3,
        }
    ]
    write_sheet(tmp_path / "Data-MoreThanTwoMasks.xlsx", sheet)
    found = catalogue(tmp_path)
    assert (found.source, found.why.split("; ")[-1]) == ("mini-ddsm", "1 masks left aside")
    assert [labels_of(mammogram) for mammogram in found.mammograms] == [
        ("C_3011", "R", "MLO", "", "0", ""),
        ("A_2011", "L", "CC", "C", "1", "61"),
    ]
    assert kinds(tmp_path) == {"Normal/odd.png": "image without a side"}


def test_phantoms(tmp_path):
    shutil.copytree(ROOT / "samples" / "phantoms", tmp_path / "data")
    found = catalogue(tmp_path / "data")
    assert (found.source, len(found.mammograms), found.rejected) == ("phantom", 512, [])
    assert labels_of(found.mammograms[0]) == ("P0001", "L", "CC", "A", "0", "")


@needs_real_sets
@pytest.mark.parametrize(
    ("folder", "source", "n", "known"),
    [
        ("cdd-cesm-cc", "cdd-cesm", 163, 99),
        ("cbis-ddsm-dicom/rsna_layout", "rsna", 6, 6),
        ("cbis-ddsm-dicom/original", "cbis-ddsm", 2, 2),
    ],
)
def test_the_real_sets_are_found_whole(folder, source, n, known):
    found = catalogue(SHARED / folder)
    assert (found.source, len(found.mammograms), found.rejected) == (source, n, [])
    assert {mammogram.laterality for mammogram in found.mammograms} == {"L", "R"}
    assert sum(mammogram.patient_known for mammogram in found.mammograms) == known
