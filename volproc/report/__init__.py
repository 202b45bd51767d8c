"""Pages for people, from tables and small images."""
