"""Writes `workflow/schemas/params.schema.yaml` from the classes in `im2hands.config`: `python -m workflow.params_schema`."""

from __future__ import annotations

from pathlib import Path

import yaml

from im2hands.config.params import json_schema
from im2hands.io.atomic import write_text

SCHEMA = Path(__file__).parent / "schemas" / "params.schema.yaml"


def schema_text() -> str:
    """The YAML text of the schema, with the order of the classes."""
    head = "# Made by `python -m workflow.params_schema` from im2hands/config/sections.py; edit that file.\n"
    return head + yaml.safe_dump(json_schema(), sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    write_text(SCHEMA, schema_text())


if __name__ == "__main__":
    main()
