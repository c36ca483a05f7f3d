"""Figures: right pixels, readable labels, the same bytes each time."""

import io
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammogan import figures


@pytest.fixture
def trials() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row": range(1, 10),
            "fid": [210.0, 150.0, 120.0, 95.0, 101.0, 130.0, 88.0, 92.0, 240.0],
            "fid_at_floor_n": [215.0, 158.0, 126.0, 103.0, 109.0, 138.0, 96.0, 99.0, 247.0],
            "floor": 36.4,
            "floor_n": 185,
            "collapsed": [False] * 8 + [True],
        }
    )


@pytest.fixture
def effects() -> pd.DataFrame:
    rows = [
        (factor, level, value, 3, 100.0 + 10 * level, -40.0 - level, 2.0, rank, level == 1)
        for rank, (factor, values) in enumerate([("lr", [2e-4, 4e-4, 8e-4]), ("batch_size", [8, 16, 32])], 1)
        for level, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=["factor", "level", "value", "n", "mean", "sn_db", "delta", "rank", "best"])


@pytest.fixture
def history() -> pd.DataFrame:
    n = np.arange(160, 16_160, 160)
    return pd.DataFrame(
        {
            "n_images": n,
            "loss/G": 1 + 0.1 * np.sin(n / 500),
            "loss/D": 1.2 + 0.1 * np.cos(n / 500),
            "logits/real": 0.4,
            "logits/fake": -0.4,
        }
    )


@pytest.fixture
def progress() -> pd.DataFrame:
    return pd.DataFrame(
        {"row": [1, 1, 1, 2, 2, 2], "n_images": [0, 500, 1000] * 2, "fid": [430, 200, 150, 430, 120, 90.0]}
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def chunks(png: bytes) -> set[bytes]:
    found, at = set(), 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.add(png[at + 4 : at + 8])
        at += length + 12
    return found


def test_a_grid_keeps_each_tile_and_parts_them_by_two_grey_pixels():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
    sheet = figures.grid(images, columns=3)
    assert sheet.shape == (4 + 2 + 4, 6 + 2 + 6 + 2 + 6)
    assert (sheet[:4, :6] == images[0]).all()
    assert (sheet[:4, 16:] == images[2]).all()
    assert (sheet[6:, 8:14] == images[4]).all()
    assert (sheet[4:6] == 128).all()
    assert (sheet[:, 6:8] == 128).all()
    assert (sheet[6:, 16:] == 0).all()  # the cell without a tile


def test_a_grid_of_fewer_tiles_than_columns_is_as_wide_as_its_tiles():
    assert figures.grid(np.zeros((2, 8, 8), np.uint8), columns=6).shape == (8, 18)


@pytest.mark.parametrize("images", [np.zeros((0, 8, 8), np.uint8), np.zeros((2, 8, 8)), np.zeros((8, 8), np.uint8)])
def test_a_grid_refuses_what_is_no_stack_of_eight_bit_images(images):
    with pytest.raises(ValueError, match=r"takes uint8 images \(N, H, W\)"):
        figures.grid(images, columns=2)


def test_png_keeps_the_pixels():
    image = np.random.default_rng(1).integers(0, 256, (9, 7), dtype=np.uint8)
    assert (pixels(figures.to_png(image)) == image).all()


def test_side_by_side_shows_real_left_and_synthetic_right_pixel_by_pixel():
    real = np.random.default_rng(2).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    synthetic = 255 - real
    page = pixels(figures.side_by_side(real, synthetic, columns=2))
    scale = 6  # 2 tiles of 64 px in 800 px
    tile = real[0].repeat(scale, 0).repeat(scale, 1)
    top = page.shape[0] - (2 * 64 * scale + 2)
    assert (page[top : top + 64 * scale, : 64 * scale] == tile).all()
    width = 2 * 64 * scale + 2
    assert (page[top : top + 64 * scale, -width : -width + 64 * scale] == 255 - tile).all()
    for label in (page[:top, :width], page[:top, -width:]):
        assert label.min() < 80  # ink of the words "real" and "synthetic"
        assert label.max() == 255


def test_large_tiles_are_averaged_down_alike_on_both_sides():
    checkerboard = (np.indices((512, 512)).sum(0) % 2 * 254).astype(np.uint8)
    page = pixels(figures.side_by_side(checkerboard[None].repeat(6, 0), checkerboard[None].repeat(6, 0), 6))
    assert page.shape[1] < 2 * 1600 + 100
    assert (page[100:200, :256] == 127).all()


def test_figures_are_the_same_bytes_each_time_and_name_no_date_or_version(trials, history, progress):
    tiles = np.random.default_rng(3).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    draws = {
        "side_by_side": lambda: figures.side_by_side(tiles, tiles, 2),
        "loss_curves": lambda: figures.loss_curves(history),
        "trial_bars": lambda: figures.trial_bars(trials),
        "fid_progress": lambda: figures.fid_progress(progress),
    }
    for name, draw in draws.items():
        png = draw()
        assert png == draw(), name
        assert chunks(png) <= {b"IHDR", b"IDAT", b"IEND", b"pHYs"}, name
        assert pixels(png).shape[1] >= 800, name


def test_a_collapsed_row_looks_different(trials):
    assert figures.trial_bars(trials) != figures.trial_bars(trials.assign(collapsed=False))


def test_bars_need_nothing_but_row_and_fid(trials):
    assert figures.trial_bars(trials[["row", "fid"]])


def test_a_row_without_fid_leaves_a_gap_but_no_error(trials):
    trials.loc[3, ["fid", "fid_at_floor_n"]] = np.nan
    assert figures.trial_bars(trials)


def test_loss_curves_take_gaps_and_a_single_point(history):
    history.loc[::2, "loss/G"] = np.nan
    assert figures.loss_curves(history)
    assert figures.loss_curves(history.tail(1))


def test_importing_figures_leaves_matplotlib_alone():
    code = "import sys, mammogan.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_leaves_pyplot_and_the_settings_alone(trials):
    code = (
        "import sys, matplotlib, pandas; before = matplotlib.rcParams.copy(); from mammogan import figures; "
        "figures.trial_bars(pandas.DataFrame({'row': [1, 2], 'fid': [3.0, 4.0]})); "
        "sys.exit('matplotlib.pyplot' in sys.modules or before != matplotlib.rcParams)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shrunk_tiles_are_block_means_and_small_ones_stay_as_they_are():
    checkerboard = np.indices((8, 8)).sum(0)[None].astype(np.uint8) % 2 * 200
    assert figures.shrunk(checkerboard, 4).tolist() == [[[100] * 4] * 4]
    assert (figures.shrunk(checkerboard, 8) == checkerboard).all()


def moving(n: int, side: int = 40) -> list[np.ndarray]:
    frames = np.random.default_rng(0).integers(0, 255, (n, side, side)).astype(np.uint8)
    return list(frames)


def frames_of(data: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(data)) as film:
        shown = []
        for index in range(film.n_frames):
            film.seek(index)
            shown.append(np.asarray(film.convert("L")))
        return shown


def test_an_animation_shows_each_frame_under_its_caption():
    frames = [np.full((40, 200), grey, np.uint8) for grey in (20, 120, 220)]
    shown = frames_of(figures.animation(frames, ["0 images", "100 images", "200 images"], 10**6))
    assert [round(float(frame[30:].mean())) for frame in shown] == pytest.approx([20, 120, 220], abs=4)
    captions = [frame[:20] for frame in shown]
    assert all(caption.min() < 100 < 200 < caption.max() for caption in captions)
    assert np.abs(captions[0].astype(int) - captions[2]).max() > 100


def test_an_animation_that_is_too_large_loses_quality_and_frames_but_neither_end():
    frames = [np.full((40, 40), 0, np.uint8), *moving(30), np.full((40, 40), 255, np.uint8)]
    captions = [""] * len(frames)
    whole = figures.animation(frames, captions, 10**6)
    small = figures.animation(frames, captions, len(whole) // 8)
    assert len(small) <= len(whole) // 8
    shown = frames_of(small)
    assert 2 <= len(shown) < len(frames) == len(frames_of(whole))
    assert shown[0][30:].mean() < 10
    assert shown[-1][30:].mean() > 245


def test_latents_between_two_lie_on_their_great_circle():
    start, end = np.random.default_rng(0).standard_normal((2, 5, 64)).astype(np.float32)
    start, end = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (start, end))
    path = figures.spherical(start, end, 8)
    assert path.shape == (5, 8, 64)
    assert np.allclose(path[:, 0], start, atol=1e-5)
    assert np.allclose(path[:, -1], end, atol=1e-5)
    assert np.allclose(np.linalg.norm(path, axis=2), 1, atol=1e-5)  # a straight line falls to 0.7
    steps = (path[:, 1:] * path[:, :-1]).sum(2)
    assert np.allclose(steps, steps[:, :1], atol=1e-4)  # equal angles


def test_opposite_latents_have_no_path_of_their_own():
    z = np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match="great circle"):
        figures.spherical(z, -z, 3)


def test_a_labelled_grid_keeps_the_pixels_and_names_rows_and_columns():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, 40, 40)).astype(np.uint8)
    page = figures.labelled(tiles, ["benign", "cancer"], ["a", "b", "c"])
    sheet = figures.grid(tiles.reshape(6, 40, 40), 3)
    height, width = sheet.shape
    assert np.array_equal(page[-height:, -width:], sheet)
    margin = page[-height:, : page.shape[1] - width]
    assert margin[:40].min() < 100
    assert margin[42:].min() < 100
    assert page[: page.shape[0] - height, -40:].min() < 100  # the name of the last column
    assert np.array_equal(figures.labelled(tiles, [], []), sheet)
