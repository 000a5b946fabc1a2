"""The RoboMIND tree: its folders, texts, frames and episodes, shared by its three embodiments."""
