"""The stage `prepare` from a raw folder to tiles, and all that can be wrong with the folder."""

import csv
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mammogan.data.cutting
import mammogan.data.prepare
from mammogan.config import PrepareConfig
from mammogan.data.cache import TileCache
from mammogan.data.cut import cut_file
from mammogan.data.ids import keyed
from mammogan.data.phantom import draw
from mammogan.data.prepare import MANIFEST_COLUMNS
from mammogan.data.prepare import prepare as prepare_with_cache
from mammogan.data.prepared import Prepared
from mammogan.data.sources import Mammogram, catalogue
from mammogan.data.split import holdout_patients
from mammogan.errors import DataError
from raw_data import KEY, config, half_disk, write_row
from real_sets import SHARED, needs_real_sets


def prepare(settings: PrepareConfig, raw: Path, out: Path, id_key: bytes = KEY) -> Prepared:
    return prepare_with_cache(settings, raw, out, cache=raw.parent / "cache" / "tiles.db", id_key=id_key)


def hashed(patient: str) -> str:
    return keyed(KEY, "patient", patient)


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
    assert (result.train, result.holdout, result.other_side, result.decoded) == (6, 2, 8, 8)
    assert result.lines()[:2] == [
        f"source {result.source}: {result.why}",
        "8 tiles of 32 px, 8 bits: train 6 (6 patients), holdout 2 (2 patients); 8 images of the other side; "
        "rejected 0; 8 decoded, 0 known from earlier runs",
    ]
    assert sorted(path.name for path in out.iterdir()) == [
        "holdout.npy",
        "manifest.csv",
        "near_duplicates.csv",
        "rejected.csv",
        "train.npy",
    ]
    manifest = rows_of(out / "manifest.csv")
    assert tuple(manifest[0]) == MANIFEST_COLUMNS
    assert [(row["split"], row["index"]) for row in manifest] == [("train", str(k)) for k in range(6)] + [
        ("holdout", "0"),
        ("holdout", "1"),
    ]
    images = tiles_of(out)
    assert images.dtype == np.uint8
    patients = {hashed(f"p{number}"): number for number in range(8)}
    for image, row in zip(images, manifest, strict=True):
        assert image[16, 2] == 100 + 10 * patients[row["patient_id"]]
        assert (row["laterality"], row["flipped"], row["patient_known"]) == ("L", "false", "true")
        assert float(row["scale"]) == pytest.approx(32 / int(row["crop_height"]), rel=1e-5)
    assert (out / "rejected.csv").read_text() == "image_id,reason\n"


def tiles_of(out: Path) -> np.ndarray:
    return np.concatenate([np.load(out / "train.npy"), np.load(out / "holdout.npy")])


def test_both_sides_are_turned_the_same_way(raw, out):
    result = prepare(config(laterality="both"), raw, out)
    assert (result.train + result.holdout, result.other_side) == (16, 0)
    rows = rows_of(out / "manifest.csv")
    assert [row["flipped"] == "true" for row in rows] == [row["laterality"] == "R" for row in rows]
    images = tiles_of(out)
    for patient in range(8):
        left, right = (
            image for image, row in zip(images, rows, strict=True) if row["patient_id"] == hashed(f"p{patient}")
        )
        np.testing.assert_array_equal(left, right)


def test_sixteen_bits_keep_more_than_eight_do(raw, out):
    prepare(config(bits=16), raw, out)
    images = tiles_of(out)
    assert images.dtype == np.uint16
    greys = sorted(round(image[16, 2] / 257) for image in images)
    assert greys == [100 + 10 * patient for patient in range(8)]


def test_the_same_input_gives_the_same_bytes_with_any_number_of_workers(raw, out, tmp_path):
    prepare(config(), raw, out)
    shutil.rmtree(tmp_path / "cache")
    prepare(config(workers=1), raw, tmp_path / "again")
    assert fingerprint(out) == fingerprint(tmp_path / "again")


def test_another_key_changes_the_ids_and_nothing_else(raw, out, tmp_path):
    prepare(config(laterality="both"), raw, out)
    prepare(config(laterality="both"), raw, tmp_path / "other", id_key=b"o" * 32)
    mine, other = rows_of(out / "manifest.csv"), rows_of(tmp_path / "other" / "manifest.csv")
    ids = ("image_id", "patient_id", "source_id")
    for row, twin in zip(mine, other, strict=True):
        assert not {row[name] for name in ids} & {twin[name] for name in ids}
        assert {name: value for name, value in row.items() if name not in ids} == {
            name: value for name, value in twin.items() if name not in ids
        }
    np.testing.assert_array_equal(tiles_of(out), tiles_of(tmp_path / "other"))


def test_only_new_images_are_decoded(raw, out):
    assert prepare(config(), raw, out).decoded == 8
    assert prepare(config(seed=1), raw, out).decoded == 0
    half_disk("L", 210).save(raw / "images" / "new.png")
    write_row(raw, "new,images/new.png,p9,L,CC,B,0")
    os.utime(raw / "images" / "0L.png")  # touched, not changed
    assert prepare(config(), raw, out).decoded == 1
    half_disk("L", 90).save(raw / "images" / "0L.png")
    assert prepare(config(), raw, out).decoded == 1
    assert prepare(config(resolution=64), raw, out).decoded == 9
    assert prepare(config(), raw, out).decoded == 0


def test_what_is_decoded_and_what_is_known_are_counted_apart_from_what_is_rejected(raw, out):
    (raw / "images" / "0L.png").write_bytes(b"nothing")
    first, second = prepare(config(), raw, out), prepare(config(seed=1), raw, out)
    assert (first.decoded, first.known, second.decoded, second.known) == (8, 0, 0, 8)


def in_this_process(function: Any, items: Any, workers: int, preload: str) -> Any:
    return ((item, function(item)) for item in items)


def test_a_lack_of_memory_or_of_permission_is_no_fault_of_the_file_and_not_remembered(raw, out, monkeypatch):
    errors = {"0L": MemoryError(), "1L": PermissionError(13, "no")}

    def failing(path: Path, *args: Any, **settings: Any) -> Any:
        if path.stem in errors:
            raise errors[path.stem]
        return cut_file(path, *args, **settings)

    monkeypatch.setattr(mammogan.data.cutting, "outcomes", in_this_process)
    with monkeypatch.context() as once:
        once.setattr(mammogan.data.cutting, "cut_file", failing)
        assert prepare(config(), raw, out).rejected == {"too large for the memory": 1, "cannot be read": 1}
    assert prepare(config(), raw, out).rejected == {}


def test_a_file_that_changes_while_it_is_read_is_rejected_for_now(raw, out, monkeypatch):
    def cut_and_touch(path: Path, *args: Any, **settings: Any) -> Any:
        tile = cut_file(path, *args, **settings)
        if path.stem == "0L":
            half_disk("L", 222).save(path)
        return tile

    monkeypatch.setattr(mammogan.data.cutting, "outcomes", in_this_process)
    with monkeypatch.context() as once:
        once.setattr(mammogan.data.cutting, "cut_file", cut_and_touch)
        assert prepare(config(), raw, out).rejected == {"changed while it was read": 1}
    assert prepare(config(), raw, out).rejected == {}


def test_a_file_that_vanishes_is_rejected_and_the_rest_goes_on(raw, out, monkeypatch):
    identify = TileCache.identify

    def vanished(cache: TileCache, path: Path) -> Any:
        if path.stem == "0L":
            path.unlink()
        return identify(cache, path)

    monkeypatch.setattr(TileCache, "identify", vanished)
    result = prepare(config(), raw, out)
    assert (result.train + result.holdout, result.rejected) == (7, {"cannot be read": 1})


def test_a_rejected_image_is_not_decoded_again_either(raw, out):
    (raw / "images" / "0L.png").write_bytes(b"nothing")
    assert prepare(config(), raw, out).decoded == 8
    again = prepare(config(seed=1), raw, out)
    assert (again.decoded, again.rejected) == (0, {"unreadable": 1})


def test_no_patient_is_on_both_sides_of_the_split(raw, out):
    prepare(config(laterality="both"), raw, out)
    patients: dict[str, set[str]] = {split: set() for split in ("train", "holdout")}
    for row in rows_of(out / "manifest.csv"):
        patients[row["split"]].add(row["patient_id"])
    assert not patients["train"] & patients["holdout"]
    assert len(patients["train"] | patients["holdout"]) == 8


def test_a_copy_under_another_patient_s_name_is_reported_across_the_split(raw, out):
    prepare(config(), raw, out)
    rows = rows_of(out / "manifest.csv")
    by_hash = {hashed(f"p{number}"): number for number in range(8)}
    for number in range(8):
        textured(number).save(raw / "images" / f"{number}L.png")
    trained, held = (
        by_hash[next(r for r in rows if r["split"] == split)["patient_id"]] for split in ("train", "holdout")
    )
    textured(trained).save(raw / "images" / f"{held}L.png")
    result = prepare(config(), raw, out)
    (pair,) = rows_of(out / "near_duplicates.csv")
    assert pair["holdout_image_id"] == keyed(KEY, "image", f"{held}L")
    assert pair["train_image_id"] == keyed(KEY, "image", f"{trained}L")
    assert float(pair["similarity"]) > 0.99
    assert "warning: 1 holdout images nearly equal a training image" in "\n".join(result.lines())


def textured(seed: int) -> Image.Image:
    image, _ = draw(seed, "L", "CC", "C", "none", 128)
    return Image.fromarray(image)


def test_another_count_than_expected_is_warned_of(raw, out):
    assert "not the same set" not in "\n".join(prepare(config(expected_images=8), raw, out).lines())
    told = "\n".join(prepare(config(expected_images=1821), raw, out).lines())
    assert "warning: 8 tiles, but prepare.expected_images is 1821: not the same set" in told


def test_patients_that_are_not_known_are_counted_and_marked(raw, out):
    (raw / "labels.csv").unlink()
    result = prepare(config(source="folder", laterality="both"), raw, out)
    assert result.unknown_patients == 16
    assert {row["patient_known"] for row in rows_of(out / "manifest.csv")} == {"false"}
    assert "the patients of 16 images are unknown" in "\n".join(result.lines())


def test_a_killed_run_leaves_the_earlier_tiles_and_the_next_one_goes_on(raw, out, tmp_path):
    prepare(config(), raw, out)
    before = fingerprint(out)
    for number in range(8):
        Image.effect_noise((900, 1600), 30).save(raw / "images" / f"big{number}.png", compress_level=1)
        write_row(raw, f"big{number},images/big{number}.png,q{number},L,CC,B,0")
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}; "
        "from pathlib import Path; import test_prepare as t; "
        f"t.prepare(t.config(resolution=64), Path({str(raw)!r}), Path({str(out)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    partials = list_partials(out)
    deadline = time.monotonic() + 60
    while not partials and process.poll() is None and time.monotonic() < deadline:
        partials = list_partials(out)
    process.kill()
    process.wait()
    assert partials, "the run had ended before it could be killed"
    assert fingerprint(out) == before
    result = prepare(config(resolution=64), raw, out)
    assert result.train + result.holdout == len(rows_of(out / "manifest.csv"))
    assert tiles_of(out).shape[1:] == (64, 64)
    assert list_partials(out) == []


def list_partials(out: Path) -> list[Path]:
    return list(out.parent.glob(".prepared.*"))


def patients_with_cancer(n: int, n_cancer: int) -> list[Mammogram]:
    return [
        Mammogram(Path(f"{k}.png"), f"i{k}", f"p{k:03}", True, "L", "CC", "", str(int(k < n_cancer)), "")
        for k in range(n)
    ]


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
    result = prepare(config(max_rejected=0.9), raw, out)
    assert result.train + result.holdout == 4
    assert result.rejected == {
        "row without an image": 1,
        "image without a row": 1,
        "unreadable": 1,
        "smaller than asked": 1,
        "no breast found": 1,
    }
    found = {row["image_id"]: row["reason"] for row in rows_of(out / "rejected.csv")}
    assert found[keyed(KEY, "image", "0L")].startswith("unreadable: truncated or damaged PNG")
    assert found[keyed(KEY, "image", "1L")].startswith("row without an image")
    assert found[keyed(KEY, "image", "2L")].startswith("smaller than asked: the breast is 2")
    assert found[keyed(KEY, "file", "images/stray.png")].startswith("image without a row")


def test_rejected_images_of_the_other_side_do_not_count(raw, out):
    for number in range(8):
        (raw / "images" / f"{number}R.png").unlink()
    assert prepare(config(max_rejected=0), raw, out).rejected == {}
    with pytest.raises(DataError, match="50 % of the images were rejected"):
        prepare(config(laterality="both", max_rejected=0.25), raw, out)


def test_more_rejected_images_than_allowed_stop_the_stage(raw, out):
    prepare(config(), raw, out)
    before = fingerprint(out)
    for number in range(3):
        (raw / "images" / f"{number}L.png").write_bytes(b"nothing")
    message = r"38 % of the images were rejected, more than prepare.max_rejected allows: 3 \(3 unreadable\)"
    with pytest.raises(DataError, match=message):
        prepare(config(max_rejected=0.25), raw, out)
    assert fingerprint(out) == before
    assert prepare(config(max_rejected=0.375), raw, out).rejected == {"unreadable": 3}


def test_a_side_that_is_not_there_is_named_with_the_one_that_is(raw, out):
    table = raw / "labels.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if ",L," not in line))
    with pytest.raises(DataError, match=r"laterality L selects nothing: there are R \(8 images\)"):
        prepare(config(), raw, out)
    assert not out.exists()


def test_a_table_without_any_image_is_an_error(raw, out):
    for file in (raw / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"no usable image is named: 16 \(16 row without an image\)"):
        prepare(config(), raw, out)


def test_all_images_rejected_is_an_error_that_keeps_the_earlier_result(raw, out):
    prepare(config(), raw, out)
    before = fingerprint(out)
    with pytest.raises(DataError, match=r"every image was rejected: 8 \(8 smaller than asked\)"):
        prepare(config(resolution=512), raw, out)
    assert fingerprint(out) == before
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("function", ["write_array", "_write_table", "_cut_all"])
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


@needs_real_sets
def test_real_mammograms_of_both_sides_end_with_the_chest_wall_at_the_left():
    images = catalogue(SHARED / "cdd-cesm-cc").mammograms
    for image in images[4::8]:  # the faintest, IM0005, among them
        tile = cut_file(image.file, "", "CC", resolution=64, bits=8, pectoral="keep", decoding="full")
        assert tile.flipped == (image.laterality == "R"), image.image_id
        assert tile.box.height > 900 or tile.box.width > 900, image.image_id
        assert tile.image[:, :4].mean() > tile.image[:, -4:].mean() + 5, image.image_id


@needs_real_sets
def test_all_real_dicoms_of_the_rsna_layout_become_tiles(out):
    raw = SHARED / "cbis-ddsm-dicom" / "rsna_layout"
    result = prepare_with_cache(config(laterality="both"), raw, out, cache=out.parent / "tiles.db", id_key=KEY)
    assert (result.train, result.holdout, dict(result.rejected)) == (3, 3, {})
    rows = rows_of(out / "manifest.csv")
    assert [row["flipped"] == "true" for row in rows] == [row["laterality"] == "R" for row in rows]
