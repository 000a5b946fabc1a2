"""The rows of VITA's Tables 1 to 5, in percent, with the averages printed in the paper.

Tables show computed averages next to the printed ones, because some printed averages do not match their rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """One model: a value per column, and the printed average."""

    model: str
    values: tuple[float, ...]
    printed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """One table; with `is_chain`, the average is the mean number of consecutive tasks: the sum of rates over 100."""

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    is_chain: bool = False

    def average(self, values: tuple[float, ...]) -> float:
        """Compute a row's average."""
        return sum(values) / 100.0 if self.is_chain else sum(values) / len(values)

    @property
    def average_name(self) -> str:
        """Heading of the average."""
        return "Average Number" if self.is_chain else "Average"


def _rows(text: str) -> tuple[PaperRow, ...]:
    """Parse lines of `model | values | printed average`."""
    rows = []
    for line in text.strip().splitlines():
        model, values, printed = (cell.strip() for cell in line.split("|"))
        rows.append(PaperRow(model=model, values=tuple(map(float, values.split())), printed=float(printed)))
    return tuple(rows)


TABLES: Mapping[int, PaperTable] = MappingProxyType(
    {
        table.number: table
        for table in (
            PaperTable(
                number=1,
                title="CALVIN ABC-D, consecutive tasks completed",
                columns=("1", "2", "3", "4", "5"),
                is_chain=True,
                rows=_rows("""
                    GR-1        | 85.4 71.2 59.6 49.7 40.1 | 3.06
                    OpenVLA     | 91.3 77.8 62.0 52.1 43.5 | 3.27
                    Pi0         | 93.8 85.0 76.7 68.1 59.9 | 3.92
                    UP-VLA      | 92.8 86.5 81.5 76.9 69.9 | 4.08
                    UniVLA      | 98.9 94.8 89.0 82.8 75.1 | 4.41
                    DeFI        | 97.9 94.2 90.7 87.0 81.2 | 4.51
                    VITA, paper | 99.1 94.9 91.2 87.8 84.5 | 4.73"""),
            ),
            PaperTable(
                number=2,
                title="LIBERO",
                columns=("GOAL", "SPATIAL", "OBJECT", "LONG"),
                rows=_rows("""
                    Octo        | 84.6 78.9 85.7 51.1 | 75.1
                    OpenVLA     | 79.2 84.9 88.4 53.7 | 76.5
                    Spatial VLA | 78.6 88.2 89.9 55.5 | 78.1
                    CoT-VLA     | 87.6 87.5 91.6 69.0 | 81.1
                    Pi0-FAST    | 88.6 96.4 96.8 60.2 | 85.5
                    UniVLA      | 93.6 95.4 98.8 94.0 | 95.5
                    VITA, paper | 95.1 95.9 98.9 96.8 | 96.7"""),
            ),
            PaperTable(
                number=3,
                title="SimplerEnv, Google Robot (visual matching)",
                columns=("PickCokeCan", "MoveNear", "OpenDrawer"),
                rows=_rows("""
                    Octo        | 17.0 4.2 22.7  | 16.8
                    TraceVLA    | 28.0 53.7 57.0 | 42.0
                    OpenVLA     | 16.3 46.2 35.6 | 27.7
                    DeFI        | 54.2 60.7 38.6 | 51.2
                    VITA, paper | 57.5 55.8 58.9 | 57.4"""),
            ),
            PaperTable(
                number=4,
                title="SimplerEnv, WidowX",
                columns=("PutSpoon", "PutCarrot", "StackGreen", "PutEggplant"),
                rows=_rows("""
                    Octo        | 47.2 8.3 4.2 56.9   | 29.5
                    OpenVLA     | 45.8 20.8 24.2 79.2 | 42.5
                    Spatial VLA | 16.7 25.0 29.2 100  | 42.7
                    CogACT      | 71.1 50.8 15.0 67.5 | 51.3
                    UniVLA      | 83.3 66.7 33.3 95.8 | 69.8
                    VITA, paper | 84.2 68.8 37.5 95.6 | 71.5"""),
            ),
            PaperTable(
                number=5,
                title="UR-5e, the first four tasks in distribution, the last two out of distribution",
                columns=(
                    "Select Object",
                    "Color Match",
                    "Object Map",
                    "Visual Reason",
                    "Inverse Execution",
                    "Conditional Decision",
                ),
                rows=_rows("""
                    VITA, paper | 92.3 87.6 91.5 73.2 66.9 71.3 | 80.5
                    Pi0         | 60.5 56.8 58.2 51.4 48.7 45.3 | 53.5
                    GR00T N1.5  | 47.6 49.2 52.3 42.8 36.1 39.4 | 44.6
                    OpenVLA     | 49.3 61.7 46.5 40.2 28.9 33.6 | 43.4
                    Octo        | 52.1 24.8 48.9 18.5 20.3 17.2 | 29.8"""),
            ),
        )
    }
)
