"""Pure merges of block results: components, measurements, exact statistics."""
