"""Pixels to pixels: model registry, sessions, tiles, batching, and the way of one picture."""
