"""The weighting rules by name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

from bifair_dist.bilevel.weights.entropy import Entropy
from bifair_dist.bilevel.weights.entropy_mgda import EntropyMgda
from bifair_dist.bilevel.weights.erm import Erm
from bifair_dist.bilevel.weights.group_dro import GroupDro
from bifair_dist.bilevel.weights.mgda import Mgda
from bifair_dist.bilevel.weights.reweight import Reweight
from bifair_dist.bilevel.weights.rule import WeightRule
from bifair_dist.bilevel.weights.streaming_dro import StreamingDro
from bifair_dist.bilevel.weights.uniform import Uniform
from bifair_dist.errors import UserError

_CLASSES: tuple[Any, ...] = (Entropy, EntropyMgda, Mgda, GroupDro, StreamingDro, Reweight, Uniform, Erm)
RULES: dict[str, Any] = {rule.name: rule for rule in _CLASSES}
SETTINGS = frozenset(field.name for rule in _CLASSES for field in dataclasses.fields(rule))


def make_rule(name: str, **settings: float) -> WeightRule:
    """The rule called `name`.

    Settings of other rules are accepted and left out, so that one settings section serves all rules.

    Raises:
        UserError: no rule of that name, or a setting that no rule has.
    """
    if name not in RULES:
        raise UserError(f"unknown weighting rule '{name}': {_known(name, RULES)}")
    for key in settings:
        if key not in SETTINGS:
            raise UserError(f"unknown setting '{key}' for weighting rules: {_known(key, SETTINGS)}")
    own = {field.name for field in dataclasses.fields(RULES[name])}
    rule: WeightRule = RULES[name](**{key: value for key, value in settings.items() if key in own})
    return rule


def _known(name: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.4)
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {', '.join(listed)}"
