"""The result in use: lists for known and new users, similar items, new items, export, an MLflow model, a service."""
