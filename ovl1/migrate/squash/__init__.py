"""Images of more layers than Docker takes: their bottom layers become one.

`cut` says which images and how many layers; `renewed` gives the store as if it had been so from the
start, which then is converted and proved as any other; `steps` makes what that needs, and enters
it. The old store is only read.
"""
