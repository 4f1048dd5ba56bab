"""What can go wrong between pixels and pixels, named after what happened."""

from __future__ import annotations


class InferenceError(Exception):
    """The picture could not be enlarged as asked.

    ``code`` is stable (callers branch on it), ``message`` is one or two sentences that say what to change.
    """

    code = "inference_failed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RuntimeProblemError(InferenceError):
    """None or more than one onnxruntime is installed."""

    code = "runtime_problem"


class PlatformUnavailableError(InferenceError):
    """The asked device does not exist in this installation."""

    code = "platform_unavailable"


class BrokenModelError(InferenceError):
    """A model's manifest or file is missing, malformed or not the one that was exported."""

    code = "broken_model"


class UnknownModelError(InferenceError):
    """No model of that name; the message lists those there are."""

    code = "unknown_model"


class UnknownScaleError(InferenceError):
    """The model does not enlarge by that factor; the message lists the factors it has."""

    code = "unknown_scale"


class DeviceOutOfMemoryError(InferenceError):
    """The device had no memory for a tile, not even for the smallest worth trying."""

    code = "device_out_of_memory"


class DeviceLostError(InferenceError):
    """The device is gone or no longer answers; only a new process can use it again."""

    code = "device_lost"


class NotFiniteError(InferenceError):
    """A network answered with NaN or infinity in full precision too."""

    code = "not_finite"


class UpscaleCancelledError(InferenceError):
    """Whoever asked for the picture no longer wants it, or the engine is being closed."""

    code = "cancelled"
