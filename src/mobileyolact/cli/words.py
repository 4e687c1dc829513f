"""Words of the command line as text and paths, without the library that typer brings for more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

from typer.core import TyperCommand, TyperGroup


class _PlainWords:
    """Reads words as typer does, but text, paths and flags without pydantic.

    typer hands every value to pydantic, which takes as long to import as numpy does. Text and
    paths need none of it. Numbers, and whatever is wrong, still go typer's own way, so that
    messages are typer's own; a typer without that way is left as it is.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            usual = getattr(parameter, "get_runtime_param", None)
            if usual is not None and not isinstance(usual, _Reader):
                parameter.get_runtime_param = _Reader(usual)
        return parameters


class Command(_PlainWords, TyperCommand):
    """A command."""


class Group(_PlainWords, TyperGroup):
    """A group of commands."""


class _Reader:
    """In place of the ``RuntimeParam`` that ``usual`` makes, and of what makes it."""

    def __init__(self, usual: Callable[[], Any]) -> None:
        self._usual = usual

    def __call__(self) -> "_Reader":
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command's function wants it."""
        wanted = param.type_descriptor.annotation
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        kind = get_args(wanted)[0] if get_origin(wanted) is list else wanted
        values = value if several else [value]
        if kind in (str, Path) and all(isinstance(v, str | Path) for v in values):
            read = [kind(v) for v in values]
            return read if several else read[0]
        return self._usual().coerce(value, param=param, ctx=ctx)
