"""Data sets, augmentation, losses and loops that make a checkpoint."""
