"""The MLflow adapter: the store, the runs in it, and the registry of models."""
