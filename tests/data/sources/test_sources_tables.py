"""Tables as people save them, and tables that are no use: each one clear message."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_folders import write, write_sheet

from mammogan.data.sources import catalogue
from mammogan.data.sources.tables import read_table
from mammogan.errors import DataError

HEADER = "patient_id,laterality,image_id,file\n"
GOOD = HEADER + "Zoë,L,1,a.png\n"


@pytest.mark.parametrize(
    "raw",
    [
        GOOD.encode(),
        GOOD.encode("utf-8-sig"),
        GOOD.encode("cp1252"),
        GOOD.replace(",", ";").encode(),
        GOOD.replace(",", "\t").encode("cp1252"),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.replace("\n", "\n\n , , \n").encode(),
        GOOD.upper().replace("ZOË", "Zoë").replace("A.PNG", "a.png").encode(),
        GOOD.replace("patient_id", " Patient  ID ").replace("image_id", "Image-Id").encode(),
        GOOD.replace("1,a.png", '1,"a.png"').encode(),
        GOOD.replace("image_id,file", "image_id,file,note")
        .replace("a.png", 'a.png,"one\nand two; or ""three"""')
        .encode(),
        GOOD.replace("image_id,file", 'image_id,file,"a; b; c; d; e; f"').encode(),
        GOOD.replace("a.png", "a.png,,,").encode(),
        GOOD.replace("patient_id,", ",patient_id,").replace("Zoë", "0,Zoë").encode(),
    ],
)
def test_every_common_way_to_save_a_table_is_read(tmp_path, raw):
    found = catalogue(write(tmp_path, raw, "a.png"))
    assert found.rejected == []
    assert [(entry.patient_id, entry.image_id, entry.file.name) for entry in found.mammograms] == [
        ("Zoë", "1", "a.png")
    ]


BAD_TABLES = [
    (b"", r"labels\.csv is empty"),
    (b"\n \n,,\n", r"labels\.csv is empty"),
    (b"\xef\xbb\xbf", r"labels\.csv is empty"),
    (HEADER.encode(), "has a header but no rows"),
    (HEADER.encode() + b",,,\n", "has a header but no rows"),
    (b"patient_id,laterality,image_id,IMAGE ID\np,L,a,a\n", "has the column image_id twice"),
    (b'patient_id,laterality,image_id\n"p"x,L,a\n', r"cannot be read as a CSV table: .*\(line 2\)"),
    (b'patient_id,laterality,image_id\n"p,L,a\n', "cannot be read as a CSV table"),
    (HEADER.encode() + b"p" * 200_000 + b",L,1,a.png\n", "cannot be read as a CSV table: field larger"),
    (GOOD.encode("utf-16"), "is not a text table .* save it as 'CSV UTF-8'"),
    (GOOD.encode("utf-32"), "is not a text table"),
    (b"PK\x03\x04\x00\x00", "is not a text table"),
    (HEADER.encode() + b"\x81\x8d,L,1,a.png\n", "neither UTF-8 nor Windows-1252"),
    (b"image_id,lat\na,L\n", r"lacks the column patient_id, laterality, found: image_id, lat"),
    (b"patinet_id,laterality,image_id\np,L,a\n", r"lacks the column patient_id \(nearest: 'patinet_id'\)"),
    (b"patient_id,side,image_id\np,L,a\n", "lacks the column laterality"),
    (b"patient_id,laterality,number\np,L,a\n", "lacks the column file or image_id"),
    (b"a sentence\nand another\n", "is of no known layout"),
]


@pytest.mark.parametrize(("raw", "message"), BAD_TABLES)
def test_a_table_that_is_no_use_is_named_with_what_is_wrong(tmp_path, raw, message):
    with pytest.raises(DataError, match=message):
        catalogue(write(tmp_path, raw, "a.png"))


def test_a_table_of_a_chosen_source_lacks_a_column_by_name(tmp_path):
    table = "patient_id,image_id,lateralty,view,cancer\n1,1,L,CC,0\n"
    root = write(tmp_path, table, "train_images/1/1.dcm", name="train.csv")
    with pytest.raises(DataError, match=r"train\.csv lacks the column laterality \(nearest: 'lateralty'\); found: "):
        catalogue(root, "rsna")


def test_a_sheet_gives_text_without_surprises(tmp_path):
    write_sheet(tmp_path / "a.xlsx", [{"Left Right": "L", "Age": 45, "None": None}, {"Left Right": "NA", "Age": 50.5}])
    table = read_table(tmp_path / "a.xlsx")
    assert [dict(row.cells) for row in table.rows] == [
        {"left_right": "L", "age": "45", "none": ""},
        {"left_right": "NA", "age": "50.5", "none": ""},
    ]


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"no sheet"])
@pytest.mark.parametrize("name", ["CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.xls"])
def test_a_damaged_sheet_is_one_message(tmp_path, raw, name):
    with pytest.raises(DataError, match=r"revision\.xlsx? .*(cannot be read as an Excel table|needs the package)"):
        catalogue(write(tmp_path, raw, "D1-0001/a/b/1.dcm", name=name))


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    raw=st.binary(max_size=200)
    | st.text(alphabet='ab"L;,\t\r\n\ufeff.\\/é0', max_size=80).map(lambda rows: (HEADER + rows).encode())
    | st.lists(st.sampled_from(["a.png", "../x", "L", '"', ",", ";", "\n", "\x00", "p", "é"])).map(
        lambda words: (HEADER + "".join(words)).encode("cp1252")
    ),
    name=st.sampled_from(
        ["labels.csv", "train.csv", "description.csv", "metadata.csv", "breast-level_annotations.csv"]
    ),
    source=st.sampled_from(["auto", "folder", "rsna", "rsna-roi", "cdd-cesm", "vindr", "phantom"]),
)
def test_any_bytes_as_a_table_give_a_catalogue_or_one_clear_error(tmp_path_factory, raw, name, source):
    root = write(tmp_path_factory.mktemp("data"), raw, "a.png", "train_images/1/1.png", name=name)
    try:
        found = catalogue(root, source)
    except DataError:
        return
    assert all(mammogram.file.is_relative_to(root) for mammogram in found.mammograms)
    assert all(mammogram.file.is_file() for mammogram in found.mammograms)
    assert len({mammogram.image_id for mammogram in found.mammograms}) == len(found.mammograms)
    assert all(entry.reason for entry in found.rejected)


@pytest.mark.parametrize("source", ["folder", "auto"])
def test_a_table_without_a_header_is_told_without_quoting_its_first_row(tmp_path, source):
    (tmp_path / "labels.csv").write_text("DOE JANE,19391127,L,CC\nROE ANN,19400101,R,CC\n")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="its first row holds values, not the names of columns") as err:
        catalogue(tmp_path, source)
    assert "DOE" not in str(err.value)


NAMELESS = ["Maria Mueller;a.png;links\n", "Maria Mueller;left side;view\n", "Maria Mueller;patient_id;laterality\n"]
NAMELESS += ["Mueller;Mueller;links\n", "Latera Lilly;Patience Ida;file\n"]


@pytest.mark.parametrize("columns", [None, {"file": "Scan"}, {"patient_id": "Maria Muller", "file": "a.png"}])
@pytest.mark.parametrize("source", ["folder", "auto", "rsna-roi", "rsna"])
@pytest.mark.parametrize("first", NAMELESS)
@pytest.mark.parametrize("name", ["labels.csv", "train.csv", "Mueller Maria.csv"])
def test_no_message_quotes_a_name_that_is_no_known_column(tmp_path, first, source, columns, name):
    root = write(tmp_path, first + "Anna Schmidt;b.png;rechts\n", "a.png", "b.png", name=name)
    with pytest.raises(DataError) as err:
        catalogue(root, source, columns)
    message = str(err.value).replace("'Maria Muller'", "")  # the setting itself
    assert not re.search("mueller|maria|lilly|patience|anna", message, re.IGNORECASE)


def test_known_columns_are_quoted_and_the_others_counted(tmp_path):
    root = write(tmp_path, "Image ID,Maria Mueller,BIRADS,Anna\na,,1,\n", "a.png")
    with pytest.raises(DataError, match="found: Image ID, BIRADS, 2 columns whose names are not known;"):
        catalogue(root)


@pytest.mark.parametrize("name", ["maximum", "Latino", "Pat Id.", "Cancel", "Filiz"])
def test_nonsense_is_not_the_nearest_column(tmp_path, name):
    root = write(tmp_path, f"image_id,{name}\na,b\n", "a.png")
    with pytest.raises(DataError) as err:
        catalogue(root)
    assert "nearest" not in str(err.value)


def test_the_name_of_a_table_is_told_only_if_it_is_that_of_a_set(tmp_path):
    rows = "p,L,a,a.png\np,L,b,b.png,surplus\n"
    root = write(tmp_path / "own", HEADER + rows, "a.png", "c.png", name="Mueller Maria.csv")
    found = catalogue(root)
    assert found.why == "a table with the columns patient_id, laterality and file"
    assert [entry.reason for entry in found.rejected] == [
        "row with too many cells: line 3 of the table",
        "image without a row: the table does not name it",
    ]
    root = write(tmp_path / "labels", HEADER + rows, "a.png", name="labels.csv")
    assert catalogue(root).rejected[0].reason == "row with too many cells: line 3 of labels.csv"


@pytest.mark.parametrize("raw", [raw for raw, _ in BAD_TABLES])
def test_no_message_tells_the_name_of_a_table_of_ones_own(tmp_path, raw):
    with pytest.raises(DataError) as err:
        catalogue(write(tmp_path, raw, "a.png", name="Mueller Maria.csv"))
    assert "Mueller" not in str(err.value)
