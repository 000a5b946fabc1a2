"""First drafts of source files: what an unknown LeRobot, RLDS or HDF5 tree has, and what its numbers tell.

A raw tree comes in; the text of a source file goes out, with the evidence for its values and the files that nothing
reads.
"""

from vita_data.drafts.apart import DraftRequest, draft_apart
from vita_data.drafts.draft import Draft, draft_source

__all__ = ["Draft", "DraftRequest", "draft_apart", "draft_source"]
