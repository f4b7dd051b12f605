"""The client: one pure session under a sync and an async face.  Users import ``patterns``."""
