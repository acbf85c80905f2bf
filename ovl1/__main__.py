"""`python -m ovl1`: the same as the `ovl1` command, for where scripts are not on PATH."""

from __future__ import annotations

from ovl1.cli.main import main

if __name__ == "__main__":
    main()
