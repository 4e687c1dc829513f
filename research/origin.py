"""When and on what something was measured, as a line for a page."""

from typing import Any


def origin(record: dict[str, Any]) -> str:
    """Date, machine and versions of a record with ``date`` and ``device``."""
    device = record["device"]
    special = f" ({', '.join(device['instructions'])})" if device["instructions"] else ""
    cores = f"{device['cores']} core{'s' if device['cores'] > 1 else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in device["versions"].items())
    return (
        f"{record['date']}, {device['cpu']}{special}, {cores}, {device['os']}, "
        f"load {device['load']}; Python {device['python']}, {versions}."
    )
