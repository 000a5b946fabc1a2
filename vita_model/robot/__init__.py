"""The real UR-5e of VITA 10: a control loop around a policy, with safety limits."""
