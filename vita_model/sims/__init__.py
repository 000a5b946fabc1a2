"""`vita-eval`: success rates of a policy in simulators. Users install the simulators; they are imported lazily."""
