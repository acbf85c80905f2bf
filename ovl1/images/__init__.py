"""Images without a daemon."""
