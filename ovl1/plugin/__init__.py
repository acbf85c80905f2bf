"""Docker's storage driver outside of Docker: the graphdriver plugin, and handing a store to it."""
