"""The bases of the clip space: one file each."""
