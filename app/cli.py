"""``chetko``: serve, worker, upscale and models. Heavy parts are imported by the command that needs them."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import __version__

if TYPE_CHECKING:
    from app.inference.manifest import Manifest
    from app.settings import Settings

_EXIT_CODES = """\
exit codes:
  0    everything was done
  1    some pictures failed; the others were done
  2    nothing was started: wrong options, an unknown model, or a broken installation
  130  interrupted (Ctrl-C); finished pictures stay, unfinished ones leave nothing behind
"""

_UPSCALE = """\
Enlarges pictures. Each result gets its source's name with its factor added (_x4), beside the source or in the folder
OUT. Folders are searched with all their subfolders, which are repeated under OUT; hidden files are left out, and so are
results of earlier runs (photo_x4.png beside photo.jpg).
"""

_KEYS_CREATE = """\
Makes a key and prints it. It is not stored anywhere, only its hash is: keep it now, or make another one later.
With CHETKO_REDIS_URL the key is made there, else in CHETKO_DATA_DIR, whether chetko serve runs or not.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line (None: the process's own) and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name or a title that the terminal's encoding lacks must not end the run.
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("chetko: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left, as in `chetko models | head -1`; python would complain at exit.
        sys.stdout = None
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chetko",
        description="Enlarges pictures 1 to 8 times, natural and sharp.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"chetko {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve the page and the HTTP API",
        description="Serves the page and the HTTP API. Without CHETKO_REDIS_URL it brings a queue server of its own "
        "and one worker. Everything else is set by CHETKO_* environment variables.",
    )
    serve.add_argument("--host", help="address to listen on (CHETKO_HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (CHETKO_PORT, 8000)")
    serve.add_argument(
        "--no-worker", dest="worker", action="store_false", help="start no worker: jobs wait for `chetko worker`"
    )
    # How CHETKO_PROCESSES starts a server that shares its parent's sockets: their numbers.
    serve.add_argument("--sockets", type=_numbers, default=(), help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)

    worker = commands.add_parser(
        "worker",
        help="work through the queue",
        description="Computes what is in the queue at CHETKO_REDIS_URL; unset: in that of the chetko serve which holds "
        "CHETKO_DATA_DIR. SIGTERM and Ctrl-C let it finish its strip, a second one gives the strip back at once.",
    )
    worker.set_defaults(run=_worker)

    upscale = commands.add_parser(
        "upscale",
        help="enlarge files and folders",
        description=_UPSCALE,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    upscale.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="picture files and folders")
    upscale.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a folder (made if it is missing); for a single picture also a file, whose extension sets the format",
    )
    upscale.add_argument("--scale", type=_factor, default=4, metavar="1..8", help="factor (%(default)s)")
    upscale.add_argument(
        "--width", type=_from(1, 2**31 - 1), metavar="PX", help="width of the result, instead of --scale"
    )
    upscale.add_argument("--height", type=_from(1, 2**31 - 1), metavar="PX", help="height of the result")
    upscale.add_argument(
        "--fit",
        choices=("inside", "cover", "exact"),
        help="how a picture of another shape gets both: no larger than asked (the default), cropped around the centre, "
        "stretched",
    )
    upscale.add_argument("--model", metavar="NAME", help="one of `chetko models` (the default one)")
    upscale.add_argument(
        "--format",
        choices=("same", "png", "jpeg", "webp", "avif", "tiff", "gif", "apng"),
        help="output format (OUT's extension, else same as the source; BMP and still GIF become PNG); animations stay "
        "animations as gif, webp, apng or same",
    )
    upscale.add_argument("--quality", type=_from(1, 100), metavar="1..100", help="for jpeg, webp and avif")
    upscale.add_argument(
        "--metadata",
        choices=("keep", "strip"),
        default="keep",
        help="colour profile, EXIF, XMP, resolution (%(default)s); strip converts to sRGB",
    )
    upscale.add_argument(
        "--equalize-colors",
        action=argparse.BooleanOptionalAction,
        help="give the result the source's colour histogram (what the model recommends)",
    )
    upscale.add_argument("--platform", choices=("cpu", "gpu"), help="where to compute (a GPU if there is one)")
    upscale.add_argument(
        "--tile",
        type=_from(16, 65536),
        metavar="N",
        help="edge of the squares computed at once, in input pixels, without their halo (as memory allows)",
    )
    upscale.add_argument("--force", action="store_true", help="overwrite results that exist")
    upscale.add_argument(
        "-v", "--verbose", action="store_true", help="tell model, provider, halo, tile shape and tile count"
    )
    upscale.set_defaults(run=_upscale)

    models = commands.add_parser("models", help="list the models", description="Lists the installed models.")
    models.add_argument("--json", action="store_true", help="print the whole manifests")
    models.set_defaults(run=_models)

    keys = commands.add_parser(
        "keys",
        help="make, list and revoke the keys of callers",
        description="Makes, lists and revokes the keys that callers of the HTTP API show.",
    )
    _add_keys_commands(keys)
    keys.set_defaults(run=_keys)

    jobs = commands.add_parser(
        "jobs",
        help="list, show, cancel, retry and purge jobs",
        description="What operators see of jobs, and do about them.",
    )
    _add_jobs_commands(jobs)
    jobs.set_defaults(run=_jobs)
    return parser


def _add_keys_commands(keys: argparse.ArgumentParser) -> None:
    commands = keys.add_subparsers(required=True, metavar="COMMAND", dest="keys_command")
    create = commands.add_parser("create", help="make a key and print it, this once", description=_KEYS_CREATE)
    create.add_argument("name", metavar="NAME", help="whose key it is; shown by ls")
    create.add_argument(
        "--scope",
        action="append",
        choices=("read", "write", "evaluate"),
        help="what the key may do; repeat it for several (all): read models, jobs and results; write pictures, jobs "
        "and uploads; evaluate models",
    )
    for name, what in (
        ("requests-per-minute", "requests in a minute"),
        ("megapixels-per-minute", "output megapixels in a minute"),
        ("max-concurrent", "pictures worked on at once"),
        ("max-jobs", "jobs that are not finished"),
        ("storage-mb", "MiB of uploads, sources and results"),
    ):
        setting = "CHETKO_KEY_" + name.upper().replace("-", "_")
        create.add_argument(f"--{name}", type=_from(1, 10**9), metavar="N", help=f"most {what} ({setting})")
    commands.add_parser("ls", help="list the keys, without their texts", description="Lists all valid keys.")
    revoke = commands.add_parser("revoke", help="make a key invalid at once", description="Makes a key invalid.")
    revoke.add_argument("id", metavar="ID", help="the key's id, as ls shows it: key_...")


def _factor(text: str) -> float:
    """An argparse type: a number in [1, 8]."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 8:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 8, not {text!r}")
    return number


def _add_jobs_commands(parser: argparse.ArgumentParser) -> None:
    """The commands below ``chetko jobs``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="jobs_command")
    states = ("queued", "preparing", "running", "assembling", "succeeded", "failed", "cancelled", "expired")

    ls = commands.add_parser("ls", help="list jobs", description="Lists jobs, the newest first.")
    ls.add_argument("--state", choices=states, help="only jobs in this state")
    ls.add_argument("--owner", metavar="KEY", help='only jobs of this key\'s id ("" for callers without a key)')
    ls.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (%(default)s)")
    ls.add_argument("--json", action="store_true", help="print whole documents")

    for name, told in (
        ("show", "print one job"),
        ("cancel", "stop an unfinished job and remove its files"),
        ("retry", "begin a failed job again"),
    ):
        one = commands.add_parser(name, help=told, description=told[0].upper() + told[1:] + ".")
        one.add_argument("id", metavar="JOB", help="the job's id")

    purge = commands.add_parser(
        "purge", help="remove finished jobs", description="Removes finished jobs with their files, before their time."
    )
    purge.add_argument("--state", choices=states[4:], help="only jobs that ended so")
    purge.add_argument(
        "--older-than", type=float, default=0.0, metavar="HOURS", help="only jobs that ended so long ago (%(default)s)"
    )


def _numbers(text: str) -> tuple[int, ...]:
    """An argparse type: whole numbers with commas between them."""
    return tuple(int(number) for number in text.split(","))


def _from(least: int, most: int) -> Any:
    """An argparse type: a whole number in [least, most]."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return number

    return parse


def _settings(**overrides: Any) -> Settings | None:
    """The settings of this process, or None after telling what is wrong with them."""
    from pydantic import ValidationError  # noqa: PLC0415

    from app.settings import Settings, explain  # noqa: PLC0415

    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        for sentence in explain(error):
            print(f"chetko: {sentence}", file=sys.stderr)
        return None


def _serve(options: argparse.Namespace) -> int:
    from app.inference.errors import InferenceError  # noqa: PLC0415
    from app.inference.runtime import check_runtime  # noqa: PLC0415

    settings = _settings(host=options.host, port=options.port)
    if settings is None:
        return 2
    try:
        check_runtime()  # before app.main, whose imports need one
    except InferenceError as error:
        print(f"chetko: {error.message}", file=sys.stderr)
        return 2
    if settings.metrics_port is not None:
        from app.telemetry.exposition import share_between_processes  # noqa: PLC0415

        share_between_processes()  # before app.main, which imports what counts
    from app.main import serve  # noqa: PLC0415

    return serve(settings, worker=options.worker, inherited=options.sockets)


def _worker(_: argparse.Namespace) -> int:
    from app.inference.errors import InferenceError  # noqa: PLC0415
    from app.inference.runtime import check_runtime  # noqa: PLC0415

    settings = _settings()
    if settings is None:
        return 2
    try:
        check_runtime()  # before app.worker, whose imports need one
    except InferenceError as error:
        print(f"chetko: {error.message}", file=sys.stderr)
        return 2
    from app.worker import work  # noqa: PLC0415

    return work(settings)


def _upscale(options: argparse.Namespace) -> int:
    from app.inference.errors import InferenceError  # noqa: PLC0415
    from app.inference.runtime import check_runtime  # noqa: PLC0415

    settings = _settings(platform=options.platform)
    if settings is None:
        return 2
    try:
        check_runtime()  # before app.cli_upscale, whose imports need one
    except InferenceError as error:
        print(f"chetko: {error.message}", file=sys.stderr)
        return 2
    from app.cli_upscale import upscale_files  # noqa: PLC0415

    return upscale_files(options, settings)


def _models(options: argparse.Namespace) -> int:
    from app.inference.errors import InferenceError  # noqa: PLC0415
    from app.inference.registry import Registry, model_folders  # noqa: PLC0415

    settings = _settings()
    if settings is None:
        return 2
    try:
        registry = Registry.load(model_folders(settings.models_dir))
    except InferenceError as error:
        print(f"chetko: {error.message}", file=sys.stderr)
        return 2
    models = registry.models()
    if options.json:
        told = [model.model_dump(by_alias=True, exclude_none=True) for model in models]
        print(json.dumps(told, ensure_ascii=False, indent=2))
    elif models:
        print(_table(models, registry.default))
    else:
        print("chetko: no model is installed", file=sys.stderr)
    return 0


def _jobs(options: argparse.Namespace) -> int:
    from app.cli_jobs import manage_jobs  # noqa: PLC0415

    settings = _settings()
    return 2 if settings is None else manage_jobs(options, settings)


def _keys(options: argparse.Namespace) -> int:
    from app.cli_keys import manage_keys  # noqa: PLC0415

    settings = _settings()
    return 2 if settings is None else manage_keys(options, settings)


def _table(models: Sequence[Manifest], default: str) -> str:
    rows = [("MODEL", "VERSION", "KIND", "SCALES", "PARAMETERS", "SET5 PSNR", "WHAT IT IS")]
    for model in models:
        scales = sorted(model.scales)
        entries = [model.scales[scale] for scale in scales]
        rows.append(
            (
                model.name + (" (default)" if model.name == default else ""),
                model.version,
                model.kind,
                ", ".join(f"{scale}x" for scale in scales),
                ", ".join(f"{entry.parameters:,}" for entry in entries),
                ", ".join(_psnr(entry.measured.get("Set5")) for entry in entries),
                model.description.en,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]) for row in rows
    )


def _psnr(measured: Any) -> str:
    return f"{measured['psnr']:.2f} dB" if isinstance(measured, dict) and "psnr" in measured else "-"


if __name__ == "__main__":
    sys.exit(main())
