"""The outside: HTTP for metrics and health."""
