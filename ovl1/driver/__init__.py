"""The two layouts of layers on disk, `overlay1` and `overlay2`: drivers, and a way between them."""
