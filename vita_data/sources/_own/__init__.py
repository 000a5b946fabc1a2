"""Sources of a user's own: in a Python file, or in an installed package."""
