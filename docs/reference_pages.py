"""The reference pages that are made of the program itself, so that they cannot tell anything else than it does."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel

from app.settings import PREFIX, Settings


def pages() -> dict[str, Callable[[], str]]:
    """Address below docs/ -> what makes the page."""
    return {
        "reference/settings.md": settings,
        "reference/commands.md": commands,
        "reference/metrics.md": metrics,
        "reference/manifest.md": manifest,
    }


def settings() -> str:
    """Every setting: its variable, what it takes, its default and what it does."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None or field.default_factory is not None else _plain(field.default)
        takes = _takes(field.annotation, field.metadata)
        shown = f"`{default}`" if default else "–"
        rows.append((f"`{PREFIX}{name.upper()}`", takes, shown, field.description or ""))
    return _page(
        "Settings",
        "Read once at start from environment variables; an empty variable is an unset one. What is wrong with them is "
        "told all at once, one sentence each, and the service does not start.",
        _table(("variable", "takes", "default", "what it does"), rows),
    )


def commands() -> str:
    """Every command with its options."""
    parts = []
    for parser in _parsers():
        for command, one in _with_subcommands(parser):
            parts.append(f"## {command}\n\n{textwrap.dedent(one.description or '').strip()}\n")
            rows = [_option(action, one) for action in one._actions if not _is_plumbing(action)]
            if rows:
                parts.append(_table(("option", "what it does", "default"), rows))
            if one.epilog:
                parts.append(f"```text\n{textwrap.dedent(one.epilog).strip()}\n```\n")
    return _page("Commands", "Each also takes `--help`.", "\n".join(parts))


def metrics() -> str:
    """What Prometheus reads."""
    from app.api.service import Service  # noqa: PLC0415 - needs an onnxruntime, which `settings` does not
    from app.api.service_metrics import QueueMetrics, ServiceMetrics  # noqa: PLC0415
    from app.telemetry.metrics import METRICS  # noqa: PLC0415

    service = Service(Settings())
    looked_up = [family for one in (ServiceMetrics(service), QueueMetrics(lambda: None)) for family in one.collect()]
    service.close()
    rows = [
        (f"`{metric._name}{'_total' if metric._type == 'counter' else ''}`", metric._type,
         ", ".join(f"`{label}`" for label in metric._labelnames) or "–", metric._documentation)
        for metric in METRICS._collector_to_names
    ]  # fmt: skip
    rows += [(f"`{family.name}`", family.type, "–", family.documentation) for family in looked_up]
    return _page(
        "Metrics",
        "Served at `/metrics` of `CHETKO_METRICS_PORT`, with `process_*` of the process that answers. Gauges are "
        "looked up when Prometheus asks; numbers of a queue that does not answer are left out.",
        _table(("name", "type", "labels", "what it tells"), sorted(rows)),
    )


def manifest() -> str:
    """The fields of a model's manifest.json."""
    from app.inference import manifest as module  # noqa: PLC0415

    parts = []
    for model in (module.Manifest, module.ScaleEntry, module.Files, module.ModelFile, module.Text):
        said = _attribute_docs(model)
        rows = []
        for name, field in model.model_fields.items():
            takes = _takes(field.annotation, field.metadata)
            needed = "yes" if field.is_required() else ""
            rows.append((f"`{field.alias or name}`", takes, needed, said.get(name, "")))
        parts.append(f"## {model.__name__}\n\n{inspect.getdoc(model)}\n")
        parts.append(_table(("field", "takes", "required", "what it means"), rows))
    return _page(
        "The manifest of a model",
        "`manifest.json` lies beside the ONNX files. `chetko-export` writes it; fields that the service does not know "
        "are kept and ignored.",
        "\n".join(parts),
    )


class _Caught(Exception):  # noqa: N818 - not an error
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def _parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of each installed command, caught at the moment when it would read its arguments."""
    from app import cli  # noqa: PLC0415
    from model_export import cli as export  # noqa: PLC0415
    from training import cli as train  # noqa: PLC0415
    from training import pack  # noqa: PLC0415
    from training.evaluation import cli as evaluation  # noqa: PLC0415

    def catch(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Caught(parser)

    for command in (cli.main, train.main, pack.main, evaluation.main, export.main):
        with patch.object(argparse.ArgumentParser, "parse_args", catch):
            try:
                command([])
            except _Caught as caught:
                yield caught.parser


def _with_subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _with_subcommands(child)


def _is_plumbing(action: argparse.Action) -> bool:
    return isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction)


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> tuple[str, str, str]:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    shown = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        name = f"`{shown}`"
    else:
        name = ", ".join(f"`{flag}`" for flag in action.option_strings)
        name += "" if action.nargs == 0 else f" `{shown}`"
    told = (action.help or "") % {**vars(action), "prog": parser.prog, "choices": action.choices} if action.help else ""
    default = "" if action.default in (None, False, argparse.SUPPRESS, [], ()) else f"`{_plain(action.default)}`"
    return name, told, default or "–"


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """The strings below the fields of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    said = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            said[field.target.id] = " ".join(str(below.value.value).split())
    return said


def _takes(annotation: Any, metadata: Iterable[Any]) -> str:
    plain = inspect.isclass(annotation) and not hasattr(annotation, "__args__")
    text = annotation.__name__ if plain else str(annotation)
    text = re.sub(r"\b(?:[a-z_]+\.)+([A-Za-z])", r"\1", text).replace("NoneType", "None").replace(" | None", "")
    if text.startswith("Literal["):
        text = text.removeprefix("Literal[").removesuffix("]").replace("'", "").replace(", ", " \\| ")
    words = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} long"}
    given = ((getattr(item, name, None), form) for item in metadata for name, form in words.items())
    bounds = [form.format(value) for value, form in given if value is not None]
    names = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false", "Path": "path"}
    return ", ".join([names.get(text, text), *bounds]).replace("tuple[str, ...]", "texts, separated by commas")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split())) for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)]) + "\n"


def _page(title: str, about: str, body: str) -> str:
    return f"# {title}\n\n{about}\n\n*Made of the program by `make docs`.*\n\n{body}"
