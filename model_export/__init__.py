"""Checkpoint to ONNX and manifest, with a numerical proof."""
