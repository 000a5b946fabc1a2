"""LIBERO, CALVIN and SimplerEnv, evaluated as in their published protocols."""
