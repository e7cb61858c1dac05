"""Files as bytes and text: which files a folder holds, compression, encoding."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bifair_dist.data.reading.notes import Notes
from bifair_dist.errors import UserError

_BLOCK = 1 << 24
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHER = (  # first bytes, what they are those of, and what to do
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (b"ARROW1", "an Arrow file", "name it .arrow"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or write it as .csv"),
    (b"BZh", "compressed with bzip2", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it"),
)
_FAILURES = (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeError)


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without what only a system wrote: ``._x`` of macOS, ``_SUCCESS``, hidden files."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))


def parts_of(path: Path) -> list[tuple[Path, dict[str, str]]]:
    """The file itself, or the files in a folder of parts, each with the columns its path gives (``key=value/``)."""
    if not path.is_dir():
        return [(path, {})]
    found: list[tuple[Path, dict[str, str]]] = []
    for entry in visible(path):
        key, equals, value = entry.name.partition("=")
        given = {key: value} if entry.is_dir() and equals else {}
        found += [(part, given | more) for part, more in parts_of(entry)]
    return found


def no_rows(path: Path) -> UserError:
    """The error for a file that holds a header or nothing at all."""
    return UserError(f"{path}: file is empty; it must hold at least one row")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn failures of the file system and of decompression into one line."""
    if not path.exists():
        raise UserError(f"{path}: file not found")
    try:
        yield
    except _FAILURES as error:
        raise UserError(f"{path}: cannot be read ({(str(error).splitlines() or [type(error).__name__])[0]})") from error


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed with gzip, whatever its name: browsers unpack .gz files and leave the name."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def open_bytes(path: Path) -> IO[bytes]:
    """Bytes of a file, unpacked where it is compressed with gzip."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def refuse_no_text(path: Path) -> None:
    """Raise ``UserError`` for a file that is of another kind than its name says, or in UTF-16 without its mark."""
    with open_bytes(path) as stream:
        start = stream.read(512)
    for magic, kind, remedy in _OTHER:
        if start.startswith(magic):
            raise UserError(f"{path}: is {kind}, not text; {remedy}")
    if b"\0" in start.split(b"\n")[0] and not start.startswith(_UTF16):
        raise UserError(f"{path}: is no text in UTF-8, or UTF-16 without its mark; write it as UTF-8")


def open_text(path: Path) -> IO[str]:
    """Text of a file without its byte order mark, line ends as they are.

    UTF-16 where the mark says so, else UTF-8; single bytes that are not UTF-8 are read as Windows-1252 (Latin-1).
    """
    with open_bytes(path) as stream:
        utf16 = stream.read(2) in _UTF16
    return io.TextIOWrapper(
        open_bytes(path), encoding="utf-16" if utf16 else "utf-8-sig", errors=_AS_CP1252, newline=""
    )


def first_line(path: Path) -> str:
    """The first line, without its end; blank for an empty file."""
    with reading(path), open_text(path) as stream:
        return stream.readline().rstrip("\r\n")


def read_lines(path: Path, notes: Notes) -> list[str]:
    """All lines, without their ends, blank ones too. Raises ``UserError`` for an empty file."""
    with reading(path):
        scan(path, notes)
        with open_text(path) as stream:
            lines = [line.rstrip("\r\n") for line in stream]
    if not any(line.strip() for line in lines):
        raise no_rows(path)
    return lines


@dataclass(frozen=True, slots=True)
class Scan:
    """What a whole file holds: ``utf8`` alone; any ``"``; all of them ``regular`` quotes; any ``\\"``; any ``''``."""

    utf8: bool
    quotes: bool
    regular: bool
    escaped: bool
    singles: bool


def scan(path: Path, notes: Notes, delimiter: str = ",") -> Scan:
    """Look through a file, about a second for a GB. Lines that are not UTF-8 are counted and the first named."""
    utf8, quotes, regular, odd = _is_utf8(path, notes), False, True, False
    escaped = singles = False
    blocks = _blocks(path, utf8)
    before, block = b"\n", next(blocks, b"").removeprefix(codecs.BOM_UTF8)
    while block:
        following = next(blocks, b"")
        singles = singles or b"''" in before + block
        if b'"' in block:
            quotes = True
            escaped = escaped or b'\\"' in before + block
            regular = regular and _regular(before + block + (following[:1] or b"\n"), odd, delimiter)
            odd ^= block.count(b'"') % 2 == 1
        before, block = block[-1:], following
    return Scan(utf8, quotes, regular and not odd, escaped, singles)


def _blocks(path: Path, utf8: bool) -> Iterator[bytes]:
    """The file in UTF-8, some MB at a time."""
    if utf8:
        with open_bytes(path) as stream:
            while block := stream.read(_BLOCK):
                yield block
    else:
        with open_text(path) as text:
            while part := text.read(_BLOCK):
                yield part.encode()


def _is_utf8(path: Path, notes: Notes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(path, utf8=True):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        with open_bytes(path) as stream:
            marked = stream.read(2) in _UTF16
        if not marked:
            _tell_lines(path, notes)
        return False
    return True


def _regular(text: bytes, inside: bool, delimiter: str) -> bool:
    """Whether every ``"`` opens or closes a cell, or is one of two that stand for one within a cell.

    ``text`` has a byte more at either end. Of all quotes in the file, counted from 0, those of even number must follow
    a delimiter, a line end or a quote, those of odd number must stand before one; ``inside``: the first one is odd.
    """
    octets = np.frombuffer(text, np.uint8)
    border = np.zeros(256, bool)
    border[list(b'"\r\n' + delimiter.encode())] = True
    at = 1 + np.flatnonzero(octets[1:-1] == ord('"'))
    opening, closing = at[int(inside) :: 2], at[1 - int(inside) :: 2]
    return bool(border[octets[opening - 1]].all() and border[octets[closing + 1]].all())


def _tell_lines(path: Path, notes: Notes) -> None:
    bad = []
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                bad.append(number)
    lines = f"line {bad[0]} is" if len(bad) == 1 else f"{len(bad):,} lines are"
    first = "" if len(bad) == 1 else f"; the first is line {bad[0]}"
    notes.say(f"{path.name}: {lines} not UTF-8; those characters are read as Windows-1252{first}")


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    try:
        return wrong.decode("cp1252"), error.end
    except UnicodeDecodeError:
        return wrong.decode("latin-1"), error.end


_AS_CP1252 = "bifair-cp1252"
_handler: Callable[[UnicodeError], tuple[str, int]] = _as_cp1252
codecs.register_error(_AS_CP1252, _handler)
