"""How training images are changed at random; off by default, as in the paper."""

from dataclasses import dataclass

from vita_data.config.checks import require_part


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationConfig:
    """Largest random changes of a sample's images; 0 switches a change off.

    All frames of a sample change alike, so that what moves between them stays true. Images are not mirrored or turned,
    since that would falsify the actions.
    """

    crop: float = 0.0
    """Largest part of each side that is cut away; the rest is enlarged to full size. Each camera has its own cut."""
    brightness: float = 0.0
    """Largest change of the factor 1 of all values."""
    contrast: float = 0.0
    """Largest change of the factor 1 of the differences from the mean grey of a camera's present frame."""
    saturation: float = 0.0
    """Largest change of the factor 1 of the differences from grey."""

    def __post_init__(self) -> None:
        """Refuse values outside [0, 1); raises RequestError."""
        require_part(self, "crop", "brightness", "contrast", "saturation")

    @property
    def is_on(self) -> bool:
        """Tell whether anything changes."""
        return any((self.crop, self.brightness, self.contrast, self.saturation))
