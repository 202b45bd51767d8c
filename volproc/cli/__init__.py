"""The front door: thin commands over workflows."""
