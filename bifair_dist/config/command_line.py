"""Settings from a command line: `--config FILE`, `--section.name value`, `--section.name=value`, `--help`."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, TypeVar

from bifair_dist.config.settings import Known, Settings, known_settings, override, type_name
from bifair_dist.config.yaml_file import load
from bifair_dist.errors import UserError

S = TypeVar("S", bound=Settings)
SOURCE = "command line"
SHORT = {"resume": "checkpoint.resume"}
"""Settings that may be named without their section."""


def parse(base: S, arguments: Sequence[str] | None = None, description: str = "") -> S:
    """`base`, then each `--config` file in the order given, then the settings named on the command line.

    `arguments` defaults to `sys.argv[1:]`. `--help` prints every setting and exits with 0. Raises `UserError` for
    anything that is not understood.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in arguments or "-h" in arguments:
        print(help_text(type(base), description))
        sys.exit(0)
    switches = {known.key for known in known_settings(type(base)) if known.type is bool}
    files: list[str] = []
    named: dict[str, Any] = {}
    while arguments:
        word = arguments.pop(0)
        if not word.startswith("--") or word == "--":
            raise UserError(f"{SOURCE}: did not expect {word!r}: settings are written --section.name value")
        name, has_value, value = word[2:].partition("=")
        key = name.replace("-", "_")
        key = SHORT.get(key, key)
        if not has_value:
            follows = bool(arguments) and not arguments[0].startswith("--")
            if not follows and key not in switches:
                raise UserError(f"{SOURCE}: --{name} needs a value")
            value = arguments.pop(0) if follows else "true"
        if key == "config":
            files.append(value)
        elif key in named:
            raise UserError(f"{SOURCE}: --{name} is given twice")
        else:
            named[key] = value
    for file in files:
        base = load(base, file)
    return override(base, named, SOURCE)


def help_text(cls: type[Settings], description: str = "") -> str:
    """Every setting, by section: name, values, default, unit, what it is and why the default."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    lines = [description.strip(), ""] if description.strip() else []
    lines += [
        "Settings come from the defaults below, then --config FILE (YAML, may be given several times), then the",
        "command line: --section.name value or --section.name=value. Below: --setting TYPE = default  [unit].",
    ]
    section = ""
    for known in known_settings(cls):
        if (at := known.key.rpartition(".")[0]) != section:
            section = at
            lines += ["", f"{section}: {_section_doc(cls, section)}"]
        lines += _describe(known, width)
    return "\n".join(lines)


def _describe(known: Known, width: int) -> list[str]:
    about = known.field.metadata
    default, kind = known.field.default, type_name(known.type)
    shown = "empty" if default == "" else str(default).lower() if isinstance(default, bool) else str(default)
    head = f"  --{known.key} {kind if '|' in kind else kind.upper()} = {shown}"
    if about["unit"] and known.type is not str:
        head += f"  [{about['unit']}]"
    text = [about["doc"] + ".", *([f"Default: {about['why']}."] if about["why"] else [])]
    indent = " " * 8
    return [
        head,
        *(line for t in text for line in textwrap.wrap(t, width, initial_indent=indent, subsequent_indent=indent)),
    ]


def _section_doc(cls: type[Settings], section: str) -> str:
    for part in section.split("."):
        field = next(f for f in dataclasses.fields(cls) if f.name == part)
        cls = field.default_factory  # type: ignore[assignment]
    return (cls.__doc__ or "").strip().splitlines()[0]
