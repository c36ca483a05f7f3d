"""The errors a user can mend; only `cli` and `serving` catch them.

MammoganError
├── ConfigError      params.yaml does not fit config.py
├── DataError        raw or prepared mammograms are missing, unreadable or contradictory
├── TrainingError    a run cannot start or cannot go on
├── EvaluationError  a score cannot be computed as its name promises
├── DesignError      an array, a study or its analysis is not sound
├── TrackingError    the tracking store or the model registry cannot answer
└── RequestError     a request for synthetic images is malformed
"""


class MammoganError(Exception):
    """Says what went wrong, where, and how to mend it, in one message."""


class ConfigError(MammoganError):
    """params.yaml does not fit config.py."""


class DataError(MammoganError):
    """Raw or prepared mammograms are missing, unreadable or contradictory."""


class TrainingError(MammoganError):
    """A run cannot start or cannot go on."""


class EvaluationError(MammoganError):
    """A score cannot be computed as its name promises."""


class DesignError(MammoganError):
    """An array, a study or its analysis is not sound."""


class TrackingError(MammoganError):
    """The tracking store or the model registry cannot answer."""


class RequestError(MammoganError):
    """A request for synthetic images is malformed."""
