"""Reads a plain tree (JSON or YAML, numbers as text) and collects every fault with its path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from mrv.errors import InputError
from mrv.quantity import exact_number

_IDENTIFIER = re.compile(r"[\w-]{1,64}")


class InputErrors(InputError):
    """All that is wrong with one input."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        super().__init__("; ".join(str(error) for error in errors[:20]))
        self.errors = tuple(errors)


class Node:
    """One place in the tree. Faults go to a list that all nodes share; reading goes on.

    `name` is its path, or with `above` its place in that node: paths are put together for faults.
    """

    __slots__ = ("_above", "_name", "faults", "value")

    def __init__(
        self, value: Any, name: str | int, faults: list[InputError], above: Node | None = None
    ) -> None:
        self.value = value
        self.faults = faults
        self._name = name
        self._above = above

    @property
    def path(self) -> str:
        """Where it is: `sources[2].factor.id`; "" = the tree itself."""
        above = "" if self._above is None else self._above.path
        if isinstance(self._name, int):
            return f"{above}[{self._name}]"
        return f"{above}.{self._name}" if above else self._name

    def fault(self, expected: str, hint: str = "") -> None:
        """Note that something else was expected here."""
        seen = "nothing" if self.value is None else repr(self.value)[:60]
        self.faults.append(InputError(f"{expected}, seen {seen}", field=self.path, hint=hint))

    def child(self, name: str) -> Node:
        """A member; its value is None where it is absent."""
        value = self.value.get(name) if isinstance(self.value, dict) else None
        return Node(value, name, self.faults, self)

    def members(self, allowed: Iterable[str]) -> bool:
        """Whether this is an object; members not in `allowed` are faults with a suggestion."""
        if not isinstance(self.value, dict):
            self.fault("an object is expected")
            return False
        names = allowed if isinstance(allowed, tuple) else tuple(allowed)
        for name in self.value:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, 1)
                path = f"{self.path}.{name}" if self.path else str(name)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
                self.faults.append(InputError("an unknown name", field=path, hint=hint))
        return True

    def items(self) -> list[Node]:
        """Elements of a list; none where it is absent."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            self.fault("a list is expected")
            return []
        return [Node(v, i, self.faults, self) for i, v in enumerate(self.value)]

    def text(self, default: str | None = None) -> str:
        """A text; required without a default."""
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, (str, int)) or isinstance(self.value, bool):
            self.fault("a text is expected")
            return default or ""
        return str(self.value)

    def identifier(self) -> str:
        """A name that can stand in a channel, a topic and a chain: no space, dot, /, + or #."""
        text = self.text()
        if text and not _IDENTIFIER.fullmatch(text):
            self.fault("a name of letters, digits, - and _ is expected")
        return text

    def choice(self, allowed: Sequence[str], default: str | None = None) -> str:
        """One of `allowed`."""
        text = self.text(default)
        if text not in allowed:
            near = difflib.get_close_matches(text, allowed, 1)
            self.fault(
                f"one of {', '.join(allowed)} is expected",
                f"did you mean {near[0]}?" if near else "",
            )
            return default or allowed[0]
        return text

    def flag(self, *, default: bool) -> bool:
        """True or false."""
        if self.value is None:
            return default
        text = str(self.value).lower()
        if text not in ("true", "false", "yes", "no"):
            self.fault("true or false is expected")
            return default
        return text in ("true", "yes")

    def number(self, default: str | None = None, *, positive: bool = False) -> Fraction:
        """An exact number: 0.01, 400/5, 1e3."""
        if self.value is None and default is not None:
            return exact_number(default)
        try:
            value = exact_number(str(self.value).replace(" ", ""))
        except ValueError:
            self.fault("a number is expected", "write 0.01 or 400/5")
            return Fraction(default or 1)
        if positive and value <= 0:
            self.fault("a positive number is expected")
            return Fraction(default or 1)
        return value

    def integer(self, default: int | None = None, *, low: int = 0) -> int:
        """A whole number ≥ `low`."""
        value = self.number(None if default is None else str(default))
        if value.denominator != 1 or value < low:
            self.fault(f"a whole number from {low} is expected")
            return default or low
        return value.numerator

    def texts(self) -> tuple[str, ...]:
        """A list of texts; one text counts as a list of one."""
        if isinstance(self.value, str):
            return (self.value,)
        return tuple(item.text() for item in self.items())
