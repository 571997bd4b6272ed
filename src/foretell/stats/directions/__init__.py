"""Whether a direction is real, which layer holds it, and whether it acts."""
