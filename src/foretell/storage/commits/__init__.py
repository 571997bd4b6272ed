"""The small files that say what a run is and which of its parts are complete."""
