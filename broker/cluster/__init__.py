"""The pure cluster: which slot a name belongs to, and the log of a slot."""
