"""Images of more layers than Docker takes: their bottom layers become one.

`cut` says which images and how many layers; `renewed` gives the store as if it had been so from the
start, which then is converted and proved as any other; `steps` makes what that needs, and enters
it. The old store is only read.

Limits: what registries know of the layers (``distribution``) stays as it is, and nothing is entered
for new ones. BuildKit's own records, which may name layers of a deep image, are not changed.
"""
