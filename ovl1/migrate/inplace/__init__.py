"""One layer of an `overlay` store turned into overlay2's, where it is, without free inodes.

`decide` writes down what is to be done to a layer and what it takes to undo it; `convert` turns
its tree (`root` or `upper`) into `diff`; `undo` turns it back. Both work from the record alone,
are idempotent, and may be called in any order after each other, killed wherever they were: what
stays of a layer is never moved or changed, only what goes comes and goes.

Layers are converted one at a time, children before their parents, and undone parents first: then
the parent's tree is whole whenever it is needed. No file's content is ever written to convert, and
no inode that another layer could share is changed.
"""
