import re
from pathlib import Path

import optuna
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```(?:\n```text\n(.*?)^```)?", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("code", "printed"), EXAMPLES, ids=["choose", "audit", "sampler", "analysis"])
def test_the_examples_of_the_design_page_run_and_print_what_they_promise(code, printed, capsys):
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    exec(compile(code, "docs/design.md", "exec"), {"__name__": "__main__"})
    optuna.logging.set_verbosity(verbosity)
    shown = capsys.readouterr().out
    assert shown == printed if printed else "no estimate of the error" in shown
