import subprocess

import pytest

from mammogan import provenance


@pytest.fixture
def repository(tmp_path):
    """A git repository with one committed source file."""

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    git("add", "-A")
    git("commit", "-m", "first")
    return tmp_path


def test_the_commit_is_marked_when_sources_differ_from_it(repository):
    clean = provenance.git_commit(repository)
    assert len(clean) == 40
    (repository / "notes.txt").write_text("does not matter")
    assert provenance.git_commit(repository) == clean
    (repository / "src" / "a.py").write_text("x = 2\n")
    assert provenance.git_commit(repository) == f"{clean}+changes"


def test_outside_a_repository_the_commit_is_unknown(tmp_path):
    assert provenance.git_commit(tmp_path) == "unknown"


def test_the_data_hash_is_the_one_that_dvc_recorded(tmp_path):
    assert provenance.data_md5(tmp_path) == "unknown"
    (tmp_path / "data.dvc").write_text("outs:\n- md5: dffca39ae121d067fb4f1d3b9e04e8aa.dir\n  path: data\n")
    assert provenance.data_md5(tmp_path) == "dffca39ae121d067fb4f1d3b9e04e8aa.dir"


def test_a_data_file_in_a_merge_conflict_gives_no_hash(tmp_path):
    (tmp_path / "data.dvc").write_text("<<<<<<< HEAD\nouts:\n- md5: a\n=======\nouts: [\n>>>>>>> other\n")
    assert provenance.data_md5(tmp_path) == "unknown"


def test_the_code_fingerprint_sees_every_source_that_shapes_results_but_no_line_ends(tmp_path, monkeypatch):
    sources = [tmp_path / area / "a.py" for area in provenance.RESULT_AREAS]
    sources += [tmp_path / name for name in provenance.RESULT_FILES]
    for source in sources:
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(b"x = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    before = provenance.code_sha256()
    sources[0].write_bytes(b"x = 1\r\n")
    assert provenance.code_sha256() == before
    for source in sources:
        source.write_bytes(b"x = 2\n")
        after = provenance.code_sha256()
        assert after != before
        before = after


def test_a_fingerprint_tells_its_parts_apart():
    assert provenance.fingerprint("ab", "c") != provenance.fingerprint("a", "bc")
    assert len(provenance.fingerprint(1)) == 8
