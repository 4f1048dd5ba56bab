"""Checkpoint to ONNX and manifest, with a numerical proof."""

import os

# As in app/__init__.py: no telemetry of onnxruntime's, which reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
