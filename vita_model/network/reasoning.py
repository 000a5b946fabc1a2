"""Which chain of thought the backbone follows: every row of VITA table 6."""

from dataclasses import dataclass
from enum import StrEnum

from vita_data.config.checks import require


class VisualReasoning(StrEnum):
    """What the latents stand for."""

    NONE = "none"
    """Nothing visual: continuous vectors for the action decoder alone, no codes, no frames."""
    EXPLICIT = "explicit"
    """Predict, then act: visual latents for the frames, then action latents that see them, for the actions."""
    INTERNAL = "internal"
    """One stream of codes that both decoders read (VITA)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningConfig:
    """Textual and visual-action reasoning (VITA 3.2.2, 3.2.3); the defaults are the paper's model."""

    text: bool = True
    """Choose subtasks before the latents."""
    hides_text: bool = False
    """Latents, and the images that they read, see the instruction through the chosen subtasks alone; false is eq 14.
    Where they see it themselves, they have no use for subtasks, which are a function of the same inputs."""
    visual: VisualReasoning = VisualReasoning.INTERNAL

    def __post_init__(self) -> None:
        """Refuse values of another type; raises RequestError."""
        for name in ("text", "hides_text"):
            require(self, name, fits=isinstance(getattr(self, name), bool), wanted="true or false")
        require(self, "hides_text", fits=self.text or not self.hides_text, wanted="false when text is false")
        require(
            self, "visual", fits=isinstance(self.visual, VisualReasoning), wanted=f"one of {', '.join(VisualReasoning)}"
        )
