"""Settings as YAML files: reading (PyYAML, imported only then) and writing (plain scalars, no import)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from bifair_dist.config.settings import Settings, flatten, override
from bifair_dist.errors import UserError

S = TypeVar("S", bound=Settings)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML (or, by suffix, JSON) file. Raises `UserError` for anything else."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the settings file {path}: {getattr(error, 'strerror', None) or error}") from None
    values = _parse_json(text, path) if path.suffix == ".json" else _parse_yaml(text, path)
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
    lines: list[str] = []
    path: list[str] = []
    for key, value in flatten(settings).items():
        *sections, name = key.split(".")
        if sections != path:
            shared = next((i for i, (a, b) in enumerate(zip(sections, path, strict=False)) if a != b), 0)
            lines += [f"{'  ' * i}{s}:" for i, s in enumerate(sections) if i >= shared]
            path = sections
        lines.append(f"{'  ' * len(sections)}{name}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_scalar(v) for v in value)}]"
    if isinstance(value, float) and "e" in repr(value):
        mantissa, exponent = repr(value).split("e")  # YAML 1.1 takes 1e-05 for text: the mantissa needs its point
        sign = exponent if exponent[0] in "+-" else f"+{exponent}"
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{sign}"
    text = json.dumps(value, ensure_ascii=False)  # JSON scalars are YAML scalars, but for characters outside of \uXXXX
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _parse_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None


def _parse_yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise UserError(f"{path}: reading YAML needs PyYAML: pip install pyyaml, or give a .json file") from None

    class Loader(yaml.SafeLoader):
        """Refuses a key that appears twice; plain PyYAML drops the first one silently."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise UserError(f"{path}: line {key.start_mark.line + 1}: {key.value} appears twice")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path}: {line}not YAML: {getattr(error, 'problem', None) or error}") from None
