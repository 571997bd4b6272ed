"""Logs of evaluation harnesses: what was asked, what was answered and every score, in the forms that versions write."""
