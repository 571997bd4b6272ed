"""Reading whole sets of conversations into a run."""
