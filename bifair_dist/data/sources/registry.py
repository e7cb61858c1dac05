"""Sources by name. A source is one function in one file; it registers itself with the files it is recognised by."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes, visible
from bifair_dist.errors import UserError, known_names

BUILT_IN = "generated"  # needs no input folder; see data/generated.py
PLUGINS = "bifair_dist.sources"
"""Group of entry points by which installed packages add sources: each names a module that registers them."""

Read = Callable[[Path, Notes], RawData]


@dataclass(frozen=True, slots=True)
class Source:
    """A layout of raw files. ``files``: alternatives, each of them patterns of names that a folder of this kind has."""

    name: str
    read: Read
    files: Sequence[Sequence[str]]

    @property
    def doc(self) -> str:
        """One line for the help."""
        return (self.read.__doc__ or "").strip().splitlines()[0]

    def recognises(self, folder: Path) -> bool:
        """Whether the folder has the files of this layout."""
        names = [path.name for path in visible(folder)]
        return any(all(any(fnmatch(name, p) for name in names) for p in patterns) for patterns in self.files)


_SOURCES: dict[str, Source] = {}


def source(name: str, *files: Sequence[str]) -> Callable[[Read], Read]:
    """Register a function ``(folder, notes) -> RawData`` as a source; the first line of its docstring is the help.

    ``files``: alternatives of the names, as patterns, by which a folder is recognised. Raises ``ValueError`` for a name
    that is taken.
    """

    def register(read: Read) -> Read:
        if name in _SOURCES and _SOURCES[name].read is not read:
            raise ValueError(f"there is a source '{name}' already")
        _SOURCES[name] = Source(name, read, files)
        return read

    return register


@cache
def _load() -> None:
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for plugin in importlib.metadata.entry_points(group=PLUGINS):
        plugin.load()


def sources() -> dict[str, Source]:
    """Every source by its name: those of this package, and those of installed packages."""
    _load()
    return _SOURCES


def check_source(name: str) -> None:
    """Raise ``UserError`` naming the nearest source for an unknown one."""
    names = (*sources(), BUILT_IN)
    if name not in names:
        raise UserError(f"--source {name}: unknown source; {known_names(name, names)}")


def read_source(name: str, folder: Path, notes: Notes | None = None) -> RawData:
    """Read a folder as the source ``name``; what is to be reported is added to the notes, which ``RawData`` keeps.

    Raises ``UserError`` for an unknown source, a missing folder, or bad files; then it names the source that the folder
    looks like, where it is another.
    """
    check_source(name)
    if not folder.exists():
        raise UserError(f"{folder}: input not found")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; --input is the folder that holds the files of the source")
    notes = notes or Notes()
    try:
        raw = sources()[name].read(folder, notes)
    except UserError as error:
        others = [other.name for other in sources().values() if other.recognises(folder)]
        if name in others or not others:
            raise
        raise UserError(f"{error}; the folder looks like --source {' or '.join(others)}") from error
    raw.notes = notes
    return raw
