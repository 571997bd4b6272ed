"""What causes a behaviour: heads, segments and directions changed while a model answers, beside what predicts it."""
