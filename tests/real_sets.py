"""The real mammograms that lie beside some checkouts, and the mark of the tests that need them."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "mammograms"

needs_real_sets = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real test sets are not beside this checkout (../shared/mammograms)"
)
