"""Every setting of the service, read once at start from ``CHETKO_*`` environment variables."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64decode
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "CHETKO_"


def _data_folder_of_user() -> Path:
    """Where this system keeps an application's data; a folder here for a user without a home."""
    variable, default = {
        "win32": ("LOCALAPPDATA", "~/AppData/Local"),
        "darwin": ("", "~/Library/Application Support"),
    }.get(sys.platform, ("XDG_DATA_HOME", "~/.local/share"))
    given = Path(os.environ.get(variable, ""))
    try:
        base = given if given.is_absolute() else Path(default).expanduser()
    except RuntimeError:
        return Path.cwd() / "chetko-data"
    return base / "chetko"


class Settings(BaseSettings):
    """The settings of one process; they do not change while it runs.

    ``Settings()`` reads the environment, ``Settings(port=0)`` overrides it. A bad value raises
    ``pydantic.ValidationError`` with all faults at once; ``explain`` makes sentences of it.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. With 0.0.0.0 (every network) set CHETKO_ALLOWED_HOSTS too.",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of chetko serve that answer on the same port, on Linux and macOS. Each loads the models "
        "and has CHETKO_MAX_REQUESTS, CHETKO_MAX_UPLOADS and the like for itself; what is counted for a key counts in "
        "all. Metrics add up what they count and hold; chetko_ready is that of the first one.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Names by which the service may be called (the Host header without its port), "
        "separated by commas. *.example.org allows every name below example.org, * allows all. "
        "Others get 421; /livez and /readyz are exempt.",
    )

    models_dir: Path | None = Field(
        None,
        description="A folder with further models, one folder each; the shipped ones are always there. Models put "
        "into it, changed or removed are followed while the service runs.",
    )
    models_poll_seconds: float = Field(
        2.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds between two looks for changed models, which are then read again; 0 never looks. "
        "SIGHUP always has them read again.",
    )
    platform: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="Where models run: gpu refuses to start without one, auto takes a GPU if there is one.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Numbers that models compute in: auto takes half precision on a GPU, and bfloat16 with "
        "chetko[openvino] on a processor that, measured at start, multiplies it faster, for models whose manifests "
        "allow it. float32 is exact everywhere. bfloat16 takes it unmeasured, and refuses to start where it cannot.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads for one model run; unset takes what the cgroup allows."
    )
    tile_memory_mb: int = Field(
        256,
        ge=16,
        le=65536,
        description="Memory in MiB for the activations of the running tile and two bands of finished rows; "
        "bounds the tile's size.",
    )

    max_body_bytes: int = Field(
        50_000_000,
        ge=1,
        description="Largest request body in bytes, counted while it is received; more gets 413.",
    )
    max_input_pixels: int = Field(
        100_000_000,
        ge=1,
        description="Largest picture taken in, in pixels, known before decoding; more gets 413.",
    )
    max_frames: int = Field(
        256,
        ge=1,
        le=1000,
        description="Most frames of an animation that is enlarged as one; more get 413, unless png is asked for.",
    )
    evaluation_max_pixels: int = Field(
        2_000_000,
        ge=1,
        description="Largest picture that POST /v1/evaluations takes, in pixels: all pictures of its answer are in one "
        "document; more get 413.",
    )
    decode_seconds: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that decoding one picture may take; then its decoder, a process of its own, is ended and "
        "the picture gets 413.",
    )
    decode_memory_mb: int = Field(
        2048,
        ge=128,
        le=1_048_576,
        description="Memory in MiB that a decoder may take beside the decoded pixels; a picture that needs more gets "
        "413.",
    )
    sync_max_output_pixels: int = Field(
        16_000_000,
        ge=0,
        description="Largest result, in pixels, that is computed while its request waits; a larger one becomes a job. "
        "0 makes a job of everything.",
    )

    max_requests: int = Field(
        64,
        ge=1,
        description="Pictures taken in at once, from reception to the end of the answer; more get 503.",
    )
    max_uploads: int = Field(32, ge=1, description="Uploads being received at once; more get 503.")
    max_active_pictures: int | None = Field(
        None,
        ge=1,
        description="Pictures decoded, enlarged or encoded at once; the others wait with only their upload "
        "held. Unset takes the number of CPU cores plus one.",
    )
    receive_idle_seconds: float = Field(
        15.0, gt=0, allow_inf_nan=False, description="Seconds an upload may stand still before it is answered with 408."
    )
    receive_min_bytes_per_second: int = Field(
        16_384,
        ge=0,
        description="Average speed below which an upload is answered with 408, once "
        "CHETKO_RECEIVE_IDLE_SECONDS have passed; 0 turns this check off.",
    )
    send_idle_seconds: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds a client may take no byte of its answer before the connection is closed.",
    )
    # Data, queue and workers (app/jobs/embedded.py, app/jobs/worker.py).
    data_dir: Path = Field(
        default_factory=_data_folder_of_user,
        description="The folder of the embedded queue and, unless CHETKO_STORAGE_URL says otherwise, of pictures and "
        "results; made if it is missing. Unset takes chetko in the user's folder for application data "
        "(~/.local/share, XDG_DATA_HOME). One chetko serve at a time holds it.",
    )
    redis_url: str | None = Field(
        None,
        description="The queue server: redis://host:6379/0, rediss://… with TLS, or unix:///path. Unset makes chetko "
        "serve start one of its own in CHETKO_DATA_DIR, and one worker.",
    )

    # Storage (app/storage).
    storage_url: str | None = Field(
        None,
        description="Where sources and results are kept: file:///folder or s3://bucket/prefix. Unset takes the folder "
        "objects in CHETKO_DATA_DIR.",
    )
    storage_public_url: str | None = Field(
        None,
        description="Address by which callers reach the server of the bucket themselves, as https://s3.example.org: "
        "large uploads and results then go straight to and from it. Unset: everything goes through the service.",
    )
    s3_endpoint: str | None = Field(
        None,
        description="Address of the bucket's server, as http://minio:9000, if it is not Amazon's. This and the "
        "three below are taken from AWS_ENDPOINT_URL, AWS_REGION, ... or the machine's role where unset.",
    )
    s3_region: str | None = Field(None, description="Region of the bucket, as eu-central-1.")
    s3_access_key_id: str | None = Field(None, description="Name of the key that may read and write the bucket.")
    s3_secret_access_key: SecretStr | None = Field(None, description="The secret of CHETKO_S3_ACCESS_KEY_ID.")
    storage_min_free_mb: int = Field(
        256,
        ge=0,
        description="Megabytes of the disk that a local folder leaves free (the queue's file may lie on the same disk, "
        "and the queue stops when it is full); with less left new work gets 503 storage_full.",
    )

    # Jobs and their results (app/jobs).
    result_ttl: float = Field(
        86_400.0,
        ge=1,
        allow_inf_nan=False,
        description="Seconds for which a finished job's result is kept; then it, its source and all else of it go.",
    )
    cache_ttl: float = Field(
        3600.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds for which a finished job answers the same picture with the same options and model again; "
        "0 always computes.",
    )
    cache_across_owners: bool = Field(
        False,
        description="Whether one caller's finished job may answer another caller. Who sends a picture can then tell "
        "by the time it takes whether somebody else sent it before.",
    )

    # Addresses that the service calls: webhooks, source.url (app/jobs/egress.py).
    egress_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Hosts that webhooks and source.url may reach although they are not on the public internet, as "
        "name or name:port, separated by commas. Others must be public, on port 80 or 443.",
    )
    download_seconds: float = Field(
        60.0, gt=0, allow_inf_nan=False, description="Seconds that fetching a picture from its source.url may take."
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Signs webhooks by the Standard Webhooks rules: whsec_ and the base64 of 24 to 64 random bytes; "
        "receivers need it too. Unset: jobs with a webhook_url are refused.",
    )

    # Who may do what (app/api/keys.py and what is beside it).
    allow_anonymous: bool | None = Field(
        None,
        description="Whether callers without a key are served. Unset: on loopback only; on other addresses every call "
        "needs a key then, and the service does not start while there is none (chetko keys create).",
    )
    bootstrap_key_file: Path | None = Field(
        None,
        description="A file with one key (ck_ and 43 letters and digits, as chetko keys create makes them) that is "
        "taken in at start with every scope: how the first key gets into a cluster.",
    )
    secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="At least 32 characters that sign share links. Unset: made once, 0600, in the data folder; "
        "with CHETKO_REDIS_URL it must be given, the same for every process.",
    )
    key_requests_per_minute: int = Field(
        600, ge=1, description="Requests that one key may make in a minute, unless it has a limit of its own."
    )
    key_megapixels_per_minute: int = Field(
        2_000, ge=1, description="Output megapixels that one key may ask for in a minute, unless it has its own limit."
    )
    key_max_concurrent: int = Field(
        16, ge=1, description="Pictures of one key that are worked on at once, unless it has its own limit."
    )
    key_max_jobs: int = Field(
        100, ge=1, description="Jobs of one key that may be unfinished at once, unless it has its own limit."
    )
    key_storage_mb: int = Field(
        10_000, ge=1, description="MiB that uploads, sources and results of one key may take, unless it has its own."
    )
    session_hours: float = Field(
        12.0, gt=0, le=8760, allow_inf_nan=False, description="Hours for which the page stays signed in with a key."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Other web sites whose pages may call the service with a key, as https://app.example.org, "
        "separated by commas. None by default; cookies are never taken from them.",
    )
    max_upload_bytes: int = Field(
        1_000_000_000, ge=1, description="Largest file that POST /v1/uploads makes a place for; more gets 413."
    )
    upload_hours: float = Field(
        24.0, gt=0, le=8760, allow_inf_nan=False, description="Hours until an upload that no job uses is removed."
    )

    # Metrics, logs, traces.
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="TCP port on which Prometheus reads /metrics, on the address CHETKO_HOST; 0 takes any free one. "
        "Unset opens none. A worker that `chetko serve` started is shown there too.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people, or one JSON object each with request and job ids for a collector."
    )
    traces_url: str | None = Field(
        None,
        description="OTLP/HTTP address for OpenTelemetry traces, such as http://collector:4318/v1/traces; needs the "
        "extra otel. Unset makes none.",
    )

    # Life and death.
    drain_seconds: int = Field(
        60, ge=0, description="Seconds that running requests get to finish when the service is told to stop."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log lines to print; info prints one line per request."
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        parts: Iterable[Any] = value.split(",") if isinstance(value, str) else value  # type: ignore[assignment]
        return tuple(str(part).strip().lower() for part in parts if str(part).strip())

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must name at least one host")
        for host in value:
            if "/" in host or (":" in host and not (host.startswith("[") and host.endswith("]"))):
                raise ValueError(f"takes names without scheme, port or path (IPv6 in brackets), not {host!r}")
        return value

    @field_validator("storage_url")
    @classmethod
    def _check_storage_url(cls, value: str | None) -> str | None:
        return value if value is None else check_storage_url(value)

    @field_validator("storage_public_url", "s3_endpoint")
    @classmethod
    def _check_s3_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
            raise ValueError(f"must be an address such as https://s3.example.org, without path, not {value!r}")
        return value

    @field_validator("egress_allowed_hosts", mode="before")
    @classmethod
    def _split_egress_hosts(cls, value: object) -> object:
        return cls._split_hosts(value)

    @field_validator("egress_allowed_hosts")
    @classmethod
    def _check_egress_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.fullmatch(r"(\[[0-9a-f:.]+\]|[^/:@*\s\[\]]+)(:\d{1,5})?", host):
                raise ValueError(f"takes name or name:port (IPv6 in brackets), without scheme and path, not {host!r}")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                size = len(b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True))
            except ValueError:
                size = 0
            if not value.get_secret_value().startswith("whsec_") or not 24 <= size <= 64:
                raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
        return value

    @field_validator("data_dir")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        try:
            return Path.cwd() / value.expanduser()
        except RuntimeError:
            raise ValueError(f"begins with a user's folder that is not known: {str(value)!r}") from None

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        place = parts.path.startswith("/") and not parts.netloc if parts.scheme == "unix" else parts.hostname
        if parts.scheme not in ("redis", "rediss", "unix") or not place:
            # Not the value itself: it may hold a password.
            raise ValueError("takes redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket")
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return cls._split_hosts(value)

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/?#*@\s]+", origin):
                raise ValueError(f"takes origins such as https://app.example.org, without path or *, not {origin!r}")
        return value

    @field_validator("traces_url")
    @classmethod
    def _check_traces_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError(f"must be an address that begins with http:// or https://, not {value!r}")
        return value

    @field_validator("models_dir")
    @classmethod
    def _check_models_dir(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"must be a folder that exists, and {str(value)!r} is none")
        return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens on ``host``."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def check_storage_url(url: str) -> str:
    """The address itself, if a store can lie there: ``file:///folder`` or ``s3://bucket/prefix``, where the prefix
    has the rules of a stored object's key. Else raises ValueError with what it should be."""
    if re.fullmatch(r"file://(localhost)?/[^?#]*", url):
        return url
    if re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*/?", url):
        return url
    raise ValueError(f"must be file:///folder or s3://bucket/prefix, not {url!r}")


def explain(error: ValidationError) -> list[str]:
    """One sentence per bad setting, each naming its ``CHETKO_*`` variable and what it would take."""
    return [_sentence(dict(fault)) for fault in error.errors(include_url=False)]


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """One sentence per ``CHETKO_*`` variable that looks like a misspelt setting.

    Only near misses are told: Kubernetes puts variables such as ``CHETKO_SERVICE_HOST`` into every container
    beside a Service called chetko, and these are nobody's mistake.
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.85)
            if close:
                sentences.append(f"{name} is no setting; did you mean {close[0]}?")
    return sentences


def _sentence(fault: Mapping[str, Any]) -> str:
    name = PREFIX + str(fault["loc"][0]).upper() if fault["loc"] else "The settings"
    given = fault.get("input")
    context = fault.get("ctx", {})
    kind = str(fault["type"])
    if kind == "extra_forbidden":
        return f"{name} is no setting."
    demands = {
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_parsing": "must be a number",
        "finite_number": "must be a finite number",
        "string_too_short": "must not be empty",
        "greater_than_equal": f"must be at least {context.get('ge', 0):g}",
        "greater_than": f"must be more than {context.get('gt', 0):g}",
        "less_than_equal": f"must be at most {context.get('le', 0):g}",
        "literal_error": f"must be one of {str(context.get('expected', '')).replace(chr(39), '')}",
    }
    if kind == "value_error":
        return f"{name} {context['error']}."
    sentence = f"{name} {demands.get(kind, str(fault['msg']))}, not {given!r}."
    if name == "CHETKO_PORT" and isinstance(given, str) and given.startswith("tcp://"):
        # Kubernetes writes this variable into pods beside a Service called chetko.
        sentence += " Kubernetes set it for a Service: put enableServiceLinks: false into the pod."
    return sentence
