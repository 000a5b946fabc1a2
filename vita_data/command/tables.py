"""Tables as text, for terminals."""

from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Format rows as lines with aligned columns, two blanks between them.

    Args:
        rows: as many cells in each.
        alignment: a letter per column, `l` or `r`; the last one holds for all further columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = alignment.ljust(len(widths), alignment[-1])
    return [
        "  ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, sides, strict=False)
        ).rstrip()
        for row in rows
    ]
