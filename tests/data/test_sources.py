"""Label tables and their images, in good and bad order."""

from pathlib import Path

import pytest

from mammogan.data.sources import find_images
from mammogan.errors import DataError

HEADER = "image_id,file,patient_id,laterality,view,density,cancer\n"
SHARED = Path(__file__).parents[3] / "shared" / "mammograms"


def data_folder(root: Path, table: str, *files: str, name: str = "labels.csv") -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_text(table, encoding="utf-8")
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"never opened")
    return root


def reasons(root: Path) -> dict[str, str]:
    return {entry.file: entry.reason for entry in find_images(root)[1]}


def test_a_table_with_files_is_read_in_its_order(tmp_path):
    table = HEADER + "b,images/b.png,p2,R,mlo,c,1\na,images/a.png,p1,Left,CC,_,\n"
    sources, rejected = find_images(data_folder(tmp_path, table, "images/a.png", "images/b.png"))
    assert rejected == []
    assert [source.image_id for source in sources] == ["b", "a"]
    first, second = sources
    assert (first.laterality, first.view, first.density, first.cancer) == ("R", "MLO", "C", "1")
    assert (second.laterality, second.view, second.density, second.cancer) == ("L", "CC", "", "")
    assert second.file == tmp_path / "images/a.png"


def test_column_names_come_in_any_case_and_with_a_byte_order_mark(tmp_path):
    table = "\ufeffPatient id,Laterality,Image_id,Cancer,Path_save\n7,l,42,1.0,images/x.png\n"
    sources, _ = find_images(data_folder(tmp_path, table, "images/x.png", name="description.csv"))
    assert (sources[0].patient_id, sources[0].image_id, sources[0].cancer) == ("7", "42", "1")
    assert sources[0].file.name == "x.png"


@pytest.mark.parametrize(
    "place",
    [
        "images/42.png",
        "images/42.dcm",
        "train_images/7/42.dcm",
        "train_images/7/42.png",
        "7/42.png",
        "7_42.png",
    ],
)
def test_an_image_that_the_table_does_not_place_is_found(tmp_path, place):
    table = "patient_id,laterality,image_id\n7,L,42\n"
    sources, rejected = find_images(data_folder(tmp_path, table, place, name="train.csv"))
    assert [source.file for source in sources] == [tmp_path / place]
    assert rejected == []


def test_of_two_tables_the_first_in_the_documented_order_is_taken(tmp_path):
    data_folder(tmp_path, "nonsense\n", name="train.csv")
    data_folder(tmp_path, HEADER + "a,a.png,p,L,,,\n", "a.png", name="metadata.csv")
    assert len(find_images(tmp_path)[0]) == 1


def test_a_backslash_path_from_windows_is_understood(tmp_path):
    sources, _ = find_images(data_folder(tmp_path, HEADER + "a,images\\a.png,p,L,,,\n", "images/a.png"))
    assert sources[0].file == tmp_path / "images/a.png"


def test_a_row_without_an_image_and_an_image_without_a_row_are_rejected(tmp_path):
    root = data_folder(tmp_path, HEADER + "a,a.png,p,L,,,\nb,b.png,q,L,,,\n", "a.png", "c.png", "notes.txt")
    assert len(find_images(root)[0]) == 1
    found = reasons(root)
    assert set(found) == {"b.png", "c.png"}
    assert found["b.png"].startswith("row without an image: ")
    assert found["c.png"].startswith("image without a row: ")


def test_hidden_files_are_nobody_s_images(tmp_path):
    root = data_folder(tmp_path, HEADER + "a,a.png,p,L,,,\n", "a.png", "._a.png", ".cache/b.png")
    assert find_images(root)[1] == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,b.png,q,L,,,", "image_id named twice"),
        ("b,a.png,q,L,,,", "file named twice"),
        ("b,b.png,,L,,,", "row without patient_id"),
        (",b.png,q,L,,,", "row without image_id"),
        ("b,b.png,q,B,,,", "row without a side: laterality is 'B', expected L or R"),
        ("b,b.png,q,,,,", "row without a side"),
        ("b,../../etc/passwd,q,L,,,", "file outside the data folder"),
        ("b,/etc/passwd,q,L,,,", "file outside the data folder"),
        ("b,C:\\secret.png,q,L,,,", "file outside the data folder"),
        ("b", "row without patient_id"),
    ],
)
def test_a_bad_row_is_rejected_and_the_rest_goes_on(tmp_path, row, reason):
    root = data_folder(tmp_path, HEADER + f"a,a.png,p,L,,,\n{row}\n", "a.png")
    sources, rejected = find_images(root)
    assert [source.image_id for source in sources] == ["a"]
    assert [entry.reason.startswith(reason) for entry in rejected] == [True]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"labels\.csv is empty"),
        ("\n \n", r"labels\.csv is empty"),
        (HEADER, r"has a header but no rows"),
        ("image_id,side\na,L\n", r"lacks the column patient_id, laterality; found: image_id, side"),
        ("patient_id,laterality,image_id,IMAGE_ID\np,L,a,a\n", r"has the column image_id twice"),
        ('patient_id,laterality,image_id\n"p"x,L,a\n', r"cannot be read as a CSV table"),
    ],
)
def test_a_table_that_is_no_use_is_named_with_what_is_wrong(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        find_images(data_folder(tmp_path, table, "a.png"))


def test_a_table_in_another_encoding_is_refused(tmp_path):
    root = data_folder(tmp_path, "", "a.png")
    (root / "labels.csv").write_bytes("patient_id,laterality,image_id\nJosé,L,a\n".encode("cp1252"))
    with pytest.raises(DataError, match="is not UTF-8 text; save it as"):
        find_images(root)


def test_a_missing_an_empty_and_a_tableless_folder_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is missing or no folder; put the images and their table there"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is empty; put the images and their table there"):
        find_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"has no label table; it needs one of labels\.csv, .* found: a\.png"):
        find_images(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real test sets are not beside this checkout")
@pytest.mark.parametrize(("folder", "n"), [("cdd-cesm-cc", 163), ("cbis-ddsm-dicom/rsna_layout", 6)])
def test_the_real_sets_are_found_whole(folder, n):
    sources, rejected = find_images(SHARED / folder)
    assert len(sources) == n
    assert rejected == []
    assert {source.laterality for source in sources} == {"L", "R"}
