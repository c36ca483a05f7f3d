"""What a confirmation leaves in confirmations/<model>/: written whole, read back; the only owner of its names."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mammogan import atomic
from mammogan.errors import DataError
from mammogan.results import BEST, GENERATOR, METRICS

FACTS = "confirmation.json"


def write(
    facts: Mapping[str, Any], best: Mapping[str, Any], trials: pd.DataFrame, generator: Path, folder: Path
) -> None:
    """Write the verdict, the runs, and the champion with its weights, whole or not at all."""
    with atomic.new_folder(folder) as new:
        atomic.write_text(new / FACTS, json.dumps(facts, indent=2) + "\n")
        atomic.write_text(new / BEST, json.dumps(best, indent=2) + "\n")
        figures = {"confirmed": facts["confirmed"], **{name: best[name] for name in METRICS}}
        atomic.write_text(new / "metrics.json", json.dumps(figures, indent=2) + "\n")
        trials.to_csv(new / "trials.csv", index=False, lineterminator="\n")
        shutil.copyfile(generator, new / GENERATOR)


def read(folder: Path) -> list[str]:
    """The sentences of a confirmation; none where there is no such folder.

    Raises:
        DataError: it is damaged.
    """
    if not folder.exists():
        return []
    try:
        sentences: list[str] = json.loads((folder / FACTS).read_text(encoding="utf-8"))["sentences"]
    except (OSError, ValueError, KeyError) as err:
        raise DataError(f"{folder} is damaged ({err}); `mammogan confirm {folder.name}` writes it again") from None
    return sentences
