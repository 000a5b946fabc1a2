"""Success rates of a policy in simulators: `vita-eval`. Simulators are the user's own and are imported lazily."""
