"""Labels as the sets write them -> one vocabulary; what is not understood becomes "", never a guess."""

import re

_SIDES = {"l": "L", "left": "L", "lt": "L", "r": "R", "right": "R", "rt": "R"}
# DICOM PS3.16 CID 4014, short names
_VIEWS = frozenset(("CC", "MLO", "ML", "LM", "LMO", "AT", "XCC", "XCCL", "XCCM", "FB", "SIO", "ISO", "CV", "TAN"))
_VIEW_WORDS = {
    "craniocaudal": "CC",
    "mediolateraloblique": "MLO",
    "mediolateral": "ML",
    "lateromedial": "LM",
    "lateromedialoblique": "LMO",
    "axillarytail": "AT",
}
_CANCER = {
    **dict.fromkeys(("0", "0.0", "false", "no", "benign", "benign without callback", "normal"), "0"),
    **dict.fromkeys(("1", "1.0", "true", "yes", "malignant"), "1"),
}
_AGE = re.compile(r"0*(\d{1,4})(?:\.\d+)?\s*(y|years?|m)?", re.IGNORECASE | re.ASCII)
_OLDEST = 120


def laterality(text: str) -> str:
    """L or R."""
    return _SIDES.get(text.strip().lower(), "")


def view(text: str) -> str:
    """The DICOM short name of a view, from itself or from its long name, such as `cranio-caudal`."""
    short = text.strip().upper()
    return short if short in _VIEWS else _VIEW_WORDS.get(re.sub(r"[^a-z]", "", text.lower()), "")


def density(text: str) -> str:
    """A to D, from itself or from words such as `DENSITY C`."""
    letter = text.strip().upper().removeprefix("DENSITY").strip()
    return letter if letter in {"A", "B", "C", "D"} else ""


def density_of_number(text: str) -> str:
    """A to D from a BI-RADS or ACR class of 1 to 4; only for sets whose numbers are known to be such classes."""
    return {"1": "A", "2": "B", "3": "C", "4": "D"}.get(text.strip().removesuffix(".0"), "")


def cancer(text: str) -> str:
    """0 or 1, from a number, a yes or no, or a pathologist's word."""
    return _CANCER.get(text.strip().lower().replace("_", " "), "")


def any_cancer(labels: set[str]) -> str:
    """The label of an image with several findings: 1 if any is malignant, 0 if all are known not to be."""
    return "1" if "1" in labels else "" if "" in labels or not labels else "0"


def age(text: str) -> str:
    """Whole years from `45`, `45.0`, `045Y` or `732M` (months)."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return ""
    years = int(match[1]) // (12 if (match[2] or "").lower() == "m" else 1)
    return str(years) if 0 < years <= _OLDEST else ""
