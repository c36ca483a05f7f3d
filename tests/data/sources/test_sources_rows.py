"""Single rows at fault are turned away with a reason, and the rest goes on; nothing outside the folder is followed."""

import os
import sys

import pytest
from raw_folders import RSNA, add, by_id, kinds, write

from mammogan.data.sources import catalogue
from mammogan.errors import DataError

HEADER = "image_id,file,patient_id,laterality,view,density,cancer\n"

OUTSIDE = [
    "../../etc/passwd",
    "/etc/passwd",
    "images/../../a.png",
    "..\\..\\secret.png",
    "C:\\secret.png",
    "c:secret.png",
    "\\\\server\\share\\a.png",
    "//server/share/a.png",
    "./../a.png",
    "..",
]
ROWS = [
    ("b,a.png,q,L,,,", "file named twice"),
    ("b,./a.png,q,L,,,", "file named twice"),
    ("b,.//a.png,q,L,,,", "file named twice"),
    ("b,b.png,,L,,,", "row without patient_id"),
    (",b.png,q,L,,,", "row without image_id"),
    ("b,b.png,q,B,,,", "row without a side"),
    ("b,b.png,q,,,,", "row without a side"),
    ("b,b.png,q", "row without a side"),
    ("b", "row without patient_id"),
    ("b,nowhere.png,q,L,,,", "row without an image"),
    ("b,,q,L,,,", "row without an image"),
    ("b,images,q,L,,,", "row without an image"),
    ("b,~/a.png,q,L,,,", "row without an image"),
    ("b,https://host/a.png,q,L,,,", "row without an image"),
    ("b,notes.txt,q,L,,,", "unknown kind of file"),
    ("b,labels.csv,q,L,,,", "unknown kind of file"),
    ("b,b.png,q,L,,,,surplus", "row with too many cells"),
    ("b,b.png,q,L,CC,B,0,0,0", "row with too many cells"),
    *((f"b,{place},q,L,,,", "file outside the data folder") for place in OUTSIDE),
]


@pytest.mark.parametrize(("row", "kind"), ROWS)
def test_a_bad_row_is_rejected_and_the_rest_goes_on(tmp_path, row, kind):
    root = write(
        tmp_path, HEADER + f"a,a.png,p,L,,,\n{row}\nz,images/z.png,p,R,,,\n", "a.png", "images/z.png", "notes.txt"
    )
    found = catalogue(root)
    assert [mammogram.image_id for mammogram in found.mammograms] == ["a", "z"]
    assert [entry.reason.split(":")[0] for entry in found.rejected] == [kind]
    assert ": " in found.rejected[0].reason


@pytest.mark.parametrize("patient", ["..", "../..", "/etc", "C:"])
def test_an_id_cannot_lead_out_of_the_folder_either(tmp_path, patient):
    rows = f"1,7,42,L,CC,,0,0,0,,0,B,4\n1,{patient},43,L,CC,,0,0,0,,0,B,4\n"
    root = write(tmp_path / "data", RSNA + rows, "train_images/7/42.dcm", name="train.csv")
    add(tmp_path, "43.png")
    found = catalogue(root)
    assert [mammogram.image_id for mammogram in found.mammograms] == ["42"]
    assert found.rejected[0].reason.split(":")[0] in {"file outside the data folder", "row without an image"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_followed_within_the_folder_only(tmp_path):
    outside = add(tmp_path / "elsewhere", "secret.png", "set/b.png")
    root = write(
        tmp_path / "data",
        HEADER + "a,a.png,p,L,,,\nb,link.png,p,L,,,\nc,folder/b.png,p,L,,,\nd,inside.png,p,R,,,\ne,broken.png,p,R,,,\n",
        "a.png",
        "deep/d.png",
    )
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside / "set")
    (root / "unnamed.png").symlink_to(outside / "secret.png")
    (root / "inside.png").symlink_to(root / "deep" / "d.png")
    (root / "broken.png").symlink_to(root / "gone.png")
    (root / "loop").symlink_to(root)
    found = catalogue(root)
    assert [mammogram.image_id for mammogram in found.mammograms] == ["a", "d"]
    assert kinds(root) == {
        "link.png": "file outside the data folder",
        "folder/b.png": "file outside the data folder",
        "broken.png": "row without an image",
        "deep/d.png": "image without a row",
        "folder": "file outside the data folder",
        "unnamed.png": "file outside the data folder",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="a data folder of one's own may be a link")
def test_the_data_folder_itself_may_be_a_link(tmp_path):
    write(tmp_path / "far", HEADER + "a,a.png,p,L,,,\n", "a.png")
    (tmp_path / "data").symlink_to(tmp_path / "far")
    assert len(catalogue(tmp_path / "data").mammograms) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_file_whose_name_is_no_text_is_rejected(tmp_path):
    root = write(tmp_path, HEADER + "a,a.png,p,L,,,\n", "a.png")
    with open(os.fsencode(root) + b"/\xff\xfe.png", "wb"):  # noqa: PTH123  pathlib takes no bytes
        pass
    assert kinds(root) == {"\\xff\\xfe.png": "file name is no text"}


def test_an_image_that_no_row_names_is_rejected(tmp_path):
    root = write(tmp_path, HEADER + "a,a.png,p,L,,,\n", "a.png", "c.png", "notes.txt", "._a.png", ".cache/b.png")
    assert kinds(root) == {"c.png": "image without a row"}


def test_an_id_counts_once_and_the_first_usable_row_is_it(tmp_path):
    root = write(tmp_path, HEADER + "a,gone.png,p,L,,,\na,a.png,p,L,,,\na,b.png,p,L,,,\n", "a.png", "b.png")
    assert [mammogram.file.name for mammogram in catalogue(root).mammograms] == ["a.png"]
    assert kinds(root) == {"gone.png": "row without an image", "b.png": "image_id named twice"}


def test_reasons_quote_no_cell(tmp_path):
    root = write(tmp_path, HEADER + "b,b.png,q,Jane Doe,,,\nc,c.png,r,L,,,,Jane Doe\n", "b.png", "c.png")
    assert not any("Jane" in entry.reason for entry in catalogue(root).rejected)


def test_labels_that_are_not_understood_stay_empty(tmp_path):
    root = write(tmp_path, HEADER + "a,a.png,p,left,sideways,3,maybe\nb,b.png,p,R,mlo,c,1.0\n", "a.png", "b.png")
    first, second = (by_id(catalogue(root))[name] for name in "ab")
    assert (first.laterality, first.view, first.density, first.cancer) == ("L", "", "", "")
    assert (second.laterality, second.view, second.density, second.cancer) == ("R", "MLO", "C", "1")


def test_the_order_is_that_of_the_table_and_then_of_the_names(tmp_path):
    root = write(tmp_path, HEADER + "b,b.png,p,L,,,\na,a.png,p,L,,,\n", "a.png", "b.png", "z.png", "y/1.png", "y.png")
    found = catalogue(root)
    assert [mammogram.image_id for mammogram in found.mammograms] == ["b", "a"]
    assert [entry.file for entry in found.rejected] == ["y.png", "y/1.png", "z.png"]


def test_a_folder_is_listed_once_and_no_file_is_looked_at(tmp_path, monkeypatch):
    n = 3000
    rows = "".join(f"{k},images/{k}.png,p{k},L,,,\n" for k in range(n))
    root = write(tmp_path, HEADER + rows, *(f"images/{k}.png" for k in range(n)))
    looked: list[object] = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *args, **more: looked.append(args) or real(*args, **more))
    assert len(catalogue(root).mammograms) == n
    assert len(looked) < 50


def test_ids_are_a_patients_own(tmp_path):
    root = add(tmp_path, "cancer/10_1.png", "no_cancer/10_2.png", "no_cancer/11_1.png")
    found = catalogue(root)
    assert found.rejected == []
    assert {mammogram.image_id for mammogram in found.mammograms} == {"10/1", "2", "11/1"}


def test_files_of_one_name_in_two_folders_are_two_images(tmp_path):
    root = write(tmp_path, "file,patient_id,laterality\nl/1.png,p,L\nr/1.png,p,R\n", "l/1.png", "r/1.png")
    assert (len(catalogue(root).mammograms), catalogue(root).rejected) == (2, [])


def test_a_rejected_row_keeps_its_side(tmp_path):
    root = write(tmp_path, HEADER + "a,a.png,p,L,,,\nb,b.png,p,right,,,\na,c.png,p,R,,,\n", "a.png", "c.png")
    assert {entry.image_id: entry.laterality for entry in catalogue(root).rejected} == {"b": "R", "a": "R"}


def test_a_column_that_may_name_the_patient_stops_the_run(tmp_path):
    root = write(tmp_path, "file;Fallnummer;Seite\na.png;17;L\n", "a.png")
    with pytest.raises(DataError, match=r"set prepare\.columns to \{patient_id") as err:
        catalogue(root, "folder")
    assert "Fall" not in str(err.value)
    assert catalogue(root, "folder", {"patient_id": "Fallnummer"}).mammograms[0].patient_known


@pytest.mark.parametrize("source", ["auto", "rsna"])
def test_a_set_one_folder_down_is_found(tmp_path, source):
    rows = "1,7,42,L,CC,,0,0,0,,0,B,4\n1,7,43,L,CC,,0,0,0,,0,B,4\n"
    root = tmp_path / "data"
    write(root / "rsna", RSNA + rows, "train_images/7/42.png", "train_images/7/9.png", name="train.csv")
    add(root, "SOURCE.md")
    found = catalogue(root, source)
    assert found.why.endswith("(in the only folder of the data folder)")
    assert found.mammograms[0].file == root / "rsna/train_images/7/42.png"
    assert sorted(kinds(root)) == ["rsna/train_images/7/43.dcm", "rsna/train_images/7/9.png"]


def test_rsna_needs_no_labels(tmp_path):
    root = write(tmp_path, "patient_id,image_id,laterality\n7,42,L\n", "train_images/7/42.png", name="train.csv")
    assert (catalogue(root).source, catalogue(root).mammograms[0].cancer) == ("rsna", "")


def test_cbis_ddsm_calls_nothing_benign_without_the_films_own_table(tmp_path):
    add(tmp_path, "Calc-Test_P_00038_LEFT_CC.dcm", "Mass-Test_P_00038_LEFT_CC.dcm", "Calc-Test_P_00039_LEFT_CC.dcm")
    cases = "patient_id,breast_density,left or right breast,image view,pathology\nP_00038,2,LEFT,CC,BENIGN\n"
    found = catalogue(write(tmp_path, cases, name="mass_case_description_test_set.csv"))
    assert [(entry.density, entry.cancer) for entry in found.mammograms] == [("", ""), ("", ""), ("B", "0")]
    assert "3 of the 4 case tables missing" in found.why


@pytest.mark.parametrize("folder", ["", "INBREAST-ROI-Mammography/"])
def test_the_cut_images_of_inbreast_get_their_patients_from_the_names_and_no_cancer(tmp_path, folder):
    table, names = "Patient id,Laterality,View,Acr,Path,Cancer,Path_save\n", []
    for number, patient in ((22678622, "61b13c59bcba149e"), (22678623, "aaaa3c59bcba149e")):
        names.append(f"{folder}images/{number}_{patient}_MG_R_CC_ANON.png")
        table += f"removed,R,CC,2,a/b.dcm,1,{names[-1].removeprefix(folder)}\n"
    found = catalogue(write(tmp_path, table, *names, name=f"{folder}description.csv"))
    assert (found.source, found.rejected) == ("rsna-roi", [])
    assert [(entry.image_id, entry.patient_id, entry.density, entry.cancer) for entry in found.mammograms] == [
        ("22678622", "61b13c59bcba149e", "B", ""),
        ("22678623", "aaaa3c59bcba149e", "B", ""),
    ]


def test_the_cut_images_of_mias_get_side_and_patient_from_the_film(tmp_path):
    table = "Refnum,Bg,Class,Severity,X,Y,Radius,Path,Cancer,Path_save\n"
    for film, cancer in ((1, 0), (1, 1), (2, 0), (3, 0)):
        table += f"mdb00{film},G,CIRC,B,5,4,1,mdb00{film}.png,{cancer},images/mdb00{film}.png\n"
    root = write(tmp_path, table, *(f"images/mdb00{film}.png" for film in (1, 2, 3)), name="description.csv")
    found = catalogue(root)
    assert (found.source, found.rejected) == ("rsna-roi", [])
    assert [(entry.patient_id, entry.laterality, entry.view, entry.cancer) for entry in found.mammograms] == [
        ("pair 1", "L", "MLO", "1"),
        ("pair 1", "R", "MLO", "0"),
        ("pair 2", "L", "MLO", "0"),
    ]
