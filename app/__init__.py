"""Chetko enlarges raster images: the service. Never imports torch, training or model_export."""

__version__ = "0.1.0"
