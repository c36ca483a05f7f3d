"""mammogan: synthetic mammograms that enlarge a small repository, with the evidence to judge them."""

__version__ = "0.1.0"
