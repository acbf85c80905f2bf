"""Formats: bytes in, values out. Nothing here opens a file or knows where a store is."""
