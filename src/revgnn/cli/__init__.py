"""The command line: `revgnn --help`."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `revgnn` command."""
    from revgnn.cli.app import app

    app()
