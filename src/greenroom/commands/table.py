"""Tables, sizes and spans of time as text."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 2) -> list[str]:
    """Lines of equal columns: the first *texts* stand to the left, the others, which are numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]


def counted(number: int, what: str) -> str:
    """A number of things that take an s: `1 actor`, `2 actors`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def size(octets: int) -> str:
    """A number of bytes, as short as it can be read: `17 B`, `2.5 KiB`, `310 MiB`."""
    if octets < 1024:
        return f"{octets} B"
    kibibytes = octets / 1024
    return f"{kibibytes:.3g} KiB" if kibibytes < 999.5 else f"{kibibytes / 1024:.3g} MiB"


def span(seconds: float | None) -> str:
    """A span of time, as short as it can be read: `17 µs`, `2.5 ms`, `3.1 s`, `5 min`."""
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
