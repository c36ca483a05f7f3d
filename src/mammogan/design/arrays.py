"""Orthogonal arrays, all that can be asked of them: find one, choose one, read one's own, audit it."""

from mammogan.design.audit import audit
from mammogan.design.catalogue import ARRAYS, find_array
from mammogan.design.choice import Plan, choose
from mammogan.design.csv_file import read_table
from mammogan.design.linear_graph import interaction_columns
from mammogan.design.table import Array, Row, check_factors, model_matrix

__all__ = [
    "ARRAYS",
    "Array",
    "Plan",
    "Row",
    "audit",
    "check_factors",
    "choose",
    "find_array",
    "interaction_columns",
    "model_matrix",
    "read_table",
]
