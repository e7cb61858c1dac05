"""Typed settings: a dataclass per component, filled from YAML, the command line or code; a mistake is one line.

A component is a frozen keyword-only slotted dataclass derived from `Settings`; each field is a `setting(...)` with its
default, what it is, its unit and the reason for the default. A field whose type is another such dataclass is a
section; `bilevel.eta` is the field `eta` of the section `bilevel`. Only the standard library is imported here.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union

from bifair_dist.errors import UserError

S = TypeVar("S", bound="Settings")

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    why: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A field: `doc` says what it is, `unit` in what it counts, `why` gives the default's reason."""
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    return dataclasses.field(
        default=default,
        metadata={"doc": doc, "unit": unit, "why": why, "bounds": {k: v for k, v in bounds.items() if v is not None}},
    )


def section(cls: type[S]) -> Any:
    """A field that holds another component, with that component's defaults."""
    return dataclasses.field(default_factory=cls)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Base of every component: checks types and bounds, whoever builds it."""

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            if not _is_settings(types[field.name]):
                where = f"{type(self).__name__}.{field.name}"
                value = coerce(getattr(self, field.name), types[field.name], where, "the call")
                check_bounds(value, field, where, "the call")
                object.__setattr__(self, field.name, value)  # the one place that writes to a frozen component
        self.check()

    def check(self) -> None:
        """Override to refuse combinations of settings: raise a `UserError`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """One setting as it can be named from outside: its dotted key, dataclass field and type."""

    key: str
    field: dataclasses.Field[Any]
    type: Any


def known_settings(cls: type[Settings], prefix: str = "") -> Iterator[Known]:
    """Every setting of a component and of its sections, in the order they are declared."""
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if _is_settings(types[field.name]):
            yield from known_settings(types[field.name], f"{prefix}{field.name}.")
        else:
            yield Known(prefix + field.name, field, types[field.name])


def section_names(cls: type[Settings], prefix: str = "") -> set[str]:
    """Dotted names of the sections, which are not settings themselves."""
    return {known.key.rsplit(".", 1)[0] for known in known_settings(cls, prefix) if "." in known.key}


def flatten(values: Settings | Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings or a component as one dict with dotted keys. An empty section (`bilevel:` alone) adds nothing."""
    if isinstance(values, Settings):
        return {known.key: _read(values, known.key) for known in known_settings(type(values))}
    out: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        out.update(flatten(value, f"{key}.") if isinstance(value, Mapping) else {key: value})
    return out


def override(base: S, values: Mapping[Any, Any], source: str = "the call") -> S:
    """A copy of `base` with the settings of `values` (nested or dotted keys) in place, coerced to their types.

    `source` names the file or command line in errors. Raises `UserError` for an unknown key, a value of the wrong type
    or one out of bounds.
    """
    cls = type(base)
    known = {k.key: k for k in known_settings(cls)}
    sections = section_names(cls)
    changed: dict[str, Any] = {}
    for key, value in flatten(values).items():
        if key in sections:
            if value is None:
                continue
            raise UserError(f"{source}: {key} is a section, not a setting: write its settings below it, one a line")
        if key not in known:
            raise UserError(f"{source}: unknown setting {key}{nearest(key, known)}; --help lists all")
        changed[key] = coerce(value, known[key].type, key, source)
        check_bounds(changed[key], known[key].field, key, source)
    return _rebuild(base, changed, "", source)


def coerce(value: Any, kind: Any, key: str, source: str) -> Any:
    """`value` as the type `kind`, or a `UserError` of one line. Text is parsed: YAML 1.1 reads `1e-3` as text."""
    origin = typing.get_origin(kind)
    if origin in (Union, UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null", "")):
            return None
        return coerce(value, next(t for t in typing.get_args(kind) if t is not NoneType), key, source)
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            parts = [parts]
        return tuple(coerce(p, typing.get_args(kind)[0], key, source) for p in parts)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value in choices:
            return value
        near = difflib.get_close_matches(str(value), choices, 1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise UserError(f"{source}: {key} must be one of {', '.join(choices)}, not {value!r}{hint}")
    parsed = _PARSERS[kind](value)
    if parsed is None:
        raise UserError(f"{source}: {key} must be {_WANTED[kind]}, not {value!r}")
    return parsed


def check_bounds(value: Any, field: dataclasses.Field[Any], key: str, source: str) -> None:
    """Raise a `UserError` where a number, or one of several, is outside the field's bounds."""
    holds = {
        "at least": lambda x, b: x >= b,
        "at most": lambda x, b: x <= b,
        "above": lambda x, b: x > b,
        "below": lambda x, b: x < b,
    }
    bounds: dict[str, float] = field.metadata.get("bounds", {})
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not all(holds[name](number, bound) for name, bound in bounds.items()):
            wanted = " and ".join(f"{name} {bound:g}" for name, bound in bounds.items())
            raise UserError(f"{source}: {key} must be {wanted}, not {number!r}")


def type_name(kind: Any) -> str:
    """A type as a person writes it: `float`, `mlp | linear`, `int or none`."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        return " | ".join(typing.get_args(kind))
    if origin in (Union, UnionType):
        return " or ".join("none" if t is NoneType else type_name(t) for t in typing.get_args(kind))
    if origin is tuple:
        return f"{type_name(typing.get_args(kind)[0])},..."
    return {str: "text", bool: "true | false"}.get(kind, kind.__name__)


def _parse_bool(value: Any) -> bool | None:
    if isinstance(value, str):
        text = value.lower()
        return True if text in _TRUE else False if text in _FALSE else None
    return value if isinstance(value, bool) else None


def _parse_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _parse_int(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    number = _parse_float(value)  # `1e3` and `4096.0` are whole numbers too
    return int(number) if number is not None and number.is_integer() else None


def _parse_str(value: Any) -> str | None:
    if isinstance(value, bool):  # YAML 1.1 reads no, off and yes as booleans: the text is lost, so do not guess
        return None
    return str(value) if isinstance(value, (str, int, float)) else None


_PARSERS: dict[Any, typing.Callable[[Any], Any]] = {
    bool: _parse_bool,
    int: _parse_int,
    float: _parse_float,
    str: _parse_str,
}
_WANTED = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text (quote it)"}


def nearest(key: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with what of `known` comes near `key`, or nothing."""
    known = list(known)
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [k for k in known if k.rsplit(".", 1)[-1] == leaf]  # `--eta` for `--bilevel.eta`
    by_leaf = {k.rsplit(".", 1)[-1]: k for k in reversed(known)}
    near_leaf = [by_leaf[n] for n in difflib.get_close_matches(leaf, by_leaf, 1)]
    found = same_leaf or difflib.get_close_matches(key, known, 1) or near_leaf
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _read(values: Settings, key: str) -> Any:
    out: Any = values
    for part in key.split("."):
        out = getattr(out, part)
    return out


def _rebuild(base: S, changed: Mapping[str, Any], prefix: str, source: str) -> S:
    new: dict[str, Any] = {}
    for field in dataclasses.fields(base):
        key, value = prefix + field.name, getattr(base, field.name)
        if isinstance(value, Settings):
            new[field.name] = _rebuild(value, changed, f"{key}.", source)
        else:
            new[field.name] = changed.get(key, value)
    return type(base)(**new)
