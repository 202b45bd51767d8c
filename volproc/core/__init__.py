"""Names and value objects that every room shares: no file, no thread, no model."""
