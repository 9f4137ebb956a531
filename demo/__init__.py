"""The main job on embedded defaults, with real packets, for people to watch."""
