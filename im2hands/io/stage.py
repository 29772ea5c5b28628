"""The command line of a stage, made from the signature of its `main`.

`def main(frames: str, shard: int, output: str, params: NormalizeImages)` becomes
`--frames F --shard I --output O --params JSON`: plain types are converted, lists take several values, optional arguments
keep their default, and a parameter annotated with a pydantic model is validated from JSON.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from im2hands.io.atomic import writing_failed
from im2hands.io.errors import ConfigError, Im2HandsError


def stage_main(main: Callable[..., None], arguments: Sequence[str] | None = None) -> None:
    """Runs `main` with arguments of the command line; a user's mistake ends in one sentence and exit code 1."""
    parser, converters = _parser(main)
    values = vars(parser.parse_args(arguments))
    try:
        main(**{name: converters[name](value) if value is not None else None for name, value in values.items()})
    except Im2HandsError as error:
        sys.exit(f"{main.__module__ if main.__module__ != '__main__' else parser.prog}: error: {error}")
    except OSError as error:
        said = writing_failed(error.filename or "the output", error)
        if said is None:
            raise
        sys.exit(f"{main.__module__ if main.__module__ != '__main__' else parser.prog}: error: {said}")


def _parser(main: Callable[..., None]) -> tuple[argparse.ArgumentParser, dict[str, Callable[[Any], Any]]]:
    module = inspect.getmodule(main)
    parser = argparse.ArgumentParser(description=(module.__doc__ or "") if module else "")
    hints = typing.get_type_hints(main)
    converters: dict[str, Callable[[Any], Any]] = {}
    for name, parameter in inspect.signature(main).parameters.items():
        converter, options = _converter(hints[name], name)
        if parameter.default is inspect.Parameter.empty:
            options["required"] = True
        else:
            options["default"] = parameter.default
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **options)
        converters[name] = converter
    return parser, converters


def _converter(hint: Any, name: str) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _converter(next(kind for kind in inner if kind is not type(None)), name)
    if origin is list:
        return list, {"nargs": "*", "type": inner[0]}
    if hint is bool:
        return bool, {"action": argparse.BooleanOptionalAction}
    if hint in (str, int, float, Path):
        return lambda value: value, {"type": hint}
    if origin is typing.Literal:
        return lambda value: value, {"choices": inner}
    return lambda text: _validated(hint, text, name), {"metavar": "JSON"}


def _validated(model: Any, text: Any, name: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(text, str):
        return text
    try:
        return TypeAdapter(model).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"--{name}: {place or 'the value'}: {first['msg']}; see params.yaml for the allowed values."
        ) from None
