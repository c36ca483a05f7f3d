"""Mammograms, real and phantom: drawn, found, read, cropped and cut to tiles."""
