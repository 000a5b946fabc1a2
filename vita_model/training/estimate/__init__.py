"""What a run takes before it starts: parameters, memory, arithmetic, counted without storage."""
