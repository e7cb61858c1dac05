"""What a preparation tells of its input: how it was understood, what is doubtful, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Notes:
    """Lines for a person. ``said``: what was read as what; ``warnings``: what may not be meant; ``counts``: rows."""

    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Note how something was understood."""
        if line not in self.said:
            self.said.append(line)

    def warn(self, line: str) -> None:
        """Note what looks wrong but may be meant; the line names the setting or the remedy."""
        if line not in self.warnings:
            self.warnings.append(line)

    def count(self, name: str, number: int) -> None:
        """Add to a count; nothing is kept of a zero."""
        if number:
            self.counts[name] = self.counts.get(name, 0) + number
