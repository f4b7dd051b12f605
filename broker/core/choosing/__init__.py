"""Which message next, and to whom: takers in line, bounds on the flow, keys and selectors."""
