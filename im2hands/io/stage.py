"""The command line of a stage, made from the signature of its `main`.

`def main(frames: str, shard: int, output: str, params: NormalizeImages)` becomes
`--frames F --shard I --output O --params JSON`: plain types are converted, lists take several values, optional arguments
keep their default, a parameter annotated with a pydantic model is validated from JSON, and one annotated with a dataclass
represents the arguments that are its fields.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from im2hands.io.atomic import writing_failed
from im2hands.io.errors import ConfigError, Im2HandsError


def stage_main(main: Callable[..., None], arguments: Sequence[str] | None = None) -> None:
    """Runs `main` with arguments of the command line; a user's mistake ends in one sentence and exit code 1."""
    if getattr(signal.getsignal(signal.SIGINT), "during_imports", False):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parser, converters = _parser(main)
    values = vars(parser.parse_args(arguments))
    try:
        given = {name: converters[name](value) if value is not None else None for name, value in values.items()}
        main(**_gathered(main, given))
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
    converters: dict[str, Callable[[Any], Any]] = {}
    for name, hint, default in arguments_of(main):
        converter, options = _converter(hint, name)
        options |= {"required": True} if default is inspect.Parameter.empty else {"default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **options)
        converters[name] = converter
    return parser, converters


def arguments_of(of: Callable[..., Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each argument of the command line."""
    hints = typing.get_type_hints(of.__init__ if inspect.isclass(of) else of)
    for name, parameter in inspect.signature(of).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            yield from arguments_of(hints[name])
        else:
            yield name, hints[name], parameter.default


def pairs(words: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE words, as a list argument gives them."""
    return dict(word.split("=", 1) for word in words)


def _gathered(main: Callable[..., None], given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `main`: what belongs to a dataclass in one of its instances."""
    hints = typing.get_type_hints(main)
    found = {}
    for name in inspect.signature(main).parameters:
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            found[name] = kind(**{field.name: given[field.name] for field in dataclasses.fields(kind)})
        else:
            found[name] = given[name]
    return found


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
