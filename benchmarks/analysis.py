"""How long the whole analysis of a study takes: L81 with 40 factors of three levels, each row run five times.

    python benchmarks/analysis.py [--quick]

Wall time of `design.analysis.analyse` (main effects with intervals and Tukey's comparisons, analysis of variance,
contrasts, prediction, conclusion) from the trials frame, first call and median of the later ones, and of the audit of
the array. The last line is one JSON object; `ratio` is the goal of one second over the first call (higher is better).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mammogan.design.analysis import analyse
from mammogan.design.arrays import ARRAYS, audit

GOAL_S = 1.0
REPLICATES = 5


def trials(n_factors: int) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """A study of L81 whose first factor moves the response and the others do not."""
    rng = np.random.default_rng(0)
    factors = {f"f{number:02}": [1, 2, 3] for number in range(n_factors)}
    lines = [
        {"row": row.number, **row.levels, "fid": 50 * row.levels["f00"] * float(np.exp(rng.normal(scale=0.1)))}
        for _ in range(REPLICATES)
        for row in ARRAYS["l81"].assign(factors)
    ]
    return pd.DataFrame(lines), factors


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="time of the analysis of L81 with five replicates")
    parser.add_argument("--quick", action="store_true", help="three repeats in place of ten")
    repeats = 3 if parser.parse_args().quick else 10
    frame, factors = trials(40)
    first = seconds(lambda: analyse(frame, factors))
    later = statistics.median(seconds(lambda: analyse(frame, factors)) for _ in range(repeats))
    audited = statistics.median(seconds(lambda: audit(ARRAYS["l81"], factors)) for _ in range(repeats))
    print(f"analysis: {first:.2f} s at first, then {later:.2f} s; audit {audited:.2f} s")
    print(
        json.dumps(
            {
                "bench": "analysis",
                "array": ARRAYS["l81"].title,
                "factors": len(factors),
                "replicates": REPLICATES,
                "first_s": round(first, 3),
                "later_s": round(later, 3),
                "audit_s": round(audited, 3),
                "ratio": round(GOAL_S / first, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
