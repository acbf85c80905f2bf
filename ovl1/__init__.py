"""ovl1: Docker's legacy `overlay` (v1) storage driver, an inode accountant, and a migration.

The package imports nothing here, so that reading its version costs nothing. The command line is
`ovl1.cli`; the library's parts are imported by name (`ovl1.store`, `ovl1.driver`, ...).
"""

from __future__ import annotations

__version__ = "0.1.0"
