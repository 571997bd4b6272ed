"""Whether a part predicts and whether it causes: effects beside those of controls, and verdicts at one error rate."""
