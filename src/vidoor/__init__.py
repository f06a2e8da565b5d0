"""vidoor: plant, measure and find backdoors in video-recognition models and their clips."""

__version__ = "0.1.0"

SCHEMA = 2
"""Version of recipes and records; raised when a record's form changes."""
