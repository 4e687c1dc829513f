"""Text for a terminal: one line whatever is in it."""


def one_line(text: object, encoding: str = "utf-8") -> str:
    """``text`` without line breaks, control characters and what ``encoding`` cannot express.

    Such characters come from names of files and are shown as escapes.
    """
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(escaped).encode(encoding, "backslashreplace").decode(encoding)
