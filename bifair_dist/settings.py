"""Typed settings on pydantic: filled from YAML files, the command line or code; a mistake is one line.

A component derives from `Settings`; each field is a `setting(...)` with its default, what it is, its unit and the
reason for the default. A field made by `section` holds another component: `bilevel.eta` is the field `eta` of the
section `bilevel`. The command line is pydantic-settings' on argparse. Nothing heavy is imported here.
"""

from __future__ import annotations

import json
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from bifair_dist.errors import UserError, did_you_mean

S = TypeVar("S", bound="Settings")


def setting(default: Any, doc: str, *, unit: str = "", why: str = "", was: str = "", **bounds: float) -> Any:
    """A field: `doc` says what it is, `unit` in what it counts, `why` gives the default's reason.

    `was`: an earlier name, which is still accepted, with a note. `bounds` are pydantic's: ge, gt, le, lt.
    """
    about = {"unit": unit, "why": why, "was": was}
    return Field(default, description=doc, json_schema_extra=about, **bounds)  # type: ignore[call-overload]


def add_settings(cls: type[Settings], fields: Iterable[tuple[str, FieldInfo]], **kinds: Any) -> None:
    """Give a component further fields, and other types to fields that it has, for parts that are registered later.

    Raises ValueError for a field that is there already and means something else.
    """
    for name, field in (fields := list(fields)):
        there = cls.model_fields.get(name, field)
        if (there.default, there.description) != (field.default, field.description):
            raise ValueError(f"{cls.__name__}.{name} is there already, as: {there.description}")
    cls.model_fields.update(fields)
    for name, kind in kinds.items():
        cls.model_fields[name].annotation = kind
    # pydantic compiles a section into those that hold it, so these are compiled again, too.
    for one in (cls, *_derived(Settings)):
        one.model_rebuild(force=True)


def _derived(cls: type[Settings]) -> Iterator[type[Settings]]:
    for one in cls.__subclasses__():
        yield one
        yield from _derived(one)


def section(cls: type[Settings]) -> Any:
    """A field that holds another component, with that component's defaults."""
    return Field(default_factory=cls)


class Settings(BaseModel):
    """Base of every component: types and bounds are checked whoever builds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    def check(self) -> None:
        """Override to refuse combinations of settings: raise a `UserError`."""

    @model_validator(mode="after")
    def _checked(self: S) -> S:
        self.check()
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        """What a person writes and pydantic does not read: `1e3` for a whole number, `none`, lists with commas."""
        kind = cls.model_fields[str(info.field_name)].annotation
        of = typing.get_args(kind)
        if NoneType in of and isinstance(value, str) and value.lower() in ("none", "null", ""):
            return None
        if typing.get_origin(kind) is tuple:
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(_number(part, of) for part in (parts if isinstance(parts, (list, tuple)) else [parts]))
        return _number(value, (*of, kind))


def _number(value: Any, kinds: tuple[Any, ...]) -> Any:
    """`1e3` as a whole number where one is wanted; true and false are no numbers, nor 0 and 1 truth values."""
    if isinstance(value, bool) and bool not in kinds and str not in kinds:
        return str(value).lower()
    if bool in kinds and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value} (a number)"
    if isinstance(value, str) and any("int" in str(kind) for kind in kinds):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(value) if value.strip("+-").isdigit() else int(number) if number.is_integer() else value
    return value


def known_settings(cls: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a component and of its sections, by dotted key, in the order they are declared."""
    for name, field in cls.model_fields.items():
        if (inner := _section_of(field)) is not None:
            yield from known_settings(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def earlier_names(cls: type[Settings]) -> dict[str, str]:
    """Dotted keys of today by those of earlier versions."""
    found = {}
    for key, field in known_settings(cls):
        about = field.json_schema_extra
        if isinstance(about, dict) and (was := about.get("was")):
            found[f"{key.rpartition('.')[0]}.{was}".lstrip(".")] = key
    return found


def renamed(cls: type[Settings], values: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """`values` (nested or dotted keys) with dotted keys of today; what was renamed is noted once on stderr.

    Raises `UserError` where a setting is there under both names.
    """
    now, flat = earlier_names(cls), flatten(values)
    old = [key for key in flat if key in now]
    for key in old:
        if now[key] in flat:
            raise UserError(f"{source}: {key} is the earlier name of {now[key]}; give one of the two")
    if new := [key for key in old if key not in _NOTED]:
        said = ", ".join(f"{key} is now {now[key]}" for key in new)
        print(f"note: {source}: {said}; earlier names are still accepted", file=sys.stderr)
        _NOTED.update(new)
    return {now.get(key, key): value for key, value in flat.items()}


_NOTED: set[str] = set()


def _section_of(field: FieldInfo) -> type[Settings] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def section_names(cls: type[Settings]) -> set[str]:
    """Dotted names of the sections, which are not settings themselves."""
    return {key.rsplit(".", 1)[0] for key, _ in known_settings(cls) if "." in key}


def flatten(values: Settings | Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings or a component as one dict with dotted keys. An empty section (`bilevel:` alone) adds nothing."""
    nested = values.model_dump() if isinstance(values, Settings) else values
    out: dict[str, Any] = {}
    for name, value in nested.items():
        key = f"{prefix}{name}"
        out.update(flatten(value, f"{key}.") if isinstance(value, Mapping) else {key: value})
    return out


def override(base: S, values: Mapping[Any, Any], source: str = "the call") -> S:
    """A copy of `base` with the settings of `values` (nested or dotted keys) in place, coerced to their types.

    `source` names the file or command line in errors. Raises `UserError` for an unknown key, a value of the wrong type
    or one out of bounds.
    """
    cls = type(base)
    merged, known, sections = base.model_dump(), dict(known_settings(cls)), section_names(cls)
    for key, value in renamed(cls, values, source).items():
        if key in sections and value is None:
            continue
        if key not in known:
            raise UserError(unknown_setting(cls, key, source))
        *path, name = key.split(".")
        at = merged
        for part in path:
            at = at[part]
        at[name] = value
    try:
        return cls.model_validate(merged)
    except ValidationError as error:
        raise UserError(_one_line(cls, error, source)) from None


def _one_line(cls: type[Settings], error: ValidationError, source: str) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(part for part in first["loc"] if isinstance(part, str))
    wanted = re.split(", (?:unable|got)", first["msg"].removeprefix("Input should be "))[0]
    value, field = first["input"], dict(known_settings(cls)).get(key)
    choices = typing.get_args(field.annotation) if field and typing.get_origin(field.annotation) is Literal else ()
    return f"{source}: {key} must be {wanted}, not {value!r}{did_you_mean(str(value), choices)}"


def unknown_setting(cls: type[Settings], key: str, source: str) -> str:
    """The line that names an unknown key and the nearest known one."""
    if key in section_names(cls):
        return f"{source}: {key} is a section, not a setting: write its settings below it, one a line"
    known = [name for name, _ in known_settings(cls)]
    leaf = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == leaf]  # `--eta` for `--bilevel.eta`
    hint = f"; did you mean {' or '.join(same)}?" if same else did_you_mean(key, known)
    return f"{source}: unknown setting {key}{hint}; --help lists all"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises `UserError` for anything else, and for a key that appears twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise UserError(f"{path}: line {key.start_mark.line + 1}: {key.value} appears twice")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the settings file {path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path}: {line}not YAML: {getattr(error, 'problem', None) or error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections with settings (a mapping), found {type(values).__name__}")
    return values


def load(base: S, path: str | Path) -> S:
    """`base` with the settings of a YAML file in place."""
    return override(base, read_yaml(path), str(path))


def to_yaml(settings: Settings) -> str:
    """Every setting, resolved, as YAML text that `load` reads back to equal settings."""
    import yaml

    values = settings.model_dump(mode="json")
    plain = json.dumps(values, ensure_ascii=False).isprintable()  # PyYAML writes some line ends of Unicode as they are
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=plain, default_flow_style=None, width=1000)
