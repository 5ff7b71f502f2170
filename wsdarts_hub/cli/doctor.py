"""The command ``doctor``."""

import typer

from wsdarts_hub.cli.shared import display, options


def doctor(
    *,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Print what is installed and stored, and what to do about it.

    That is: versions, devices and what a search would run on there, cache sizes, the registry and
    the shipped probe. Every artifact of the registry is verified. The exit code is 1 if something
    is broken; with --quiet only that is printed.

    Example:
        wsdarts-hub doctor

    Python:
        from wsdarts_hub import open_registry, pull
        for entry in open_registry().entries(include_yanked=True):
            pull(str(entry.reference))
    """
    from wsdarts_sdk.pipelines.doctor import diagnose  # noqa: PLC0415

    broken, group = 0, ""
    for finding in diagnose(registry):
        broken += finding.state == "broken"
        if quiet and finding.state != "broken":
            continue
        if finding.group != group and not quiet:
            display.heading(finding.group)
        group = finding.group
        display.line(f"{_MARKS[finding.state]} {finding.subject}: {finding.found}")
        if finding.advice:
            display.line(f"       → {finding.advice}")
    if not quiet:
        display.heading(f"{broken} broken" if broken else "nothing is broken")
    if broken:
        raise typer.Exit(1)


_MARKS = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}
