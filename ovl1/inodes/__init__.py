"""The accountant: where a store's inodes went."""
