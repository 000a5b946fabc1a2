"""Results of rollouts: journals, scores, tables, and the numbers of papers for comparison."""
