"""LIBERO, CALVIN and SimplerEnv as their published evaluations run them."""
