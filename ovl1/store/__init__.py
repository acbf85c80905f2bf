"""A data-root on disk, read only: layers, images, references, mounts, containers, trees.

`ovl1.store.store.Store` reads all of it at once; `ovl1.store.layout.Layout` knows every path.
"""
