"""Chetko enlarges raster images: the service. Never imports torch, training or model_export."""

import os

# onnxruntime's wheels contain telemetry of their maker's: it writes files beside the user's caches and starts a
# thread. Chetko's pictures and users are nobody else's business. Read when onnxruntime is imported, so set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
