"""Small networks of both models."""

from small_networks import small_config, train_config

__all__ = ["small_config", "train_config"]
