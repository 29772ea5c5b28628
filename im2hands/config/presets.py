"""`im2hands configure PRESET`: merges a preset into params.yaml and reports what changed.

A preset contains only the keys that it sets. The parameter file keeps its comments and the order of its keys, and is still
the only parameter file that Snakemake and DVC read.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from im2hands.config.params import validate_params
from im2hands.io.atomic import write_text
from im2hands.io.documents import not_yaml, read_yaml_text
from im2hands.io.errors import ConfigError, DataError

PRESETS = "presets"
OPEN_SECTIONS = ("external.",)
"""Where a preset may add names of its own."""


def configure_params(preset: str, params: str | os.PathLike = "params.yaml", dry_run: bool = False) -> list[str]:
    """Merges a preset into a parameter file.

    preset: a name in the folder `presets` next to the parameter file, or the path of a YAML file.
    dry_run: do not change the file.

    Returns lines for the user: one per changed key with the old and the new value, then what to do next.
    Raises ConfigError, and changes nothing, for an unknown preset, a key that params.yaml does not have, or values that are
    not allowed.
    """
    params = Path(params)
    path = _preset_path(preset, params)
    merged = _load(params, "parameter file")
    changes = list(_merge(merged, _load(path, "preset"), path))
    validate_params(_plain(merged), path)
    if not changes:
        return [f"{params} already has the values of {path}; nothing changed."]
    if not dry_run:
        write_text(params, _dump(merged))
    lines = [f"{key}: {_show(old)} -> {_show(new)}" for key, old, new in changes]
    verb = "would change" if dry_run else "changed"
    return [*lines, f"{len(changes)} values of {params} {verb}; snakemake -n shows what will run."]


def _preset_path(preset: str, params: Path) -> Path:
    folder = params.resolve().parent / PRESETS
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else folder / f"{preset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise ConfigError(f"{preset}: unknown preset; use one of {known}, or the path of a .yaml file.")
    return path


def _load(path: Path, purpose: str) -> MutableMapping[str, Any]:
    from ruamel.yaml import YAMLError

    try:
        text = read_yaml_text(path, purpose)
        content = _yaml().load(text)
    except DataError as error:
        raise ConfigError(str(error)) from None
    except (YAMLError, ValueError) as error:
        raise ConfigError(str(not_yaml(path, purpose, error))) from None
    if not isinstance(content, MutableMapping):
        raise ConfigError(f"{path}: the {purpose} must contain keys and values; correct it.")
    return content


def _merge(
    target: MutableMapping[str, Any], update: Mapping[str, Any], preset: Path, place: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Sets the leaves of `update` in `target`; yields (key, old, new) of those that differ."""
    for key, value in update.items():
        name = f"{place}{key}"
        if key not in target and place in OPEN_SECTIONS:
            target[key] = value
            yield name, None, _plain(value)
            continue
        if key not in target:
            raise ConfigError(f"{preset}: params.yaml has no key `{name}`; correct the name.")
        old = target[key]
        if isinstance(old, Mapping) != isinstance(value, Mapping):
            raise ConfigError(
                f"{preset}: `{name}` must be a section or a value in both this file and params.yaml; correct it."
            )
        if isinstance(old, Mapping):
            yield from _merge(old, value, preset, f"{name}.")
        elif old != value:
            target[key] = value
            yield name, _plain(old), _plain(value)


def _plain(value: Any) -> Any:
    """Built-in types only: ruamel's numbers and strings also store how they were written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _show(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _dump(content: Any) -> str:
    stream = io.StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml
