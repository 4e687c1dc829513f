"""What pages say of a measurement: when and on what it was made, and how engines are called."""

from typing import Any

ENGINES = {"onnx": "ONNX Runtime", "ncnn": "ncnn", "torchscript": "PyTorch"}


def measured_on(record: dict[str, Any]) -> str:
    """Date, machine and versions of a record with ``date`` and ``device``."""
    device = record["device"]
    special = f" ({', '.join(device['instructions'])})" if device["instructions"] else ""
    cores = f"{device['cores']} core{'s' if device['cores'] > 1 else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in device["versions"].items())
    return (
        f"{record['date']}, {device['cpu']}{special}, {cores}, {device['os']}, "
        f"load {device['load']}; Python {device['python']}, {versions}."
    )
