"""What was in a table keeps its bytes, whatever kind of CSV it is."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammogan.enrich import table
from mammogan.errors import DataError

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufeff"), max_size=6)


@st.composite
def tables(draw):
    """Tables as people save them: any delimiter, line end, quoting, blank lines, with or without a last line end."""
    delimiter, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["file", "patient_id", "note"])
    for row in draw(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5)):
        writer.writerow(["x", *row[1:]])
        buffer.write(draw(st.sampled_from(["", end])))
    text = draw(st.sampled_from(["", "\ufeff"])) + buffer.getvalue()
    return (text.removesuffix(end) if draw(st.booleans()) else text).encode()


@given(tables())
def test_a_batch_goes_in_and_out_without_a_trace(data):
    before = table.parse(data, "labels.csv")
    after = table.with_rows(table.with_column(before), [{"file": "synthetic.png", "synthetic": "1"}])
    read = list(csv.reader(io.StringIO(after.to_bytes().decode(), newline=""), delimiter=before.delimiter))
    assert read[0][-1] == "synthetic"
    assert read[-1] == ["synthetic.png", "", "", "1"]
    assert {row[-1] for row in read[1:-1] if row} <= {"0"}
    back, count = table.without_rows(table.parse(after.to_bytes(), "labels.csv"), "file", {"synthetic.png"})
    assert count == 1
    back = back if table.is_ended(before) else table.unended(back)
    bare = table.without_column(back)
    assert bare is not None
    assert bare.to_bytes() == data


def test_windows_1252_stays_windows_1252():
    data = "file;Größe\r\na.png;1\r\n".encode("cp1252")
    after = table.with_rows(table.parse(data, "x.csv"), [{"file": "b.png"}])
    assert after.to_bytes() == data + b"b.png;\r\n"


def test_the_column_stays_where_a_row_of_others_uses_it():
    sheet = table.parse(b"file,synthetic\na,0\nb,1\n", "x.csv")
    assert table.without_column(sheet) is None


def test_rows_that_are_too_short_are_left_as_they_are():
    assert table.with_column(table.parse(b"a,b\n1\n1,2\n", "x.csv")).to_bytes() == b"a,b,synthetic\n1\n1,2,0\n"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\n\na,b\n1,2\n", "blank lines"),
        (b'a,b\n1,5" wide\n2,3" deep\n3,4\n', "stray quotes"),
        (b"a,b\r1,2\r", "line ends"),
    ],
)
def test_tables_that_cannot_be_changed_safely_are_refused(data, word):
    with pytest.raises(DataError, match=word):
        table.parse(data, "x.csv")


def test_a_row_with_too_many_cells_is_refused():
    with pytest.raises(DataError, match="row 3 of the table has more cells"):
        table.with_column(table.parse(b"a,b\n1,2\n1,2,3\n", "x.csv"))
