"""Files to validated objects, once, at the edge."""
