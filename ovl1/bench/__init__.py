"""Benchmarks: each layout built for real, on file systems made for it, beside its prediction."""
