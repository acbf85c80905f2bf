"""The two layouts of layers on disk: `overlay1` and `overlay2`, and how one becomes the other."""
