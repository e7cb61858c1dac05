"""Settings from a command line: `--config FILE`, `--section.name value`, `--section.name=value`, `--help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic_settings import CliSettingsSource

from bifair_dist.errors import UserError, known_names
from bifair_dist.settings import Settings, flatten, known_settings, override, read_yaml, renamed, unknown_setting

S = TypeVar("S", bound=Settings)
SOURCE = "command line"
SHORT = {"--resume": "--checkpoint.resume"}
"""Settings that may be named without their section."""


class _Parser(argparse.ArgumentParser):
    """Adds unit and reason to what pydantic-settings says of a setting, and tells a mistake in one line."""

    settings: type[Settings]

    def add(self, group: Any, name: str, **options: Any) -> argparse.Action | None:
        """What pydantic-settings calls for every setting; a section is no setting here, as it takes JSON."""
        name = name.lstrip("-")
        field = dict(known_settings(self.settings)).get(name)
        if field is None:
            return None
        about: dict[str, str] = field.json_schema_extra or {}  # type: ignore[assignment]
        if field.annotation is bool:  # the bare switch means true
            options |= {"nargs": "?", "const": "true"}
        unit = f" [{about['unit']}]" if about["unit"] else ""
        why = f": {about['why']}" if about["why"] else ""
        options["help"] = f"{field.description}{unit}. Default {_shown(field.default)}{why}.".replace("%", "%%")
        action: argparse.Action = group.add_argument(f"--{name}", **options)
        return action

    def print_help(self, file: Any = None) -> None:
        """argparse's own swallows a broken pipe, which `run_job` answers with an exit code."""
        print(self.format_help(), end="")

    def error(self, message: str) -> NoReturn:
        name, _, words = message.partition(": ")
        word = words.split(" ")[0]
        if name == "unrecognized arguments":
            if not word.startswith("--") or word == "--":
                raise UserError(f"{SOURCE}: did not expect {word!r}: settings are written --section.name value")
            raise UserError(unknown_setting(self.settings, word[2:].partition("=")[0], SOURCE))
        raise UserError(f"{SOURCE}: {message.removeprefix('argument ')}")


def subcommand(words: Sequence[str], names: Sequence[str], job: str) -> tuple[str, list[str]]:
    """The subcommand, of which the first name is the one meant where none is given, and the words behind it.

    One that is given as a flag, as in earlier versions, is taken with a note; a bare word behind it comes first then.
    Raises `UserError` for an unknown subcommand, and for two.
    """
    flags = [name for name in names[1:] if f"--{name}" in words]
    named = [words[0]] if words and not words[0].startswith("-") else []
    if len(flags) + len(named) > 1:
        raise UserError(f"{SOURCE}: {' and '.join([*named, *flags])} are two subcommands; give one")
    if flags:
        print(f"note: --{flags[0]} is now a subcommand: {job} {flags[0]} ...", file=sys.stderr)
        at = words.index(f"--{flags[0]}")
        value = [word for word in words[at + 1 : at + 2] if not word.startswith("-")]
        return flags[0], [*value, *words[:at], *words[at + 1 + len(value) :]]
    if named and named[0] not in names:
        raise UserError(f"{SOURCE}: {named[0]!r} is no subcommand; {known_names(named[0], names)}")
    return (named[0], list(words[1:])) if named else (names[0], list(words))


def parse(
    base: S,
    arguments: Sequence[str] | None = None,
    description: str = "",
    under: Callable[[dict[str, Any], dict[str, Any]], Mapping[str, Any]] = lambda files, line: {},
) -> S:
    """`base`, then each `--config` file in the order given, then the settings named on the command line.

    `arguments` defaults to `sys.argv[1:]`. `--help` prints every setting and exits with 0. `under` is given what the
    files and what the command line say, by dotted key; its values lie under both. Raises `UserError` for anything
    that is not understood.
    """
    words = [_spelled(word, type(base)) for word in (sys.argv[1:] if arguments is None else arguments)]
    parser = _Parser(
        usage=argparse.SUPPRESS,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.settings = type(base)
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file with settings, which the command line overrides; of several the last wins",
    )
    CliSettingsSource(  # adds every setting to the parser
        type(base),  # type: ignore[arg-type]
        root_parser=parser,
        add_argument_method=parser.add,
        cli_avoid_json=True,
        cli_use_class_docs_for_groups=True,
    )
    given = vars(parser.parse_args(words))
    names = [word.partition("=")[0] for word in words if word.startswith("--") and not word.startswith("--config")]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{SOURCE}: {twice[0]} is given twice")
    files = {file: flatten(read_yaml(file)) for file in given.pop("config")}
    line = {k: v[0] if isinstance(v, list) else v for k, v in given.items()}
    layers = {"": under({k: v for values in files.values() for k, v in values.items()}, line), **files, SOURCE: line}
    for source, values in layers.items():
        base = override(base, values, source)
    return base


def _spelled(word: str, cls: type[Settings]) -> str:
    """A word of the command line with the setting's full name of today, underscores in place of hyphens."""
    name, has_value, value = word.partition("=")
    if not name.startswith("--"):
        return word
    name = "--" + name[2:].replace("-", "_")
    name = SHORT.get(name, name)
    (name,) = renamed(cls, {name[2:]: None}, SOURCE)
    return f"--{name}{has_value}{value}"


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return "empty" if default == "" else str(default).lower() if isinstance(default, bool | None) else str(default)
