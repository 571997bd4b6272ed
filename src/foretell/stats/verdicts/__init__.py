"""What a study says of each signal: evidence, one error rate, and verdicts by stated rules."""
