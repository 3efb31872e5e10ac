"""References ``${key}`` in an untrusted config: replaced by the value of the key.

Resolvers like ``${eval:...}`` are not run; they stay text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_MAX_VALUES, _MAX_DEPTH = 5000, 20
"""Limits of visited values and of nesting: YAML references and aliases can nest endlessly."""


def lookup(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key with its references replaced, None if there is none.

    Other interpolations, and references to themselves, stay text.
    """
    resolver = _Resolver(tree)
    return resolver.resolve(resolver.find(key))


class _Resolver:
    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree
        self.left = _MAX_VALUES

    def find(self, key: str, depth: int = 0) -> Any:
        """Return the value of a dotted key; references in its path are followed."""
        found: Any = self.tree
        for word in key.split("."):
            match = _REFERENCE.fullmatch(found) if isinstance(found, str) else None
            if match and self._is_within_limits(depth):
                found = self.find(match[1], depth + 1)
            if not isinstance(found, Mapping):
                return None
            found = found.get(word)
        return found

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """Return a value with all its references replaced."""
        if not self._is_within_limits(depth):
            return value
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match:
            return self.resolve(self.find(match[1], depth + 1), depth + 1)
        if isinstance(value, Mapping):
            return {str(key): self.resolve(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.resolve(item, depth + 1) for item in value]
        return value

    def _is_within_limits(self, depth: int) -> bool:
        self.left -= 1
        return self.left > 0 and depth < _MAX_DEPTH
