"""Starts, reaches and stops what runs tasks: threads, processes, GPUs, a scheduler."""

from volproc.cluster.start import connect

__all__ = ["connect"]
