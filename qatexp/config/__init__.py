"""The typed configuration and its checks. Imports neither torch nor mlflow, so it fails fast."""
