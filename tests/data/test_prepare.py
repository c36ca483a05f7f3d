"""The stage `prepare` from a raw folder to tiles, and all that can be wrong with the folder."""

import csv
import errno
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mammogan.data.prepare
from mammogan.config import PrepareConfig
from mammogan.data.breast import cut_tile
from mammogan.data.pixels import read_pixels
from mammogan.data.prepare import MANIFEST_COLUMNS, holdout_patients, prepare
from mammogan.data.sources import find_images
from mammogan.data.tiles import read_tiles
from mammogan.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "mammograms"


def config(**changes: Any) -> PrepareConfig:
    return PrepareConfig(**{"laterality": "L", "resolution": 32, "holdout_fraction": 0.25, "seed": 0, **changes})


def half_disk(side: str, grey: int, radius: int = 40) -> Image.Image:
    y, x = np.ogrid[:100, :60]
    image = np.where((y - 50) ** 2 + x**2 <= radius**2, grey, 2).astype(np.uint8)
    return Image.fromarray(image if side == "L" else image[:, ::-1])


def write_row(root: Path, row: str) -> None:
    with (root / "labels.csv").open("a", encoding="utf-8") as file:
        file.write(row + "\n")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Eight patients, the first two with cancer, each with a left and a right image of a grey of their own."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    write_row(root, "image_id,file,patient_id,laterality,view,density,cancer")
    for patient in range(8):
        for side in "LR":
            image_id = f"{patient}{side}"
            half_disk(side, 100 + 10 * patient).save(root / "images" / f"{image_id}.png")
            write_row(root, f"{image_id},images/{image_id}.png,p{patient},{side},CC,B,{int(patient < 2)}")
    return root


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fingerprint(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_folder_becomes_tiles_of_one_side_with_their_manifest(raw, out):
    result = prepare(config(), raw, out)
    assert (result.train, result.holdout, result.other_side) == (6, 2, 8)
    assert result.line() == (
        "8 tiles of 32 px: train 6 (6 patients), holdout 2 (2 patients); 8 images of the other side; rejected 0"
    )
    assert sorted(path.name for path in out.iterdir()) == ["images.npy", "manifest.csv", "rejected.csv"]
    manifest = rows_of(out / "manifest.csv")
    assert tuple(manifest[0]) == MANIFEST_COLUMNS
    images = np.load(out / "images.npy")
    assert images.dtype == np.uint8
    for image, row in zip(images, manifest, strict=True):
        assert image[16, 2] == 100 + 10 * int(row["patient_id"][1])
        file = raw / row["file"]
        assert row["source_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (row["laterality"], row["flipped"], row["pixels"]) == ("L", "false", "8-bit PNG")
        assert float(row["scale"]) == pytest.approx(32 / int(row["crop_height"]), rel=1e-5)
    assert (out / "rejected.csv").read_text() == "file,image_id,reason\n"


def test_both_sides_are_turned_the_same_way(raw, out):
    result = prepare(config(laterality="both"), raw, out)
    assert (result.train + result.holdout, result.other_side) == (16, 0)
    tiles = read_tiles(out)
    assert tiles.manifest["flipped"].tolist() == (tiles.manifest["laterality"] == "R").tolist()
    for patient in range(8):
        left, right = tiles.images[tiles.manifest["patient_id"] == f"p{patient}"]
        np.testing.assert_array_equal(left, right)


def test_the_same_input_gives_the_same_bytes(raw, out, tmp_path):
    prepare(config(), raw, out)
    prepare(config(), raw, tmp_path / "again")
    assert fingerprint(out) == fingerprint(tmp_path / "again")


def test_training_tiles_stand_first_so_that_a_split_is_one_slice(raw, out):
    prepare(config(laterality="both"), raw, out)
    assert [row["split"] for row in rows_of(out / "manifest.csv")] == ["train"] * 12 + ["holdout"] * 4


def test_no_patient_is_on_both_sides_of_the_split(raw, out):
    prepare(config(laterality="both"), raw, out)
    patients = {split: set() for split in ("train", "holdout")}
    for row in rows_of(out / "manifest.csv"):
        patients[row["split"]].add(row["patient_id"])
    assert not patients["train"] & patients["holdout"]
    assert len(patients["train"] | patients["holdout"]) == 8


def patients_with_cancer(n: int, n_cancer: int) -> list[dict[str, str]]:
    return [{"patient_id": f"p{k:03}", "cancer": str(int(k < n_cancer))} for k in range(n)]


def test_the_holdout_is_as_rich_in_cancer_as_the_whole():
    chosen = holdout_patients(patients_with_cancer(200, 60), 0.15, seed=0)
    assert len(chosen) == 30
    assert sum(patient < "p060" for patient in chosen) == 9


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows():
    rows = patients_with_cancer(40, 10)
    assert holdout_patients(rows, 0.25, 3) == holdout_patients(rows[::-1], 0.25, 3)
    assert holdout_patients(rows, 0.25, 3) != holdout_patients(rows, 0.25, 4)


def test_a_patient_with_one_cancer_image_is_a_cancer_patient():
    rows = patients_with_cancer(40, 20) + patients_with_cancer(40, 0)  # each has a second image without cancer
    for seed in range(5):
        assert sum(patient < "p020" for patient in holdout_patients(rows, 0.5, seed)) == 10


@pytest.mark.parametrize("fraction", [0.01, 0.89])
def test_each_side_of_the_split_has_a_patient(fraction):
    assert len(holdout_patients(patients_with_cancer(2, 1), fraction, 0)) == 1


def test_one_patient_is_too_few_to_split():
    with pytest.raises(DataError, match="too few patients to split: 1 with a usable image, at least 2 are needed"):
        holdout_patients(patients_with_cancer(1, 0) * 5, 0.25, 0)


def test_what_cannot_be_used_is_listed_with_its_reason_and_the_rest_goes_on(raw, out):
    (raw / "images" / "0L.png").write_bytes((raw / "images" / "1L.png").read_bytes()[:60])
    (raw / "images" / "1L.png").unlink()
    half_disk("L", 200, radius=10).save(raw / "images" / "2L.png")
    Image.new("L", (60, 100)).save(raw / "images" / "3L.png")
    half_disk("L", 200).save(raw / "images" / "stray.png")
    result = prepare(config(), raw, out)
    assert result.train + result.holdout == 4
    assert result.rejected == {
        "row without an image": 1,
        "image without a row": 1,
        "unreadable": 1,
        "smaller than asked": 1,
        "no breast found": 1,
    }
    found = {row["file"]: row["reason"] for row in rows_of(out / "rejected.csv")}
    assert found["images/0L.png"] == "unreadable: truncated or damaged PNG (OSError)"
    assert found["images/1L.png"] == "row without an image: not at this path"
    assert found["images/2L.png"].startswith("smaller than asked: the breast is 2")
    assert found["images/stray.png"] == "image without a row: labels.csv does not name it"
    assert result.line().endswith("no breast found)")


def test_a_side_that_is_not_there_is_named_with_the_one_that_is(raw, out):
    table = raw / "labels.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if ",L," not in line))
    with pytest.raises(DataError, match=r"laterality L selects nothing: the table has R \(8 images\)"):
        prepare(config(), raw, out)
    assert not out.exists()


def test_a_table_without_any_image_is_an_error(raw, out):
    for file in (raw / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"no row of the table has a usable image: 16 \(16 row without an image\)"):
        prepare(config(), raw, out)


def test_all_images_rejected_is_an_error_that_keeps_the_earlier_result(raw, out):
    prepare(config(), raw, out)
    before = fingerprint(out)
    with pytest.raises(DataError, match=r"every image under .*data was rejected: 8 \(8 smaller than asked\)"):
        prepare(config(resolution=512), raw, out)
    assert fingerprint(out) == before
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("function", ["_write_array", "_write_table", "_cut_tiles"])
def test_a_full_disk_is_one_message_and_keeps_the_earlier_result(raw, out, monkeypatch, function):
    prepare(config(), raw, out)
    before = fingerprint(out)

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mammogan.data.prepare, function, full)
    with pytest.raises(DataError, match=r"disk full while writing .*prepared; free some space and run again"):
        prepare(config(laterality="both"), raw, out)
    assert fingerprint(out) == before
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_an_interrupted_run_keeps_the_earlier_result(raw, out, monkeypatch):
    prepare(config(), raw, out)
    before = fingerprint(out)

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mammogan.data.prepare, "_write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(laterality="both"), raw, out)
    assert fingerprint(out) == before


def test_preparing_needs_no_torch():
    check = "import sys, mammogan.data.prepare; sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real test sets are not beside this checkout")
def test_real_mammograms_of_both_sides_end_with_the_chest_wall_at_the_left():
    sources, _ = find_images(SHARED / "cdd-cesm-cc")
    for source in sources[4::8]:  # the faintest, IM0005, among them
        tile = cut_tile(read_pixels(source.file).image, "", 64)
        assert tile.flipped == (source.laterality == "R"), source.image_id
        assert tile.box.height > 900 or tile.box.width > 900, source.image_id
        assert tile.image[:, :4].mean() > tile.image[:, -4:].mean() + 5, source.image_id


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real test sets are not beside this checkout")
def test_all_real_dicoms_of_the_rsna_layout_become_tiles(out):
    result = prepare(config(laterality="both"), SHARED / "cbis-ddsm-dicom" / "rsna_layout", out)
    assert (result.train, result.holdout, dict(result.rejected)) == (3, 3, {})
    rows = rows_of(out / "manifest.csv")
    assert [row["flipped"] == "true" for row in rows] == [row["laterality"] == "R" for row in rows]
