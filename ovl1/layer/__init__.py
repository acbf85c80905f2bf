"""One layer tar on one side, a directory tree on the other."""
