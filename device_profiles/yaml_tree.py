"""A YAML file as a plain tree whose scalars stay text, with the line of every place in it.

Numbers stay text so that 0.10 keeps its digits; whoever reads a field gives it its type.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mrv.errors import InputError


@dataclass(frozen=True, slots=True)
class YamlTree:
    """A file that was read."""

    file: str
    """File as the caller named it."""
    tree: Any
    """Maps, lists and texts; null is None."""
    lines: dict[str, int]
    """Line of each path such as `sources[2].line`, counted from 1."""

    def line_of(self, path: str) -> int:
        """Line of a path, or of the nearest place above it that the file has."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return 1

    def locate(self, error: InputError) -> InputError:
        """The same error with file and line."""
        return InputError(
            str(error.args[0]),
            file=self.file,
            line=self.line_of(error.field),
            field=error.field,
            hint=error.hint,
        )


def compose(path: Path) -> yaml.Node | None:
    """Read a YAML file as nodes. Raises InputError with its line where it is not one."""
    try:
        root: yaml.Node | None = yaml.compose(
            path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader
        )
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file=str(path), hint="save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise InputError(
            f"is not YAML: {error.problem}", file=str(path), line=line, hint="check indentation"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", file=str(path)) from error
    return root


def read_yaml(path: Path) -> YamlTree:
    """Read a YAML file. Raises InputError with its line where it is not one."""
    root = compose(path)
    lines: dict[str, int] = {}
    tree = None if root is None else _plain(root, "", str(path), lines)
    return YamlTree(str(path), tree, lines)


def _plain(node: yaml.Node, at: str, file: str, lines: dict[str, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        members: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            path = f"{at}.{name}" if at else name
            lines[path] = key.start_mark.line + 1
            if name in members:
                raise InputError(
                    "is written twice",
                    file=file,
                    line=lines[path],
                    field=path,
                    hint="keep one of the two",
                )
            members[name] = _plain(value, path, file, lines)
        return members
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{at}[{i}]", file, lines) for i, item in enumerate(node.value)]
    return None if node.tag == "tag:yaml.org,2002:null" else node.value
