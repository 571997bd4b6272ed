"""Testing: does a signal predict a behaviour? Arrays and tables in, frozen results out; no model in sight."""
