"""The weighting rules by name, and the settings section `balance`, put together from theirs.

A rule of your own: derive from `WeightRule` and call `register` with it, or put its file into `rules/`. A package that
is installed may name it as an entry point of the group `bifair_dist.rules`; then every worker knows it too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any, Literal

from bifair_dist.bilevel.weights import rules
from bifair_dist.bilevel.weights.balance_settings import BalanceSettings
from bifair_dist.bilevel.weights.rule import WeightRule
from bifair_dist.errors import UserError, did_you_mean
from bifair_dist.settings import add_settings

RULES: dict[str, type[WeightRule]] = {}


def register(*found: type[WeightRule]) -> None:
    """Make rules known: to `balance.rule`, to `--help`, and their settings as settings of the section `balance`.

    Raises ValueError where two rules have a setting of one name with two meanings.
    """
    known = RULES | {rule.name: rule for rule in found}
    fields = [field for rule in found for field in rule.model_fields.items()]
    add_settings(BalanceSettings, fields, rule=Literal[tuple(known)])
    RULES.update(known)


def make_rule(name: str, **settings: float) -> WeightRule:
    """The rule called `name`.

    Settings of other rules are accepted and left out, so that one settings section serves all rules.

    Raises:
        UserError: no rule of that name, or a setting that no rule has.
    """
    if name not in RULES:
        raise UserError(f"no weighting rule is called {name!r}{did_you_mean(name, RULES)}; known: {', '.join(RULES)}")
    known = {field for rule in RULES.values() for field in rule.model_fields}
    for key in settings:
        if key not in known:
            raise UserError(f"unknown setting {key} for weighting rules{did_you_mean(key, known)}")
    return RULES[name](**{key: value for key, value in settings.items() if key in RULES[name].model_fields})


def rule_of(balance: BalanceSettings) -> WeightRule:
    """The rule that the section names, with its settings."""
    own = RULES[balance.rule].model_fields
    return make_rule(balance.rule, **{key: getattr(balance, key) for key in own})


def _built_in() -> Iterator[type[WeightRule]]:
    for file in pkgutil.iter_modules(rules.__path__):
        module = importlib.import_module(f"{rules.__name__}.{file.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, WeightRule) and value.__module__ == module.__name__:
                yield value


def _installed() -> Iterator[Any]:
    for point in entry_points(group="bifair_dist.rules"):
        yield point.load()


register(*_built_in(), *_installed())
