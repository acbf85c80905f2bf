"""Directory trees: scanning, merging, comparing, copying; no knowledge of layers' meaning."""
