"""What each command of a client does, one function a command."""
