"""Fields of a form: each with a sentence that explains it, and choosers of files and folders."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QEvent, QTimer, QUrl, Signal
from qtpy.QtGui import QColor, QDesktopServices
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWhatsThis,
    QWidget,
)

from cytoloop.viewer.session.docs import docs_link

_NARROW = 58
"""Least width of a button or field in pixels."""
_PAUSE_MS = 400
"""Time without typing after which a form reports its change."""


class HelpButton(QToolButton):
    """A button "?" that shows a sentence, with a link to a page of the documentation.

    Parameters
    ----------
    text : str
    page : str
        Of the documentation, for example ``reference/curation``; "" for no link.
    """

    def __init__(self, text: str, page: str = "") -> None:
        super().__init__()
        self.link = docs_link(page)
        self.text_shown = html.escape(text)
        if self.link:
            self.text_shown += f'<br><a href="{self.link}">More in the documentation</a>'
        self.setText("?")
        self.setToolTip(text)
        self.setWhatsThis(self.text_shown)
        self.setAutoRaise(True)
        self.clicked.connect(self.show_text)

    def show_text(self) -> None:
        """Show the sentence below the button."""
        place = self.mapToGlobal(self.rect().bottomLeft())
        QWhatsThis.showText(place, self.text_shown, self)

    def event(self, event: Any) -> bool:
        """Open the link of the shown text."""
        if event.type() == QEvent.Type.WhatsThisClicked:
            QDesktopServices.openUrl(QUrl(event.href()))
            return True
        return bool(super().event(event))


def push_button(text: str, help_text: str, clicked: Callable[[], None]) -> QPushButton:
    """Return a button with a tooltip."""
    button = QPushButton(text)
    button.setToolTip(help_text)
    button.clicked.connect(lambda: clicked())
    return button


def row_of(*widgets: QWidget) -> QWidget:
    """Return widgets side by side; they become narrow where the panel is."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        if isinstance(widget, (QAbstractSpinBox, QComboBox, QPushButton)):
            widget.setMinimumWidth(_NARROW)
        layout.addWidget(widget)
    return holder


def warning_colour(widget: QWidget) -> QColor:
    """Return a red that is legible on the background of a widget, dark or light."""
    return QColor("#ff7a70" if widget.palette().window().color().lightness() < 128 else "#b3261e")


class MessageLabel(QLabel):
    """A text that can be selected: what was done, or what is wrong and how to repair it."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(self.textInteractionFlags().TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.hide()

    def show_note(self, text: str) -> None:
        """Show what was done."""
        self._show(text, "")

    def show_error(self, text: str) -> None:
        """Show what is wrong."""
        self._show(text, f"color: {warning_colour(self).name()}; font-weight: bold")

    def _show(self, text: str, style: str) -> None:
        self.setStyleSheet(style)
        self.setText(text)
        self.setVisible(bool(text))


class CommandLine(QWidget):
    """The command line that does the same, ready to copy."""

    def __init__(self) -> None:
        super().__init__()
        self._text = QLineEdit()
        self._text.setReadOnly(True)
        self._text.setPlaceholderText("the command line that does the same")
        self._text.setToolTip("The command line that does the same as the button.")
        copy = push_button("Copy", "Copy the command line.", self._copy)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(copy)

    @property
    def text(self) -> str:
        """The command line."""
        return str(self._text.text())

    def show_command(self, text: str) -> None:
        """Show another command line."""
        self._text.setText(text)
        self._text.setCursorPosition(0)

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.text)


class Form(QWidget):
    """Labelled fields by key.

    Parameters
    ----------
    page : str
        Page of the documentation about these fields.
    """

    changed = Signal()
    """A value has changed, and nothing was typed since."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(4)
        grow = QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow
        self._layout.setFieldGrowthPolicy(grow)
        self.fields: dict[str, QLineEdit | QComboBox] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self.changed)

    def add_text(
        self, key: str, label: str, help_text: str, hint: str = "", browse: str = ""
    ) -> QLineEdit:
        """Add a line of text; `browse`: ``folder``, ``file``, ``both`` or "" for no chooser."""
        field = QLineEdit()
        field.setPlaceholderText(hint)
        field.setToolTip(help_text)
        field.textChanged.connect(lambda: self._timer.start())
        choosers = self._choosers(browse, field.setText)
        self._add(key, label, field, row_of(field, *choosers, HelpButton(help_text, self.page)))
        return field

    def add_choice(
        self,
        key: str,
        label: str,
        help_text: str,
        choices: Sequence[str],
        editable: bool = False,
        browse: str = "",
    ) -> QComboBox:
        """Add a choice; an editable one also takes a typed text, or a chosen file or folder."""
        field = QComboBox()
        field.setEditable(editable)
        field.addItems(list(choices))
        field.setToolTip(help_text)
        field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        field.setMinimumContentsLength(12)
        field.currentTextChanged.connect(lambda: self._timer.start())
        choosers = self._choosers(browse, field.setEditText)
        self._add(key, label, field, row_of(field, *choosers, HelpButton(help_text, self.page)))
        return field

    def value(self, key: str) -> str:
        """Return the text of a field, without blanks around it."""
        field = self.fields[key]
        text = field.currentText() if isinstance(field, QComboBox) else field.text()
        return str(text).strip()

    def set_value(self, key: str, text: str) -> None:
        """Set the text of a field."""
        field = self.fields[key]
        if isinstance(field, QComboBox):
            if field.findText(text) < 0 and not field.isEditable():
                field.addItem(text)
            field.setCurrentText(text)
        else:
            field.setText(text)

    def values(self) -> dict[str, str]:
        """Return the texts of all fields."""
        return {key: self.value(key) for key in self.fields}

    def _add(self, key: str, label: str, field: QLineEdit | QComboBox, row: QWidget) -> None:
        field.setObjectName(key)
        field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.fields[key] = field
        self._layout.addRow(label, row)

    @staticmethod
    def _choosers(browse: str, set_text: Callable[[str], None]) -> list[QWidget]:
        """Return the buttons that choose a folder or a file."""
        known = {
            "Folder": ("folder", QFileDialog.getExistingDirectory),
            "File": ("file", lambda: QFileDialog.getOpenFileName()[0]),
        }
        buttons: list[QWidget] = []
        for text, (kind, choose) in known.items():
            if browse not in (kind, "both"):
                continue

            def chosen(choose: Callable[[], str] = choose) -> None:
                path = choose()
                if path:
                    set_text(path)

            button = push_button(text, f"Choose a {kind}.", chosen)
            button.setMaximumWidth(_NARROW)
            buttons.append(button)
        return buttons
