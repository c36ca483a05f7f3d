"""A folder of raw data for the tests of what reads one."""

from pathlib import Path

import pytest

from raw_data import half_disk, write_row


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
