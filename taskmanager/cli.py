"""The `taskmanager` command: a roof over commands that live elsewhere.

It knows none of them by name. Whoever has one offers it under the entry point group `taskmanager.commands`, as
`simulation` does, which this package never imports; and a command imports what it needs when it is run, so that asking
for help is quick.
"""

from __future__ import annotations

from importlib.metadata import entry_points, version
from typing import Annotated

import typer

COMMANDS = "taskmanager.commands"
"""The entry point group: each name is a command, each object a function that typer understands."""


def main() -> None:
    """The entry point of the script."""
    application()()


def application() -> typer.Typer:
    """The command with all its subcommands, in alphabetical order."""
    app = typer.Typer(
        rich_markup_mode="markdown", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
    )
    app.callback(help="Background jobs, for real and in simulated time.")(_root)
    for found in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        app.command(found.name)(found.load())
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("taskmanager"))
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", callback=_say_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass
