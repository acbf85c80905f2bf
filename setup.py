"""Entry point for tools that still call setup.py; everything is said in setup.cfg."""

from __future__ import annotations

from setuptools import setup

setup()
