"""The page on the paper: made from the printed numbers, committed as made, and careful in what it says."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from mammogan import replay
from mammogan.cli import cli

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def page() -> tuple[str, dict[str, bytes]]:
    return replay.replay()


def test_the_committed_page_is_the_one_that_the_command_makes(page):
    text, pngs = page
    assert (ROOT / replay.PAGE).read_text(encoding="utf-8") == text, "run `mammogan replay` and commit docs/replay.md"
    assert all((ROOT / replay.IMAGES / name).stat().st_size > 10_000 for name in pngs)


def test_the_page_shows_all_its_pictures_and_no_others(page):
    text, pngs = page
    assert {line.rpartition("images/")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")} == {*pngs}


@pytest.mark.parametrize(
    "row",
    [
        "| learning rate | 0.0001 | 0.2037 | 25.61 |",
        "| learning rate | 0.0002 | 0.8343 | 22.87 |",
        "| learning rate | 0.0003 | 0.0187 | **34.93** |",
        "| batch size | 16 | 0.1617 | 25.81 |",
        "| batch size | 32 | 0.0107 | **43.60** |",
        "| batch size | 64 | 0.8843 | 13.99 |",
        "| learning rate | 0.0001 | 0.0670 | 24.89 |",
        "| learning rate | 0.0002 | 0.2760 | 23.21 |",
        "| learning rate | 0.0003 | 0.1785 | **26.63** |",
        "| epochs | 250 | 0.0963 | 26.15 |",
        "| epochs | 500 | 0.1813 | **27.73** |",
        "| epochs | 750 | 0.2439 | 20.85 |",
    ],
)
def test_the_ratios_are_those_known_from_the_printed_fids(page, row):
    assert row in page[0]


def test_the_page_audits_the_table_and_names_better_rows(page):
    text = page[0]
    assert "batch size and epochs are one column: their effects cannot be told apart." in text
    assert "| batch size | 2 | 0% | epochs |" in text
    assert "| 9 | 0.0003 | 64 | 500 |" in text


def test_the_page_claims_no_difference_that_the_numbers_do_not_show(page):
    text = page[0]
    assert text.count("not separable") == 4  # two effects of two models
    assert "is better than" not in text
    assert "shown to differ from" in text
    assert {line.rstrip(" |").rpartition("| ")[2] for line in text.splitlines() if " to " in line and "**" in line} == {
        "none"
    }
    assert "never against a FID of ours" in text
    assert "It does not say that the paper's settings are bad, nor that 0.0003 is better." in text


def test_the_papers_conclusion_stands_beside_what_its_numbers_show(page):
    text = page[0]
    assert "| learning rate | 0.0001 to 0.0002 | highest mean S/N for 0.0003 in both models, which" in text
    assert "row 2, 8,735.06 s" in text
    assert "row 5, 4,662.08 s" in text


def test_the_shipped_table_cites_the_paper_and_has_its_eighteen_fids():
    table = replay.published()
    assert "Application of GANs for Augmentation of the Mammography Repository" in table.array.source
    assert len(table.columns["dcgan"]) == len(table.columns["stylegan"]) == 9
    assert min(table.columns["stylegan"]) == 0.0031
    assert max(table.columns["dcgan"]) == 2.472


def test_the_command_writes_the_page_and_its_pictures(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["replay"])
    assert done.exit_code == 0
    assert (tmp_path / "docs" / "replay.md").is_file()
    assert len(list((tmp_path / "docs" / "images").glob("*.png"))) == 6
    assert done.output.splitlines()[0] == "docs/replay.md"


def audited(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["audit", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_audit_of_the_papers_table_speaks_of_its_factors():
    text = audited("paper")
    assert "batch_size and epochs are one column" in text
    assert "Reyes-Hernandez" in text
    assert "0.0003, 64, 500." in text


def test_audit_of_a_csv_names_what_it_cannot_tell(tmp_path):
    path = tmp_path / "runs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["row", "a", "b", "fid"], *[[n, n % 2, n % 2, n / 7] for n in range(1, 7)]])
    text = audited(str(path), "--factors", "a, b")
    assert "a and b are one column" in text
    assert "6 rows" in text or "4 rows that tell" in text


def test_audit_of_a_large_array_shows_the_first_effects_and_counts_the_others():
    assert "more interactions" in audited("l27")


def test_audit_without_a_table_is_that_of_the_study_in_params_yaml(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "lr" in audited()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["l99"], "no array is called 'l99'"), (["nowhere.csv"], "nowhere.csv is missing")],
)
def test_audit_of_what_is_not_there_is_refused(arguments, message):
    done = CliRunner().invoke(cli, ["audit", *arguments])
    assert done.exit_code == 1
    assert message in done.output
