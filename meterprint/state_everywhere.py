"""Every command takes `--state DIR`, so that a script need not know which ones keep something."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import typer

from meterprint.output import DEFAULT_STATE, StateOption

NAME = "state"
"""Parameter that the option fills."""


def accept_state(app: typer.Typer) -> None:
    """Give `--state` to every command of `app` and its groups that has no use for it."""
    for command in app.registered_commands:
        if (
            command.callback is not None
            and NAME not in inspect.signature(command.callback).parameters
        ):
            command.callback = _with_state(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            accept_state(group.typer_instance)


def _with_state(callback: Callable[..., Any]) -> Callable[..., Any]:
    hints = {**get_type_hints(callback, include_extras=True), NAME: StateOption}
    hints.setdefault("return", Any)

    @functools.wraps(callback)
    def command(**options: Any) -> Any:
        options.pop(NAME)
        return callback(**options)

    found = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in inspect.signature(callback).parameters.values()
    ]
    state = inspect.Parameter(
        NAME, inspect.Parameter.KEYWORD_ONLY, default=DEFAULT_STATE, annotation=StateOption
    )
    command.__signature__ = inspect.Signature([*found, state])  # type: ignore[attr-defined]
    command.__annotations__ = hints
    del command.__wrapped__
    return command
