"""Code that several sources share: the RLDS records of fractal and kuka, and the RoboMIND tree."""
