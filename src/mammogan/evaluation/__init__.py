"""Scores of synthetic images against real ones: FID, KID and the real-vs-real floor that scales them."""
