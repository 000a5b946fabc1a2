"""Options for the backbone's chain of thought; they cover every row of VITA table 6."""

from dataclasses import dataclass
from enum import StrEnum

from vita_data.config.checks import require


class VisualReasoning(StrEnum):
    """What the latents represent."""

    NONE = "none"
    """Nothing visual: continuous vectors only for the action decoder, without codes or frames."""
    EXPLICIT = "explicit"
    """Predict, then act: latents for the frames, followed by latents for the actions that attend to them."""
    INTERNAL = "internal"
    """One stream of codes for both decoders (VITA)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningConfig:
    """Textual and visual-action reasoning (VITA 3.2.2, 3.2.3); the defaults are the paper's model."""

    text: bool = True
    """Predict subtasks before the latents."""
    hides_text: bool = False
    """Hide the instruction from the latents and images, so that it reaches them only through the chosen subtasks. If
    latents see the instruction directly, they can ignore the subtasks. False is eq 14."""
    visual: VisualReasoning = VisualReasoning.INTERNAL

    def __post_init__(self) -> None:
        """Refuse values of the wrong type; raises RequestError."""
        for name in ("text", "hides_text"):
            require(self, name, fits=isinstance(getattr(self, name), bool), wanted="true or false")
        require(self, "hides_text", fits=self.text or not self.hides_text, wanted="false when text is false")
        require(
            self, "visual", fits=isinstance(self.visual, VisualReasoning), wanted=f"one of {', '.join(VisualReasoning)}"
        )
