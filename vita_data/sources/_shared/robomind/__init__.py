"""The RoboMIND tree: folders, texts, frames and episodes, shared by its three embodiments."""
