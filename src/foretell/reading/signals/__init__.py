"""What is computed from one observed call: masses, contributions, log-probabilities, activity."""
