"""Addresses to lazy volumes, and back; every turn between Å and voxels, zyx and xyz."""
