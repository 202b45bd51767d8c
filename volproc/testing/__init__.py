"""Law suites that authors of models, readers and writers subclass."""
