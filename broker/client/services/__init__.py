"""Services: calls with a deadline, and the workers that answer them."""
