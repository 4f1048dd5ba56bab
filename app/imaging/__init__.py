"""Bytes to pixels and back: decode, encode, colour, alpha, metadata."""
