"""The stories: one file each, from an address to files."""
