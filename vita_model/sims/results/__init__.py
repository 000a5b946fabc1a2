"""What rollouts leave: journals, scores, tables, the numbers of papers beside them."""
