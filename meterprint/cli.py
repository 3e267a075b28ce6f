"""The command line. Exit status: 0 done, 1 findings or a failed check, 2 usage or bad input."""

from __future__ import annotations

import sys

import typer

from meterprint import (
    commands_access,
    commands_agent,
    commands_batch,
    commands_device,
    commands_evidence,
    commands_factors,
    commands_influx,
    commands_metrology,
    commands_operation,
    commands_plant,
    commands_recompute,
    commands_registry,
    commands_run,
    commands_serve,
)
from meterprint.output import say_error
from meterprint.state_everywhere import accept_state

app = typer.Typer(
    name="meterprint",
    help="From the meter's own reading to the carbon number on the label."
    " / 从计量器具读数到标识上的碳数字。",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
commands_run.register(app)
commands_serve.register(app)
commands_plant.register(app)
commands_recompute.register(app)
commands_batch.register(app)
commands_registry.register(app)
commands_factors.register(app)
commands_evidence.register(app)
commands_metrology.register(app)
commands_device.register(app)
commands_agent.register(app)
commands_operation.register(app)
commands_access.register(app)
commands_influx.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("meterprint"))


accept_state(app)


def main() -> None:
    """Run the command line; every expected error is one clear text and status 2."""
    from mrv.errors import InputError, MeterprintError

    try:
        app()
    except MeterprintError as error:
        say_error(error)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise  # of the program, not of a file somebody named
        say_error(InputError(str(error.strerror), file=str(error.filename)))
        sys.exit(2)


if __name__ == "__main__":
    main()
