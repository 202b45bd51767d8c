"""Lifts block functions over a grid: lazy arrays, stores, done markers, runs."""
