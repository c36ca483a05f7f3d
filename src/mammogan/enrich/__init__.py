"""Synthetic images added to a repository of images in its own layout, and taken out again to the byte."""
