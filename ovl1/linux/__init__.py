"""The kernel: thin wrappers of system calls, with no knowledge of Docker."""
