"""What happens at an instant: messages that come due or expire, recurring schedules."""
