"""From the overlay layout to overlay2: planned, journalled, proved, and undone on request."""
