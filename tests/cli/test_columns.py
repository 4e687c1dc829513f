from mobileyolact.cli.columns import columns

HEAD = ["source", "found", "read", "pre-\nprocess"]


def test_a_small_table() -> None:
    text = columns([HEAD, ["a.jpg", "cat, 2 dogs", "12.5", "1.0"], ["b.jpg", "", "3.0", "1.1"]], 80)
    assert text.splitlines() == [
        "                              pre-",
        "source  found        read  process",
        "a.jpg   cat, 2 dogs  12.5      1.0",
        "b.jpg                 3.0      1.1",
    ]


def test_what_does_not_fit_is_folded() -> None:
    name, found = "x" * 40 + ".jpg", ", ".join(["person"] * 9)
    lines = columns(
        [HEAD, [name, found, "1.0", "2.0"], ["日本.jpg", "", "3.0", "4.0"]], 60
    ).splitlines()
    assert max(map(len, lines)) <= 60
    first, second = lines[0].index("pre-") - 10, lines[1].index("found")
    rows = lines[2:-1]
    assert "".join(row[:second].strip() for row in rows) == name
    assert "".join(row[second:first].rstrip() for row in rows).replace(" ", "") == found.replace(
        " ", ""
    )
    assert rows[0].split()[-2:] == ["1.0", "2.0"]
    assert lines[-1].index("3.0") == rows[0].index("1.0") - 2, "wide characters count twice"
