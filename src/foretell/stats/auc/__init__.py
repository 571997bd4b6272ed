"""Areas under ROC curves with intervals that respect dependent samples."""
