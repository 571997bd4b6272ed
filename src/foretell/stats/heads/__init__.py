"""Statistics per layer and head, corrected for multiple testing."""
