"""AUC with intervals that account for dependent samples."""
