"""`lowq check`: the conformance suite, imported when it is asked for."""

from __future__ import annotations

import click

_NEEDED = ("pytest", "_pytest", "hypothesis", "xdist", "freezegun")


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Check any queue against the promises it makes.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def check(arguments: tuple[str, ...]) -> int:
    """Check any queue against the promises it makes."""
    try:
        from lowq_conformance.run.command import check as run

        with run.make_context("lowq check", list(arguments)) as ctx:
            run.invoke(ctx)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        click.echo(f'lowq check: {error.name} is missing: pip install "lowq[pytest]"', err=True)
        return 2
    return 0
