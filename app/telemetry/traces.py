"""OpenTelemetry traces: one from the upload to the result, through every process that works on it.

Needs the extra ``otel``. Off until ``configure`` is called: then ``span`` costs a call and nothing is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from app import __version__

_tracer: Any = None
_provider: Any = None


class TracesUnavailableError(Exception):
    """Traces are asked for and cannot be made; the text is the sentence to show."""


def configure(url: str, process: str) -> None:
    """Sends spans to ``url``, an OTLP/HTTP address such as http://collector:4318/v1/traces.

    ``process`` (api, worker) becomes the service name chetko-<process>. The standard OTEL_ variables (sampler,
    headers, resource attributes) are honoured. Raises TracesUnavailableError.
    """
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise TracesUnavailableError(
            "CHETKO_TRACES_URL is set, but OpenTelemetry is not installed: install chetko[otel], or unset it."
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    use(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)), process)


def use(processor: Any, process: str) -> None:
    """Hands finished spans to an OpenTelemetry span processor."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    global _tracer, _provider  # noqa: PLW0603  one tracer per process, as OpenTelemetry has it
    resource = Resource.create({"service.name": f"chetko-{process}", "service.version": __version__})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("chetko", __version__)


def shutdown() -> None:
    """Sends what has not been sent yet; from then on nothing is traced. Blocks for seconds at most."""
    global _tracer, _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def span(
    name: str, *, parent: Mapping[str, str] | None = None, **attributes: str | int | float | None
) -> Iterator[None]:
    """A span around the block, below the span that the calling code is in, or below ``parent``, which another
    process gave by ``carrier()``. An exception that leaves the block marks the span as failed."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    context = TraceContextTextMapPropagator().extract(dict(parent)) if parent else None
    known = {f"chetko.{key}": value for key, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(name, context=context, attributes=known):
        yield


def annotate(**attributes: str | int | float) -> None:
    """Adds attributes to the span that the calling code is in."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span  # noqa: PLC0415

        get_current_span().set_attributes({f"chetko.{key}": value for key, value in attributes.items()})


def carrier() -> dict[str, str]:
    """The calling code's span as W3C headers (``traceparent``), to travel with a message; empty without one."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        TraceContextTextMapPropagator().inject(headers)
    return headers


def trace_id() -> str | None:
    """The calling code's trace, as 32 hexadecimal digits; None without one."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    context = get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
