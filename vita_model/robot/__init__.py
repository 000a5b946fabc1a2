"""The real UR-5e of VITA 10: a control loop with guards around a policy."""
