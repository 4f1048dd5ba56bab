"""Data, networks, loop and evaluation of super-resolution models. Never imports app."""
