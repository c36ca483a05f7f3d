"""Functions that worker processes can import."""

import os
import signal
import time
from pathlib import Path


def square(x: int) -> int:
    return x * x


def square_or_die(x: int) -> int:
    if x % 7 == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return x * x


def raise_at_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def note_and_wait(folder: str) -> int:
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)
    return 0


def run_until_killed(folder: str) -> None:
    from mammogan.data.pool import outcomes

    list(outcomes(note_and_wait, [folder] * 4, 2, "pool_functions"))
