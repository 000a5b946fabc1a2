"""GPUs whose memory and peak are known: whether a recipe fits, and what part of the peak a run reaches."""

from dataclasses import dataclass

_GIB = 1 << 30
_USABLE = 0.9
"""Part of the memory that an estimate may take; the rest is for the device's context and the allocator's losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU."""

    name: str
    memory: int
    """Bytes that the driver reports."""
    bf16_flop_per_s: float
    """The maker's peak for dense products in bf16 with sums in float32."""
    devices: tuple[str, ...]
    """Parts of the name that the driver reports, all of which it contains."""

    def fits(self, num_bytes: int) -> bool:
        """Tell whether an estimate leaves a tenth of the memory free."""
        return num_bytes <= _USABLE * self.memory


CARDS = (
    Card(name="a100-40gb", memory=int(39.4 * _GIB), bf16_flop_per_s=312e12, devices=("A100", "40GB")),
    Card(name="a100-80gb", memory=int(79.2 * _GIB), bf16_flop_per_s=312e12, devices=("A100", "80GB")),
    Card(name="h100-80gb", memory=int(79.1 * _GIB), bf16_flop_per_s=989e12, devices=("H100", "80GB")),
    Card(name="h200", memory=int(139.8 * _GIB), bf16_flop_per_s=989e12, devices=("H200",)),
    Card(name="rtx4090", memory=int(23.5 * _GIB), bf16_flop_per_s=165e12, devices=("4090",)),
)


def card_of(device_name: str) -> Card | None:
    """Find the card of a name that the driver reports; None if it is not known."""
    return next((card for card in CARDS if all(part in device_name for part in card.devices)), None)


def as_text(card: Card, num_bytes: int) -> str:
    """Say in one line whether an estimate fits a card."""
    part, verb = num_bytes / card.memory, "fits" if card.fits(num_bytes) else "does not fit"
    return (
        f"  {verb} {card.name}: {part:.0%} of its {card.memory / _GIB:.1f} GiB, where at most {_USABLE:.0%} leave room "
        "for the device's context and the allocator"
    )
