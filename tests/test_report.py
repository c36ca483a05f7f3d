"""The report: complete, honest, self-contained, and safe against odd text."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from mammogan import design_figures, figures
from mammogan.design.analysis import analyse
from mammogan.errors import DesignError
from mammogan.report import Data, ModelResults, report, to_html

LR, BATCH, EPOCHS = [2e-4, 4e-4, 8e-4], [8, 16, 32], [20, 40, 60]
L9 = [(1, 1, 1), (1, 2, 2), (1, 3, 3), (2, 1, 2), (2, 2, 3), (2, 3, 1), (3, 1, 3), (3, 2, 1), (3, 3, 2)]
FIDS = [210.123, 150.4, 120.2, 95.6, 101.7, 130.3, 88.44, 92.1, 241.9]


def trials_of(fids: list[float]) -> pd.DataFrame:
    n = len(fids)
    return pd.DataFrame(
        {
            "row": range(1, n + 1),
            "lr": [LR[a - 1] for a, _, _ in L9][:n],
            "batch_size": [BATCH[b - 1] for _, b, _ in L9][:n],
            "epochs": [EPOCHS[c - 1] for _, _, c in L9][:n],
            "fid": fids,
            "state": "COMPLETE",
            "kid": [fid / 1e3 - 0.04 for fid in fids],
            "floor": 36.42,
            "fid_at_floor_n": [fid + 8 for fid in fids],
            "floor_n": 109,
            "ratio": [(fid + 8) / 36.42 for fid in fids],
            "n_real": 218,
            "n_fake": 128,
            "spread": 31.5,
            "spread_real": 34.1,
            "collapsed": False,
            "images_per_s": 211.7,
            "elapsed_s": 83.2,
            "peak_memory_mb": 812.4,
            "gflop_per_image": 0.0937,
            "retries": 0,
            "run_id": [f"ab{row:030x}" for row in range(1, n + 1)],
            "seed": 0,
            "number_format": "fp32",
        }
    )


FACTORS = {"lr": LR, "batch_size": BATCH, "epochs": EPOCHS}


def blobs(n: int, side: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    radius = rng.uniform(0.3, 0.7, (n, 1, 1))
    breast = (x**2 + (y - 0.5) ** 2 < radius**2) * rng.uniform(90, 200, (n, 1, 1))
    return (breast + rng.uniform(0, 20, (n, side, side))).astype(np.uint8)


@pytest.fixture
def dcgan() -> ModelResults:
    trials = trials_of(FIDS)
    n = np.arange(160, 13_080, 160)
    losses = pd.DataFrame(
        {
            "n_images": n,
            "loss/G": 1.1 + np.sin(n),
            "loss/D": 1.2 + np.cos(n),
            "logits/real": 0.5,
            "logits/fake": -0.5,
        }
    )
    return ModelResults(
        trials=trials,
        effects=analyse(trials, FACTORS).effects,
        anova=analyse(trials, FACTORS).anova,
        best={"row": 7},
        audit=["It is balanced and orthogonal."],
        conclusion="The learning rate moves the FID most.",
        real=blobs(9, 32, 0),
        synthetic=blobs(9, 32, 1),
        losses=losses,
    )


@pytest.fixture
def stylegan(dcgan: ModelResults) -> ModelResults:
    trials = trials_of([2 * fid for fid in FIDS])
    return replace(dcgan, trials=trials, effects=analyse(trials, FACTORS).effects, best={"row": 7})


@pytest.fixture
def data() -> Data:
    n = 256
    manifest = pd.DataFrame(
        {
            "image_id": [f"P{i:04d}" for i in range(n)],
            "patient_id": [f"{i // 2}" for i in range(n)],
            "patient_known": "true",
            "laterality": "L",
            "view": ["CC", "MLO"] * (n // 2),
            "split": ["train"] * 218 + ["holdout"] * 38,
        }
    )
    rejected = pd.DataFrame(
        {
            "image_id": ["<script>alert(1)</script> a|b"],
            "reason": ["cannot be read: [x](http://evil.example/) ![y](http://evil.example/y.png)"],
        }
    )
    return Data(
        manifest=manifest,
        rejected=rejected,
        near_duplicates=0,
        resolution=32,
        bits=8,
        laterality="L",
        source="Made by `mammogan phantom`, seed 2026.",
        phantoms=True,
        sha256="3f" * 32,
    )


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the figures, which take most of the time, except where a test asks for `drawn`."""
    if "drawn" not in request.fixturenames:
        dot = figures.to_png(np.zeros((1, 1), np.uint8))
        for name in ("side_by_side", "loss_curves", "trial_bars", "fid_progress"):
            monkeypatch.setattr(figures, name, lambda *_: dot)
        monkeypatch.setattr(design_figures, "effects", lambda *_: dot)


@pytest.fixture
def drawn() -> None:
    """The figures as they are."""


def write(models: dict[str, ModelResults], data: Data) -> tuple[str, dict[str, bytes]]:
    return report(models, data, array="l9", protocol="fid128_inception", git_commit="abc1234", columns=3)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.seen


@pytest.mark.usefixtures("drawn")
def test_the_page_holds_everything_it_shows(dcgan, stylegan, data):
    markdown, pngs = write({"dcgan": dcgan, "stylegan": stylegan}, data)
    page = to_html(markdown, pngs)
    seen = tags(page)
    sources = [attrs["src"] for tag, attrs in seen if tag == "img"]
    assert len(sources) == len(pngs) == 8
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {tag for tag, _ in seen} & {"script", "link", "iframe", "a", "base", "object"}
    assert all("src" not in attrs or tag == "img" for tag, attrs in seen)
    assert "url(" not in page
    assert "@import" not in page


def test_every_figure_of_the_markdown_is_handed_over(dcgan, stylegan, data):
    markdown, pngs = write({"dcgan": dcgan, "stylegan": stylegan}, data)
    assert set(re.findall(r"\]\(figures/(.+?)\)", markdown)) == set(pngs)


def test_every_trial_appears_with_its_levels_and_fid(dcgan, data):
    markdown, _ = write({"dcgan": dcgan}, data)
    table = markdown[markdown.index("### All trials") :]
    for row, (a, b, c), fid in zip(range(1, 10), L9, FIDS, strict=True):
        name = f"**{row}**\u00a0(best)" if row == 7 else str(row)
        shown = f"{fid:.0f}" if fid >= 100 else f"{fid:.1f}"
        assert f"| {name} | {LR[a - 1]} | {BATCH[b - 1]} | {EPOCHS[c - 1]} | {shown} |" in table


def test_the_best_row_is_given_with_n_floor_and_ratio(dcgan, data):
    markdown, _ = write({"dcgan": dcgan}, data)
    assert "**Best row: 7**, with learning rate 0.0008, batch size 8 and epochs 60." in markdown
    assert "**FID 88.4** (128 synthetic against 218 real images), KID 48.4 × 10⁻³." in markdown
    assert "At N = 109 on both sides: FID 96.4" in markdown
    assert "score **36.4**, the floor. Ratio to the floor: **2.65**" in markdown


def test_a_collapsed_trial_is_flagged_in_its_row(dcgan, data):
    dcgan.trials.loc[8, ["spread", "collapsed"]] = [0.42, True]
    markdown, _ = write({"dcgan": dcgan}, data)
    flagged = [line for line in markdown.splitlines() if line.startswith("|") and "**collapsed**" in line]
    assert len(flagged) == 1
    assert flagged[0].startswith("| 9 |")
    assert "0.42 **collapsed**" in flagged[0].replace("0.420", "0.42")
    assert "**1 of 9 rows collapsed**" in markdown


def test_a_collapsed_best_row_is_said_at_the_top(dcgan, data):
    dcgan.trials.loc[6, "collapsed"] = True
    markdown, _ = write({"dcgan": dcgan}, data)
    assert "**collapsed**" in markdown[: markdown.index("## DCGAN")]
    assert "**The best row has collapsed**" in markdown


def test_a_missing_study_is_said(dcgan, data):
    markdown, pngs = write({"dcgan": dcgan}, data)
    assert "StyleGAN was not run." in markdown[: markdown.index("## DCGAN")]
    assert "## StyleGAN\n\n**Not run.**" in markdown
    assert "`mammogan study stylegan`" in markdown
    assert not any(name.startswith("stylegan") for name in pngs)


def test_no_study_at_all_is_an_error_that_says_how_to_make_one(data):
    with pytest.raises(DesignError, match="run `mammogan study dcgan` or `dvc repro` first"):
        write({}, data)


def test_a_best_row_that_no_trial_has_is_an_error(dcgan, data):
    with pytest.raises(DesignError, match=r"best.json of dcgan names row 12, .* run `mammogan study dcgan` again"):
        write({"dcgan": replace(dcgan, best={"row": 12})}, data)


def test_phantoms_are_never_passed_off_as_mammograms(dcgan, data):
    on_phantoms, _ = write({"dcgan": dcgan}, data)
    on_patients, _ = write({"dcgan": dcgan}, replace(data, phantoms=False, source="CDD-CESM."))
    assert "**Phantoms are not mammograms.**" in on_phantoms
    assert "No patient's image was used." in on_phantoms
    assert "real mammogram" not in on_phantoms
    assert "hantom" not in on_patients
    assert "218 left-sided mammograms of 109 patients at 32 × 32 px" in on_patients


def test_what_nobody_measured_is_said(dcgan, data):
    markdown, _ = write({"dcgan": dcgan}, data)
    section = markdown[markdown.index("## What was not measured") :]
    for words in ("No expert has looked", "Privacy", "Utility", "no error estimate", "not for clinical use"):
        assert words in section


def test_odd_text_is_shown_as_text(dcgan, data):
    odd = "</style><script>alert(2)</script> **bold** ![z](http://evil.example/z.png) <b>"
    markdown, pngs = write({"dcgan": replace(dcgan, conclusion=odd)}, data)
    page = to_html(markdown, pngs)
    seen = tags(page)
    assert not {tag for tag, _ in seen} & {"script", "a", "b"}
    assert sum(tag == "img" for tag, _ in seen) == len(pngs)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;/style&gt;&lt;script&gt;alert(2)&lt;/script&gt; **bold** ![z](http://evil.example/z.png)" in page
    assert "a|b</td>" in page


def test_raw_html_in_the_markdown_is_shown_as_text():
    page = to_html("# A\n\n<script>alert(3)</script>\n\nx <b>y</b>\n", {})
    assert not {tag for tag, _ in tags(page)} & {"script", "b"}
    assert "&lt;script&gt;alert(3)" in page


def test_an_image_that_is_not_handed_over_leaves_its_description():
    page = to_html("# A <title>\n\n![no such figure](http://elsewhere.example/x.png)\n", {})
    assert "<title>A &lt;title&gt;</title>" in page
    assert "no such figure" in page
    assert "elsewhere" not in page


def test_a_long_list_of_rejected_files_is_cut_and_counted(dcgan, data):
    rows = [{"image_id": f"f{i}", "reason": f"smaller than asked: {i % 32} px"} for i in range(1500)]
    rejected = pd.DataFrame(rows)
    markdown, _ = write({"dcgan": dcgan}, replace(data, rejected=rejected))
    assert "**Rejected: 1,500** (1,500 × smaller than asked)." in markdown
    assert "… and 1,480 more" in markdown


def test_the_depth_of_the_tiles_is_said_and_that_scores_are_of_eight_bits(dcgan, data):
    assert "resized to 32 × 32 px, 8 bit; left breasts" in write({"dcgan": dcgan}, data)[0]
    markdown, _ = write({"dcgan": dcgan}, replace(data, bits=16))
    assert "resized to 32 × 32 px, 16 bit (scored and shown here in 8); left breasts" in markdown


def test_what_the_split_cannot_promise_is_said(dcgan, data):
    assert "nobody is in both parts." in write({"dcgan": dcgan}, data)[0]
    unknown = data.manifest.assign(patient_known=["false"] * 7 + ["true"] * 249)
    markdown, _ = write({"dcgan": dcgan}, replace(data, manifest=unknown, near_duplicates=3))
    assert "the patients of 7 images are not known" in markdown
    assert "nobody is in both parts" not in markdown
    assert "**3 holdout images nearly equal a training image.**" in markdown


def test_the_report_makes_do_with_the_bare_trials(dcgan, data):
    bare = replace(dcgan, trials=dcgan.trials[["row", "lr", "batch_size", "epochs", "fid"]], losses=pd.DataFrame())
    markdown, pngs = write({"dcgan": bare}, data)
    assert "| 1 | 0.0002 | 8 | 20 | 210 |" in markdown
    assert "No losses were logged." in markdown
    assert "dcgan-losses.png" not in pngs


def test_frames_that_went_through_csv_give_the_same_report(dcgan, data, tmp_path):
    def reread(frame: pd.DataFrame) -> pd.DataFrame:
        frame.to_csv(tmp_path / "frame.csv", index=False)
        return pd.read_csv(tmp_path / "frame.csv")

    dcgan.trials.loc[8, "collapsed"] = True
    again = replace(dcgan, trials=reread(dcgan.trials), effects=reread(dcgan.effects))
    assert write({"dcgan": again}, data) == write({"dcgan": dcgan}, data)


def test_a_replicated_row_takes_back_the_sentence_on_single_runs(dcgan, data):
    twice = pd.concat([dcgan.trials, dcgan.trials], ignore_index=True)
    markdown, _ = write({"dcgan": replace(dcgan, trials=twice)}, data)
    assert "trained once, with one seed" not in markdown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0123456, "0.0123"),
        (1.0, "1.00"),
        (99.96, "100"),
        (431.27, "431"),
        (12345.6, "12,300"),
        (-0.5, "−0.500"),
    ],
)
def test_numbers_have_three_significant_digits(dcgan, data, value, shown):
    dcgan.trials["ratio"] = value
    markdown, _ = write({"dcgan": dcgan}, data)
    assert f"Ratio to the floor: **{shown}**" in markdown


def test_the_report_is_the_same_each_time(dcgan, data):
    assert write({"dcgan": dcgan}, data) == write({"dcgan": dcgan}, data)


def test_the_best_checkpoint_stands_beside_the_end_and_is_called_optimistic(dcgan, data):
    def page(trials):
        models = {"dcgan": replace(dcgan, trials=trials)}
        return report(models, data, array="l9", protocol="p", git_commit="c0ffee", columns=3)[0]

    assert "best checkpoint" not in page(dcgan.trials)  # studies of earlier versions have none
    with_best = page(dcgan.trials.assign(best_fid=dcgan.trials["fid"] - 20, best_n_images=4000))
    assert "**FID 88.4**" in with_best
    assert "The best checkpoint on the way, after 4,000 images shown, had FID 68.4: optimistic" in with_best
