"""Actions that can be undone and done again, in the order in which they were done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Action:
    """Something that was done to an image, and written to disk.

    Attributes
    ----------
    image : str
        Id of the image.
    text : str
        What was done: ``reject``, ``split object 7``.
    undo, redo : callable
        Each writes to disk before it returns.
    """

    image: str
    text: str
    undo: Callable[[], None]
    redo: Callable[[], None]


@dataclass
class History:
    """The actions that can be undone, and those that can be done again."""

    done: list[Action] = field(default_factory=list)
    undone: list[Action] = field(default_factory=list)

    def add(self, action: Action) -> None:
        """Add an action that was just done; what was undone before it is forgotten."""
        self.done.append(action)
        self.undone.clear()

    def undo(self) -> Action | None:
        """Undo the last action and return it; None where there is none."""
        return self._move(self.done, self.undone, "undo")

    def redo(self) -> Action | None:
        """Do the last undone action again and return it; None where there is none."""
        return self._move(self.undone, self.done, "redo")

    @staticmethod
    def _move(source: list[Action], target: list[Action], name: str) -> Action | None:
        if not source:
            return None
        action = source[-1]
        getattr(action, name)()  # an error leaves both lists as they are
        target.append(source.pop())
        return action
