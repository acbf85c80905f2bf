"""Runs a command, then prints as JSON what it took; started small, so that no memory of a big
process which forks it counts as the command's.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys


def main() -> int:
    done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss << 10}))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
