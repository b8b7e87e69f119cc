"""The registry and run tracking on MLflow."""
