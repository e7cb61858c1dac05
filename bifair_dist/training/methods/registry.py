"""The methods by name; their settings become settings of the section `model`.

A method of your own: derive from `OnVectors` or `OnIds` and call `register` with it. A package that is installed may
name it as an entry point of the group `bifair_dist.methods`; then every worker knows it too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, get_origin

from bifair_dist.errors import UserError
from bifair_dist.model.settings import ModelSettings
from bifair_dist.settings import add_settings
from bifair_dist.training.methods import known
from bifair_dist.training.methods.method import Method
from bifair_dist.training.training_settings import METHODS, TrainingSettings

if TYPE_CHECKING:
    from bifair_dist.training.settings import TrainSettings


def register(*found: type[Method]) -> None:
    """Make methods known: to `training.method`, to `--help`, and their settings as settings of the section `model`.

    Raises ValueError where two methods have a setting of one name with two meanings.
    """
    names = METHODS | {method.name: method for method in found}
    add_settings(ModelSettings, [field for method in found for field in method.model_fields.items()])
    listed = "; ".join(f"{name}: {method.about}" for name, method in names.items())
    TrainingSettings.model_fields["method"].description = listed
    add_settings(TrainingSettings, [], method=Literal[tuple(names)])
    METHODS.update(names)


def method_of(settings: TrainSettings) -> Method:
    """The method that a training names, with its settings."""
    kind = METHODS[settings.training.method]
    return kind(**{key: getattr(settings.model, key) for key in kind.model_fields})


def check_foreign(settings: TrainSettings) -> None:
    """Refuse what another method has to choose from: it would silently do nothing. Raises `UserError`.

    Other methods' numbers are accepted and left out, so that one section serves all methods, as with rules.
    """
    own = METHODS[settings.training.method].model_fields
    for method in METHODS.values():
        for key, field in method.model_fields.items():
            chosen = key not in own and get_origin(field.annotation) is Literal
            if chosen and (value := getattr(settings.model, key)) != field.default:
                names = [name for name, other in METHODS.items() if key in other.model_fields]
                raise UserError(f"model.{key}: {value} needs --training.method {' or '.join(names)}")


def _known() -> Iterator[type[Method]]:
    found = [importlib.import_module(f"{known.__name__}.{file.name}") for file in pkgutil.iter_modules(known.__path__)]
    for module in found:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__:
                yield value


def _installed() -> Iterator[Any]:
    for point in entry_points(group="bifair_dist.methods"):
        yield point.load()


register(*_known(), *_installed())
