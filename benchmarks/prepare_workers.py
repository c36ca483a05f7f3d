"""`mammogan prepare` with two workers against one, on full-size JPEG 2000 DICOM: wall time and peak memory.

Both sides prepare the same folder from scratch, in turn; each is a process of its own, its memory summed over it and
its workers. Run it on a quiet machine: the clock is wall time. The last line is one JSON object; `ratio` is the time
with one worker over the time with two, higher is better.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import mammogan
from prepare_dicom import SYNTAXES, film, write

ROOT = Path(__file__).parents[1]


def make(folder: Path, n: int, height: int) -> None:
    """`n` patients with one left image each, no two files alike, in the layout of the RSNA competition."""
    stored = film(height)
    rows = ["patient_id,image_id,laterality,view,cancer"]
    for number in range(n):
        path = folder / "data" / "train_images" / str(number) / f"{number}.dcm"
        path.parent.mkdir(parents=True)
        other = stored.copy()
        other[number, :9] = 4095 - number  # in the background: another file, the same work
        write(path, other, SYNTAXES["jpeg2000"])
        rows.append(f"{number},{number},L,CC,0")
    (folder / "data" / "train.csv").write_text("\n".join(rows), encoding="utf-8")
    shutil.copy(ROOT / "dvc.yaml", folder)


def prepare(folder: Path, workers: int, decoding: str) -> tuple[float, float]:
    """Seconds, and MiB at the peak, of a run from scratch."""
    text = (ROOT / "settings" / "paper.yaml").read_text(encoding="utf-8")
    for old, new in {
        "source: rsna-roi": "source: rsna",
        "workers: null": f"workers: {workers}",
        "decoding: reduced": f"decoding: {decoding}",
        "expected_images: 1821": "expected_images: null",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    for leftover in (".cache", "prepared"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    environment = {**os.environ, "MAMMOGAN_ID_KEY": str(folder.parent / "id.key")}
    start, peak = time.monotonic(), 0
    command = [sys.executable, "-c", "from mammogan.cli import main; main()", "prepare"]
    with tempfile.TemporaryFile() as said:
        run = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        family = psutil.Process(run.pid)
        while run.poll() is None:
            peak = max(peak, _resident(family))
            time.sleep(0.05)
        if run.returncode != 0:
            said.seek(0)
            raise SystemExit(said.read().decode()[-2000:])
    return time.monotonic() - start, peak / 2**20


def _resident(family: psutil.Process) -> int:
    total = 0
    for process in [family, *family.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=200, metavar="N")
    parser.add_argument("--height", type=int, default=3000, metavar="PX", help="of the phantom; 0.7 of it wide")
    parser.add_argument("--decoding", choices=["reduced", "full"], default="full")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--quick", action="store_true", help="one round of 40 images, within a minute")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    rounds, n = (1, 40) if options.quick else (options.rounds, options.images)

    seconds: dict[int, list[float]] = {1: [], 2: []}
    memory: dict[int, float] = {1: 0.0, 2: 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkout"
        folder.mkdir()
        make(folder, n, options.height)
        for number in range(1, rounds + 1):
            for workers in seconds:
                took, peak = prepare(folder, workers, options.decoding)
                seconds[workers].append(took)
                memory[workers] = max(memory[workers], peak)
                print(f"round {number}/{rounds}, {workers} workers: {took:.1f} s, {peak:.0f} MiB", file=sys.stderr)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    line = json.dumps(
        {
            "bench": "prepare_workers",
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "rounds": rounds,
            "images": n,
            "height_px": options.height,
            "decoding": options.decoding,
            "images_per_s": {str(k): round(n / statistics.median(took), 2) for k, took in seconds.items()},
            "peak_mib": {str(k): round(peak) for k, peak in memory.items()},
            "cores": os.cpu_count(),
            "mammogan": mammogan.__version__,
        }
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)


if __name__ == "__main__":
    main()
