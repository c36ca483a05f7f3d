"""The audit of a table of runs as text for a terminal: sentences, then numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammogan.design.arrays import ARRAYS, Array, audit, find_array, read_table
from mammogan.design.audit import effects_table
from mammogan.replay import published

_MOST = 30  # effects that a terminal shows


def audit_of(table: str, factors: str | None) -> str:
    """The audit of a CSV file or of an array of the catalogue, as text.

    `factors` names the columns that are factors, with commas between; all are without it.

    Raises:
        DesignError: there is neither such a file nor such an array, or it is no table; see `read_table`.
    """
    if table == "paper" and not Path(table).exists():
        return audit_text(find_array(table), published().factors)
    names = [name.strip() for name in factors.split(",") if name.strip()] if factors else None
    if table in ARRAYS and not Path(table).exists():
        array = find_array(table)
        columns = {f"column {number}": list(range(1, n + 1)) for number, n in enumerate(array.n_levels, start=1)}
        return audit_text(array, columns)
    if "." not in table and not Path(table).exists():
        find_array(table)  # says which arrays there are
    read = read_table(Path(table), names)
    return audit_text(read.array, read.factors)


def audit_text(array: Array, factors: Mapping[str, Sequence[Any]]) -> str:
    """Name, source, findings and numbers of a table with its factors."""
    effects = effects_table(array, factors)
    shown = effects.head(_MOST).assign(efficiency=effects["efficiency"].map("{:.2f}".format))
    shown["mixed_with"] = shown["mixed_with"].where(
        shown["mixed_with"].str.len() <= 60, shown["mixed_with"].str.slice(0, 57) + "..."
    )
    used = array.first_columns(len(factors))
    lines = [f"{array.name}: {used.title}", f"source: {array.source}", "", *audit(array, factors), ""]
    lines.append(shown.to_string(index=False, justify="left"))
    if len(effects) > _MOST:
        lines.append(f"and {len(effects) - _MOST} more interactions")
    return "\n".join(lines)
