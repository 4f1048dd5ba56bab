"""Where the parts are wired together: the application factory, its life span, and ``serve``."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis

from app.api.application import build_application
from app.api.callers import CannotStartError
from app.api.service import Service
from app.api.service_metrics import QueueMetrics, ServiceMetrics
from app.inference.backend import Backend, load_backend
from app.inference.errors import InferenceError
from app.inference.registry import model_folders
from app.inference.watch import ModelWatch
from app.jobs import Health, open_redis
from app.jobs.data_folder import DataFolderError
from app.jobs.eviction import EvictingQueueError, QueueAwayError, refuse_eviction
from app.jobs.supervisor import PartFailedError, Supervisor
from app.processes import processes_of
from app.settings import Settings, misspelt
from app.storage import Storage, StorageError, storage_of
from app.telemetry import logs, traces
from app.telemetry.exposition import Exposition, shown_by_parent

KEEP_ALIVE_SECONDS = 20
HEALTH_SECONDS = 5
"""What Prometheus waits at most for the queue's numbers; its own patience is ten seconds by default."""

_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""Asks for the models to be read again; Windows has no such signal."""


def create_app(
    settings: Settings,
    *,
    load: Callable[[Settings], Backend] | None = None,
    redis: Redis | None = None,
    storage: Storage | None = None,
    only_ready: bool = False,
) -> FastAPI:
    """The whole service as an ASGI application.

    Models are loaded and warmed in a thread once the life span begins; until then ``/readyz`` and
    ``/v1/upscale`` answer 503. Later changes in their folders are followed. ``load`` puts another backend in the
    place of ``load_backend``; that one stays as it is. ``redis`` is the queue server, ``storage`` the store beside it;
    closing them stays the caller's. Without them the settings say which ones; without ``CHETKO_REDIS_URL`` there are
    none, and no jobs. ``only_ready``: the life span begins with the models loaded. Raises StorageError where the
    store's folder cannot be made.
    """
    service = Service(settings)
    own_redis = None
    if redis is None and settings.redis_url is not None:
        redis = own_redis = open_redis(settings.redis_url)
        storage = storage_of(settings)
    if redis is not None:
        service.use_queue(redis, storage)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = []
        if load is None:
            watch = await asyncio.to_thread(ModelWatch, model_folders(settings.models_dir))
            tasks.append(
                service.follow_models(
                    watch,
                    lambda present: load_backend(settings, present),
                    every_seconds=settings.models_poll_seconds,
                )
            )
        if service.uploads is not None:
            tasks.append(service.sweep_uploads())
        tasks.append(service.start(lambda: (load or load_backend)(settings)))
        running = [asyncio.ensure_future(task) for task in tasks]
        if service.jobs is not None:
            await service.jobs.connect()
        if only_ready:
            await service.settled.wait()
        yield
        service.drain()
        if service.jobs is not None:
            await service.jobs.close()
        for task in running:
            task.cancel()
        await asyncio.to_thread(service.close)
        if own_redis is not None:
            await own_redis.aclose()

    return build_application(service, lifespan)


class _RefusedError(Exception):
    """``serve`` cannot begin; the text is the sentence to show."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def serve(settings: Settings, *, worker: bool = True, inherited: Sequence[int] = ()) -> int:
    """Serves until SIGINT or SIGTERM and gives the process's exit code, having told on standard error why it failed:
    0 stopped, 1 cannot listen or cannot have its data folder or its queue server, 2 the models cannot be loaded or
    the queue server may not be used.

    ``worker``: whether an embedded queue server comes with a worker. ``inherited``: numbers of the listening sockets
    of a ``chetko serve`` beside which this process is one more server; it says nothing then but what goes wrong.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # before anything is said: whoever hears from us can stop us
        signal.signal(number, _end_now)
    logs.configure(settings.log_level, settings.log_format)
    try:
        with ExitStack() as held:
            if not inherited:
                _look_around(settings)
            if settings.traces_url is not None:
                traces.configure(settings.traces_url, "api")
                held.callback(traces.shutdown)
            sockets = [socket.socket(fileno=descriptor) for descriptor in inherited] or _listen(
                settings.host, settings.port
            )
            exposition = _expose(settings, held)
            settings, supervisor = held.enter_context(
                processes_of(settings, worker=worker, listening=sockets, tell=lambda text: _complain(settings, text))
            )
            server = _Server(settings, supervisor, quiet=bool(inherited))
            if exposition is not None:
                exposition.add(ServiceMetrics(server.service))
                if server.service.jobs is not None:
                    exposition.add(QueueMetrics(server.queue_health))
            # uvicorn raises the signal that stopped it once more when it is done; by then this handler has nothing
            # left to do, and the exit code stays 0.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, server.handle_exit)
            had_terminal = _has_terminal()
            if _HANGUP is not None:
                signal.signal(_HANGUP, signal.SIG_IGN)  # until _run: nothing is loaded yet that could be read again
            url = _url(settings.host, sockets[0].getsockname()[1])
            if not inherited:
                _say(settings, f"Chetko is starting on {url} ...")
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_run(server, sockets, url, had_terminal=had_terminal))
    except _RefusedError as error:
        _complain(settings, str(error))
        return error.code
    except (DataFolderError, PartFailedError, StorageError) as error:
        _complain(settings, str(error))
        return 1
    except traces.TracesUnavailableError as error:
        _complain(settings, str(error))
        return 2


def _end_now(*_: object) -> NoReturn:
    """The answer to a signal while nothing is served yet."""
    raise SystemExit(0)


def _expose(settings: Settings, held: ExitStack) -> Exposition | None:
    """The port for Prometheus, if there is to be one."""
    if settings.metrics_port is None or shown_by_parent():
        return None
    try:
        exposition = Exposition(settings.host, settings.metrics_port)
    except OSError as error:
        raise _not_listening("METRICS_PORT", settings.host, settings.metrics_port, error) from error
    held.callback(exposition.close)
    _say(settings, f"Prometheus reads {_url(settings.host, exposition.port)}/metrics")
    return exposition


def _look_around(settings: Settings) -> None:
    """Tells what may be wrong around this process; raises _RefusedError where it must not begin."""
    for sentence in misspelt(os.environ):
        _complain(settings, f"Warning: {sentence}")
    if settings.processes > 1 and os.name != "posix":
        raise _RefusedError("CHETKO_PROCESSES: more than one server process is for Linux and macOS.", 2)
    if settings.redis_url is not None:
        _check_queue(settings, settings.redis_url)


def _check_queue(settings: Settings, url: str) -> None:
    try:
        refuse_eviction(url)
    except EvictingQueueError as error:
        raise _RefusedError(str(error), 2) from error
    except QueueAwayError as error:
        # One that comes later is taken then; its workers look at it in the same way.
        _complain(settings, f"Warning: {error} Until it does there are no jobs.")


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the service and the processes beside it at once when it is asked to stop."""

    def __init__(self, settings: Settings, supervisor: Supervisor | None, *, quiet: bool) -> None:
        """``quiet``: it is one of several, and takes connections only once it can answer them."""
        app = create_app(settings, only_ready=quiet)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                http=_http_protocol(),
                ws="none",
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.drain_seconds,
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        self.settings = settings
        self.service: Service = app.state.service
        self.supervisor = supervisor
        self.quiet = quiet
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it runs, while it does."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.drain()
        if self.supervisor is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(self.supervisor.drain)  # this may be anywhere in the loop's own code
        super().handle_exit(sig, frame)

    def queue_health(self) -> Health | None:
        """How queue and storage are, for a thread that is not the loop's; None without an answer in time."""
        if self.loop is None or self.service.jobs is None:
            return None
        asking = asyncio.run_coroutine_threadsafe(self.service.jobs.health(), self.loop)
        try:
            return asking.result(HEALTH_SECONDS)
        except TimeoutError:
            asking.cancel()
            return None

    def stop(self) -> None:
        """Asks it to stop, from within its loop."""
        self.service.drain()
        if self.supervisor is not None:
            self.supervisor.drain()
        self.should_exit = True


async def _run(server: _Server, sockets: list[socket.socket], url: str, *, had_terminal: bool) -> int:
    def hang_up() -> None:
        if had_terminal and not _has_terminal():  # its window was closed: nobody is left to stop it
            server.stop()
        else:
            server.service.reload_asked.set()
            if server.supervisor is not None:
                server.supervisor.reload()

    server.loop = asyncio.get_running_loop()
    if _HANGUP is not None:
        server.loop.add_signal_handler(_HANGUP, hang_up)
    try:
        if server.supervisor is not None:
            await server.supervisor.start()
        beside = [asyncio.ensure_future(_announce(server, url))]
        if shown_by_parent():
            beside.append(asyncio.ensure_future(ServiceMetrics(server.service).keep_published()))
        await server.serve(sockets=sockets)
        for task in beside:
            task.cancel()
    finally:
        if server.supervisor is not None:
            await server.supervisor.close(at_once=server.force_exit)
        server.loop = None
    return 2 if server.service.failure else 0


async def _announce(server: _Server, url: str) -> None:
    await server.service.settled.wait()
    failure = server.service.failure
    if server.service.state == "ready":
        if server.quiet:
            return
        _say(server.settings, server.service.backend.engine.device.sentence())
        _say(server.settings, f"Chetko is ready: {url}")
    elif failure is not None:
        known = isinstance(failure, InferenceError | CannotStartError)
        _complain(server.settings, str(failure) if known else f"The models could not be loaded: {failure!r}")
        server.stop()


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is there; one that was closed is none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except (OSError, AttributeError):  # Windows knows no O_NOCTTY
        return False
    return True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _http_protocol() -> Any:
    try:
        from app.api.http_protocol import BoundedHttpProtocol  # noqa: PLC0415 - httptools is not on Windows
    except ImportError:
        return "h11"
    return BoundedHttpProtocol


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of ``host``, all with the same port."""
    try:
        return _sockets(host, port)
    except OSError as error:
        raise _not_listening("PORT", host, port, error) from error


def _sockets(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            sockets.append(_bind(family, (address[0], port, *address[2:])))
            port = sockets[0].getsockname()[1]
        except OSError as error:
            # A name such as localhost may have an IPv6 address on a machine without IPv6; only a port in use counts.
            if failed is None or error.errno == errno.EADDRINUSE:
                failed = error
    if failed is not None and (not sockets or failed.errno == errno.EADDRINUSE):
        for each in sockets:
            each.close()
        raise failed
    return sockets


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _not_listening(setting: str, host: str, port: int, error: OSError) -> _RefusedError:
    """``setting``: which one holds the port, without its prefix."""
    where = f"port {port} of {host}"
    if isinstance(error, socket.gaierror):
        why = f"CHETKO_HOST: there is no address {host!r}; use 127.0.0.1 or 0.0.0.0."
    elif isinstance(error, PermissionError):
        why = f"Listening on {where} is not permitted: set CHETKO_{setting} to a port from 1024 on."
    elif error.errno == errno.EADDRINUSE:
        why = f"Something else listens on {where}: stop it, or set CHETKO_{setting} to another port."
    else:
        why = f"Chetko cannot listen on {where}: {error.strerror or error}."
    return _RefusedError(why, 1)


def _url(host: str, port: int) -> str:
    # An address that means "everywhere" is no place to go to.
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{shown}]' if ':' in shown and not shown.startswith('[') else shown}:{port}"


def _say(settings: Settings, text: str) -> None:
    logs.say(text, settings.log_format)


def _complain(settings: Settings, text: str) -> None:
    logs.complain(text, settings.log_format)
