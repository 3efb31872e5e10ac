"""``${key}`` in a foreign config: followed to the key it names. Nothing else in braces is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_MOST, _DEEPEST = 5000, 20
"""Values that may be looked at: a few lines of YAML can refer to each other for ever."""


def lookup(tree: Mapping[str, Any], key: str) -> Any:
    """Return what a config holds under a dotted key, None where nothing is, references followed.

    ``${eval:...}`` and other resolvers stay the text that they are; so does what refers to
    itself.
    """
    follower = _Follower(tree)
    return follower.follow(follower.find(key))


class _Follower:
    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree
        self.left = _MOST

    def find(self, key: str, depth: int = 0) -> Any:
        """Return what is under a dotted key; a reference on the way is followed."""
        found: Any = self.tree
        for word in key.split("."):
            match = _REFERENCE.fullmatch(found) if isinstance(found, str) else None
            if match and self._may_go_on(depth):
                found = self.find(match[1], depth + 1)
            if not isinstance(found, Mapping):
                return None
            found = found.get(word)
        return found

    def follow(self, value: Any, depth: int = 0) -> Any:
        """Return a value with every reference in it replaced."""
        if not self._may_go_on(depth):
            return value
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match:
            return self.follow(self.find(match[1], depth + 1), depth + 1)
        if isinstance(value, Mapping):
            return {str(key): self.follow(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.follow(item, depth + 1) for item in value]
        return value

    def _may_go_on(self, depth: int) -> bool:
        self.left -= 1
        return self.left > 0 and depth < _DEEPEST
