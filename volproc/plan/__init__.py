"""Integers only: chunks, halos, blocks, patches and bytes."""
