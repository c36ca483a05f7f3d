import pytest

from mammogan.design.arrays import audit, read_table
from mammogan.errors import DesignError


@pytest.fixture
def write(tmp_path):
    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_a_table_of_values_becomes_level_numbers_in_ascending_order(write):
    table = read_table(write("# from a paper\nrow,lr,depth\n1,0.3,2\n2,0.1,4\n3,0.3,4\n4,0.1,2\n"))
    assert table.factors == {"lr": [0.1, 0.3], "depth": [2, 4]}
    assert table.array.levels == ((1, 0), (0, 1), (1, 1), (0, 0))
    assert table.array.source == "from a paper"
    assert table.array.name == "table"
    assert audit(table.array, table.factors)[1].startswith("Orthogonal")


def test_texts_are_levels_in_the_order_of_their_first_row(write):
    table = read_table(write("optimiser,lr\nsgd,1\nadam,2\nsgd,2\nadam,1\n"))
    assert table.factors["optimiser"] == ["sgd", "adam"]


def test_only_the_named_columns_are_factors(write):
    path = write("lr,seed,fid\n1,3,20.5\n2,4,20.6\n1,5,20.7\n2,6,20.8\n1,7,20.9\n")
    table = read_table(path, ["lr"])
    assert list(table.factors) == ["lr"]
    assert table.columns["fid"] == [20.5, 20.6, 20.7, 20.8, 20.9]
    with pytest.raises(DesignError, match=r"seed has another value in every row.*--factors"):
        read_table(path)


def test_a_byte_order_mark_spaces_and_empty_lines_are_no_trouble(write):
    table = read_table(write("a, b\n\n1, x\n2, y\n", encoding="utf-8-sig"))
    assert table.factors == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("a,b\n", "has no rows"),
        ("a,a\n1,2\n", "names a, a are not all different"),
        ("a,b\n1,2\n1,\n", "row 2: 2 values are wanted, found 1, ; fill it"),
        ("a,b\n1,2\n1,2,3\n", "row 2: 2 values are wanted"),
        ("a,b\n1,2\n1,3\n", "a is 1 in every row, so it is no factor"),
    ],
)
def test_a_file_that_is_no_table_is_refused(write, text, message):
    with pytest.raises(DesignError, match=message):
        read_table(write(text))


def test_a_missing_file_binary_data_and_an_unknown_factor_are_refused(write, tmp_path):
    with pytest.raises(DesignError, match="is missing; give the path"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(DesignError, match="is not UTF-8 text"):
        read_table(write("a,\xff\n", encoding="latin-1"))
    with pytest.raises(DesignError, match="no column lr; it has a, b"):
        read_table(write("a,b\n1,2\n2,1\n"), ["lr"])
